"""The topic with the cursors of lanes: made if it is missing, and read to its end.

Owns: `CursorTopic`, how the topic is made, and when it was read far enough.
Always: partition 0 alone is used. What was committed before `end` was asked for is taken, or the read fails: the open transaction of
another pipeline hides later records, so its end is waited for, in bounded time, with words.
Never: writes a cursor (`sink_transactions.py` does); goes on with a topic that forgets cursors.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from confluent_kafka import OFFSET_BEGINNING, IsolationLevel, KafkaError, KafkaException, TopicCollection, TopicPartition
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # it has them from its parts
    AdminClient,
    ConfigResource,
    NewTopic,
    OffsetSpec,
)

from event_processor.connectors.kafka.client import error_of
from event_processor.connectors.kafka.cursor_entries import FailedParts, LaneEntries
from event_processor.connectors.kafka.failures import failure_of, verdict_of
from event_processor.connectors.kafka.sink_clients import REQUEST_S, SLICE_S, Clients
from event_processor.connectors.kafka.sink_options import KafkaSinkOptions
from event_processor.model.answers import Answer, Verdict
from event_processor.model.transactions import CursorOwner, FailedRecord, TransactionError

__all__ = ["TOPIC_SETTINGS", "CursorTopic"]

PARTITION: Final = 0
STABLE_WAIT_S: Final = 5.0
"""How long the end of other transactions is waited for in one try."""
TOPIC_SETTINGS: Final = {"cleanup.policy": "compact", "segment.bytes": "16777216", "min.cleanable.dirty.ratio": "0.1"}
"""Of the topic that we make. Small segments: only whole ones are compacted, and each start reads everything."""
COMPACT: Final = "kafka-configs.sh --alter --entity-type topics --entity-name {topic} --add-config cleanup.policy=compact"


class _GoneError(Exception):
    """The offset to read from is not in the topic any more."""


class CursorTopic:
    """The topic, as one lane reads it. Used by one thread."""

    def __init__(self, options: KafkaSinkOptions, owner: CursorOwner, now: Callable[[], float]) -> None:
        """`now`: a clock that does not jump, in seconds."""
        self._options: Final = options
        self._owner: Final = owner
        self._now: Final = now
        self._name: Final = options.cursor_topic
        self._topic_id = ""
        self._next: int | None = None
        """Everything before this offset was taken; None: nothing was."""
        self.entries = LaneEntries(owner)

    def prepare(self, clients: Clients, admin: AdminClient, *, may_make: bool) -> bool:
        """Whether the topic exists; makes it if it may. Raises `TransactionError` if it, or another topic of the sink, cannot be used."""
        names = [*self._options.topics(), self._name]
        futures = clients.call(lambda: admin.describe_topics(TopicCollection(names), request_timeout=REQUEST_S), "topics")
        for name in self._options.topics():
            clients.call(lambda name=name: clients.result(admin, futures[name], name), f"topic {name}")  # type: ignore[misc]  # bound by the default
        try:
            found = clients.result(admin, futures[self._name], self._name)
        except KafkaException as exception:
            if error_of(exception).code() != KafkaError.UNKNOWN_TOPIC_OR_PART:
                raise clients.errors.failure(exception, f"topic {self._name}") from exception
            if not may_make:
                return False
            self._make(clients, admin)
            self._forget()
            return True
        if str(found.topic_id) != self._topic_id:
            # Another topic of the same name, or the first look at it.
            self._forget()
            self._topic_id = str(found.topic_id)
        self._require_compacted(clients, admin)
        return True

    def _make(self, clients: Clients, admin: AdminClient) -> None:
        """Makes the topic, and waits for its leader. The brokers decide how many replicas it has."""
        made = NewTopic(self._name, num_partitions=1, replication_factor=-1, config=dict(TOPIC_SETTINGS))
        doing = f"make the topic {self._name}"
        try:
            clients.result(admin, admin.create_topics([made], request_timeout=REQUEST_S)[self._name], doing)
        except KafkaException as exception:
            # Another lane may have made it at the same moment.
            if error_of(exception).code() != KafkaError.TOPIC_ALREADY_EXISTS:
                raise clients.errors.failure(exception, doing) from exception
        while not self._has_leader(clients, admin):
            clients.interruption.require_none(doing)

    def _has_leader(self, clients: Clients, admin: AdminClient) -> bool:
        try:
            future = admin.describe_topics(TopicCollection([self._name]), request_timeout=REQUEST_S)[self._name]
            return clients.result(admin, future, self._name).partitions[PARTITION].leader is not None
        except KafkaException as exception:
            if error_of(exception).code() == KafkaError.UNKNOWN_TOPIC_OR_PART:
                return False  # not every broker knows it yet
            raise clients.errors.failure(exception, f"topic {self._name}") from exception

    def _require_compacted(self, clients: Clients, admin: AdminClient) -> None:
        """Raises `TransactionError` if the topic deletes cursors after a while. If we may not look, an operator has to."""
        resource = ConfigResource(ConfigResource.Type.TOPIC, self._name)
        try:
            found = clients.result(admin, admin.describe_configs([resource], request_timeout=REQUEST_S)[resource], self._name)
        except KafkaException as exception:
            failure = clients.errors.failure(exception, f"settings of the topic {self._name}")
            if failure.answer.verdict is Verdict.WAIT:
                raise failure from exception
            return
        policy = found["cleanup.policy"].value
        if policy != "compact":
            words = (
                f'the topic {self._name} has cleanup.policy "{policy}", so it forgets cursors after a while; it must be "compact"'
            )
            raise TransactionError(
                Answer(Verdict.STOP, words), remedy=f"{COMPACT.format(topic=self._name)}; then: event-processor reload"
            )

    def end(self, clients: Clients, admin: AdminClient) -> int:
        """The offset after the last record, whether it is committed or not."""
        place = TopicPartition(self._name, PARTITION)
        asked = {place: OffsetSpec.latest()}  # type: ignore[no-untyped-call]  # of the library
        futures = admin.list_offsets(asked, isolation_level=IsolationLevel.READ_UNCOMMITTED, request_timeout=REQUEST_S)
        doing = f"end of the topic {self._name}"
        return int(clients.call(lambda: clients.result(admin, futures[place], doing), doing).offset)

    def read(self, clients: Clients, until: int | None) -> None:
        """Takes the committed entries up to offset `until`; None: those that can be seen now. Raises `TransactionError`."""
        if until is not None and self._next is not None and self._next > until:
            # The log is shorter than it was.
            self._forget()
        if until is not None and self._next == until:
            return
        try:
            start = OFFSET_BEGINNING if self._next is None else self._next
            self._next = self._read(clients, start, until, self.entries.take)
        except _GoneError:
            self._forget()
            self._next = self._read(clients, OFFSET_BEGINNING, until, self.entries.take)

    def failed_after(self, clients: Clients, sequence: int) -> list[FailedRecord]:
        """The failed records of this lane after `sequence` that the topic still has. Reads all of it."""
        parts = FailedParts(LaneEntries(self._owner), sequence)
        self._read(clients, OFFSET_BEGINNING, self._next, parts.take)
        return parts.records()

    def _forget(self) -> None:
        self._next, self.entries = None, LaneEntries(self._owner)

    def _read(self, clients: Clients, start: int, until: int | None, take: Callable[[bytes | None, bytes | None], object]) -> int:
        """Takes what is committed from `start` on. Returns the offset after it."""
        consumer = clients.consumer(
            {
                "group.id": "event-processor",  # never used: nothing is committed to a group
                "enable.auto.commit": False,
                "enable.auto.offset.store": False,
                "auto.offset.reset": "error",
                "isolation.level": "read_committed",
                "enable.partition.eof": True,
                "fetch.wait.max.ms": 100,
            }
        )
        deadline_s = self._now() + STABLE_WAIT_S
        reached = -1
        try:
            clients.call(lambda: consumer.assign([TopicPartition(self._name, PARTITION, start)]), "assign")
            while reached < 0 or (until is not None and reached < until):
                clients.interruption.require_none(f"read the topic {self._name}")
                message = clients.call(lambda: consumer.poll(SLICE_S), f"read the topic {self._name}")
                if message is None:
                    if reached >= 0 and self._now() > deadline_s:
                        raise self._hidden(reached)
                elif (error := message.error()) is None:
                    take(message.key(), message.value())
                    deadline_s = self._now() + STABLE_WAIT_S
                elif error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001 - the library names its own errors so
                    reached = int(message.offset() or 0)
                elif error.code() == KafkaError._AUTO_OFFSET_RESET:  # noqa: SLF001
                    raise _GoneError
                elif verdict_of(error) is not Verdict.WAIT:
                    raise failure_of(error, f"read the topic {self._name}")
            return reached
        finally:
            consumer.close()

    def _hidden(self, reached: int) -> TransactionError:
        words = (
            f"an open transaction hides what the topic {self._name} has from offset {reached} on: another sink writes there, or it died "
            "and the brokers have not ended its transaction yet"
        )
        return TransactionError(Answer(Verdict.WAIT, words))
