"""The figures of the past: what the daemon writes each second, and how it becomes steps; gaps are null, idle time is zero."""

from __future__ import annotations

import errno
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from event_processor.engine.delivery.reports import LaneReport
from event_processor.engine.stages import StageClock
from event_processor.engine.state import Counts, State, fresh_state
from event_processor.model.telemetry import Telemetry
from event_processor.operations.history import LAYOUTS, MINUTES, SECONDS, Past, history_of, ring_of
from event_processor.service.history import History
from event_processor.storage.durable import OperatingSystem
from support.engine import FakeClock
from support.simulated_faults import Fault
from support.simulated_fs import SimulatedFileSystem

FOLDER = "/state"
BEGIN_S = 1_000_020
"""A multiple of 60."""


class Clock(FakeClock):
    """One whose wall clock can be set."""

    def __init__(self) -> None:
        super().__init__()
        self.now_s = float(BEGIN_S)
        self.set_by_s = 0.0

    def wall_ns(self) -> int:
        return int((self.now_s + self.set_by_s) * 1e9)


def lane(delivered: int, failed: int, pending: int, sink: str = "api") -> LaneReport:
    return LaneReport(sink, "events", "sending", "", "", 0, "", 0, 0, delivered, failed, 0, pending, 0)


@dataclass
class Pipeline:
    """A pipeline whose figures a test sets."""

    state: State = field(default_factory=lambda: fresh_state(0))
    lag_bytes: int = 0
    lanes: list[LaneReport] = field(default_factory=list)
    stages: StageClock = field(default_factory=lambda: StageClock(FakeClock(), lambda: (0, 0.0)))

    def uncommitted_bytes(self) -> int:
        return self.lag_bytes

    def reports(self) -> list[LaneReport]:
        return self.lanes

    def published(self) -> list[LaneReport]:
        return self.lanes

    def counted(self, counts: Counts) -> None:
        self.state = replace(self.state, counts=self.state.counts + counts)


class Reports(Telemetry):
    def __init__(self) -> None:
        self.anew: list[str] = []
        self.unavailable: list[str] = []

    def history_started_anew(self, *, path: str, reason: str) -> None:
        self.anew.append(f"{path}: {reason}")

    def history_unavailable(self, *, path: str, reason: str, remedy: str) -> None:
        assert remedy
        self.unavailable.append(f"{path}: {reason}")


