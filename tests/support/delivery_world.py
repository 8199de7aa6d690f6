"""A whole pipeline with a lane on a simulated disk, in virtual time: its log, its receiver, its lives, and what must hold at each moment.

Owns: `World`, the independent model of what was sent, answered and made durable, and `life`, one process from its lock to its end.
Always: everything is a function of the seed. The commit and the lane write to one disk; the lane's writes take time, and go on if
the task that waits for them is cancelled, as in a thread.
Never: no real file, thread, socket or clock.
"""

from __future__ import annotations

import asyncio
import errno
import json
from bisect import bisect_left
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from random import Random
from typing import Any, Final

from event_processor.assembly import Environment, Mode, OpenPipeline, lock_state, open_pipeline
from event_processor.assembly.delivery import PipelineDelivery, Sending
from event_processor.configuration.configuration import Configuration
from event_processor.connectors.python.options import PythonSinkOptions
from event_processor.deduplication.index import IndexLimits
from event_processor.deduplication.merge import Inline
from event_processor.engine.commit import InlineCommits
from event_processor.engine.delivery.delivery import Delivery
from event_processor.engine.delivery.reports import LaneReport, OutboxReport
from event_processor.model.answers import Answer
from event_processor.model.contracts import Wakeup
from event_processor.model.delivery import Request
from event_processor.model.errors import StorageError
from event_processor.model.telemetry import Telemetry
from support.engine import configuration
from support.lanes import BAD, DELIVERED, WAIT
from support.simulated_faults import MUTATING_CALLS
from support.simulated_fs import Fault, SimulatedCrash, SimulatedFileSystem
from support.virtual_time import VirtualLoop

__all__ = ["World", "life", "most_within"]

FOLDER: Final = "/pipeline"
LOG: Final = f"{FOLDER}/log.jsonl"
CURSOR: Final = f"{FOLDER}/state/delivery/remote.json"
CHECKPOINT: Final = f"{FOLDER}/state/checkpoint.json"
PREDECESSOR: Final = f"{FOLDER}/state/checkpoint.previous.json"
FAILED: Final = f"{FOLDER}/state/delivery/remote.failed.jsonl"
RATE: Final = 15


def most_within(times: Sequence[float], per_s: float = 1.0) -> int:
    """The most moments within any `per_s` seconds."""
    ordered = sorted(times)
    return max((bisect_left(ordered, time + per_s - 1e-6) - place for place, time in enumerate(ordered)), default=0)


class LoopClock:
    """The time of the virtual loop, for the pipeline too."""

    def monotonic_s(self) -> float:
        return asyncio.get_running_loop().time()

    def wall_ns(self) -> int:
        return int((1_700_000_000 + self.monotonic_s()) * 1e9)

    def wait(self, wakeup: Wakeup, timeout_s: float) -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop)
        loop._virtual.now_s += max(timeout_s, 0.001)


