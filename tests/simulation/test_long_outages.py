"""Two days of outage in virtual time with `when_full = "detach"`: the slow lane is detached in time, and nothing else waits for it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import pytest

from event_processor.assembly import Mode, OpenPipeline, lock_state, open_pipeline
from event_processor.assembly import delivery as assembly_delivery
from event_processor.assembly import outbox as assembly_outbox
from event_processor.assembly.delivery import PipelineDelivery, Sending
from event_processor.connectors.python.options import PythonSinkOptions
from event_processor.engine.delivery import delivery, lane
from event_processor.engine.delivery.delivery import Delivery
from event_processor.engine.delivery.reports import LaneReport
from event_processor.model.answers import Answer
from event_processor.model.delivery import Request
from event_processor.storage.outbox import OutboxSeries
from support.delivery_world import LoopClock
from support.engine import configuration, environment
from support.lanes import DELIVERED, WAIT
from support.simulated_fs import SimulatedFileSystem
from support.virtual_time import run_in_virtual_time

BYTES_MAX = 1 << 20
FILE_BYTES = 100_000
MINUTES = 2 * 24 * 60
STEP_MINUTES = 10
RECORDS = 4
"""Appended in each step: about 12 KB, so that two days are 3.4 MB."""
OUTBOX = "/d/state/outbox/"


@dataclass
class Sink:
    """A receiver that is down or up, and what it got: sequences."""

    is_down: bool = False
    got: list[int] = field(default_factory=list)

    async def open(self) -> None: ...

    async def refresh(self) -> None: ...

    async def close(self) -> None: ...

    async def deliver(self, request: Request) -> Answer:
        await asyncio.sleep(0.01)
        if self.is_down:
            return WAIT
        self.got += [record.sequence for record in request.records]
        return DELIVERED


class Watched(PipelineDelivery):
    """The delivery of a pipeline, without its thread."""

    def made(self) -> Delivery:
        return self._made()


@dataclass
class Outage:
    """A log, a pipeline and its sinks, step by step; and the model: the size of each line that was ever written."""

    sinks: Mapping[str, Sink]
    sections: Mapping[str, Any] = field(default_factory=dict)
    fs: SimulatedFileSystem = field(default_factory=lambda: SimulatedFileSystem(1, short_io_odds=0.0))
    log: bytearray = field(default_factory=bytearray)
    sizes: dict[int, int] = field(default_factory=dict)
    reports: dict[str, LaneReport] = field(default_factory=dict)
    lives: int = 0

    @property
    def settings(self) -> Any:
        options = PythonSinkOptions.model_validate({"type": "python", "class": "a:B", "request_events_max": 10})
        outbox = {"when_full": "detach", "bytes_max": BYTES_MAX, "keep_s": 3600, **self.sections}
        return configuration(
            "/d",
            buffer_events=0,
            sink=False,
            batch_bytes=65_536,
            record_bytes_max=65_536,
            sinks=dict.fromkeys(self.sinks, options),
            outbox=outbox,
        )

    def append(self, count: int) -> None:
        for _ in range(count):
            self.log += b'{"id": %d, "category": "c", "value": 1, "pad": "%s"}\n' % (len(self.log), b"x" * 3000)
        self.fs.plant("/d/log.jsonl", bytes(self.log))

    def committed(self) -> dict[str, Any]:
        return dict(json.loads(self.fs.content("/d/state/checkpoint.json") or b"")["state"])

    def lines(self) -> list[tuple[int, int]]:
        """Sequence and size of each line on disk."""
        named = [name for name in self.committed()["appended"] if name.startswith("outbox/")]
        contents = [self.fs.content(f"/d/state/{name}") or b"" for name in sorted(named)]
        return [(json.loads(line)["sequence"], len(line) + 1) for content in contents for line in content.splitlines()]

    def waiting_bytes(self, after: int) -> int:
        """The bytes of the lines after this sequence."""
        return sum(size_bytes for sequence, size_bytes in self.sizes.items() if sequence > after)

    async def run(self, steps: int, step: Any) -> None:
        """One process: in each of its steps it reads what was appended, then calls `step`."""
        self.lives += 1
        surroundings = environment(self.fs, seed=self.lives)
        surroundings = type(surroundings)(
            **{name: getattr(surroundings, name) for name in surroundings.__slots__} | {"clock": LoopClock()}
        )
        with ExitStack() as cleanup:
            lock = lock_state(self.settings, surroundings)
            cleanup.callback(lock.release)
            pipeline = open_pipeline(self.settings, surroundings, Mode(once=True))
            cleanup.callback(pipeline.processor.close)
            made = Watched(pipeline, surroundings, Sending(), "test").made()
            cleanup.callback(made.release)
            for name, series in pipeline.series.items():
                series.on_publish(lambda view, name=name: made.follow(name, view))  # type: ignore[misc]  # bound by the default
            task = asyncio.create_task(made.run())
            for _ in range(steps):
                self.append(RECORDS)
                pipeline.processor.run()
                self.sizes |= dict(self.lines())
                await asyncio.sleep(60 * STEP_MINUTES)
                self.look(made)
                step()
                self.let_go(pipeline)
            await made.close(1.0)
            await task
            self.look(made)

    def let_go(self, pipeline: OpenPipeline) -> None:
        """As the idle loop does: commits that only leave files out."""
        pipeline.processor.run()

    def look(self, made: Delivery) -> None:
        self.reports = {report.sink: report for report in made.reports()}
        for report in self.reports.values():
            known = report.delivered + report.failed + report.skipped + report.pending
            assert report.released - report.started_after == known, report


async def at_once(job: Callable[[], None]) -> None:
    job()


@pytest.fixture(autouse=True)
def _slow_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    # What a lane does each second, it does 172,800 times in two days.
    monkeypatch.setattr(lane, "LOOK_S", 600.0)
    monkeypatch.setattr(delivery, "TICK_S", 300.0)
    monkeypatch.setattr(assembly_delivery, "_offload", at_once)
    monkeypatch.setattr(assembly_outbox, "OutboxSeries", partial(OutboxSeries, file_bytes_max=FILE_BYTES))


def outage(monkeypatch: pytest.MonkeyPatch, sections: Mapping[str, Any] | None = None, **sinks: Sink) -> Outage:
    monkeypatch.setattr(assembly_delivery, "_receiver", lambda opened, *_: sinks[opened.name])
    return Outage(sinks, sections or {})


def test_in_an_outage_of_two_days_the_slow_lane_is_detached_in_time_and_the_other_never_waits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = outage(monkeypatch, slow=Sink(is_down=True), fast=Sink())
    steps = MINUTES // STEP_MINUTES
    detached: list[int] = []

    def step() -> None:
        fast, slow = world.reports["fast"], world.reports["slow"]
        assert (fast.delivered, fast.pending, fast.skipped, fast.state) == (len(world.sizes), 0, 0, "idle")
        # The model: with the first commit after the limit was reached, what is new is not for the slow lane.
        full = next(last for last in range(RECORDS, 10**9, RECORDS) if sum(world.sizes[each] for each in range(1, last + 1)) >= BYTES_MAX) \
            if world.waiting_bytes(0) >= BYTES_MAX else 10**9  # fmt: skip
        expected = full if len(world.sizes) > full else None
        assert slow.detached_after == expected
        if expected is None:
            assert (slow.pending, slow.skipped) == (len(world.sizes), 0)
        else:
            detached.append(expected)
            assert (slow.pending, slow.skipped, slow.state) == (expected, len(world.sizes) - expected, "detached")
            assert slow.pending_bytes == sum(world.sizes[each] for each in range(1, expected + 1)) < BYTES_MAX + 4 * 3200

    async def main() -> None:
        await world.run(steps, step)
        document = world.committed()["lanes"]["slow"]["detached"]
        assert (document["after"], document["records"]) == (detached[0], detached[0])
        # What both lanes have passed is gone, also between the records that the slow one needs and the newest.
        on_disk = [sequence for sequence, _ in world.lines()]
        assert on_disk[: detached[0]] == list(range(1, detached[0] + 1))
        assert sum(size_bytes for sequence, size_bytes in world.lines() if sequence > detached[0]) < 3 * FILE_BYTES
        # The next process finds it detached, and delivers what was for it.
        world.sinks["slow"].is_down = False
        await world.run(1, lambda: None)
        slow = world.reports["slow"]
        assert sorted(world.sinks["slow"].got) == list(range(1, detached[0] + 1))
        assert (slow.delivered, slow.pending, slow.state) == (detached[0], 0, "detached")
        assert slow.skipped == len(world.sizes) - detached[0]
        # Nothing is kept for it any more, after a while.
        await world.run(20, lambda: None)
        assert min(sequence for sequence, _ in world.lines()) > detached[0]
        assert sorted(world.sinks["fast"].got) == list(range(1, len(world.sizes) + 1))

    run_in_virtual_time(main())
    assert detached


def test_if_every_lane_is_detached_no_line_is_written_and_the_disk_stays_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    world = outage(monkeypatch, slow=Sink(is_down=True), slower=Sink(is_down=True))

    def step() -> None:
        assert (
            sum(len(world.fs.content(path) or b"") for path in world.fs.paths() if path.startswith(OUTBOX)) < BYTES_MAX + 4 * 3200
        )
        assert all(report.released == len(world.log.splitlines()) for report in world.reports.values())

    async def main() -> None:
        await world.run(MINUTES // STEP_MINUTES, step)
        series, lanes = world.committed()["outbox"]["events"], world.committed()["lanes"]
        after = lanes["slow"]["detached"]["after"]
        assert after == lanes["slower"]["detached"]["after"] == series["sealed_after"] == len(world.sizes)
        # Sequence and chain go on: a state that wrote every line has the same.
        other = outage(monkeypatch, {"bytes_max": 1 << 30}, slow=Sink(), slower=Sink())
        await other.run(MINUTES // STEP_MINUTES, lambda: None)
        whole = other.committed()["outbox"]["events"]
        assert (series["sequence"], series["chain"]) == (whole["sequence"], whole["chain"])

    run_in_virtual_time(main())


def test_with_pause_again_the_lane_stays_detached_and_its_records_pause_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    world = outage(monkeypatch, slow=Sink(is_down=True), other=Sink())

    async def main() -> None:
        await world.run(110, lambda: None)
        assert world.reports["slow"].pending_bytes >= BYTES_MAX
        world.sections = {"when_full": "pause"}
        # If what waits for the slow lane counted, this would wait without end.
        await world.run(3, lambda: None)
        assert (world.reports["slow"].state, world.reports["other"].delivered) == ("detached", 4 * 113)
        world.sections, world.sinks["other"].is_down = {}, True
        await world.run(110, lambda: None)
        other = world.reports["other"]
        assert (other.state, world.reports["slow"].detached_after) == (
            "detached",
            world.committed()["lanes"]["slow"]["detached"]["after"],
        )
        assert other.detached_after is not None
        assert other.delivered == 4 * 113
        assert world.committed()["outbox"]["events"]["sealed_after"] == other.detached_after

    run_in_virtual_time(main())