@dataclass
class World:
    """A disk, a clock, and the daemon that runs on them."""

    fs: Any
    clock: Clock = field(default_factory=Clock)
    pipeline: Pipeline = field(default_factory=Pipeline)
    reports: Reports = field(default_factory=Reports)
    history: History = field(default_factory=History)
    lives: int = 0

    def start(self) -> None:
        self.lives += 1
        self.history = History()
        self.history.begin(self.fs, FOLDER, f"process {self.lives}", self.clock)
        self.history.follow(self.pipeline, self.pipeline, self.reports)

    def commit(self, counts: Counts, content_bytes: int = 0) -> None:
        self.pipeline.counted(counts)
        self.history.batch_committed(content_bytes=content_bytes)

    def seconds(self, count: int) -> None:
        """Rounds of the loop, four a second."""
        for _ in range(4 * count):
            self.clock.now_s += 0.25
            self.history.progressed()

    def records(self) -> int:
        """How many the ring of seconds has."""
        found = ring_of(self.fs, FOLDER, SECONDS).read()
        assert found is not None
        return len(found.begins_s)

    def columns(self, name: str = SECONDS, *, span_s: int = 60, points: int = 60, alive: bool = True) -> dict[str, Any]:
        past = Past(LAYOUTS[name].period_s, ring_of(self.fs, FOLDER, name).read(), alive)
        found = history_of(past, now_s=self.clock.wall_ns() // 10**9, span_s=span_s, points=points)
        return {"from": found.begin_s, "step_s": found.step_s, **found.columns}


@pytest.fixture
def world() -> World:
    fs = SimulatedFileSystem(1)
    fs.make_directory(FOLDER)
    return World(fs)


def last(column: list[Any], count: int) -> list[Any]:
    return column[-count:]


def test_counters_are_sums_of_the_second_in_which_they_were_committed(world: World) -> None:
    world.start()
    world.seconds(2)
    world.commit(Counts(records=10, accepted=6, duplicate=2, rejected=1, blank=1, late=3))
    world.commit(Counts(records=5, accepted=5))
    world.seconds(1)
    world.commit(Counts(records=7, accepted=7))
    world.seconds(2)
    found = world.columns()
    assert found["from"] + 60 == BEGIN_S + 4, "the present second is not over, and the last may not be written"
    assert last(found["records"], 4) == [0, 0, 15, 7]
    assert [last(found[name], 2) for name in ("accepted", "duplicate", "rejected", "blank", "late", "commits")] == [
        [11, 7], [2, 0], [1, 0], [1, 0], [3, 0], [2, 1],
    ]  # fmt: skip
    assert set(found["records"][:-4]) == {None}, "before the daemon there was none"


def test_longer_steps_hold_sums_of_counters_and_maxima_of_gauges(world: World) -> None:
    world.start()
    for second in range(24):
        world.commit(Counts(records=second, accepted=second))
        world.pipeline.lag_bytes = 100 * (second % 5)
        world.seconds(1)
    found = world.columns(span_s=60, points=10)
    assert (found["step_s"], found["from"] % 6) == (6, 0)
    # Steps of six seconds that are over: seconds 0 to 5, 6 to 11, 12 to 17.
    assert last(found["records"], 4) == [None, 15, 51, 87]
    assert last(found["lag_bytes"], 3) == [400, 400, 400]


def test_idle_time_is_zero_without_a_write_for_each_second_of_it(world: World) -> None:
    world.start()
    world.commit(Counts(records=1, accepted=1))
    world.seconds(2)
    written = world.fs.calls.total()
    world.seconds(50)
    assert world.fs.calls.total() == written, "nothing is looked at either"
    assert last(world.columns()["records"], 52) == [None, 1, *[0] * 50]
    world.seconds(3600)
    assert world.records() == 61, "at its start, and each minute since"
    assert world.columns(span_s=3600, points=1000)["records"].count(None) == 0


def test_a_gap_between_two_processes_is_null_and_what_was_before_it_stays(world: World) -> None:
    world.start()
    world.commit(Counts(records=4, accepted=4))
    world.seconds(5)
    world.history.leave()
    world.clock.now_s += 10
    world.start()
    world.seconds(2)
    world.commit(Counts(records=3, accepted=3))
    world.seconds(3)
    # The first process ran from second 0 to the start of second 5, the second one from second 15 on.
    assert last(world.columns()["records"], 19) == [4, 0, 0, 0, 0, 0, *[None] * 9, 0, 0, 3, 0]


def test_of_a_process_that_was_killed_only_what_it_wrote_counts_as_its_life(world: World) -> None:
    world.start()
    world.commit(Counts(records=4, accepted=4))
    world.seconds(30)
    found = world.columns(alive=False)
    assert last(found["records"], 30) == [None, 4, *[None] * 28], "its last record is of its first second"
    assert last(world.columns(alive=True)["records"], 30) == [None, 4, *[0] * 28]


def test_gauges_stay_as_they_were_until_something_changes(world: World) -> None:
    world.start()
    world.pipeline.lanes = [lane(0, 0, 40), lane(0, 0, 2, "other")]
    world.seconds(10)
    world.pipeline.lanes = [lane(0, 0, 0), lane(0, 0, 0, "other")]
    world.seconds(4)
    found = world.columns()
    # What is seen at the begin of a second is of the second before.
    assert last(found["pending"], 14) == [None, *[42] * 10, 0, 0, 0]


def test_deliveries_are_counted_from_the_start_on_and_per_sink(world: World) -> None:
    world.pipeline.lanes = [lane(100, 10, 0)]
    world.start()
    world.pipeline.lanes = [lane(103, 11, 0), lane(50, 0, 0, "new")]
    world.seconds(1)
    world.pipeline.lanes = [lane(105, 11, 0), lane(57, 0, 0, "new")]
    world.seconds(2)
    found = world.columns()
    assert last(found["delivered"], 2) == [3, 9], "what a new sink delivered before it was seen is not of this second"
    assert last(found["failed"], 2) == [1, 0]


def test_a_lag_says_how_long_its_oldest_byte_waits(world: World) -> None:
    world.start()
    world.pipeline.lag_bytes = 1000
    world.seconds(4)
    world.pipeline.lag_bytes = 0
    world.commit(Counts(records=10, accepted=10), 1000)
    world.seconds(2)
    assert last(world.columns()["lag_s"], 5) == [0.0, 1.0, 2.0, 3.0, 0.0]


def test_minutes_hold_what_their_seconds_hold_over_a_restart_too(world: World) -> None:
    world.start()
    for _ in range(30):
        world.commit(Counts(records=2, accepted=2))
        world.seconds(1)
    world.history.leave()
    world.start()
    for second in range(95):
        world.pipeline.lag_bytes = 7 * (second % 3)
        world.commit(Counts(records=1, accepted=1))
        world.seconds(1)
    found = world.columns(MINUTES, span_s=7200, points=300)
    assert (found["step_s"], found["from"] + 7200) == (60, BEGIN_S + 120)
    assert last(found["records"], 3) == [None, 60 + 30, 60]
    assert last(found["lag_bytes"], 3) == [None, 14, 14]


def test_a_reload_changes_nothing_of_the_past(world: World) -> None:
    world.start()
    world.commit(Counts(records=2, accepted=2))
    world.history.leave()
    world.history.follow(world.pipeline, world.pipeline, world.reports)
    world.commit(Counts(records=3, accepted=3))
    world.seconds(3)
    assert last(world.columns()["records"], 3) == [None, 5, 0]


def test_a_clock_that_is_set_forward_makes_no_hours_of_idle_time(world: World) -> None:
    world.start()
    world.seconds(3)
    world.clock.set_by_s = 1800.0
    world.commit(Counts(records=1, accepted=1))
    world.seconds(3)
    found = world.columns(span_s=3600, points=1000)
    assert found["records"].count(None) > 800
    assert sum(each or 0 for each in found["records"]) == 1


def test_a_full_disk_stops_nothing_and_is_reported_once_until_there_is_room(world: World) -> None:
    world.start()
    world.fs.fail(Fault(errno.ENOSPC, kinds={"write"}, lasting=True))
    for _ in range(5):
        world.commit(Counts(records=1, accepted=1))
        world.seconds(1)
    (words,) = world.reports.unavailable
    assert "No space left on device" in words
    world.fs.stop_failing()
    world.commit(Counts(records=1, accepted=1))
    world.seconds(2)
    assert last(world.columns()["records"], 1) == [1]
    assert len(world.reports.unavailable) == 1


def test_a_ring_that_cannot_be_read_is_made_anew_and_the_log_says_so(tmp_path: Path) -> None:
    world = World(OperatingSystem())
    history = tmp_path / "history"
    history.mkdir()
    (history / "seconds.ring").write_bytes(b"nonsense")
    writer = History()
    writer.begin(OperatingSystem(), str(tmp_path), "process 1", world.clock)
    writer.follow(world.pipeline, world.pipeline, world.reports)
    assert world.reports.anew == [f"{history / 'seconds.ring'}: its header cannot be read"]
    (history / "minutes.ring").unlink()
    world.pipeline.counted(Counts(records=1, accepted=1))
    world.clock.now_s += 1
    writer.progressed()
    assert world.reports.anew[1:] == [f"{history / 'minutes.ring'}: there was none"]
    assert ring_of(OperatingSystem(), str(tmp_path), MINUTES).read() is not None
    assert world.reports.unavailable == []
