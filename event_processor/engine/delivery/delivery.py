"""All lanes and snapshots of a pipeline in one event loop.

Owns: the loop's one coroutine, the figures once a second, and the end of all lanes.
Always: a lane that cannot go on ends alone; the others go on. A failure of our own disk, or a bug, ends everything.
Never: runs in the pipeline's thread (`thread.py` starts the loop).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Final, Protocol

from event_processor.engine.committed import CommittedTotals
from event_processor.engine.delivery.lane import Lane
from event_processor.engine.delivery.parts import LanePlace
from event_processor.engine.delivery.reports import Growth, LaneReport, OutboxReport, SnapshotReport
from event_processor.engine.delivery.snapshot_sink import SnapshotSink
from event_processor.engine.delivery.transactional_lane import TransactionalLane
from event_processor.engine.delivery.window import Released

__all__ = ["Delivery"]

TICK_S: Final = 1.0


class _Member(Protocol):
    """What a lane and a snapshot have in common."""

    gave_up: bool

    @property
    def outstanding(self) -> int: ...

    async def run(self) -> None: ...

    async def close(self, drain_s: float) -> None: ...


class Delivery:
    """The lanes of one pipeline. Everything runs in its event loop."""

    def __init__(
        self,
        lanes: Mapping[str, Sequence[Lane]],
        now: Callable[[], float],
        *,
        publish: Callable[[Sequence[LaneReport], OutboxReport], None],
        passed: Callable[[str, Mapping[str, LanePlace]], None],
        make_retries: Callable[[str], Lane | None],
        snapshots: Sequence[SnapshotSink] = (),
    ) -> None:
        """`lanes` by input. `publish` gets the reports of all lanes and of the outbox, about once a second, if they changed.

        `passed` gets an input, and the places of its lanes by name, at the start, about once a second, and whenever `note` is called.
        `snapshots`: the sinks that keep a table as a checkpoint is. `make_retries` makes the lane of a sink's retried records; None if nothing was retried.
        """
        self._by_input: Final = lanes
        self._lanes: Final = [lane for each in lanes.values() for lane in each]
        self._snapshots: Final = snapshots
        self._make_retries: Final = make_retries
        self._retries: Final[dict[str, Lane]] = {}
        self._is_hurried = False
        for lane in self._lanes:
            self._add_retries(lane.name)
        self._now: Final = now
        self._publish: Final = publish
        self._passed: Final = passed
        self._growth: Final = Growth()
        self._published: tuple[Sequence[LaneReport], OutboxReport, Sequence[SnapshotReport]] | None = None
        self._is_closing: Final = asyncio.Event()
        self.note()

    async def run(self) -> None:
        """Runs all lanes until `close`. Raises `StorageError`, and what is a bug; then all lanes have ended."""
        try:
            async with asyncio.TaskGroup() as group:
                for each in self._members:
                    group.create_task(each.run())
                # A lane that cannot go on ends alone: the others go on until `close`.
                group.create_task(self._tick(group))
        except BaseExceptionGroup as failures:
            # One is told; the others are mostly its consequences.
            raise failures.exceptions[0] from None
        finally:
            self._report()

    async def close(self, drain_s: float) -> None:
        """Ends all lanes: running requests get at most `drain_s` seconds."""
        self._is_closing.set()
        await asyncio.gather(*(each.close(drain_s) for each in self._members))

    @property
    def gave_up(self) -> bool:
        """Whether requests were given up that may still arrive."""
        return any(each.gave_up for each in self._members)

    def release(self) -> None:
        """Closes the files of all lanes."""
        for lane in self.all_lanes:
            lane.release()

    @property
    def _members(self) -> list[_Member]:
        return [*self.all_lanes, *self._snapshots]

    def follow(self, input_name: str, released: Released) -> None:
        """A durable checkpoint covers this input's series this far."""
        for lane in self._by_input.get(input_name, ()):
            lane.follow(released)

    def follow_totals(self, totals: CommittedTotals) -> None:
        """A durable checkpoint has these totals."""
        for snapshot in self._snapshots:
            snapshot.follow(totals)

    def hurry(self) -> None:
        """The input is at its end: no snapshot waits for its interval any more, and no record for others."""
        self._is_hurried = True
        for lane in self.all_lanes:
            _hurry(lane)
        for snapshot in self._snapshots:
            snapshot.hurry()

    def note(self) -> None:
        """A lane's cursor has moved on disk."""
        for name, lanes in self._by_input.items():
            self._passed(name, {lane.name: lane.place for lane in lanes})

    @property
    def pending(self) -> int:
        """The records that wait in lanes that can go on, lanes whose cursor is not durable yet, and snapshots that can be written."""
        return sum(each.outstanding for each in self._members)

    def reports(self) -> list[LaneReport]:
        """All sinks at this moment."""
        return [self._report_of(lane) for lane in self._lanes]

    def snapshot_reports(self) -> list[SnapshotReport]:
        """All snapshots at this moment."""
        return [each.report() for each in self._snapshots]

    def _report_of(self, lane: Lane) -> LaneReport:
        retries = self._retries.get(lane.name)
        return lane.report().with_retries(retries.report()) if retries else lane.report()

    @property
    def all_lanes(self) -> list[Lane]:
        """The lanes of all sinks, and those of their retried records."""
        return [*self._lanes, *self._retries.values()]

    def _add_retries(self, sink: str) -> Lane | None:
        """Makes the lane of a sink's retried records, if there are any."""
        lane = self._make_retries(sink)
        if lane is not None:
            self._retries[sink] = lane
            if self._is_hurried:
                _hurry(lane)
        return lane

    def _start_retries(self, group: asyncio.TaskGroup) -> None:
        """Starts the lane of a sink's first retried records, when there are some."""
        for lane in self._lanes:
            if lane.has_retries and lane.name not in self._retries and (retries := self._add_retries(lane.name)):
                group.create_task(retries.run())

    async def _tick(self, group: asyncio.TaskGroup) -> None:
        while not self._is_closing.is_set():
            self._start_retries(group)
            for lane in self.all_lanes:
                lane.tick()
            self.note()
            self._report()
            with suppress(TimeoutError):
                async with asyncio.timeout(TICK_S):
                    await self._is_closing.wait()

    def _report(self) -> None:
        reports, snapshots = self.reports(), self.snapshot_reports()
        outbox = self._growth.tick(reports, self._now())
        if (reports, outbox, snapshots) != self._published:
            self._published = (reports, outbox, snapshots)
            self._publish(reports, outbox)


def _hurry(lane: Lane) -> None:
    """Only a lane of this kind waits for more records."""
    if isinstance(lane, TransactionalLane):
        lane.hurry()
