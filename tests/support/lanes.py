"""A lane with a receiver that follows a script, in virtual time, over an outbox in memory and a real state directory."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field

import msgspec

from event_processor.engine.delivery.delivery import Delivery
from event_processor.engine.delivery.gate import Gate
from event_processor.engine.delivery.keys import RETRY
from event_processor.engine.delivery.lane import Lane
from event_processor.engine.delivery.limiter import Limiter, Rate
from event_processor.engine.delivery.orders import LaneOrders, Orders
from event_processor.engine.delivery.parts import EnricherParts, LaneParts
from event_processor.engine.delivery.progress import LaneIdentity, Progress
from event_processor.engine.delivery.reports import LaneReport, OutboxReport
from event_processor.engine.delivery.retries import RetryOrders, RetrySeries, retry_lane_name, retry_path
from event_processor.engine.delivery.service import Service
from event_processor.engine.delivery.shared_receiver import SharedReceiver
from event_processor.engine.delivery.stage import LaneTimes
from event_processor.engine.delivery.transactional_lane import TransactionalLane
from event_processor.engine.delivery.tries import Try
from event_processor.engine.delivery.window import OutboxReading, Released
from event_processor.model.answers import Answer, Verdict
from event_processor.model.backoff import Backoff
from event_processor.model.delivery import OutboxRecord, Request
from event_processor.model.enriching import EnricherOptions
from event_processor.model.event import Json
from event_processor.model.record_blocks import RecordBlock
from event_processor.model.remote import RemoteSinkOptions
from event_processor.model.telemetry import Telemetry
from event_processor.model.transactions import TransactionalReceiver
from event_processor.storage.durable import FileSystem, OperatingSystem
from event_processor.storage.outbox import SeriesView
from event_processor.storage.outbox_blocks import block_of
from event_processor.storage.outbox_reader import OutboxReader, chain_after_record, require_follows

DELIVERED = Answer(Verdict.DELIVERED, status="200")
WAIT = Answer(Verdict.WAIT, "not now", "503")
BAD = Answer(Verdict.BAD, "not so", "422")
STOP = Answer(Verdict.STOP, "who are you", "401")
STATE_ID = "0123456789abcdef"


def chain_after(chain: str, record: OutboxRecord) -> str:
    return chain_after_record(chain, record)


def records(count: int, first: int = 1, chain: str = "", mark: str = "") -> list[OutboxRecord]:
    """Records with these sequences; `mark` makes them other records."""
    made = []
    for sequence in range(first, first + count):
        place: dict[str, Json] = {"source": "events", "generation": 1, "offset": 10 * sequence, "line": sequence}
        body = msgspec.Raw(f'{{"n":{sequence},"mark":"{mark}"}}'.encode())
        record = OutboxRecord(sequence, place, "2026-01-01T00:00:00Z", 1.5, "", body)
        chain = chain_after(chain, record)
        made.append(msgspec.structs.replace(record, chain=chain))
    return made


@dataclass
class MemoryOutbox:
    """A series in memory. `sequence`, `chain`: of the last record."""

    entries: list[OutboxRecord] = field(default_factory=list)

    @property
    def sequence(self) -> int:
        return self.entries[-1].sequence if self.entries else 0

    @property
    def chain(self) -> str:
        return self.entries[-1].chain if self.entries else ""

    def reader(self, after: int) -> MemoryReader:
        return MemoryReader(self, after)


@dataclass
class MemoryReader:
    outbox: MemoryOutbox
    after: int

    def read(self, bytes_max: int) -> list[tuple[OutboxRecord, int]]:
        found = [each for each in self.outbox.entries if each.sequence > self.after][: max(1, bytes_max // 100)]
        self.after = found[-1].sequence if found else self.after
        return [(each, 100) for each in found]

    def read_block(self, bytes_max: int, chain: str) -> RecordBlock | None:
        found = self.read(bytes_max)
        if not found:
            return None
        content = b"".join(msgspec.json.encode(record) + b"\n" for record, _ in found)
        sequence = found[0][0].sequence

        def decode(line: bytes, sequence: int) -> OutboxRecord:
            record = msgspec.json.decode(line, type=OutboxRecord)
            assert record.sequence == sequence
            return record

        block = block_of(content, sequence=sequence, count=len(found), chain=chain, decode=decode, follow=require_follows)
        self.after = block.last
        return block

    def follow(self, released: object) -> None: ...

    def all_bytes(self) -> int:
        return 100 * len(self.outbox.entries)

    def unread_bytes(self) -> int:
        return 100 * max(0, self.outbox.sequence - self.after)

    def close(self) -> None: ...


Script = Callable[[Request], "Answer | Awaitable[Answer]"]


@dataclass
class ScriptedReceiver:
    """Answers by a function, after `delay_s`, and remembers what came."""

    script: Script
    delay_s: float = 0.02
    requests: list[Request] = field(default_factory=list)
    arrivals_s: list[float] = field(default_factory=list)
    delivered: Counter[str] = field(default_factory=Counter)
    refreshed: int = 0
    closed: bool = False

    async def open(self) -> None: ...

    async def deliver(self, request: Request) -> Answer:
        self.requests.append(request)
        await asyncio.sleep(self.delay_s / 2)
        self.arrivals_s.append(asyncio.get_running_loop().time())
        answer = self.script(request)
        if not isinstance(answer, Answer):
            answer = await answer
        if answer.verdict is Verdict.DELIVERED:
            self.delivered.update(request.keys)
        await asyncio.sleep(self.delay_s / 2)
        return answer

    async def refresh(self) -> None:
        self.refreshed += 1

    async def close(self) -> None:
        self.closed = True


@dataclass
class ScriptedEnricher:
    """Answers by a function; if it is asked well, sets a field of its name to the sequence."""

    name: str
    script: Callable[[Request], Answer]
    events_max: int = 10
    requests: list[Request] = field(default_factory=list)
    refreshed: int = 0
    closed: bool = False

    async def open(self) -> None: ...

    async def enrich(self, request: Request) -> tuple[Answer, list[msgspec.Raw]]:
        self.requests.append(request)
        await asyncio.sleep(0.02)
        answer = self.script(request)
        if answer.verdict is not Verdict.DELIVERED:
            return answer, []
        objects = [{**msgspec.json.decode(each.object), self.name: each.sequence} for each in request.records]
        return answer, [msgspec.Raw(msgspec.json.encode(each)) for each in objects]

    async def refresh(self) -> None:
        self.refreshed += 1

    async def close(self) -> None:
        self.closed = True


class Told(Telemetry):
    """What was reported of lanes."""

    def __init__(self) -> None:
        self.said: list[tuple[str, str]] = []

    def lane_waiting(self, *, sink: str, reason: str) -> None:
        self.said.append(("waiting", reason))

    def lane_stopped(self, *, sink: str, reason: str, remedy: str) -> None:
        self.said.append(("stopped", reason))

    def lane_flowing(self, *, sink: str) -> None:
        self.said.append(("flowing", ""))

    def lane_paused(self, *, sink: str, remedy: str) -> None:
        self.said.append(("paused", remedy))

    def lane_resumed(self, *, sink: str) -> None:
        self.said.append(("resumed", ""))

    def lane_failed(self, *, sink: str, reason: str, remedy: str, exit_code: int) -> None:
        self.said.append(("failed", f"{exit_code}: {reason}"))

    def lane_rewound(self, *, sink: str, records: int) -> None:
        self.said.append(("rewound", str(records)))

    def snapshot_ahead(self, *, sink: str, as_of: int, records: int) -> None:
        self.said.append(("ahead", f"{as_of}: {records}"))

    def delivery_failed(self, *, sink: str, sequence: int, status: str, reason: str) -> None:
        self.said.append(("delivery failed", f"{sequence}: {status} {reason}"))


class ScriptedSinkOptions(RemoteSinkOptions):
    """`age_s_max`: so long records wait for a full request."""

    age_s_max: float = 0.0

    @property
    def request_age_s_max(self) -> float:
        return self.age_s_max


class Bench:
    """One process: a delivery loop with one lane, which is to be made inside the loop."""

    def __init__(
        self,
        directory: str,
        outbox: MemoryOutbox,
        receiver: ScriptedReceiver | Callable[[], TransactionalReceiver],
        *,
        gate: Gate | None = None,
        rate: int | None = None,
        concurrency: int = 4,
        retries_max: int = 10,
        seed: int = 0,
        fs: FileSystem | None = None,
        name: str = "remote",
        state_id: str = STATE_ID,
        started: tuple[int, str] = (0, ""),
        held_bytes_max: int | None = None,
        enrichers: Mapping[str, ScriptedEnricher] | None = None,
        **options: object,
    ) -> None:
        loop = asyncio.get_running_loop()
        numbers = random.Random(seed)
        self.outbox = outbox
        self.receiver = receiver
        self.told = Told()
        self.reports: list[LaneReport] = []
        self.outbox_reports: list[OutboxReport] = []
        self.tries: list[Try] = []
        self._enrichers = tuple(
            EnricherParts(
                each,
                EnricherOptions.model_validate({"service": each, "set": {"n": "n"}, "request_events_max": enricher.events_max}),
                retries_max,
                enricher,
                Service(Gate(concurrency, None, numbers.random), loop.time),
            )
            for each, enricher in (enrichers or {}).items()
        )
        self.retry_lane: Lane | None = None
        self._files = fs or OperatingSystem()
        self._directory = directory
        self._name = name
        self._numbers = numbers
        self._options = ScriptedSinkOptions(type="scripted", **options)  # type: ignore[arg-type]  # checked by the model
        self._retries_max = retries_max
        self._held_bytes_max = held_bytes_max
        self._shared = SharedReceiver(receiver) if isinstance(receiver, ScriptedReceiver) else None
        limiter = None if rate is None else Limiter(Rate(rate))
        self.gate = gate or Gate(concurrency, limiter, numbers.random)
        self._service = Service(self.gate, loop.time)
        identity = LaneIdentity(name, "events", state_id, {"type": "scripted"}, *started, pipeline="pipeline")
        self.progress = Progress(self._files, directory, identity)
        orders = LaneOrders(self._files, directory, name, name)
        self._lane = TransactionalLane if self._shared is None else Lane
        self.lane = self._lane(
            self._parts(identity, self.progress, lambda _, after: outbox.reader(after), orders, chain_after),
            Frozen(outbox.sequence, outbox.chain),
        )
        self.delivery = Delivery(
            {"events": [self.lane]},
            loop.time,
            publish=self._publish,
            passed=lambda _input, _place: None,
            make_retries=self._retries,
        )
        self.task = loop.create_task(self.delivery.run())

    def _retries(self, sink: str) -> Lane | None:
        """The lane of retried records, over the real file."""
        if self._files.status(retry_path(self._directory, sink)) is None:
            return None
        series = RetrySeries(self._files, self._directory, sink)
        view = series.look()
        identity = LaneIdentity(retry_lane_name(sink), RETRY, STATE_ID, {"type": "scripted"}, 0, "", pipeline="pipeline")
        progress = Progress(self._files, self._directory, identity)
        orders = RetryOrders(LaneOrders(self._files, self._directory, sink, identity.name), series)
        self.retry_lane = self._lane(self._parts(identity, progress, self._file_reader, orders, chain_after_record), view)
        return self.retry_lane

    def _transactional(self) -> TransactionalReceiver:
        assert not isinstance(self.receiver, ScriptedReceiver)
        return self.receiver()

    def _file_reader(self, released: Released, after: int) -> OutboxReader:
        assert isinstance(released, SeriesView)
        return OutboxReader(self._files, released, after)

    def _parts(
        self,
        identity: LaneIdentity,
        progress: Progress,
        reader: Callable[[Released, int], OutboxReading],
        orders: Orders,
        chain: Callable[[str, OutboxRecord], str],
    ) -> LaneParts:
        loop = asyncio.get_running_loop()

        self._save_s: Callable[[], float] = lambda: 0.0

        async def work(job: Callable[[], None]) -> None:
            if save_s := self._save_s():
                await asyncio.sleep(save_s)
            job()

        async def offload(job: Callable[[], None]) -> None:
            # As in a thread: it goes on if its caller is cancelled.
            await asyncio.shield(asyncio.ensure_future(work(job)))

        return LaneParts(
            identity=identity,
            options=self._options,
            retries_max=self._retries_max,
            receiver=self._shared.share() if self._shared else self._transactional(),
            service=self._service,
            reader=reader,
            progress=progress,
            chain_after=chain,
            times=LaneTimes(loop.time, lambda: round(loop.time() * 1e9)),
            backoff=Backoff(self._numbers.random),
            telemetry=self.told,
            orders=orders,
            offload=offload,
            saved=lambda: None,
            tried=self.tries.append,
            enrichers=self._enrichers,
            held_bytes_max=self._held_bytes_max,
        )

    def _publish(self, reports: Iterable[LaneReport], outbox: OutboxReport) -> None:
        self.reports.extend(reports)
        self.outbox_reports.append(outbox)

    def append(self, more: list[OutboxRecord]) -> None:
        """A commit adds records."""
        self.outbox.entries.extend(more)
        self.delivery.follow("events", Frozen(self.outbox.sequence, self.outbox.chain))

    def slow_saves(self, save_s: Callable[[], float]) -> None:
        """From now on, each save takes as long as `save_s` says."""
        self._save_s = save_s

    async def idle(self, *, pending_only: bool = False) -> None:
        """Waits until nothing is pending; with `pending_only`, the cursor may not be durable yet."""
        while (self.lane if pending_only else self.delivery).pending and not self.task.done():  # noqa: ASYNC110 - the time is virtual
            await asyncio.sleep(0.05)

    async def close(self, drain_s: float = 10.0) -> LaneReport:
        """Ends the process cleanly."""
        await self.delivery.close(drain_s)
        await self.task
        self.delivery.release()
        return self.delivery.reports()[0]

    async def kill(self) -> None:
        """Ends the process without another write."""
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)
        running = [task for lane in (self.lane, self.retry_lane) if lane for task in lane.running]
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        self.delivery.release()


@dataclass(frozen=True)
class Frozen:
    """How far a checkpoint covers the series."""

    sequence: int
    chain: str
    total: int | None = None

    def for_lane(self, lane: str) -> Frozen:
        return self


def key_of(sequence: int, name: str = "remote") -> str:
    return f"{STATE_ID}:{name}:events:1:{10 * sequence}"
