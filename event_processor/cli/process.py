"""`process`: reads finished inputs once, and writes a result.

Owns: the command, its options, its signals, and its messages.
Always: a result file is whole, or it is not there. If a signal stops the run, there is no result.
Never: no record is read here; `operations/processing.py` does that.
"""

from __future__ import annotations

import json
import os
import re
import signal
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import Annotated, Final

import msgspec
import typer

from event_processor.assembly import STDIN_ARGUMENT, Environment, InputFormat, can_be_read_again, with_inputs
from event_processor.assembly.inputs import INPUT_SOURCE_NAME, as_far_as_come, input_names, with_arriving_input
from event_processor.assembly.object_paths import is_object, objects_of
from event_processor.cli.context import Invocation, invocation, load, real_environment
from event_processor.cli.output import (
    counted,
    foreign_notes,
    one_line,
    progress_bar,
    shown_name,
    write_lines,
    write_notes,
    write_table,
)
from event_processor.configuration.configuration import BatchOptions, Configuration
from event_processor.engine.dead_letters import DEAD_LETTERS_NAME
from event_processor.model.errors import ExitCode, UsageError
from event_processor.operations.processing import PhasedProgress, Processed, Processing, require_outputs, write_whole
from event_processor.operations.progress_file import ProgressFile
from event_processor.operations.results import has_table, result_rows
from event_processor.service.daemon import SignalHandlers
from event_processor.storage.durable import OperatingSystem
from event_processor.storage.lock import keep_handed_lock

__all__ = ["COST", "INPUTS", "RESULT", "WORKERS_MAX", "ProcessCall", "command", "require_stream", "size_bytes"]

SIGNAL_EXIT_BASE: Final = 128
"""Shells add this to the number of the signal that ended a command."""
UNITS_BYTES: Final = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "ki": 1 << 10, "mi": 1 << 20, "gi": 1 << 30}
WORKERS_MAX: Final = 64
INPUTS: Final = "Inputs"
RESULT: Final = "Result"
COST: Final = "Cost"
_PROGRESS_HINT: Final = "name a file on this machine; --output and --dead-letters may be objects"
_HINT: Final = "leave --state out, or put the records into a file and name the file"


def size_bytes(text: str) -> int:
    """Parses a size: "4194304", "4MB", "4MiB". Raises `typer.BadParameter`."""
    found = re.fullmatch(r"(\d+) ?([kmg]i?)?b?", text.strip().lower())
    size = int(found[1]) * UNITS_BYTES[found[2] or ""] if found else 0
    limits = BatchOptions.model_fields["bytes_max"].metadata
    least, most = limits[0].ge, limits[1].le
    if not least <= size <= most:
        raise typer.BadParameter(f"{text!r} is not a size from {least} to {most} bytes, such as 4MiB, 4MB or 4194304")
    return size


_Output = Annotated[
    str | None,
    typer.Option(
        "--output", "-o", metavar="FILE", help="The result file, or s3://…: written whole or not at all.", rich_help_panel=RESULT
    ),
]
_DeadLetters = Annotated[str | None, typer.Option(metavar="FILE", help="The file for rejected records.", rich_help_panel=RESULT)]
_Format = Annotated[
    str,
    typer.Option(
        "--format",
        metavar="FORMAT",
        help="jsonl, csv, json, combined, logfmt, ltsv or package.module:Class.",
        rich_help_panel=INPUTS,
    ),
]
_Strict = Annotated[
    bool,
    typer.Option(
        "--strict", help="Exit with 65 if the result leaves anything out, or a record was rejected.", rich_help_panel=RESULT
    ),
]
_Progress = Annotated[
    str | None,
    typer.Option(metavar="FILE", help="Keep how far the run is in this file, as JSON.", rich_help_panel=RESULT),
]
_Arriving = Annotated[
    str | None,
    typer.Option(
        metavar="FILE",
        help='The input is still written: this file says how much of it counts, as {"offset", "length"}.',
        rich_help_panel=INPUTS,
    ),
]
_ChunkSize = Annotated[
    int | None,
    typer.Option(parser=size_bytes, metavar="SIZE", help="Bytes per read: 4MiB. Memory use grows with it.", rich_help_panel=COST),
]
_Workers = Annotated[
    int | None,
    typer.Option(
        min=1,
        max=WORKERS_MAX,
        metavar="N",
        help="How many threads or processes decode, including this one.",
        rich_help_panel=COST,
    ),
]


