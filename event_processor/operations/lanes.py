"""The lanes of a state as `status` shows them: from the figures that the daemon publishes, or else from the files.

Owns: `LanesStatus`, the words for an outbox that fills up, and its forecast.
Always: works without the daemon's help. A file of one lane that cannot be read is that lane's state, not an error.
Never: changes anything.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

import msgspec

from event_processor.assembly import Environment, lane_guarantees
from event_processor.configuration.configuration import Configuration
from event_processor.engine.checkpoint_document import Checkpoint
from event_processor.engine.delivery.cursor import CursorDocument, LaneCounts
from event_processor.engine.delivery.cursor_file import read_cursor
from event_processor.engine.delivery.health import attach_words, detached_words
from event_processor.engine.delivery.reports import (
    FIGURES_NAME,
    LaneReport,
    OutboxReport,
    PublishedLanes,
    SnapshotReport,
    undelivered_bytes,
)
from event_processor.engine.outbox import LaneDocument, committed_series
from event_processor.model.connector import Guarantee
from event_processor.model.errors import ConfigurationError, StateError, StorageError
from event_processor.operations.snapshots import snapshot_reports, snapshot_shortfalls
from event_processor.storage.durable import FileSystem, read_file

__all__ = ["LanesStatus", "lanes_status", "outbox_forecast"]

FULL_SHARE: Final = 0.5
"""From this share of `outbox.bytes_max` on, an operator must know."""
MINUTE_S: Final = 60
HOUR_S: Final = 3600
DAY_S: Final = 86_400
_PUBLISHED: Final = msgspec.json.Decoder(PublishedLanes)


@dataclass(frozen=True, slots=True)
class LanesStatus:
    """The lanes of a state, by the name of their sink, and the outbox that they share.

    If no daemon has published figures, a lane's state is "offline" (nothing sends), "starting" or "failed" (its files cannot be used),
    and it has only the counts of its files. `guarantees`: by sink, for the sinks that the configuration has. `detaches`: if the outbox is full,
    the slowest sink is detached. `snapshots`: the sinks that keep a table as a checkpoint is.
    """

    lanes: tuple[LaneReport, ...] = ()
    outbox: OutboxReport = field(default_factory=OutboxReport)
    bytes_max: int = 0
    guarantees: Mapping[str, Guarantee] = field(default_factory=dict)
    detaches: bool = False
    snapshots: tuple[SnapshotReport, ...] = ()

    @property
    def full_in_s(self) -> float | None:
        """The seconds until the outbox is full at the present rate; None if it does not grow, or if that is not known."""
        growth = self.outbox.growth_bytes_per_s
        if not self.lanes or growth is None or growth <= 0:
            return None
        return max(0, self.bytes_max - self.outbox.undelivered_bytes) / growth

    @property
    def is_full(self) -> bool:
        """Whether the outbox is full."""
        return bool(self.lanes) and self.outbox.undelivered_bytes >= self.bytes_max

    def shortfalls(self, told: Collection[str] = ()) -> Iterator[str]:
        """Yields the reasons why the outbox needs an operator, as text. `told`: of these sinks it is known that they are detached."""
        for lane in self.lanes:
            if lane.detached_after is not None and lane.sink not in told:
                yield f"sink {lane.sink} is detached: {detached_words(lane.detached_after)}; {attach_words(lane.sink)}"
        yield from snapshot_shortfalls(self.snapshots)
        waiting = self.outbox.undelivered_bytes
        if not self.lanes or waiting <= FULL_SHARE * self.bytes_max:
            return
        forecast = outbox_forecast(self.full_in_s)
        then = "; then the slowest sink is detached" if self.detaches else ""
        yield (
            f"the outbox is {waiting / self.bytes_max:.0%} full ({waiting:,} of {self.bytes_max:,} bytes wait)"
            f"{f'; {forecast}' if forecast else ''}{then}; look at the sinks that do not deliver, or raise outbox.bytes_max"
        )


def outbox_forecast(full_in_s: float | None) -> str:
    """When the outbox will be full, in words; "" if that is not known."""
    if full_in_s is None:
        return ""
    if full_in_s <= 0:
        return "it is full"
    return f"full in about {_duration(full_in_s)} at the present rate"


def lanes_status(
    configuration: Configuration, environment: Environment, checkpoint: Checkpoint | None, owner: str | None
) -> LanesStatus:
    """Looks once. `owner`: the present owner of the lock. Raises nothing for lanes whose files cannot be used."""
    promised = _guarantees(configuration, environment)
    bytes_max, detaches = configuration.outbox.bytes_max, configuration.outbox.when_full == "detach"
    snapshots = tuple(snapshot_reports(configuration, environment, checkpoint, owner))
    published = _published(environment, str(configuration.state.dir)) if owner else None
    if published is not None and published.owner == owner:
        return LanesStatus(published.lanes, published.outbox, bytes_max, promised, detaches, snapshots)
    if checkpoint is None:
        return LanesStatus(bytes_max=bytes_max, guarantees=promised, snapshots=snapshots)
    state = "starting" if owner else "offline"
    lanes = tuple(
        _OfflineLane(name, lane, checkpoint).report(environment.fs, str(configuration.state.dir), state)
        for name, lane in sorted(checkpoint.state.lanes.items())
    )
    return LanesStatus(lanes, OutboxReport(undelivered_bytes(lanes)), bytes_max, promised, detaches, snapshots)


def _published(environment: Environment, directory: str) -> PublishedLanes | None:
    """What a daemon published last; None if there is nothing that can be read."""
    try:
        content = read_file(environment.fs, os.path.join(directory, FIGURES_NAME))
        return None if content is None else _PUBLISHED.decode(content)
    except (StorageError, OSError, msgspec.DecodeError):
        return None


def _guarantees(configuration: Configuration, environment: Environment) -> Mapping[str, Guarantee]:
    try:
        return lane_guarantees(configuration, environment.fs)
    except ConfigurationError:
        return {}


@dataclass(frozen=True, slots=True)
class _OfflineLane:
    """A lane of which only the files tell."""

    name: str
    lane: LaneDocument
    checkpoint: Checkpoint

    def report(self, fs: FileSystem, directory: str, state: str) -> LaneReport:
        """The lane with the counts of its cursor."""
        words, remedy, exit_code = "", "", 0
        cursor, pending_bytes = None, 0
        try:
            cursor = self._cursor(fs, directory)
            pending_bytes = self._pending_bytes(fs, directory, cursor)
        except (StateError, StorageError) as error:
            state, words, remedy, exit_code = "failed", error.message, error.hint, int(error.exit_code)
        if state != "failed" and (detached := self.lane.detached):
            state, words, remedy = "detached", detached_words(detached.after), attach_words(self.name)
        counts = cursor.counts if cursor else LaneCounts()
        beginning = CursorDocument("", self.lane.input, {}, self.lane.started_after, self.lane.started_after, self.lane.chain)
        pending, skipped = self.lane.shares(cursor or beginning, self._released)
        return LaneReport(
            sink=self.name,
            input=self.lane.input,
            state=state,
            words=words,
            since="",
            exit_code=exit_code,
            remedy=remedy,
            released=self._released,
            started_after=self.lane.started_after,
            delivered=counts.delivered,
            failed=counts.failed,
            skipped=counts.skipped + skipped,
            pending=pending,
            pending_bytes=pending_bytes,
            detached_after=self.lane.detached.after if self.lane.detached else None,
        )

    @property
    def _released(self) -> int:
        series = self.checkpoint.state.outbox.get(self.lane.input)
        return series.sequence if series else self.lane.started_after

    def _after(self, cursor: CursorDocument | None) -> int:
        return cursor.sequence if cursor else self.lane.started_after

    def _cursor(self, fs: FileSystem, directory: str) -> CursorDocument | None:
        """The lane's cursor; None if it has none. That of an earlier lane with the same name does not count."""
        found = read_cursor(fs, directory, self.name)
        identity = (self.checkpoint.state.state_id, self.lane.input, self.lane.started_after)
        is_ours = found is not None and (found.state_id, found.input, found.started_after) == identity
        return found if is_ours else None

    def _pending_bytes(self, fs: FileSystem, directory: str, cursor: CursorDocument | None) -> int:
        series = self.checkpoint.state.outbox.get(self.lane.input)
        if series is None:
            return 0
        from event_processor.storage.outbox_reader import OutboxReader  # noqa: PLC0415 - only if there is a lane

        view = committed_series(directory, self.lane, series, self.checkpoint.state.appended, self.name)
        reader = OutboxReader(fs, view, self._after(cursor))
        try:
            return reader.unread_bytes()
        finally:
            reader.close()


def _duration(seconds: float) -> str:
    """A duration for people: two units at most, rounded."""
    if seconds < 2 * MINUTE_S:
        return f"{seconds:.0f} s"
    if seconds < HOUR_S:
        return f"{seconds / MINUTE_S:.0f} min"
    if seconds < 2 * DAY_S:
        minutes = round(seconds / MINUTE_S / 10) * 10
        return f"{minutes // 60} h {minutes % 60} min" if minutes % 60 else f"{minutes // 60} h"
    return f"{seconds / DAY_S:.0f} days"