@dataclass
class World:
    """What outlives a process: the disk, the log, the receiver, and what is known of them."""

    seed: int
    fs: SimulatedFileSystem = field(init=False)
    numbers: Random = field(init=False)
    log: bytearray = field(default_factory=bytearray)
    accepted: dict[str, int] = field(default_factory=dict)
    """The place of each accepted event, as in a key, and its id."""
    arrivals_s: list[float] = field(default_factory=list)
    delivered: Counter[str] = field(default_factory=Counter)
    answered: set[int] = field(default_factory=set)
    """The sequences whose answer reached the lane: delivered or refused."""
    keys: dict[int, str] = field(default_factory=dict)
    durable: int = 0
    """The highest sequence of a cursor whose save returned."""
    jobs: set[asyncio.Task[None]] = field(default_factory=set)
    sends: int = 0
    ends: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.numbers = Random(self.seed)
        self.fs = SimulatedFileSystem(self.seed)
        self.fs.plant(LOG, b"")
        self.has_rate = self.numbers.random() < 0.5
        self.is_strict = self.numbers.random() < 0.2
        self.events_max = self.numbers.choice([1, 1, 3, 20])
        self.wait_share = self.numbers.choice([0.0, 0.15, 0.5])
        self.save_s = self.numbers.choice([0.0, 0.01, 0.3])
        self.settings = self._settings()

    def _settings(self) -> Configuration:
        numbers = self.numbers
        sink = PythonSinkOptions.model_validate(
            {
                "type": "python",
                "input": "events",
                "class": "nowhere:Nothing",
                "service": "api",
                "request_events_max": self.events_max,
                "order": "strict" if self.is_strict else "none",
            }
        )
        service = {"requests_per_s": RATE if self.has_rate else None, "timeout_s": 2.0}
        return configuration(
            FOLDER,
            buffer_events=numbers.choice([0, 5]),
            batch_bytes=1024,
            sinks={"remote": sink},
            services={"api": service},
            outbox={"keep_s": numbers.choice([0, 0, 3600])},
        )

    # The log.

    def append(self) -> None:
        """Others append to the log: new ids, old ones, and lines that are no events."""
        for _ in range(self.numbers.randint(0, 12)):
            chance = self.numbers.random()
            offset = len(self.log)
            if chance < 0.1:
                self.log += self.numbers.choice([b"\n", b"{}\n", b"not json\n", b"[1]\n"])
                continue
            number = self.numbers.choice(list(self.accepted.values())) if chance < 0.2 and self.accepted else len(self.log)
            if number not in self.accepted.values():
                self.accepted[f"log:1:{offset}"] = number
            self.log += b'{"id": %d, "category": "c", "value": 1.5, "pad": "%s"}\n' % (
                number,
                b"x" * self.numbers.choice([0, 100, 300]),
            )
        self.fs.plant(LOG, bytes(self.log))

    def is_bad(self, key: str) -> bool:
        """Whether the receiver refuses the record for good."""
        return int(key.rpartition(":")[2]) % 13 == 4

    @property
    def sent_places(self) -> set[str]:
        """The places that were delivered."""
        return {key.split(":", 2)[2] for key in self.delivered}

    # What must hold.

    def passed(self) -> Callable[[int], bool]:
        """Whether the cursor on disk has passed a sequence."""
        content = self.fs.content(CURSOR)
        if content is None:
            return lambda _: False
        cursor = json.loads(content)
        ranges = cursor["answered"]
        return lambda sequence: sequence <= cursor["sequence"] or any(first <= sequence <= last for first, last, _ in ranges)

    def on_send(self, request: Request) -> None:
        """A request leaves the lane."""
        self.sends += 1
        has_passed = self.passed()
        for record, key in zip(request.records, request.keys, strict=True):
            assert not has_passed(record.sequence), f"{record.sequence} was sent again after its cursor had passed it"
            assert self.keys.setdefault(record.sequence, key) == key, f"{record.sequence} was sent under two keys"

    def on_saved(self) -> None:
        """A cursor is said to be durable."""
        self.durable = max(self.durable, self.require_cursor())

    def require_cursor(self) -> int:
        """Requires that the cursor on disk passes only what was answered, and has every failed record once. Returns its sequence."""
        content = self.fs.content(CURSOR)
        if content is None:
            return 0
        cursor = json.loads(content)
        ahead = [sequence for first, last, _ in cursor["answered"] for sequence in range(first, last + 1)]
        passed = {*range(1, cursor["sequence"] + 1), *ahead}
        assert passed <= self.answered, f"passed without an answer: {sorted(passed - self.answered)}"
        counts = cursor["counts"]
        assert sum(counts.values()) == len(passed), cursor
        lines = (self.fs.content(FAILED) or b"")[: cursor["failed_bytes"]].splitlines()
        failed = [json.loads(line) for line in lines]
        sequences = [each["sequence"] for each in failed]
        assert len(sequences) == len(set(sequences)) == counts["failed"], (sequences, counts)
        assert passed.issuperset(sequences)
        assert all(self.is_bad(each["key"]) and self.keys[each["sequence"]] == each["key"] for each in failed)
        return int(cursor["sequence"])

    def require_end(self) -> None:
        """Requires that after the last clean life everything was delivered or is a failed record, each under its own key."""
        assert most_within(self.arrivals_s) <= RATE or not self.has_rate
        assert len(set(self.keys.values())) == len(self.keys), "two sequences have one key"
        assert len({key.split(":")[0] for key in self.keys.values()}) <= 1, "the state has two names"
        content = self.fs.content(FAILED) or b""
        failed = [json.loads(line)["key"].split(":", 2)[2] for line in content.splitlines()]
        assert len(failed) == len(set(failed)), "a record is in the failed file twice"
        assert self.sent_places.isdisjoint(failed)
        answered = self.sent_places | set(failed)
        assert answered == set(self.accepted), f"missing: {set(self.accepted) - answered}, extra: {answered - set(self.accepted)}"