def command(
    context: typer.Context,
    files: Annotated[
        list[str], typer.Argument(metavar="FILE…|-", help="Finished files or objects (s3://…); a pipe; or - for standard input.")
    ],
    *,
    output: _Output = None,
    dead_letters: _DeadLetters = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="JSON Lines, also on a terminal (default there: a table).", rich_help_panel=RESULT)
    ] = False,
    no_sinks: Annotated[
        bool, typer.Option("--no-sinks", help="Do not write to the configured sinks.", rich_help_panel=RESULT)
    ] = False,
    record_format: _Format = "",
    item_path: Annotated[
        str, typer.Option(metavar="PATH", help="With json: the path of the records, such as value.item.", rich_help_panel=INPUTS)
    ] = "",
    arriving: _Arriving = None,
    strict: _Strict = False,
    progress: _Progress = None,
    source: Annotated[
        str, typer.Option(metavar="NAME", help="Read records like this configured source.", rich_help_panel=INPUTS)
    ] = "",
    chunk_size: _ChunkSize = None,
    workers: _Workers = None,
) -> None:
    """Read finished input to its end, once.

    Write the result: one JSON line for each category, or the rows of the configured aggregates.

    Files are read one after the other, compressed or not. Only the result is kept. With --state DIR the state is kept in DIR: if
    a run ends early for any reason, the same command resumes it and gives the same bytes.

    Exits with 0 if everything was read, even if records were rejected or the result leaves something out (stderr reports it; with
    --strict: 65); with 66 if an input is not found or is incomplete; with 130 or 143, and without a result, if a signal stopped it.
    """
    keep_handed_lock(os.environ)
    called = invocation(context)
    if progress is not None and is_object(progress):
        raise UsageError(f"--progress {progress}: not a local file, which others read while the run goes on", hint=_PROGRESS_HINT)
    inputs = InputFormat(source, record_format, item_path)
    configuration = _configured(called, chunk_size, workers)
    loaded = configuration
    if no_sinks:
        configuration = configuration.model_copy(update={"sinks": {}})
    with objects_of(loaded, (*files, output, dead_letters)) as with_objects:
        seen = as_far_as_come(with_objects(OperatingSystem()), files, arriving)
        configuration = with_inputs(configuration, seen, files, inputs)
        is_kept = called.state_directory is not None
        if STDIN_ARGUMENT in files:
            require_stream(is_kept=is_kept)
        elif is_kept and not can_be_read_again(configuration):
            raise UsageError(f"{files[0]} is a pipe, which cannot be read twice, so a run over it cannot be resumed", hint=_HINT)
        environment = real_environment(configuration)
        environment = replace(environment, fs=with_objects(environment.fs))
        if arriving is not None:
            configuration = _arriving_input(configuration, environment, arriving)
        require_outputs(configuration, environment, [path for path in (output, dead_letters, progress) if path is not None])
        call = ProcessCall(
            called, configuration, environment, output, dead_letters, is_kept=is_kept, as_json=as_json, is_strict=strict
        )
        replace(call, progress=progress).run()


def _arriving_input(configuration: Configuration, environment: Environment, document: str) -> Configuration:
    if any(is_object(path) for path in (document, *input_names(configuration, INPUT_SOURCE_NAME))):
        raise UsageError("--arriving is for files on this machine", hint="an object comes as a whole: name it when it is there")
    return with_arriving_input(configuration, environment.fs, document)


def _no_notes(_processed: Processed) -> Iterable[str]:
    return ()


