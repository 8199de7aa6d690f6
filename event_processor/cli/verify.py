"""`verify`: compares the committed state with the log.

Owns: the command and its output.
Always: exit code 0 means that everything is equal and nothing is lost.
Never: nothing is recomputed or changed here; `operations/verification.py` recomputes.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

import msgspec
import typer

from event_processor.cli.context import invocation, load, real_environment
from event_processor.cli.output import counted, foreign_notes, one_line, progress_bar, write_json, write_lines
from event_processor.model.errors import ExitCode
from event_processor.operations.verification import DIFFERENCES_MAX, Verification, verify

__all__ = ["command"]


def command(context: typer.Context, *, as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False) -> None:
    """Recompute everything from the log, and compare. Works while a daemon runs. Needs room in $TMPDIR.

    Exits with 0 if everything is right, 65 if there are differences, 66 if it cannot tell because bytes of the log are gone, or
    because something was lost that you have not acknowledged (event-processor lost).
    """
    configuration = load(invocation(context)).configuration
    with progress_bar("recomputing") as progress:
        verification = verify(configuration, real_environment(configuration), progress=progress)
    if as_json:
        document = msgspec.to_builtins(verification)
        for sink in document["sinks"]:
            del sink["difference"]  # all of them are in `differences`
        write_json({"ok": verification.is_ok, **document})
    else:
        write_lines(_lines(verification))
    if not verification.is_ok:
        raise typer.Exit(ExitCode.STATE if verification.differences else ExitCode.INPUT_GONE)


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
        if sink.skipped_bytes:
            yield f"sink {sink.name} started after {sink.skipped_bytes:,} bytes were released; {one_line(sink.path)} has the rest"
        if sink.not_compared:
            yield f"sink {sink.name}: not compared: {sink.not_compared}"
        if sink.parts_gone:
            yield f"sink {sink.name}: {counted(sink.parts, 'part')} compared, {sink.parts_gone:,} not: these or later parts are gone"


def _lost_lines(verification: Verification) -> Iterator[str]:
    """What is lost, and what to do about it."""
    if not verification.differences:
        yield "everything that was read is right, but not everything could be read:"
    for loss in verification.lost:
        yield one_line(f"lost: {loss}")
    if verification.lost_unlisted:
        yield f"lost: {verification.lost_unlisted:,} more that were only counted"
    yield "'event-processor lost --acknowledge' ends this"