class WorldReceiver:
    """Answers by chance. A request that was sent may arrive although its sender was killed."""

    def __init__(self, world: World) -> None:
        self._world = world

    async def open(self) -> None: ...

    async def refresh(self) -> None: ...

    async def close(self) -> None: ...

    async def deliver(self, request: Request) -> Answer:
        world = self._world
        world.on_send(request)
        loop = asyncio.get_running_loop()
        until_arrival_s, until_answer_s = world.numbers.random() * 0.05, world.numbers.random() * 0.05
        is_bad = any(map(world.is_bad, request.keys))
        answer = BAD if is_bad else WAIT if world.numbers.random() < world.wait_share else DELIVERED
        arrival_s = loop.time() + until_arrival_s

        def arrive() -> None:
            world.arrivals_s.append(arrival_s)
            if answer is DELIVERED:
                world.delivered.update(request.keys)

        loop.call_later(until_arrival_s, arrive)
        await asyncio.sleep(until_arrival_s + until_answer_s)
        if answer is DELIVERED or (answer is BAD and len(request.records) == 1):
            world.answered.update(record.sequence for record in request.records)
        return answer


class WatchedDelivery(PipelineDelivery):
    """The delivery of the pipeline, without its thread."""

    def __init__(self, world: World, pipeline: OpenPipeline, surroundings: Environment, sending: Sending) -> None:
        self._world = world
        super().__init__(pipeline, surroundings, sending, "test")

    def _saved(self) -> None:
        self._world.on_saved()
        super()._saved()

    def _publish(self, reports: Sequence[LaneReport], outbox: OutboxReport) -> None:
        for report in reports:
            known = report.delivered + report.failed + report.skipped + report.pending
            assert report.released - report.started_after == known, report
        super()._publish(reports, outbox)

    def made(self) -> Delivery:
        """All lanes, in the running loop."""
        return self._made()


def offload_in(world: World) -> Callable[[Callable[[], None]], Awaitable[None]]:
    """Runs a job a little later, whatever becomes of the task that waits for it: as a thread does."""

    async def offload(job: Callable[[], None]) -> None:
        async def work() -> None:
            await asyncio.sleep(world.numbers.random() * world.save_s)
            job()

        task = asyncio.create_task(work())
        world.jobs.add(task)
        task.add_done_callback(world.jobs.discard)
        await asyncio.shield(task)

    return offload


def _environment(world: World) -> Environment:
    random = Random(world.numbers.getrandbits(64))
    return Environment(
        fs=world.fs,
        clock=LoopClock(),
        telemetry=Telemetry(),
        random_bytes=random.randbytes,
        background=Inline,
        committing=InlineCommits,
        index_limits=IndexLimits(seal_ids=16, merge_segments=2, merge_segments_above=2),
    )


