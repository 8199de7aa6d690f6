"""`verify`: compares the committed state, or some sinks, with the log.

Owns: the command and its output.
Always: exit code 0 means that everything that was asked for is equal and nothing is lost.
Never: nothing is recomputed or changed here; `operations/verification.py` and `operations/sink_verification.py` recompute.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any

import msgspec
import typer

from event_processor.cli.configured_names import sink_names
from event_processor.cli.context import invocation, load, real_environment
from event_processor.cli.output import counted, foreign_notes, one_line, progress_bar, write_json, write_lines, write_notes
from event_processor.model.connector import SinkVerification
from event_processor.model.errors import ExitCode
from event_processor.operations.compared_table import TableVerification
from event_processor.operations.sink_verification import SinksVerification, verify_sinks
from event_processor.operations.verification import DIFFERENCES_MAX, Verification, verify_and_keep

__all__ = ["command"]


def command(
    context: typer.Context,
    *,
    sink: Annotated[
        list[str] | None,
        typer.Option(
            "--sink",
            metavar="NAME",
            help="Only this sink; tables and objects too. May be repeated.",
            autocompletion=sink_names,
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
) -> None:
    """Recompute everything from the log, and compare. Works while a daemon runs. Needs room in $TMPDIR.

    Exits with 0 if everything is right, 65 if there are differences, 66 if it cannot tell because bytes of the log are gone, or
    because something was lost that you have not acknowledged (event-processor lost). With --sink, also 66 if such a sink cannot be
    compared or an object is gone, and 69 if its database or service does not answer. `status` and the page show the last result of a verify without --sink.
    """
    configuration = load(invocation(context)).configuration
    environment = real_environment(configuration)
    verification: Verification | SinksVerification
    unkept = ""
    with progress_bar("recomputing") as progress:
        if sink:
            verification = verify_sinks(configuration, environment, sink, progress=progress)
        else:
            verification, unkept = verify_and_keep(configuration, environment, progress=progress)
    if as_json:
        write_json({"ok": verification.is_ok, **_document(verification)})
    elif isinstance(verification, Verification):
        write_lines(_lines(verification))
    else:
        write_lines(_lines_of_sinks(verification))
    if unkept:
        write_notes([f"note: 'status' will not show this result: {one_line(unkept)}"])
    if not verification.is_ok:
        raise typer.Exit(ExitCode.STATE if verification.differences else ExitCode.INPUT_GONE)


def _document(verification: Verification | SinksVerification) -> dict[str, Any]:
    document: dict[str, Any] = msgspec.to_builtins(verification)
    for sink in document["sinks"]:
        del sink["difference"]  # all of them are in `differences`
    return document


def _lines(verification: Verification) -> Iterator[str]:
    """`ok` with what was compared, or the differences."""
    counts = verification.counts
    if verification.is_ok:
        yield f"ok: {counted(counts.records, 'record')}, {counted(verification.size_bytes, 'byte')}, {counted(verification.dead_letters, 'dead letter')}"
        yield from foreign_notes(counts)
    if verification.is_incomplete:
        yield from _lost_lines(verification)
    for difference in verification.differences:
        yield one_line(str(difference))
    if len(verification.differences) == DIFFERENCES_MAX:
        yield f"there may be more: only the first {DIFFERENCES_MAX} differences are shown"
    if verification.dead_letters_purged:
        yield f"not compared, because purged: {counted(verification.dead_letters_purged, 'dead letter')}"
    for sink in verification.sinks:
        yield from _notes_of_sink(sink)


def _notes_of_sink(sink: SinkVerification) -> Iterator[str]:
    """What was not compared of a sink."""
    if sink.skipped_bytes:
        yield f"sink {sink.name} started after {sink.skipped_bytes:,} bytes were released; {one_line(sink.path)} has the rest"
    if sink.not_compared:
        yield f"sink {sink.name}: not compared: {sink.not_compared}"
    if sink.parts_gone:
        yield f"sink {sink.name}: {counted(sink.parts, 'part')} compared, {sink.parts_gone:,} not: these or later parts are gone"


def _lines_of_sinks(verification: SinksVerification) -> Iterator[str]:
    """A line for each sink, the differences, and what was not compared."""
    for sink in verification.sinks:
        if not (sink.not_compared or sink.difference):
            parts = f" and {counted(sink.parts, 'part')}" if sink.parts else ""
            yield one_line(f"sink {sink.name}: ok: {counted(sink.size_bytes, 'byte')}{parts} ({sink.path})")
        yield from _notes_of_sink(sink)
    for table in verification.tables:
        yield from map(one_line, _lines_of_table(table))
    if verification.is_incomplete:
        yield from _lost_lines(verification)
    for difference in verification.differences:
        yield one_line(str(difference))
    if verification.differing > len(verification.differences):
        yield f"only the first {len(verification.differences)} of {verification.differing:,} differences are shown"


def _lines_of_table(table: TableVerification) -> Iterator[str]:
    """What was compared of a table, and what was not."""
    begin = f"sink {table.name}: "
    if table.not_compared:
        yield f"{begin}not compared: {table.not_compared}"
        return
    result = counted(table.differing, "difference") if table.differing else "not all could be compared" if table.gone else "ok"
    records = (
        f"records {table.started_after + 1:,} to {table.through:,}" if table.through > table.started_after else "no record yet"
    )
    counts = f"{table.delivered:,} delivered, {table.failed:,} failed, {table.skipped:,} skipped"
    yield f"{begin}{result}: {table.kind} {table.table}, {records}: {counts}"
    yield from (f"{begin}{each}" for each in table.notes)
    if table.replaced:
        yield f"{begin}{counted(table.replaced, 'delivered record')} replaced by a later row with the same key"
    if table.pending or table.detached:
        skipped = f", and {table.detached:,} are skipped while it is detached" if table.detached else ""
        yield f"{begin}{counted(table.pending, 'record')} pending{skipped}"
    if table.retried:
        yield f"{begin}{counted(table.retried, 'retried record')} compared too"
    left_out = [
        (table.retried_left_out, "of retried records, whose file is gone"),
        (table.earlier, "from before this sink started"),
        (table.others, "of other sinks or pipelines"),
    ]
    for count, whose in left_out:
        if count:
            yield f"{begin}not compared: {counted(count, 'row')} {whose}"
    if table.columns_not_compared:
        yield f"{begin}not compared: what comes from an enricher: {', '.join(table.columns_not_compared)}"
    for column, count in table.unfilled.items():
        yield f"{begin}not compared: {counted(count, 'row')} from before the column {column} was added"


def _lost_lines(verification: Verification | SinksVerification) -> Iterator[str]:
    """What is lost, and what to do about it."""
    if not verification.differences:
        yield "everything that was read is right, but not everything could be read:"
    for loss in verification.lost:
        yield one_line(f"lost: {loss}")
    if verification.lost_unlisted:
        yield f"lost: {verification.lost_unlisted:,} more that were only counted"
    yield "'event-processor lost --acknowledge' ends this"
