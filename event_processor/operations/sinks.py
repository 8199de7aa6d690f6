"""Remote sinks: lists their lanes, pauses and resumes them, skips records.

Owns: how an operator's wish reaches a lane: a file that its daemon looks at, or, without a daemon, this process with the lock held.
Always: pending records are those that are committed and were not answered. Only pending records are skipped.
Never: sends; changes the configuration.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

import msgspec
from msgspec import Struct

from event_processor.assembly import Environment, change_of_lane, remote_sinks, snapshot_sinks
from event_processor.configuration.configuration import Configuration
from event_processor.engine.checkpoint_document import Checkpoint
from event_processor.engine.delivery.cursor import CursorDocument, LaneCounts
from event_processor.engine.delivery.cursor_file import read_cursor
from event_processor.engine.delivery.health import PAUSED_WORDS, attach_words, detached_words, resume_words
from event_processor.engine.delivery.orders import is_paused, pause, request_skip, resume
from event_processor.engine.delivery.progress import LaneIdentity
from event_processor.engine.delivery.reports import FIGURES_NAME, LaneReport, PublishedLanes, RetriedFigures, SnapshotReport
from event_processor.engine.delivery.retries import RetrySeries, retry_lane_name, retry_path
from event_processor.engine.delivery.skipping import skip_records as skip_without_a_lane
from event_processor.engine.outbox import LaneDocument, committed_series
from event_processor.model.clock import SystemWakeup
from event_processor.model.errors import LockedError, NotAnsweredError, StateError, UsageError
from event_processor.operations.snapshots import snapshot_reports
from event_processor.operations.state_access import lock_owner, owned_state, peek, require_checkpoint
from event_processor.storage.durable import read_file, storage_boundary

__all__ = [
    "SinkLane",
    "Skipped",
    "known_sinks",
    "lane_cursor",
    "list_sinks",
    "list_snapshots",
    "pause_sink",
    "require_sink",
    "resume_sink",
    "retried_pending",
    "sinks_of",
    "skip_records",
]

ANSWER_S_MAX: Final = 60.0
"""How long we wait for the lane. It looks once a second, but a record in a request that runs is not skipped before its answer."""
LOOK_S: Final = 0.1
START: Final = "start the daemon: event-processor run"


class SinkLane(Struct, frozen=True):
    """A remote sink and its lane. `state`: as in `LaneReport`, or "not running", "new", "changed", "removed", "unknown".

    `pending` of the records up to `released` wait. `retried`: repaired records, counted apart; None if there are none. `detached_after`: the
    last record that is for it; None if all are. Those after it are in `skipped`.
    """

    sink: str
    input: str
    state: str
    words: str
    remedy: str
    released: int
    started_after: int
    delivered: int
    failed: int
    skipped: int
    pending: int
    retried: RetriedFigures | None = None
    detached_after: int | None = None

    @classmethod
    def of(cls, report: LaneReport) -> SinkLane:
        """A lane as its daemon reports it."""
        return cls(**{name: getattr(report, name) for name in cls.__struct_fields__})


def known_sinks(configuration: Configuration, checkpoint: Checkpoint | None) -> list[str]:
    """The names of the remote sinks that are configured, then of those that only have a lane in the state."""
    configured = list(remote_sinks(configuration))
    return [*configured, *(name for name in (checkpoint.state.lanes if checkpoint else {}) if name not in configured)]


def require_sink(configuration: Configuration, environment: Environment, name: str, *, or_snapshot: bool = False) -> None:
    """Raises `UsageError` if there is no remote sink of this name, configured or in the state. `or_snapshot`: or one that has no records."""
    known = known_sinks(configuration, peek(configuration, environment))
    snapshots = snapshot_sinks(configuration)
    if name in snapshots and not or_snapshot:
        raise UsageError(
            f"{name}: a snapshot has no records that wait",
            hint="it is written anew from each checkpoint: see event-processor sinks list",
        )
    if or_snapshot:
        known = [*known, *snapshots]
    if name not in known:
        names = f"the remote sinks are: {', '.join(known)}" if known else "no sink here is remote"
        raise UsageError(f"{name}: not a remote sink", hint=names)


def list_sinks(configuration: Configuration, environment: Environment) -> list[SinkLane]:
    """Every remote sink: as a running daemon reports it, or else from the files. Raises `StateError`, `StorageError`."""
    return sinks_of(peek(configuration, environment), configuration, environment)


def sinks_of(checkpoint: Checkpoint | None, configuration: Configuration, environment: Environment) -> list[SinkLane]:
    """As `list_sinks`, with a checkpoint that was read already."""
    owner = lock_owner(configuration, environment)
    reports = _published(configuration, environment, owner)
    found = []
    for name in known_sinks(configuration, checkpoint):
        report = reports.get(name)
        found.append(SinkLane.of(report) if report else _from_files(configuration, environment, checkpoint, name, owner))
    return found


def list_snapshots(configuration: Configuration, environment: Environment) -> list[SnapshotReport]:
    """Every sink that keeps a table as a checkpoint is. Raises `StateError`, `StorageError`."""
    owner = lock_owner(configuration, environment)
    return snapshot_reports(configuration, environment, peek(configuration, environment), owner)


def _published(configuration: Configuration, environment: Environment, owner: str | None) -> dict[str, LaneReport]:
    """What the owner of the lock reports; empty if there is no owner, or if it does not run lanes."""
    with suppress(msgspec.DecodeError):
        content = read_file(environment.fs, os.path.join(str(configuration.state.dir), FIGURES_NAME))
        published = msgspec.json.decode(content, type=PublishedLanes) if content and owner else None
        if published is not None and published.owner == owner:
            return {each.sink: each for each in published.lanes}
    return {}


def _from_files(
    configuration: Configuration, environment: Environment, checkpoint: Checkpoint | None, name: str, owner: str | None
) -> SinkLane:
    """A lane that no daemon reports."""
    fs, directory = environment.fs, str(configuration.state.dir)
    options = remote_sinks(configuration).get(name)
    lane = checkpoint.state.lanes.get(name) if checkpoint else None
    if checkpoint is None or lane is None:
        words = "it starts after everything that is released by then"
        return SinkLane(name, options.input if options else "", "new", words, START, 0, 0, 0, 0, 0, 0)
    released = checkpoint.state.outbox[lane.input].sequence
    try:
        cursor = lane_cursor(environment, directory, checkpoint, name, lane)
        retried = _retried(environment, directory, name)
    except StateError as error:
        unknown = (released, lane.started_after, 0, 0, 0, max(0, released - lane.started_after))
        return SinkLane(name, lane.input, "failed", error.message, error.hint, *unknown, detached_after=_detached_after(lane))
    state, words, remedy = "not running", "", START
    if change := change_of_lane(options, lane):
        state, words = ("changed" if options else "removed"), change
        remedy = f"restore it; or event-processor sinks drop {name}" + ("" if options else f"; or sinks rename {name} NEW")
    elif lane.detached is not None:
        state, words, remedy = "detached", detached_words(lane.detached.after), attach_words(name)
    elif is_paused(fs, directory, name):
        state, words, remedy = "paused", PAUSED_WORDS, resume_words(name)
    elif owner is not None:
        state, words, remedy = "unknown", f"{owner} holds the state and has not reported this sink", "look again"
    counts = cursor.counts
    pending, skipped = lane.shares(cursor, released)
    figures = (released, lane.started_after, counts.delivered, counts.failed, counts.skipped + skipped, pending)
    return SinkLane(name, lane.input, state, words, remedy, *figures, retried, _detached_after(lane))


def _detached_after(lane: LaneDocument) -> int | None:
    return lane.detached.after if lane.detached else None


def lane_cursor(
    environment: Environment, directory: str, checkpoint: Checkpoint, name: str, lane: LaneDocument
) -> CursorDocument:
    """The cursor of a lane, or the one that it starts with. Raises `StateError`, `StorageError`."""
    state_id, started_after = checkpoint.state.state_id, lane.started_after
    found = read_cursor(environment.fs, directory, name)
    if found is not None and found.is_of(state_id, lane.input, started_after):
        return found
    return CursorDocument(state_id, lane.input, lane.target, started_after, started_after, lane.chain)


def _retried(environment: Environment, directory: str, name: str) -> RetriedFigures | None:
    """The retried records of a sink, from the files; None if there are none."""
    with storage_boundary(directory):
        if environment.fs.status(retry_path(directory, name)) is None:
            return None
    cursor = read_cursor(environment.fs, directory, retry_lane_name(name))
    counts = cursor.counts if cursor else LaneCounts()
    released = RetrySeries(environment.fs, directory, name).look().sequence
    pending = cursor.pending(released) if cursor else released
    return RetriedFigures(counts.delivered, counts.failed, pending, "not running", "")


def retried_pending(environment: Environment, directory: str, name: str) -> int:
    """How many retried records wait for a sink without a daemon; 0 if its files cannot be read."""
    with suppress(StateError):
        retried = _retried(environment, directory, name)
        return retried.pending if retried else 0
    return 0


def pause_sink(configuration: Configuration, environment: Environment, name: str) -> bool:
    """Pauses a sink, with or without a daemon. Returns whether it was not paused before. Raises `UsageError`, `StorageError`."""
    require_sink(configuration, environment, name, or_snapshot=True)
    return pause(environment.fs, str(configuration.state.dir), name)


def resume_sink(configuration: Configuration, environment: Environment, name: str) -> bool:
    """Ends the pause of a sink. Returns whether there was one. Raises `UsageError`, `StorageError`."""
    require_sink(configuration, environment, name, or_snapshot=True)
    return resume(environment.fs, str(configuration.state.dir), name)


@dataclass(frozen=True, slots=True)
class Skipped:
    """How a request to skip ended. `sequences`: what was asked, ascending. `by_daemon`: a running daemon did it.

    `is_later`: nothing was done yet; the next lane that runs does it, because the sink's receiver holds the cursor.
    """

    sequences: tuple[int, ...]
    by_daemon: bool
    is_later: bool = False


def skip_records(configuration: Configuration, environment: Environment, name: str, sequences: Sequence[int]) -> Skipped:
    """Gives up pending records of a sink; without `sequences`, the one that holds its cursor back.

    A running daemon does it; without one, this process, or the next daemon if the receiver holds the cursor. Raises `UsageError` if one
    of them is not pending; `NotAnsweredError` if the daemon did not do it in time: the request stays and is carried out later;
    `StateError`, `StorageError`.
    """
    require_sink(configuration, environment, name)
    checkpoint = require_checkpoint(configuration, environment)
    wanted = _wanted(configuration, environment, checkpoint, name, sequences)
    try:
        with owned_state(configuration, environment):
            options = remote_sinks(configuration).get(name)
            if options is not None and options.holds_cursor:
                request_skip(environment.fs, str(configuration.state.dir), name, wanted, environment.new_token())
                return Skipped(tuple(sorted(wanted)), by_daemon=False, is_later=True)
            _skip_here(configuration, environment, name, wanted)
            return Skipped(tuple(sorted(wanted)), by_daemon=False)
    except LockedError as error:
        _ask_the_lane(configuration, environment, name, wanted, error)
        return Skipped(tuple(sorted(wanted)), by_daemon=True)


def _wanted(
    configuration: Configuration, environment: Environment, checkpoint: Checkpoint, name: str, sequences: Sequence[int]
) -> frozenset[int]:
    """What is to be skipped. Raises `UsageError` with every sequence that is not pending."""
    lane = checkpoint.state.lanes.get(name)
    if lane is None:
        raise UsageError(f"{name}: nothing was released to this sink yet", hint=START)
    cursor = lane_cursor(environment, str(configuration.state.dir), checkpoint, name, lane)
    released = checkpoint.state.outbox[lane.input].sequence
    faults = [*_not_pending(lane, cursor, released, sequences)]
    if not sequences and not lane.shares(cursor, released)[0]:
        faults = ["no record is pending"]
    if faults:
        raise UsageError(
            f"sink {name}: {'; '.join(faults)}; nothing was skipped", hint="see what waits: event-processor sinks list"
        )
    return frozenset(sequences or [cursor.sequence + 1])


def _not_pending(lane: LaneDocument, cursor: CursorDocument, released: int, sequences: Sequence[int]) -> Iterator[str]:
    end = released if lane.detached is None else lane.detached.after
    for sequence in sequences:
        if sequence <= cursor.started_after:
            yield f"record {sequence} was released before this sink started"
        elif cursor.is_answered(sequence):
            yield f"record {sequence} was answered already"
        elif sequence > released:
            yield f"record {sequence} was not released yet: the last one is {released}"
        elif sequence > end:
            yield f"record {sequence} is skipped already: the sink was detached after {end}"


def _skip_here(configuration: Configuration, environment: Environment, name: str, wanted: frozenset[int]) -> None:
    """Skips with the lock held. Reads everything again: a daemon may have worked until a moment ago."""
    directory = str(configuration.state.dir)
    checkpoint = require_checkpoint(configuration, environment)
    wanted = _wanted(configuration, environment, checkpoint, name, sorted(wanted))
    lane = checkpoint.state.lanes[name]
    series = checkpoint.state.outbox[lane.input]
    view = committed_series(directory, lane, series, checkpoint.state.appended, name)
    identity = LaneIdentity(name, lane.input, checkpoint.state.state_id, lane.target, lane.started_after, lane.chain)
    skipped = skip_without_a_lane(
        environment.fs, directory, identity, view, sequences=wanted, wall_ns=environment.clock.wall_ns()
    )
    if rest := sorted(wanted - skipped):
        raise UsageError(
            f"sink {name}: records {', '.join(map(str, rest))} are too far after the one that holds the cursor back",
            hint=f"skip that one first: event-processor sinks skip {name} --first; {len(skipped)} of those asked for were skipped",
        )


def _ask_the_lane(
    configuration: Configuration, environment: Environment, name: str, wanted: frozenset[int], held: LockedError
) -> None:
    fs, clock, wakeup = environment.fs, environment.clock, SystemWakeup()
    path = request_skip(fs, str(configuration.state.dir), name, wanted, environment.new_token())
    deadline_s = clock.monotonic_s() + ANSWER_S_MAX
    with storage_boundary(path):
        while fs.status(path) is not None:
            if clock.monotonic_s() >= deadline_s:
                raise NotAnsweredError(
                    f"{held.message}; it has not skipped the records within {ANSWER_S_MAX:g} s",
                    hint=f"the request stays and is carried out by the next lane that runs; to withdraw it, remove {path}",
                )
            clock.wait(wakeup, LOOK_S)
