"""A lane that writes into a real broker, faults at any call of its producer, and what readers of committed records find.

Owns: `KafkaSinkWorld`, `FaultyClients`, `Fault`, and one life of a lane.
Always: what is found in a topic is read by a consumer of its own, which knows nothing of the package. The cursor is read as JSON.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from confluent_kafka import IsolationLevel, KafkaError, KafkaException, Message, Producer, TopicPartition
from confluent_kafka.admin import ConfigResource, OffsetSpec  # type: ignore[attr-defined]  # it has them from its parts

from event_processor.connectors.kafka.client_options import client_settings
from event_processor.connectors.kafka.sink import CURSOR_TOPIC
from event_processor.connectors.kafka.sink_clients import Clients, Interruption
from event_processor.connectors.kafka.sink_options import KafkaSinkOptions
from event_processor.connectors.kafka.sink_transactions import Identity, KafkaTransactions
from event_processor.engine.delivery.cursor_file import read_cursor
from event_processor.engine.delivery.reports import LaneReport
from event_processor.model.blocking_receiver import BlockingReceiver, WorkerThread
from event_processor.model.clock import SystemClock, SystemWakeup
from event_processor.model.telemetry import Telemetry
from event_processor.storage.durable import FileSystem, OperatingSystem
from support.kafka_broker import KafkaBroker
from support.lane_lives import WITHIN_S, KilledError, killed, lived
from support.lanes import Bench, MemoryOutbox

__all__ = ["WITHIN_S", "Fault", "FaultyClients", "KafkaSinkWorld", "KilledError", "killed", "lost"]


@dataclass
class Fault:
    """At the `nth` call of a producer, counted from 1, of those with one of the `names` (empty: of any).

    `event` happens before the call; if `after`, after it. It may raise: `KilledError`, or `lost`.
    """

    nth: int = 0
    names: tuple[str, ...] = ()
    after: bool = False
    event: Callable[[], object] = lambda: None
    calls: int = 0
    is_dead: bool = False
    """The process was killed: nothing that it cleans up reaches the broker."""

    @property
    def was_met(self) -> bool:
        return 0 < self.nth <= self.calls

    def around(self, name: str, call: Callable[[], Any]) -> Any:
        if self.is_dead:
            raise KilledError
        try:
            return self._around(name, call)
        except KilledError:
            self.is_dead = True
            raise

    def _around(self, name: str, call: Callable[[], Any]) -> Any:
        if self.names and name not in self.names:
            return call()
        self.calls += 1
        if self.calls != self.nth:
            return call()
        if not self.after:
            self.event()
            return call()
        found = call()
        self.event()
        return found


def lost() -> None:
    """The library says so of a call whose outcome is unknown for good."""
    raise KafkaException(KafkaError(KafkaError._STATE, "the answer is lost"))


@dataclass
class FaultyProducer:
    """See `Producer`."""

    producer: Producer
    fault: Fault

    def __len__(self) -> int:
        return len(self.producer)

    def __getattr__(self, name: str) -> Any:
        method = getattr(self.producer, name)
        return lambda *args, **keys: self.fault.around(name, partial(method, *args, **keys))


class FaultyClients(Clients):
    """Clients whose producers fail."""

    def __init__(self, fault: Fault, settings: Mapping[str, object], where: str, interruption: Interruption) -> None:
        super().__init__(settings, where, interruption)
        self._fault = fault

    def producer(self, own: Mapping[str, object]) -> Any:
        return FaultyProducer(super().producer(own), self._fault)


@dataclass
class World:
    """What a lane needs of the world."""

    fs: FileSystem = field(default_factory=OperatingSystem)
    clock: SystemClock = field(default_factory=SystemClock)
    telemetry: Telemetry = field(default_factory=Telemetry)
    wakeup: SystemWakeup = field(default_factory=SystemWakeup)


_WRITERS = iter(range(10**9))


@dataclass
class KafkaSinkWorld:
    """A topic, and a topic for cursors, of their own."""

    broker: KafkaBroker
    topic: str
    cursor_topic: str

    @classmethod
    def of(cls, broker: KafkaBroker, partitions: int = 2, **settings: str) -> KafkaSinkWorld:
        topic = broker.new_topic(partitions, **settings)
        return cls(broker, topic, f"{topic}-cursors")

    def options(self, **keys: object) -> KafkaSinkOptions:
        given = {"type": "kafka", "brokers": self.broker.address, "topic": self.topic, "cursor_topic": self.cursor_topic}
        client = {"reconnect.backoff.ms": 10, "reconnect.backoff.max.ms": 200}
        return KafkaSinkOptions.model_validate({**given, "client": client, **keys})

    def receiver_of(
        self, fault: Fault | None = None, options: KafkaSinkOptions | None = None, timeout_s: float = 20.0
    ) -> Callable[[], BlockingReceiver]:
        """What makes receivers of one process."""
        world, wanted = World(), options or self.options()

        number = next(_WRITERS)

        def made() -> BlockingReceiver:
            transactions = KafkaTransactions(
                wanted,
                partial(client_settings, wanted, world.fs, {}),
                Identity(f"host:{number}:x", "event-processor test"),
                world=world,
                timeout_s=timeout_s,
                make_clients=partial(FaultyClients, fault or Fault()),
            )
            return BlockingReceiver(transactions, WorkerThread("kafka test"), timeout_s, traits=CURSOR_TOPIC)

        return made

    def bench(self, state: Path, outbox: MemoryOutbox, made: Callable[[], BlockingReceiver] | None = None, **keys: Any) -> Bench:
        keys.setdefault("request_events_max", 7)
        return Bench(str(state), outbox, made or self.receiver_of(), **keys)

    def deliver(
        self, state: Path, outbox: MemoryOutbox, made: Callable[[], BlockingReceiver] | None = None, **keys: Any
    ) -> LaneReport:
        """One process that ends when nothing is pending, or when its lane failed. Raises `KilledError` if it was killed."""
        return lived(lambda: self.bench(state, outbox, made, **keys))

    def messages(self, topic: str = "") -> list[Message]:
        """What a reader of committed records finds."""
        return self.broker.read_committed(topic or self.topic)

    def numbers(self) -> list[int]:
        """The field `n` of what a reader of committed records finds, in ascending order."""
        return sorted(json.loads(each.value() or b"{}")["n"] for each in self.messages())

    def cursors(self) -> dict[str, dict[str, Any]]:
        """The last cursor of each lane, by its name."""
        found: dict[str, dict[str, Any]] = {}
        for each in self.messages(self.cursor_topic):
            key = json.loads(each.key() or b"{}")
            if "failed" not in key:
                found.pop(key["lane"], None)
                if (value := each.value()) is not None:
                    found[key["lane"]] = json.loads(value)
        return found

    def setting(self, topic: str, name: str) -> str:
        """A setting of a topic."""
        asked = ConfigResource(ConfigResource.Type.TOPIC, topic)
        with self.broker.admin() as admin:
            return str(admin.describe_configs([asked])[asked].result(WITHIN_S)[name].value)

    def is_closed(self, topic: str, partition: int = 0) -> bool:
        """Whether no transaction is open in a partition: what a reader may see ends where the log ends."""
        asked = TopicPartition(topic, partition)
        with self.broker.admin() as admin:
            latest = {asked: OffsetSpec.latest()}  # type: ignore[no-untyped-call]  # of the library
            found = admin.list_offsets(latest, isolation_level=IsolationLevel.READ_UNCOMMITTED)[asked].result(WITHIN_S)
        return bool(self.broker.offsets(topic, partition)[1] == found.offset)

    def require_true(self, state: Path, report: LaneReport, lane: str = "remote") -> None:
        """The cursor in its topic, its mirror, the report and the topic say the same."""
        cursor = self.cursors()[lane]
        mirror = read_cursor(OperatingSystem(), str(state), lane)
        assert mirror is not None
        assert (mirror.sequence, mirror.chain, mirror.answered) == (cursor["sequence"], cursor["chain"], ())
        counts = [cursor["delivered"], cursor["failed"], cursor["skipped"]]
        assert [mirror.counts.delivered, mirror.counts.failed, mirror.counts.skipped] == counts
        assert [report.delivered, report.failed, report.skipped] == counts
        assert report.released - cursor["started_after"] == sum(counts) + report.pending
        keys = [dict(each.headers() or ())["event_processor.key"] for each in self.messages()]
        assert len(keys) == len(set(keys))
