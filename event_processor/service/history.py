"""What a daemon does, second by second, into the rings of `state/history/`.

Owns: when a record is written, and what it is made of.
Always: a record is written at most once a second, between two rounds of the loop, and only if something happened, or after a minute
without. Nothing waits for the disk, and no call raises: if the rings cannot be written, that is reported once, and the pipeline continues.
Never: wakes the loop; is relied on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, Protocol

import numpy as np

from event_processor.engine.delivery.reports import LaneReport
from event_processor.engine.stages import StageClock
from event_processor.engine.state import Counts, State
from event_processor.model.clock import SystemClock
from event_processor.model.contracts import Clock
from event_processor.model.errors import EventProcessorError
from event_processor.model.file_system import FileSystem
from event_processor.model.messages import in_one_line
from event_processor.model.telemetry import Telemetry
from event_processor.operations.history import COLUMNS, COUNTERS, IDLE_S, LAYOUTS, MINUTES, SECONDS, ring_of
from event_processor.service.lag_clock import LagClock
from event_processor.storage.ring import MISSING, FloatArray, Ring

__all__ = ["History", "Progress"]

CLOCK_JUMP_S: Final = 5.0
"""If the wall clock moved by so much more or less than the monotonic one, it was set."""
_GAUGES: Final = slice(len(COUNTERS), len(COLUMNS))
OUTCOMES: Final = COUNTERS[:6]
"""The counters that are counts of the state, by the same name."""


class Progress(Protocol):
    """What is looked at once a second: a pipeline."""

    @property
    def state(self) -> State:
        """The last committed state."""
        ...

    @property
    def stages(self) -> StageClock:
        """Where its time goes."""
        ...

    def uncommitted_bytes(self) -> int:
        """How many bytes no commit covers yet, as far as known."""
        ...


class Lanes(Protocol):
    """The remote sinks of a pipeline."""

    def reports(self) -> Sequence[LaneReport]:
        """What they report at this moment."""
        ...

    def published(self) -> Sequence[LaneReport]:
        """What they reported last. Returns at once."""
        ...


class History(Telemetry):
    """The writer of one daemon over all its reloads. Used by the loop's thread. Until `begin`, it does nothing."""

    def __init__(self) -> None:
        self._periods: Sequence[_Period] = ()
        self._owner = ""
        self._clock: Clock = SystemClock()
        self._lag: Final = LagClock()
        self._telemetry = Telemetry()
        self._progress: Progress | None = None
        self._lanes: Lanes | None = None
        self._counts = Counts()
        self._commits = 0
        self._committed_bytes = 0
        self._deliveries: Mapping[str, tuple[int, int]] = {}
        self._gauges: tuple[float, ...] = ()
        self._times: tuple[float, ...] = ()
        self._now_s = 0
        self._written: tuple[int, float] | None = None
        """The second of the last record, and the monotonic time of its write."""
        self._is_ready = False
        self._is_reported = False

    def begin(self, fs: FileSystem, directory: str, owner: str, clock: Clock) -> None:
        """From now on there is something to write. The caller owns the state directory; `owner` is the text in its lock file."""
        self._owner, self._clock = owner, clock
        self._periods = [_Period(ring_of(fs, directory, name), LAYOUTS[name].period_s) for name in (SECONDS, MINUTES)]

    def follow(self, progress: Progress, lanes: Lanes, telemetry: Telemetry) -> None:
        """A pipeline was opened: from now on it is looked at. `telemetry` gets the reports."""
        if not self._periods:
            return
        self._progress, self._lanes, self._telemetry = progress, lanes, telemetry
        self._is_reported = False
        if self._written is None:
            self._counts = progress.state.counts
        reports = lanes.reports()
        self._times = _times(progress.stages)
        # What is delivered from now on is news. The first figures are published later.
        self._deliveries = {**self._deliveries, **_deliveries(reports)}
        self._now_s = self._clock.wall_ns() // 10**9
        self._look(self._now_s, progress, reports, is_due=True)

    def leave(self) -> None:
        """The pipeline is about to be closed."""
        if self._progress is not None and self._lanes is not None:
            self._look(self._clock.wall_ns() // 10**9, self._progress, self._lanes.published(), is_due=True)
        self._progress = self._lanes = None

    def batch_committed(self, *, content_bytes: int, **_facts: object) -> None:
        """See `Telemetry`."""
        self._commits += 1
        self._committed_bytes += content_bytes

    def progressed(self) -> None:
        """Writes the second that is over. See `Telemetry`."""
        now_s = self._clock.wall_ns() // 10**9
        if now_s != self._now_s and self._progress is not None and self._lanes is not None:
            self._now_s = now_s
            self._look(now_s - 1, self._progress, self._lanes.published(), is_due=False)

    def _look(self, at_s: int, progress: Progress, reports: Sequence[LaneReport], *, is_due: bool) -> None:
        """Writes the record of a second, if there is something new to say or `is_due`."""
        counts = progress.state.counts
        gauges = self._measured(progress, reports)
        now = _deliveries(reports)
        delivered, failed = (
            sum(max(0, each[place] - self._deliveries.get(sink, each)[place]) for sink, each in now.items()) for place in (0, 1)
        )
        outcomes = [max(0, getattr(counts, name) - getattr(self._counts, name)) for name in OUTCOMES]
        happened = [*outcomes, self._commits, delivered, failed]
        is_new = any(happened) or gauges != self._gauges
        times = _times(progress.stages)
        self._counts, self._commits, self._gauges = counts, 0, gauges
        self._deliveries = {**self._deliveries, **now}
        if is_new or is_due or self._written is None or not 0 <= at_s - self._written[0] < IDLE_S:
            spent = [after - before for before, after in zip(self._times, times, strict=True)]
            self._times = times
            self._write(at_s, happened, spent)

    def _measured(self, progress: Progress, reports: Sequence[LaneReport]) -> tuple[float, ...]:
        """The gauges now. What cannot be looked at stays as it was."""
        try:
            lag_bytes = progress.uncommitted_bytes()
        except (EventProcessorError, OSError):
            return self._gauges or (0.0, 0.0, 0.0)
        lag_s = self._lag.look(self._clock.monotonic_s(), self._committed_bytes, lag_bytes)
        return float(lag_bytes), lag_s, float(sum(each.pending for each in reports))

    def _write(self, at_s: int, happened: Sequence[float], spent: Sequence[float]) -> None:
        since_s = self._since_s(at_s)
        for each in self._periods:
            each.add(at_s, since_s, np.array([*happened, *self._gauges, *spent]))
        self._written = at_s, self._clock.monotonic_s()
        try:
            self._store()
        except (EventProcessorError, OSError) as error:
            self._is_ready = False
            if not self._is_reported:
                self._is_reported = True
                reason = in_one_line(str(error))
                remedy = "everything else goes on; make room, or let this user write there: the figures of the past are then kept again"
                self._telemetry.history_unavailable(path=self._periods[0].ring.path, reason=reason, remedy=remedy)

    def _store(self) -> None:
        if not self._is_ready:
            self._begin(is_first=True)
        try:
            for each in self._periods:
                each.store()
        except (EventProcessorError, OSError):
            # Perhaps others removed a file. If it is something else, the next line fails too.
            self._begin(is_first=False)
            for each in self._periods:
                each.store()

    def _begin(self, *, is_first: bool) -> None:
        for each in self._periods:
            reason = each.ring.begin(self._owner)
            if reason and not (is_first and reason == MISSING):
                self._telemetry.history_started_anew(path=each.ring.path, reason=reason)
            each.resume()
        self._is_ready = True

    def _since_s(self, at_s: int) -> int:
        """Since when the next record speaks: from the last one on, unless the clock was set meanwhile."""
        if self._written is None:
            return at_s
        written_s, written_at = self._written
        elapsed_s = self._clock.monotonic_s() - written_at
        is_steady = abs((at_s - written_s) - elapsed_s) < CLOCK_JUMP_S
        return min(at_s, written_s + 1) if is_steady else at_s


class _Period:
    """The period of one ring that is not over yet."""

    def __init__(self, ring: Ring, period_s: int) -> None:
        self.ring: Final = ring
        self._period_s: Final = period_s
        self._begin_s: int | None = None
        self._since_s = 0
        self._values: FloatArray = np.zeros(0)
        self._is_resumed = False

    def add(self, at_s: int, since_s: int, values: FloatArray) -> None:
        """Adds to the period of the second `at_s`, or begins it."""
        begin_s = at_s - at_s % self._period_s
        if begin_s != self._begin_s:
            self._begin_s, self._since_s, self._values = begin_s, since_s, values
            return
        highest = np.maximum(self._values, values)
        self._values = self._values + values
        self._values[_GAUGES] = highest[_GAUGES]

    def resume(self) -> None:
        """Adds what an earlier process wrote of this period, once. Raises `StorageError`."""
        if self._is_resumed or self._begin_s is None:
            return
        self._is_resumed = True
        if (earlier := self.ring.record(self._begin_s)) is not None:
            since_s, values = earlier
            self.add(self._begin_s, since_s, np.array(values))
            self._since_s = since_s

    def store(self) -> None:
        """Writes it as it is now. Raises `StorageError`."""
        assert self._begin_s is not None, "something was added"
        self.ring.write(self._begin_s, self._since_s, self._values.tolist())


def _times(stages: StageClock) -> tuple[float, ...]:
    """The values of `TIMES` so far."""
    return (*stages.seconds(), *stages.syncs())


def _deliveries(reports: Sequence[LaneReport]) -> dict[str, tuple[int, int]]:
    return {each.sink: (each.delivered, each.failed) for each in reports}
