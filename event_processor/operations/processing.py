"""A one-shot run: the same engine over finished inputs, with a result.

Owns: where the state of such a run lives, how the run stops, and what it reports at its end.
Always: the state equals that of a run over the same bytes. Without a state directory to keep, the state lives in a temporary
folder. The folder is removed at the end, unless the process is killed. No run resumes from it, so its files need no fsync.
With a state directory, the run may be killed anywhere and can be resumed. No event is late: the rows are those of the sorted
input.
Never: gives a result for a run that was stopped.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, replace
from typing import Final, Protocol

import orjson

from event_processor.aggregation.aggregates import AggregateDocument
from event_processor.assembly import (
    Environment,
    Mode,
    check_config,
    input_name,
    input_names,
    input_size_bytes,
    must_start_sorting,
    open_pipeline,
    ordering_of,
    remote_sinks,
    snapshot_sinks,
    start_sorting,
    with_result_sinks,
)
from event_processor.assembly.object_paths import is_object, over, put_object
from event_processor.assembly.several_telemetries import SeveralTelemetry
from event_processor.configuration.configuration import Configuration, ConfiguredPath, StateOptions
from event_processor.engine.dead_letters import DEAD_LETTERS_NAME
from event_processor.engine.loop import Processor, StopReason
from event_processor.engine.state import Counts, State
from event_processor.model.errors import ConfigurationError, UsageError
from event_processor.model.telemetry import Telemetry
from event_processor.operations.omissions import AbsentColumns, Omission, omissions
from event_processor.operations.results import result_lines
from event_processor.operations.state_access import UnsyncedFileSystem, committed_length, owned_state, peek, scratch_directory
from event_processor.storage.append_file import committed_lines
from event_processor.storage.durable import replace_file, storage_boundary

__all__ = ["PhasedProgress", "Processed", "Processing", "RejectedRecord", "require_outputs", "write_whole"]

SORTING: Final = "sorting"
MERGING: Final = "merging"


class PhasedProgress(Protocol):
    """Shows how far a run is. Must return at once."""

    def __call__(self, done_bytes: int, size_bytes: int, phase: str = "", /) -> None:
        """`size_bytes` is 0 if unknown; `phase` is what the run is doing, empty for the usual."""
        ...


@dataclass(frozen=True, slots=True)
class RejectedRecord:
    """A rejected record: its place and the reason."""

    path: str
    line: int
    offset: int
    reason: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line} (byte {self.offset}): {self.reason}"


@dataclass(frozen=True, slots=True)
class Processed:
    """How a one-shot run ended. Its result (`lines`, in blocks) and the dead letters can be read until the context of `run` ends.

    `is_complete`: the inputs were read to their end; False: the run was stopped. `resumed`: it continued an earlier run.
    `damaged`: messages about damaged or truncated inputs. `first_rejected`: the first rejected record that was read. `omissions`:
    what the result leaves out. `aggregates`: as in the checkpoint, by name.
    """

    is_complete: bool
    resumed: bool
    counts: Counts
    damaged: Sequence[str]
    first_rejected: RejectedRecord | None
    omissions: Sequence[Omission]
    lines: Callable[[], Iterator[bytes]]
    dead_letters: Callable[[], Iterator[bytes]]
    aggregates: Mapping[str, AggregateDocument]


class Processing:
    """One run over a configuration whose sources are inputs (`assembly.with_inputs`).

    `stop` may be called from a signal handler.
    """

    def __init__(self, configuration: Configuration, environment: Environment, *, is_kept: bool) -> None:
        """`is_kept`: the state lives in the configured directory and stays there; otherwise in a temporary folder."""
        self._configuration: Final = configuration
        self._environment: Final = environment
        self._is_kept: Final = is_kept
        self._processor: Processor | None = None
        self._is_stopping = False

    def stop(self) -> None:
        """Ends the run after the current batch. May be repeated."""
        self._is_stopping = True
        if self._processor is not None:
            self._processor.stop()

    @contextmanager
    def run(self, progress: PhasedProgress) -> Iterator[Processed]:
        """Reads the inputs to their end, or until stopped.

        Raises `ConfigurationError` if the state belongs to other inputs or another configuration, `InputGoneError` if an input is
        missing or its bytes differ from those that were read, `LockedError`, `StateError`, `StorageError`.
        """
        _require_no_lanes(self._configuration)
        with ExitStack() as held:
            configuration, environment = self._placed(held)
            held.enter_context(owned_state(configuration, environment))
            must_sort = _require_same_inputs(configuration, environment)
            damage, absent = _Damage(), AbsentColumns()
            observed = replace(environment, telemetry=SeveralTelemetry([environment.telemetry, damage, absent]))
            mode = Mode(once=True, drain=True, puts_in_order=ordering_of(configuration))
            configuration = with_result_sinks(configuration)
            shown = _ShownProgress(progress, input_size_bytes(configuration), SORTING if mode.puts_in_order == "sort" else "")
            reason, resumed = StopReason.LATE, True
            if not must_sort:
                reason, resumed, state, aggregates = self._run(configuration, observed, mode, shown)
            if reason is StopReason.LATE:
                # Nothing of what was read counts any more.
                damage.words.clear()
                absent.found.clear()
                start_sorting(configuration, observed)
                shown.begin_again(SORTING)
                reason, _, state, aggregates = self._run(configuration, observed, mode, shown)
            with storage_boundary(str(configuration.state.dir)):
                yield Processed(
                    is_complete=reason is StopReason.END,
                    resumed=resumed,
                    counts=state.counts,
                    damaged=damage.words,
                    first_rejected=_first_rejected(configuration, environment),
                    omissions=[*omissions(configuration, state.counts, state.categories, aggregates), *absent.found],
                    lines=lambda: _lines(configuration, environment),
                    dead_letters=lambda: _dead_letters(configuration, environment),
                    aggregates=_aggregates(configuration, environment),
                )

    def _placed(self, held: ExitStack) -> tuple[Configuration, Environment]:
        """The configuration and the environment for the place where the state lives."""
        if self._is_kept:
            return self._configuration, self._environment
        directory = held.enter_context(scratch_directory())
        configuration = self._configuration.model_copy(update={"state": StateOptions(dir=ConfiguredPath(directory))})
        if configuration.sinks:
            # The output of sinks is kept, so it must be durable.
            return configuration, self._environment
        return configuration, replace(self._environment, fs=over(self._environment.fs, UnsyncedFileSystem()))

    def _run(
        self, configuration: Configuration, environment: Environment, mode: Mode, shown: _ShownProgress
    ) -> tuple[StopReason, bool, State, Mapping[str, AggregateDocument]]:
        """Runs to the end of the inputs, to a stop, or to an event that is late.

        Says why it ended, and whether it resumed; and its state and its aggregates.
        """
        observed = replace(environment, telemetry=SeveralTelemetry([environment.telemetry, shown]))
        pipeline = open_pipeline(configuration, observed, mode)
        with closing(pipeline.processor) as processor:
            shown.processor = self._processor = processor
            if self._is_stopping:
                processor.stop()
            reason = processor.run()
            return reason, pipeline.resumed, processor.state, pipeline.aggregates.documents()


class _Damage(Telemetry):
    """Collects messages about damaged or truncated inputs."""

    def __init__(self) -> None:
        self.words: Final[list[str]] = []

    def file_damaged(self, *, source: str, path: str, generation: int, offset: int, reason: str) -> None:  # noqa: ARG002
        self.words.append(f"{path}: is damaged at byte {offset} of its content: {reason}")


class _ShownProgress(Telemetry):
    """Reports the committed bytes of the inputs: of their size on disk, or, if that is unknown, the bytes read with total 0.

    When sorted events are released, it reports their share of these bytes.
    """

    def __init__(self, progress: PhasedProgress, size_bytes: int, phase: str) -> None:
        self.processor: Processor | None = None
        self._progress: Final = progress
        self._size_bytes: Final = size_bytes
        self._phase = phase
        self._read_bytes = 0

    def begin_again(self, phase: str) -> None:
        """The inputs are read again from the beginning."""
        self._phase, self._read_bytes, self.processor = phase, 0, None

    def batch_committed(self, *, records: int, content_bytes: int, **_facts: object) -> None:
        if not records:
            return
        self._read_bytes += content_bytes
        if self._size_bytes and self.processor is not None:
            self._progress(max(0, self._size_bytes - self.processor.lag_bytes()), self._size_bytes, self._phase)
        else:
            self._progress(self._read_bytes, 0, self._phase)

    def sorted_released(self, *, events: int, waiting: int) -> None:
        size_bytes = self._size_bytes or self._read_bytes
        self._progress(size_bytes * events // (events + waiting), size_bytes, MERGING)


def require_outputs(configuration: Configuration, environment: Environment, paths: Sequence[str]) -> None:
    """Raises `UsageError` if a result cannot be written to one of the paths, or would replace a file of the run."""
    fs = environment.fs
    taken = {os.path.realpath(path) for source in configuration.sources.values() for path in source.patterns()}
    taken |= {os.path.realpath(path) for sink in configuration.sinks.values() for path in sink.paths()}
    objects = {path for name in configuration.sources for path in input_names(configuration, name)}
    for path in paths:
        if not path:
            raise UsageError("an output file has an empty name", hint="name a file, or omit the option")
        if is_object(path):
            if path in objects:
                raise UsageError(f"{path}: this run already reads or writes this object", hint="name another object")
            fs.status(path)  # whether it can be asked for at all
            objects.add(path)
            continue
        with storage_boundary(path):
            status, folder = fs.status(path), fs.status(os.path.dirname(path) or ".")
        if os.path.realpath(path) in taken:
            raise UsageError(f"{path}: this run already reads or writes this file", hint="name another file")
        if status is not None and not status.is_regular:
            raise UsageError(
                f"{path}: not a file that can be replaced", hint="name a file, or omit the option to write to stdout"
            )
        if folder is None or not folder.is_directory:
            raise UsageError(f"{path}: folder not found", hint="create it first")
        taken.add(os.path.realpath(path))


def write_whole(environment: Environment, path: str, parts: Iterable[bytes]) -> None:
    """Replaces `path` with these bytes, atomically and durably. If it fails, the old file or object remains.

    Raises `StorageError`; for an object `NotAnsweredError`, `ConfigurationError`.
    """
    if is_object(path):
        put_object(environment.fs, path, parts)
        return
    with storage_boundary(path):
        replace_file(environment.fs, path, parts, environment.new_token())


def _require_no_lanes(configuration: Configuration) -> None:
    """Raises `ConfigurationError` if a sink is remote: this run ends without a delivery."""
    if remote := next(iter([*remote_sinks(configuration), *snapshot_sinks(configuration)]), ""):
        raise ConfigurationError(
            f"sinks.{remote}: this command cannot send to a remote sink",
            hint="run it without sinks (--no-sinks), or read the files as a source: event-processor run --once",
        )


def _require_same_inputs(configuration: Configuration, environment: Environment) -> bool:
    """Raises `ConfigurationError` if the state is of other inputs. Returns whether it must be replaced by one that sorts."""
    checkpoint = peek(configuration, environment)
    if checkpoint is None:
        return False
    try:
        check_config(configuration, checkpoint)
    except ConfigurationError as error:
        raise ConfigurationError(
            error.message,
            hint="name the same files in the same order, under the same configuration, or another folder with --state",
        ) from error
    return must_start_sorting(configuration, checkpoint)


def _lines(configuration: Configuration, environment: Environment) -> Iterator[bytes]:
    checkpoint = peek(configuration, environment)
    return iter(()) if checkpoint is None else result_lines(configuration, checkpoint.state, environment.fs)


def _aggregates(configuration: Configuration, environment: Environment) -> Mapping[str, AggregateDocument]:
    checkpoint = peek(configuration, environment)
    return {} if checkpoint is None else checkpoint.state.aggregates


def _dead_letters(configuration: Configuration, environment: Environment) -> Iterator[bytes]:
    """Yields the committed dead letters, in blocks of whole lines."""
    checkpoint = peek(configuration, environment)
    length_bytes = committed_length(checkpoint, DEAD_LETTERS_NAME) if checkpoint else 0
    path = os.path.join(str(configuration.state.dir), DEAD_LETTERS_NAME)
    for lines in committed_lines(environment.fs, path, length_bytes):
        yield b"".join(line + b"\n" for line in lines)


def _first_rejected(configuration: Configuration, environment: Environment) -> RejectedRecord | None:
    block = next(filter(None, _dead_letters(configuration, environment)), b"")
    if not block:
        return None
    letter = orjson.loads(block.partition(b"\n")[0])
    path = input_name(configuration, letter["source"], letter["generation"])
    return RejectedRecord(path, letter["line"], letter["offset"], letter["reason"])
