"""`dead-letters`: lists, exports, retries and purges rejected records; with `--sink`, the failed records of a remote sink.

Owns: the four commands and their output.
Always: an export never overwrites a file.
Never: no dead letter is read or written here; `operations/dead_letters.py` and `operations/failed_deliveries.py` do that.
"""

from __future__ import annotations

import errno
import sys
from collections.abc import Iterable
from contextlib import suppress
from typing import Annotated, Final

import msgspec
import typer

from event_processor.assembly import Environment
from event_processor.cli.configured_names import remote_sink_names
from event_processor.cli.context import invocation, load, real_environment
from event_processor.cli.output import confirm, counted, one_line, require_answerable, write_json, write_lines, write_table
from event_processor.configuration.configuration import Configuration
from event_processor.model.errors import StorageError, UsageError
from event_processor.model.event import Json
from event_processor.operations.dead_letters import (
    count_dead_letters,
    newest_dead_letters,
    purge_dead_letters,
    read_dead_letters,
    repaired_records,
    retry_records,
)
from event_processor.operations.failed_deliveries import Retried, count_failed, newest_failed, read_failed, retry_failed
from event_processor.operations.state_access import owned_state, require_checkpoint
from event_processor.storage.durable import FileSystem, create_file, remove_files

__all__ = ["app"]

app = typer.Typer(help="Rejected records, and those that a remote sink refused: list, export, retry repaired ones, purge.")

EXCERPT_CHARACTERS: Final = 60
SinkName = Annotated[
    str | None,
    typer.Option("--sink", metavar="NAME", help="The failed records of this remote sink.", autocompletion=remote_sink_names),
]
AsJson = Annotated[bool, typer.Option("--json", help="As JSON.")]


def _surroundings(context: typer.Context) -> tuple[Configuration, Environment]:
    configuration = load(invocation(context)).configuration
    return configuration, real_environment(configuration)


def _with_state(context: typer.Context) -> tuple[Configuration, Environment]:
    """Raises `InputGoneError` if there is no state: another folder may be meant, and no state is not the same as no dead letter."""
    configuration, environment = _surroundings(context)
    require_checkpoint(configuration, environment)
    return configuration, environment


@app.command("list")
def list_letters(
    context: typer.Context,
    *,
    as_json: AsJson = False,
    limit: Annotated[int, typer.Option(min=1, help="Show at most this many, the newest.")] = 50,
    sink: SinkName = None,
) -> None:
    """List the newest dead letters, oldest first."""
    configuration, environment = _with_state(context)
    if sink is not None:
        failed = newest_failed(configuration, environment, sink, limit)
        _list_failed(failed, count_failed(configuration, environment, sink), as_json=as_json)
        return
    letters = newest_dead_letters(configuration, environment, limit)
    count = count_dead_letters(configuration, environment)
    if as_json:
        write_json({"count": count, "dead_letters": letters})
        return
    if letters:
        write_table(("source", "generation", "line", "byte", "reason", "record"), [_row(letter) for letter in letters])
    rest = f"; the newest {len(letters):,} are shown" if len(letters) < count else ""
    write_lines([f"{counted(count, 'dead letter')}{rest}"])


def _list_failed(failed: list[dict[str, Json]], count: int, *, as_json: bool) -> None:
    if as_json:
        # The objects keep the digits that they have.
        write_lines([msgspec.json.format(msgspec.json.encode({"count": count, "failed": failed}), indent=2).decode()])
        return
    if failed:
        rows = [
            [*(each.get(key) for key in ("sequence", "stage", "status", "reason", "tries")), _excerpt(each)] for each in failed
        ]
        write_table(("sequence", "stage", "status", "reason", "tries", "object"), rows)
    rest = f"; the newest {len(failed):,} are shown" if len(failed) < count else ""
    write_lines([f"{counted(count, 'failed record')}{rest}"])


def _excerpt(failed: dict[str, Json]) -> str:
    shown = msgspec.json.encode(failed.get("object")).decode()
    return shown if len(shown) <= EXCERPT_CHARACTERS else f"{shown[:EXCERPT_CHARACTERS]}…"


def _row(letter: dict[str, Json]) -> tuple[object, ...]:
    record = letter.get("record")
    shown = record if isinstance(record, str) else f"({letter.get('length')} bytes, not kept)"
    excerpt = shown if len(shown) <= EXCERPT_CHARACTERS else f"{shown[:EXCERPT_CHARACTERS]}…"
    return (*(str(letter.get(key, "")) for key in ("source", "generation", "line", "offset", "reason")), excerpt)