async def life(world: World, *, is_last: bool) -> None:
    """One process, which dies, fails or ends cleanly as the seed wants; the last one delivers everything."""
    numbers = world.numbers
    has_fault = not is_last and _plan(world)
    end = "clean"
    try:
        await _run(world, rounds=1 if is_last else numbers.randint(1, 5), is_last=is_last)
    except SimulatedCrash:
        if is_last:
            raise
        end = "crash"
    except StorageError:
        if is_last:
            raise
        end = "fault"
    if world.fs.crashed:
        end = "crash"
    world.ends[end] += 1
    for job in list(world.jobs):
        job.cancel()
    await asyncio.gather(*world.jobs, return_exceptions=True)
    # What the killed process had sent arrives within its timeout.
    await asyncio.sleep(numbers.random() * 0.2)
    world.fs.stop_failing()
    if not is_last:
        # A name whose fsync failed may be lost at any later power cut, and no later process can know that. So the cut comes now.
        world.fs = world.fs.crash() if has_fault or numbers.random() < 0.5 else world.fs.kill()
        if numbers.random() < 0.2 and (content := world.fs.content(CHECKPOINT)) and world.fs.content(PREDECESSOR):
            # The present checkpoint breaks; a new inode, because both may be one file.
            world.fs.unlink(CHECKPOINT)
            world.fs.plant(CHECKPOINT, content[:-20])
            world.ends["broken"] += 1
    found = world.require_cursor()
    assert found >= world.durable, f"the cursor was durable at {world.durable}, and is at {found} now"


def _plan(world: World) -> bool:
    """Plans the end of a life, or none. Returns whether a call is to fail."""
    numbers = world.numbers
    chance = numbers.random()
    if chance < 0.6:
        world.fs.crash_at(numbers.randint(1, 250), after=numbers.random() < 0.5)
    elif chance < 0.85:
        number = numbers.choice([errno.ENOSPC, errno.EIO])
        world.fs.fail(Fault(nth=numbers.randint(1, 200), errno=number, kinds=MUTATING_CALLS, lasting=numbers.random() < 0.5))
        return True
    return False


async def _run(world: World, *, rounds: int, is_last: bool) -> None:
    """From the lock to the end, in the order of the daemon."""
    surroundings = _environment(world)
    sending = Sending()
    with ExitStack() as cleanup:
        lock = lock_state(world.settings, surroundings)
        cleanup.callback(lock.release)
        pipeline = open_pipeline(world.settings, surroundings, Mode(once=True, drain=is_last))
        cleanup.callback(pipeline.processor.close)
        delivery = WatchedDelivery(world, pipeline, surroundings, sending).made()
        for name, series in pipeline.series.items():
            series.on_publish(lambda view, name=name: delivery.follow(name, view))  # type: ignore[misc]  # bound by the default
        task = asyncio.create_task(delivery.run())
        try:
            for _ in range(rounds):
                world.append()
                pipeline.processor.run()
                await asyncio.sleep(world.numbers.random() * world.numbers.choice([0.01, 0.5, 2.0]))
                if task.done():
                    break
            while is_last and delivery.pending and not task.done():  # noqa: ASYNC110 - the time is virtual
                await asyncio.sleep(0.1)
            await _close(world, delivery, task)
        except StorageError:
            await _close(world, delivery, task)
            raise
        except BaseException:
            await _kill(delivery, task)
            raise
        finally:
            delivery.release()
    sending.end()


async def _close(world: World, delivery: Delivery, task: asyncio.Task[None]) -> None:
    """As the daemon ends its delivery. Raises what ended it."""
    if not task.done():
        await delivery.close(world.numbers.choice([0.0, 0.03, 10.0]))
    await task
    assert not [lane.health.failure for lane in delivery.all_lanes if lane.health.failure]


async def _kill(delivery: Delivery, task: asyncio.Task[None]) -> None:
    """The process is gone: nothing more is done."""
    everything: list[asyncio.Task[Any]] = [task, *(running for lane in delivery.all_lanes for running in lane.running)]
    for each in everything:
        each.cancel()
    await asyncio.gather(*everything, return_exceptions=True)