@dataclass(frozen=True, slots=True)
class ProcessCall:
    """One call of `process`, with all its options.

    `notes`: more lines for the summary. `needs_an_event`: if every record was rejected, the exit code is 65. `progress`: the file that keeps
    how far the run is.
    """

    called: Invocation
    configuration: Configuration
    environment: Environment
    output: str | None
    dead_letters: str | None
    is_kept: bool
    as_json: bool
    is_strict: bool = False
    notes: Callable[[Processed], Iterable[str]] = _no_notes
    needs_an_event: bool = False
    progress: str | None = None

    def run(self) -> None:
        """Processes the inputs, writes the results, and reports the outcomes. Raises `typer.Exit` if the exit code is not 0."""
        processing = Processing(self.configuration, self.environment, is_kept=self.is_kept)
        stops = _Stops(processing)
        with stops.handlers, ExitStack() as shown, processing.run(self._shown(shown)) as processed:
            shown.close()
            if not processed.is_complete:
                write_notes([self._stopped(processed)])
                raise typer.Exit(SIGNAL_EXIT_BASE + stops.number)
            with stops.at_once():
                if self.dead_letters is not None:
                    write_whole(self.environment, self.dead_letters, processed.dead_letters())
                self._write_result(processed)
            self._report(processed)
        rejected = processed.counts.rejected
        if self.needs_an_event and rejected and rejected + processed.counts.blank == processed.counts.records:
            raise typer.Exit(ExitCode.STATE)
        if processed.damaged:
            raise typer.Exit(ExitCode.INPUT_GONE)
        if self.is_strict and (processed.omissions or processed.counts.rejected):
            raise typer.Exit(ExitCode.STATE)

    def _shown(self, shown: ExitStack) -> PhasedProgress:
        bar = shown.enter_context(progress_bar("processing"))
        return bar if self.progress is None else ProgressFile(self.environment, self.progress, bar)

    @property
    def _kept_in(self) -> str:
        """The file that keeps rejected records; empty if they are not kept."""
        own = os.path.join(self.configuration.state.dir, DEAD_LETTERS_NAME) if self.is_kept else ""
        return self.dead_letters or own

    def _write_result(self, processed: Processed) -> None:
        """Writes the rows to the wanted place: a table on a terminal, JSON lines elsewhere."""
        if self.output is not None:
            write_whole(self.environment, self.output, processed.lines())
        elif self.as_json or sys.stdout is None or not (sys.stdout.isatty() and has_table(self.configuration)):
            write_lines(line.decode() for block in processed.lines() for line in block.splitlines())
        else:
            rows = list(result_rows(processed.lines()))
            if rows:
                names = self._names()
                cells = [tuple(shown_name(cell) if name in names else cell for name, cell in row.items()) for row in rows]
                write_table([name.replace("_", " ") for name in rows[0]], cells)

    def _names(self) -> frozenset[str]:
        """The columns of the result that hold ids or names of groups."""
        grouped = (name for options in self.configuration.aggregates.values() for name in options.group_by)
        return frozenset(("first_id", "last_id", *grouped))

    def _stopped(self, processed: Processed) -> str:
        stopped = "stopped before the end of the input"
        if not self.is_kept:
            return f"{stopped}: nothing was kept, and there is no result; with --state, a run can be resumed"
        committed = counted(processed.counts.records, "record")
        return f"{stopped}: {committed} committed in {self.configuration.state.dir}; run the same command to resume"

    def _report(self, processed: Processed) -> None:
        """Reports the outcomes of the records on standard error."""
        lines = [*_summary(processed, self._kept_in), *self.notes(processed)]
        if self.called.log_format != "json":
            write_notes(lines)
            return
        facts = {
            "level": "error" if processed.damaged else "info",
            "event": "processed",
            "message": "; ".join(lines),
            **msgspec.to_builtins(processed.counts),
            "damaged": list(processed.damaged),
            "first_rejected": msgspec.to_builtins(processed.first_rejected),
            "left_out": [msgspec.to_builtins(each) for each in processed.omissions],
            "dead_letters": self._kept_in or None,
        }
        write_notes([json.dumps(facts, ensure_ascii=False)])


def _configured(called: Invocation, chunk_bytes: int | None, workers: int | None) -> Configuration:
    """The configuration with the options of this run. The log level is "warning", unless it is configured."""
    loaded = load(called)
    changes: dict[str, object] = {}
    if chunk_bytes is not None:
        changes["batch"] = loaded.configuration.batch.model_copy(update={"bytes_max": chunk_bytes})
    if workers is not None:
        changes["engine"] = loaded.configuration.engine.model_copy(update={"workers": workers})
    if loaded.origins["log.level"].kind == "default":
        changes["log"] = loaded.configuration.log.model_copy(update={"level": "warning"})
    return loaded.configuration.model_copy(update=changes)


def require_stream(*, is_kept: bool) -> None:
    """Raises `UsageError` if standard input cannot be read as requested."""
    if is_kept:
        raise UsageError(
            "standard input cannot be read twice, so a run over it cannot be resumed",
            hint=_HINT,
        )
    if sys.stdin is None:
        raise UsageError("standard input is closed", hint="pipe the records into it, or name a file")
    if sys.stdin.isatty():
        write_notes(["reading records from the terminal; press Ctrl-D at the end"])


class _Stops:
    """Handles TERM, INT and HUP: the first ends the run after the current batch, the second ends the process."""

    def __init__(self, processing: Processing) -> None:
        self.number = 0
        self._processing: Final = processing
        self._is_writing = False
        self.handlers: Final = SignalHandlers(dict.fromkeys((signal.SIGTERM, signal.SIGINT, signal.SIGHUP), self._on_signal))

    @contextmanager
    def at_once(self) -> Iterator[None]:
        """Inside, a signal ends the command at once. Nothing is left to commit, and the reader of the result may have stopped."""
        self._is_writing = True
        try:
            yield
        finally:
            self._is_writing = False

    def _on_signal(self, number: int) -> None:
        if self._is_writing:
            self._is_writing = False
            raise typer.Exit(SIGNAL_EXIT_BASE + number)
        if self.number:
            os._exit(SIGNAL_EXIT_BASE + number)
        self.number = number
        self._processing.stop()


def _summary(processed: Processed, kept_in: str) -> Iterator[str]:
    counts = processed.counts
    outcomes = f"{counts.accepted} accepted, {counts.duplicate} duplicate, {counts.rejected} rejected, {counts.blank} blank"
    yield f"{counts.records} records: {outcomes}"
    yield from foreign_notes(counts)
    if processed.first_rejected is not None:
        where = f"kept in {kept_in}" if kept_in else "not kept (--dead-letters FILE keeps them)"
        yield f"rejected records are {where}; the first: {one_line(processed.first_rejected)}"
    yield from (one_line(omission) for omission in processed.omissions)
    for words in processed.damaged:
        yield f"{one_line(words)}; what came before counts"
