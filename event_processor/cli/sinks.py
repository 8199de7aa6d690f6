"""`sinks`: what operators do to the lanes of remote sinks.

Owns: the commands of the group and their output.
Always: `drop` asks before it gives anything up.
Never: no lane is read or changed here; `operations/` does that.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import msgspec
import typer

from event_processor.assembly import Environment, snapshot_sinks
from event_processor.cli.configured_names import remote_sink_names
from event_processor.cli.context import invocation, load, real_environment
from event_processor.cli.output import (
    confirm,
    counted,
    one_line,
    progress_bar,
    require_answerable,
    write_json,
    write_lines,
    write_table,
)
from event_processor.configuration.configuration import Configuration
from event_processor.engine.delivery.reports import SnapshotReport
from event_processor.model.errors import UsageError
from event_processor.operations.sinks import SinkLane, list_sinks, list_snapshots, pause_sink, resume_sink, skip_records
from event_processor.operations.snapshots import drop_snapshot
from event_processor.operations.status_document import snapshot_documents

__all__ = ["app"]

app = typer.Typer(help="Remote sinks: list their lanes, pause and resume them, skip records, drop, rename or attach a lane.")

Name = Annotated[str, typer.Argument(metavar="NAME", help="The name of the sink.", autocompletion=remote_sink_names)]


def _surroundings(context: typer.Context) -> tuple[Configuration, Environment]:
    configuration = load(invocation(context)).configuration
    return configuration, real_environment(configuration)


@app.command("list")
def list_lanes(context: typer.Context, *, as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False) -> None:
    """List every remote sink: what it was sent, what waits, and what to do. Works while a daemon runs."""
    surroundings = _surroundings(context)
    found, snapshots = list_sinks(*surroundings), list_snapshots(*surroundings)
    if as_json:
        write_json({"sinks": msgspec.to_builtins(found), "snapshots": snapshot_documents(snapshots)})
        return
    if not found and not snapshots:
        write_lines(["no sink here is remote"])
        return
    if found:
        _write_lanes(found)
    if snapshots:
        _write_snapshots(snapshots)


def _write_snapshots(found: Sequence[SnapshotReport]) -> None:
    def shown(number: int | None) -> int | str:
        return "unknown" if number is None else number

    rows = [
        (each.sink, each.input, each.state, shown(each.as_of), each.behind, shown(each.rows), each.left_out) for each in found
    ]
    write_table(("snapshot", "input", "state", "as of", "behind", "rows", "left out"), rows)
    for each in found:
        if words := "; ".join(filter(None, (each.words, each.remedy))):
            write_lines([one_line(f"{each.sink}: {words}")])


def _write_lanes(found: Sequence[SinkLane]) -> None:
    rows = [(each.sink, each.input, each.state, each.pending, each.delivered, each.failed, each.skipped) for each in found]
    write_table(("sink", "input", "state", "pending", "delivered", "failed", "skipped"), rows)
    for each in found:
        write_lines(one_line(line) for line in _notes(each))


def _notes(lane: SinkLane) -> list[str]:
    """What a table has no room for."""
    notes = [f"{lane.sink}: {'; '.join(filter(None, (lane.words, lane.remedy)))}"] if lane.words or lane.remedy else []
    if lane.retried is not None:
        retried = lane.retried
        counts = f"{retried.delivered:,} delivered, {retried.failed:,} failed, {retried.pending:,} pending"
        notes.append(f"{lane.sink}: retried: {counts}" + (f" ({retried.state}: {retried.words})" if retried.words else ""))
    return notes


@app.command("pause")
def pause(context: typer.Context, name: Name) -> None:
    """Send nothing more to a sink until it is resumed. Its records wait. Works with and without a daemon, and survives restarts."""
    was_running = pause_sink(*_surroundings(context), name)
    words = "paused; a running daemon notices within seconds" if was_running else "was paused already"
    write_lines([f"{name}: {words}; to go on: event-processor sinks resume {name}"])


@app.command("resume")
def resume(context: typer.Context, name: Name) -> None:
    """Send to a paused sink again. Works with and without a daemon."""
    was_paused = resume_sink(*_surroundings(context), name)
    write_lines([f"{name}: resumed; a running daemon notices within seconds" if was_paused else f"{name}: was not paused"])


@app.command("skip")
def skip(
    context: typer.Context,
    name: Name,
    sequences: Annotated[
        list[int] | None, typer.Argument(metavar="SEQUENCE…", min=1, help="The records to give up, by sequence.")
    ] = None,
    *,
    first: Annotated[bool, typer.Option("--first", help="The one that holds the cursor back.")] = False,
) -> None:
    """Give up records that wait for a sink. They are kept among its failed records. Works with and without a daemon."""
    if bool(sequences) == first:
        raise UsageError(
            "name the records to skip: their sequences, or --first", hint=f"event-processor sinks skip {name} --first"
        )
    skipped = skip_records(*_surroundings(context), name, sequences or ())
    done = f"{name}: record{'s' * (len(skipped.sequences) > 1)} {', '.join(f'{each}' for each in skipped.sequences)}"
    how = "skipped, or answered meanwhile, by the running daemon" if skipped.by_daemon else "skipped"
    if skipped.is_later:
        how = "will be skipped by the next run, because the sink's receiver holds its place"
    write_lines([f"{done}: {how}; see event-processor dead-letters list --sink {name}"])


@app.command("drop")
def drop(
    context: typer.Context, name: Name, *, yes: Annotated[bool, typer.Option("--yes", help="Drop without asking.")] = False
) -> None:
    """Give up a lane and all that waits for it; or let a snapshot begin anew. Failed records stay. The daemon must be stopped."""
    require_answerable(yes=yes)
    configuration, environment = _surroundings(context)
    if name in snapshot_sinks(configuration):
        confirm(f"Let the next start write the table of {name} anew, whatever state it is of?", yes=yes)
        was_there = drop_snapshot(configuration, environment, name)
        write_lines(
            [f"{name}: {'dropped' if was_there else 'its database has no place of it'}; the next start writes its table anew"]
        )
        return
    from event_processor.operations.lane_changes import lane_changes  # noqa: PLC0415 - it opens a pipeline; the other commands need none

    with lane_changes(configuration, environment) as changes:
        dropped = changes.dropped(name)
        confirm(f"Give up {counted(dropped.pending, 'record')} that {_wait(dropped.pending)} for {name}?", yes=yes)
        changes.drop(name)
    write_lines([f"{name}: dropped; {counted(dropped.pending, 'pending record')} given up"])
    if dropped.skipped:
        write_lines([f"{counted(dropped.skipped, 'record')} that were skipped while it was detached are given up too"])
    if dropped.kept_as:
        write_lines([f"its cursor is kept as {one_line(dropped.kept_as)}"])
    if dropped.starts_anew:
        write_lines(["the next start begins it anew, after everything that is released by then"])
    if dropped.needs_start:
        write_lines([f'first write start = "now" in [sinks.{name}]: its records of before cannot be sent again'])


@app.command("attach")
def attach(context: typer.Context, name: Name) -> None:
    """Let a detached sink read the records that it did not get from the log. The daemon must be stopped."""
    configuration, environment = _surroundings(context)
    from event_processor.operations.lane_rebuilding import lane_rebuilding  # noqa: PLC0415 - it opens a pipeline; the other commands need none

    with lane_rebuilding(configuration, environment) as lanes, progress_bar("reading the log") as progress:
        attached = lanes.attach(name, progress)
    read = f", {attached.from_log:,} of them from the log again" if attached.from_log else ""
    write_lines([f"{name}: attached; {counted(attached.pending, 'record')} {_wait(attached.pending)} for it{read}"])
    if attached.excess_bytes:
        excess = f"they are {attached.excess_bytes:,} bytes more than outbox.bytes_max, so it would be detached again"
        write_lines([f'{excess}: before the start, raise bytes_max, or set outbox.when_full = "pause" until they are sent'])


def _wait(count: int) -> str:
    return "waits" if count == 1 else "wait"


@app.command("rename")
def rename(
    context: typer.Context,
    old: Annotated[str, typer.Argument(metavar="OLD", help="The name that the lane has.")],
    new: Annotated[
        str,
        typer.Argument(
            metavar="NEW",
            help="The name that the sink has, or will have, in the configuration.",
            autocompletion=remote_sink_names,
        ),
    ],
) -> None:
    """Let a lane go on under another name, with the same keys for what is released already. The daemon must be stopped."""
    configuration, environment = _surroundings(context)
    from event_processor.operations.lane_changes import lane_changes  # noqa: PLC0415 - it opens a pipeline; the other commands need none

    with lane_changes(configuration, environment) as changes:
        changes.rename(old, new)
    write_lines([f"{old}: is {new} from now on; the configuration needs [sinks.{new}] with the same input and target"])