@app.command("export")
def export(
    context: typer.Context,
    *,
    output: Annotated[str | None, typer.Option(metavar="FILE", help="A new file. Default: standard output.")] = None,
    sink: SinkName = None,
) -> None:
    """Write all dead letters as JSON lines, to repair and retry them."""
    if output == "":
        raise UsageError("--output has an empty name", hint="name a file, or omit the option")
    configuration, environment = _with_state(context)
    if sink is None:
        letters, part, retry = read_dead_letters(configuration, environment), "record", ""
    else:
        letters, part, retry = read_failed(configuration, environment, sink), "object", f" --sink {sink}"
    if output is None:
        write_lines(msgspec.json.encode(letter).decode() for letter in letters)
        return
    write_new_file(environment.fs, output, letters)
    write_lines(
        [
            f"wrote {output}; fix each \"{part}\", delete unwanted lines, then run 'event-processor dead-letters retry {output}{retry}'"
        ]
    )


@app.command("retry")
def retry(
    context: typer.Context,
    file: Annotated[
        str, typer.Argument(metavar="FILE", help="JSON lines: exported dead letters, or bare records. - for standard input.")
    ],
    *,
    as_json: AsJson = False,
    sink: SinkName = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="With --sink: show what would be sent; change nothing.")] = False,
) -> None:
    """Send repaired records back through the intake, or with --sink to that sink alone: the whole file or nothing.

    Works while a daemon runs.
    """
    if dry_run and sink is None:
        raise UsageError("--dry-run needs --sink", hint="without --sink, records come back through the intake: see 'verify'")
    configuration, environment = _surroundings(context)
    if sink is not None:
        named = "standard input" if file == "-" else file
        retried = retry_failed(configuration, environment, sink, _lines_of(file), named, dry_run=dry_run)
        _write_retried(retried, sink, dry_run=dry_run, as_json=as_json)
        return
    records = repaired_records(_lines_of(file), "standard input" if file == "-" else file)
    path = retry_records(configuration, environment, records)
    if as_json:
        write_json({"retried": len(records), "intake": path})
    else:
        write_lines([f"appended to {path}: {counted(len(records), 'record')}; a running daemon or the next start reads this"])
        if shard := configuration.engine.shard:
            write_lines([f"shard {shard} counts only its own records: retry this file in every shard"])


def _write_retried(retried: Retried, sink: str, *, dry_run: bool, as_json: bool) -> None:
    """What was retried, or would be. docs/json-output.md says what each key means."""
    if as_json:
        bodies = [{"body": body.decode("utf-8", "replace")} if dry_run else {} for _, body in retried.records]
        records = [{"key": key, **body} for (key, _), body in zip(retried.records, bodies, strict=True)]
        document = {"sink": sink, "dry_run": dry_run, "records": records, "already": list(retried.already), "file": retried.path}
        write_json(document)
        return
    if dry_run:
        write_lines(f"{one_line(key)}  {one_line(body.decode('utf-8', 'replace'))}" for key, body in retried.records)
    count = counted(len(retried.records), "record")
    done = (
        f"would retry: {count}"
        if dry_run
        else f"appended to {one_line(retried.path)}: {count}; a running daemon or the next sends this"
    )
    write_lines([done])
    if retried.already:
        write_lines([f"retried before, not again: {counted(len(retried.already), 'record')}"])


@app.command("purge")
def purge(context: typer.Context, *, yes: Annotated[bool, typer.Option("--yes", help="Purge without asking.")] = False) -> None:
    """Empty the dead-letter file. The counts do not change. The daemon must be stopped."""
    require_answerable(yes=yes)
    configuration, environment = _with_state(context)
    with owned_state(configuration, environment):
        count = count_dead_letters(configuration, environment)
        if count:
            confirm(f"Remove {counted(count, 'dead letter')} permanently?", yes=yes)
            purge_dead_letters(configuration, environment)
    write_lines([f"purged: {counted(count, 'dead letter')}"])


def write_new_file(fs: FileSystem, path: str, letters: Iterable[dict[str, Json]]) -> None:
    """Writes the letters as lines of a new file. An existing file is never replaced: it may hold repaired records.

    Raises `UsageError` if the file exists, `StorageError` if it cannot be written.
    """
    try:
        create_file(fs, path, (msgspec.json.encode(letter) + b"\n" for letter in letters))
    except StorageError as error:
        if error.errno == errno.EEXIST:
            raise UsageError(f"{path}: this file already exists", hint="name another file, or move this one aside") from error
        with suppress(StorageError):  # half a file would look like a whole one; the first error is the one to report
            remove_files(fs, [path])
        raise


def _lines_of(file: str) -> list[bytes]:
    """The lines of a file, or of standard input. Raises `UsageError` if it cannot be read."""
    try:
        if file == "-":
            return sys.stdin.buffer.read().split(b"\n")
        with open(file, "rb") as opened:
            return opened.read().split(b"\n")
    except OSError as error:
        raise UsageError(f"{file}: {error.strerror or error}", hint="name the file with the repaired records") from error
