"""Says whether a daemon is alive, keeps up, and has nothing that needs an operator, from the files on disk alone.

Owns: what a status holds, and what counts as a shortfall.
Always: works without the daemon's help, and while it runs.
Never: changes anything; checks limits that the caller did not give.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TypeAlias

from event_processor.assembly import Environment, lags, weak_lanes, weak_sources
from event_processor.configuration.configuration import Configuration
from event_processor.engine.checkpoint_document import Checkpoint
from event_processor.engine.journal import JOURNAL_NAME
from event_processor.engine.state import Counts, SourceState
from event_processor.model.connector import Lag
from event_processor.model.event import Json
from event_processor.operations.conditions import DETACHED, LOST, Condition, read_conditions
from event_processor.operations.dead_letters import DeadLetterCount
from event_processor.operations.lanes import LanesStatus, lanes_status
from event_processor.operations.last_verification import LastVerification, last_verification
from event_processor.operations.omissions import Omission, omissions
from event_processor.operations.state_access import lock_owner, peek

__all__ = ["CommittedStatus", "SourceLag", "Status", "StatusFrame", "StatusLimits", "read_status", "status_of", "watch_status"]

LagsOf: TypeAlias = Callable[[Mapping[str, SourceState], int], Mapping[str, Lag]]
"""By source, the lag after the positions in a state, with the committed length of its reading journal."""


@dataclass(frozen=True, slots=True)
class SourceLag:
    """How much of one source is unread. `bytes`: estimated if the source numbers its `records`. `unknown`: why that is not known, or empty."""

    bytes: int
    records: int
    unknown: str


@dataclass(frozen=True, slots=True)
class CommittedStatus:
    """What the checkpoint says, and how much the log has grown since.

    `age_s`: seconds since the last commit, by the wall clock; None if the checkpoint has no time. `lag_bytes`: bytes of the
    sources after the committed offsets, including an incomplete last line. `dead_letters`: the number in the file, without
    purged ones. `lost`: the number of losses that were not acknowledged; `first_lost` describes the first. `left_out`: what the
    results leave out. `lag_records`: of sources that number their records; their bytes are estimated. `lag_unknown`: of which sources the lag
    could not be found out, and why. `lag_by_source`: the same for each source, by its name.
    """

    state_id: str
    written_at: str | None
    age_s: float | None
    counts: Counts
    categories: int
    lag_bytes: int
    held_events: int
    dead_letters: int
    lost: int = 0
    first_lost: str = ""
    left_out: tuple[Omission, ...] = ()
    lag_records: int = 0
    lag_unknown: tuple[str, ...] = ()
    lag_by_source: Mapping[str, SourceLag] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class StatusLimits:
    """The limits that the daemon must keep; None is no limit. `age_s_max` applies only while there are bytes to read."""

    lag_bytes_max: int | None = None
    age_s_max: float | None = None


@dataclass(frozen=True, slots=True)
class Status:
    """The status at one moment. `owner` describes the holder of the lock; None: no process holds it, so no daemon is alive.

    `committed` is None if there is no state yet. `conditions` are those that the owner published. `last_known` are those of an
    earlier process: they may be over, and the present owner, if any, has not published its own. `lanes`: the remote sinks.
    """

    state_directory: str
    owner: str | None
    committed: CommittedStatus | None
    conditions: tuple[Condition, ...] = ()
    last_known: tuple[Condition, ...] = ()
    lanes: LanesStatus = field(default_factory=LanesStatus)
    notes: tuple[str, ...] = ()
    """What the sources guarantee, and what sinks guarantee whose receiver found out that it is less, if that is less than exactly once."""
    verified: LastVerification | None = None
    """What the last `verify` of this state found; None if it was never verified."""

    @property
    def is_alive(self) -> bool:
        """Whether a process owns the state directory."""
        return self.owner is not None

    def shortfalls(self, limits: StatusLimits) -> list[str]:
        """The reasons why the daemon does not keep up or needs an operator, as text; empty if there is none."""
        return list(self._shortfalls(limits))

    def _shortfalls(self, limits: StatusLimits) -> Iterator[str]:
        if self.owner is None:
            yield f"no process owns {self.state_directory}: nothing is running"
            yield from (f"when it last ran: {each}" for each in self.last_known if each.fails and each.kind != LOST)
        yield from (str(each) for each in self.conditions if each.fails and each.kind != LOST)
        yield from self.lanes.shortfalls({each.source for each in self.conditions if each.kind == DETACHED})
        if self.committed is None:
            yield f"{self.state_directory}: no state here yet"
            return
        if self.committed.lost:
            others = f" (and {self.committed.lost - 1} more)" if self.committed.lost > 1 else ""
            yield (
                f"lost: {self.committed.first_lost}{others}; see 'event-processor lost', "
                "then 'event-processor lost --acknowledge' ends this"
            )
        if self.verified is not None and self.verified.is_wrong:
            yield (
                f"verify found at {self.verified.at} that the state differs from the log: {self.verified.words}; "
                "see 'event-processor verify', then rebuild it: event-processor replay"
            )
        yield from (f"the lag is unknown: {words}" for words in self.committed.lag_unknown)
        lag, age_s = self.committed.lag_bytes, self.committed.age_s
        if limits.lag_bytes_max is not None and lag > limits.lag_bytes_max:
            yield f"{lag} bytes behind, limit {limits.lag_bytes_max}"
        if limits.age_s_max is not None and lag and (age_s is None or age_s > limits.age_s_max):
            age = "at an unknown time" if age_s is None else f"{age_s:.1f} s ago"
            yield f"{lag} bytes to read, but the last commit was {age}, limit {limits.age_s_max:g} s"


def read_status(configuration: Configuration, environment: Environment) -> Status:
    """Looks once at the state directory and at the sources. Raises `StateError` for an unreadable state, `StorageError`."""
    return status_of(peek(configuration, environment), configuration, environment)


def status_of(
    checkpoint: Checkpoint | None,
    configuration: Configuration,
    environment: Environment,
    letters: DeadLetterCount | None = None,
    lags_of: LagsOf | None = None,
) -> Status:
    """As `read_status`, of a checkpoint that was read already.

    `letters` remembers how many dead letters it counted. `lags_of` finds the lags; by default each source is asked, which may take seconds.
    """
    owner = lock_owner(configuration, environment)
    count = letters or DeadLetterCount(configuration, environment)
    committed = None if checkpoint is None else _committed(checkpoint, configuration, environment, count, lags_of)
    lanes = lanes_status(configuration, environment, checkpoint, owner)
    published = read_conditions(environment.fs, str(configuration.state.dir))
    conditions = published.conditions if published else ()
    is_present = published is not None and published.owner == owner
    return Status(
        str(configuration.state.dir),
        owner,
        committed,
        conditions=conditions if is_present else (),
        last_known=() if is_present else conditions,
        lanes=lanes,
        notes=(
            *(f"source {name}: {each.words}: {each.by}" for name, each in weak_sources(configuration).items()),
            *(f"sink {name}: {each.words}: {each.by}" for name, each in weak_lanes(configuration, environment.fs).items()),
        ),
        verified=last_verification(environment.fs, str(configuration.state.dir), checkpoint),
    )


@dataclass(frozen=True, slots=True)
class StatusFrame:
    """One status of several.

    `records_per_s`: committed since the one before; None for the first, or if the state is another one.
    """

    status: Status
    records_per_s: float | None


def watch_status(
    configuration: Configuration, environment: Environment, *, interval_s: float, count: int | None = None
) -> Iterator[StatusFrame]:
    """Yields a status every `interval_s` seconds, `count` times, or without end if it is None. Raises as `read_status` does."""
    clock = environment.clock
    before: tuple[float, CommittedStatus | None] | None = None
    for number in itertools.count(1):
        status = read_status(configuration, environment)
        now_s = clock.monotonic_s()
        yield StatusFrame(status, None if before is None else _rate(before[1], status.committed, now_s - before[0]))
        before = now_s, status.committed
        if number == count:
            return
        clock.wait(environment.wakeup, interval_s)


def _rate(before: CommittedStatus | None, after: CommittedStatus | None, elapsed_s: float) -> float | None:
    if before is None or after is None or before.state_id != after.state_id or elapsed_s <= 0:
        return None
    return (after.counts.records - before.counts.records) / elapsed_s


def _committed(
    checkpoint: Checkpoint,
    configuration: Configuration,
    environment: Environment,
    letters: DeadLetterCount,
    lags_of: LagsOf | None,
) -> CommittedStatus:
    state = checkpoint.state
    written_at = checkpoint.meta.get("written_at")
    journal_bytes = state.appended.get(JOURNAL_NAME, 0)
    if lags_of is None:
        found: Mapping[str, Lag] = lags(configuration, environment, state.sources, journal_bytes=journal_bytes)
    else:
        found = lags_of(state.sources, journal_bytes)
    lag = found.values()
    return CommittedStatus(
        state_id=state.state_id,
        written_at=written_at if isinstance(written_at, str) else None,
        age_s=_age_s(written_at, environment.clock.wall_ns()),
        counts=state.counts,
        categories=len(state.categories),
        lag_bytes=sum(each.size_bytes for each in lag),
        lag_records=sum(each.records for each in lag),
        lag_unknown=tuple(each.unknown for each in lag if each.unknown),
        lag_by_source={name: SourceLag(each.size_bytes, each.records, each.unknown) for name, each in sorted(found.items())},
        held_events=state.order.held,
        lost=state.lost.count,
        first_lost=str(state.lost.entries[0]) if state.lost.entries else "",
        left_out=tuple(omissions(configuration, state.counts, state.categories, state.aggregates)),
        dead_letters=letters.of(checkpoint),
    )


def _age_s(written_at: Json, now_ns: int) -> float | None:
    """Seconds since a time in RFC 3339, at least 0; None if it is not such a time."""
    try:
        written_s = datetime.fromisoformat(str(written_at)).timestamp()
    except ValueError:
        return None
    return max(0.0, round(now_ns / 1e9 - written_s, 3))
