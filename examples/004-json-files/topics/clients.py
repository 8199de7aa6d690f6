"""The clients of Kafka that the controller and the workers use.

Owns: how the topics are made and removed, how reports are written and read, what is said if no broker answers.
Always: a report is at the brokers when `flush` returned, or `is_flushed` said so.
Never: touches the topics "users", "results" and "cursors", which belong to the stages, except to make and to remove them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from stages import BROKERS, TOPICS, Report, topic

try:
    from confluent_kafka import Consumer, ConsumerGroupState, KafkaError, KafkaException, Message, Producer, TopicPartition
    from confluent_kafka.admin import AdminClient, NewTopic
except ImportError as error:
    raise SystemExit(f"the client library for Kafka is missing ({error}): pip install 'event-processor[kafka]'") from error

__all__ = [
    "UNREACHABLE",
    "KafkaException",
    "ProgressReader",
    "ProgressWriter",
    "are_ready",
    "make_topics",
    "remove_topics",
    "require_brokers",
]

WITHIN_S: Final = 30.0
BROKERS_WITHIN_S: Final = 5.0
UNREACHABLE: Final = 69
SETTINGS: Final = {"bootstrap.servers": BROKERS, "log_level": 0}


def require_brokers() -> AdminClient:
    """A client for topics. Raises `SystemExit` with words if no broker answers."""
    admin = AdminClient(SETTINGS)
    try:
        admin.list_topics(timeout=BROKERS_WITHIN_S)
    except KafkaException as error:
        print(
            f"no broker of Kafka answers at {BROKERS}: start one there, or say where it is: KAFKA_BROKERS=HOST:PORT python topics.py …"
        )
        raise SystemExit(UNREACHABLE) from error
    return admin


def make_topics(admin: AdminClient) -> None:
    """Makes the topics that are missing, with the brokers' default number of replicas."""
    made = [NewTopic(topic(name), partitions, -1, config=dict(settings)) for name, (partitions, settings) in TOPICS.items()]
    for future in admin.create_topics(made).values():
        try:
            future.result(WITHIN_S)
        except KafkaException as error:
            if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                raise


def remove_topics(admin: AdminClient) -> None:
    """Removes all topics, with what is in them."""
    for future in admin.delete_topics([topic(name) for name in TOPICS]).values():
        try:
            future.result(WITHIN_S)
        except KafkaException as error:
            if error.args[0].code() != KafkaError.UNKNOWN_TOPIC_OR_PART:
                raise


def are_ready(admin: AdminClient, workers: int) -> bool:
    """Whether at least so many workers share the names of files."""
    if not workers:
        return True
    group = topic("workers")
    try:
        found = admin.describe_consumer_groups([group], request_timeout=BROKERS_WITHIN_S)[group].result(WITHIN_S)
    except (KafkaException, TimeoutError):
        return False  # the broker has not made or loaded the group yet
    return len(found.members) >= workers and found.state == ConsumerGroupState.STABLE


class ProgressWriter:
    """Writes reports, and names of files."""

    def __init__(self) -> None:
        # The client library keeps a record until a broker has it, however long none answers.
        self._producer = Producer({**SETTINGS, "enable.idempotence": True, "acks": "all", "message.timeout.ms": 0})

    def report(self, report: Report) -> None:
        """Writes a report. It is safe after `flush`."""
        self._producer.produce(topic("progress"), report.to_json(), report.file.encode())
        self._producer.poll(0)

    def assign(self, file: str, partition: int) -> None:
        """Writes the name of a file for a worker. It is safe after `flush`."""
        self._producer.produce(topic("files"), file.encode(), partition=partition)

    def is_flushed(self, timeout_s: float) -> bool:
        """Waits so long for the brokers to have everything. Whether they have."""
        return not self._producer.flush(timeout_s)

    def flush(self) -> None:
        """Waits until the brokers have everything. Raises `SystemExit` if they do not answer."""
        if not self.is_flushed(WITHIN_S):
            print(f"the brokers at {BROKERS} do not answer")
            raise SystemExit(UNREACHABLE)


class ProgressReader:
    """Reads reports, in order: those that are there, or those that come later."""

    def __init__(self, *, from_now: bool) -> None:
        settings = {**SETTINGS, "group.id": topic("readers"), "enable.auto.commit": False, "auto.offset.reset": "error"}
        self._consumer = Consumer(settings)
        partition = TopicPartition(topic("progress"), 0)
        try:
            first, self._end = self._consumer.get_watermark_offsets(partition, WITHIN_S)
        except KafkaException as error:
            print(f"there is no topic {topic('progress')} at {BROKERS}: 'python topics.py up' makes it")
            raise SystemExit(UNREACHABLE) from error
        self._offset = partition.offset = self._end if from_now else first
        self._consumer.assign([partition])

    def existing(self) -> Iterator[Report]:
        """All reports up to the end of the topic, as it was at the start."""
        while self._offset < self._end:
            yield from self.next(WITHIN_S)

    def next(self, timeout_s: float) -> Iterator[Report]:
        """The next report, if one comes in time."""
        message: Message | None = self._consumer.poll(timeout_s)
        if message is None:
            return
        if (error := message.error()) is not None:
            raise KafkaException(error)
        self._offset = (message.offset() or 0) + 1
        value = message.value()
        if value is not None:
            yield Report.from_json(value)

    def close(self) -> None:
        self._consumer.close()
