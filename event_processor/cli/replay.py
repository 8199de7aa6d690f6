"""`replay`: rebuilds the state from the log.

Owns: the command, its question and its output.
Always: the present state stays in place until the question is answered with yes.
Never: nothing is recomputed here; `operations/replay.py` does that.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from typing import Annotated, Final, Literal

import msgspec
import typer

from event_processor.cli.context import invocation, load, real_environment
from event_processor.cli.output import confirm, one_line, progress_bar, require_answerable, write_json, write_lines, write_table
from event_processor.model.errors import StorageError, UsageError
from event_processor.model.event import Json
from event_processor.operations.replay import Replay, ReplayedState
from event_processor.operations.replayed_lanes import Choice, ReplayedLane
from event_processor.operations.state_access import owned_state

__all__ = ["command"]

SHOWN_CHARACTERS_MAX: Final = 80


def command(
    context: typer.Context,
    *,
    start: Annotated[
        Literal["beginning", "oldest", "end"] | None,
        typer.Option("--start", help="How the sources start; then the reading journal is not followed."),
    ] = None,
    lane: Annotated[
        list[str] | None,
        typer.Option(
            "--lane",
            metavar="NAME=again|skip",
            help="What a remote sink gets if it cannot go on where it was: everything again under new keys, or only what comes.",
        ),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Replace without asking.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON; needs --yes.")] = False,
) -> None:
    """Rebuild the state from the log, show what changes, and replace the present state. The daemon must be stopped."""
    require_answerable(yes=yes)
    configuration = load(invocation(context)).configuration
    environment = real_environment(configuration)
    with owned_state(configuration, environment):
        replay = Replay(configuration, environment, start=start or "", choices=_choices(lane or []))
        try:
            with progress_bar("replaying") as progress:
                replayed = replay.prepare(progress)
            if not as_json:
                _write(replayed)
            replayed.require_decisions()
            confirm("Replace the present state with the new one?", yes=yes)
        except BaseException:
            with suppress(StorageError):
                replay.discard()
            raise
        replay.swap_in()
    if as_json:
        write_json({"changes": replayed.changes, **msgspec.to_builtins(replayed)})
    else:
        write_lines(["the new state is in place"])


def _choices(arguments: list[str]) -> dict[str, Choice]:
    """What `--lane` says, by sink. Raises `UsageError`."""
    found: dict[str, Choice] = {}
    for argument in arguments:
        name, _, choice = argument.partition("=")
        if choice not in ("again", "skip") or found.setdefault(name, choice) != choice:  # type: ignore[arg-type]  # one of the two
            raise UsageError(f"--lane {argument}: not a decision", hint="--lane NAME=again or --lane NAME=skip, each sink once")
    return found


def _lane_line(lane: ReplayedLane) -> str:
    words = {
        "continues": f"goes on where it was; {lane.pending:,} records wait",
        "again": f"gets everything again, under new keys: {lane.pending:,} records",
        "skip": "gets what is released from now on",
        "new": f"is new; {lane.pending:,} records wait",
        "undecided": f"needs a decision; {lane.pending:,} records wait now",
    }[lane.result]
    given_up = f"; {lane.given_up:,} records that wait now are not sent" if lane.given_up else ""
    return f"sink {lane.sink} {words}{given_up}"


def _write(replayed: ReplayedState) -> None:
    write_lines(_lines(replayed))
    if replayed.counts_before is not None and replayed.categories:
        rows = [
            (
                change.category,
                change.before.count if change.before else None,
                change.after.count if change.after else None,
                change.before.sum if change.before else None,
                change.after.sum if change.after else None,
            )
            for change in replayed.categories
        ]
        write_table(("category", "count before", "count after", "sum before", "sum after"), rows)


def _shown(value: Json) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return "nothing" if value is None else text[:SHOWN_CHARACTERS_MAX] + "…" * (len(text) > SHOWN_CHARACTERS_MAX)


def _lines(replayed: ReplayedState) -> Iterator[str]:
    """The result of the replay, for people."""
    if replayed.unread_reason:
        yield f"the reading journal could not be followed; the sources were read as at a first start: {replayed.unread_reason}"
    for file in replayed.files:
        yield f"{file.source}: {file.path}: " + ("read" if file.read else f"not read: {file.reason}")
    if replayed.lost:
        yield f"{replayed.lost:,} losses are in the new state too: see 'event-processor lost'"
    before, after = replayed.counts_before, replayed.counts_after
    if before is None:
        yield f"no present state to compare with; the new state has {after.records:,} records, {after.accepted:,} accepted"
    elif not replayed.changes:
        yield f"nothing changes: {after.records:,} records, {after.accepted:,} accepted"
    else:
        for name in before.__struct_fields__:
            now, then = getattr(before, name), getattr(after, name)
            if now != then:
                yield f"{name}: {now:,} before, {then:,} after"
        for change in replayed.aggregates:
            yield one_line(f"{change.path}: {_shown(change.before)} before, {_shown(change.after)} after")
    yield from map(_lane_line, replayed.lanes)
