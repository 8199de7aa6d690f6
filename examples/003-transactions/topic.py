"""The topic of the live pipeline.

Owns: how it is made, and removed again.
Always: a topic that is there is used as it is. Only the topic that was made here is removed: work/topic.json has its id.
Never: reads or writes a record.
"""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from background import WORK

TOPIC: Final = "transactions"
PARTITIONS: Final = 4
ANSWER_S: Final = 10.0
KNOWN_S: Final = 60.0
MADE: Final = WORK / "topic.json"


class TopicError(Exception):
    """The topic cannot be used, and why, and what to do."""


def _listens(broker: str) -> bool:
    """Whether something listens there. The client library would try until its time is over."""
    host, _, port = broker.strip().rpartition(":")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=ANSWER_S):
            return True
    except (OSError, ValueError, OverflowError):
        return False


@contextmanager
def _admin(brokers: str) -> Iterator[Any]:
    """A client. Raises `TopicError` if there is none, if no broker answers, or if the block's requests fail."""
    try:
        from confluent_kafka import KafkaException  # noqa: PLC0415 - only the live pipeline needs it
        from confluent_kafka.admin import AdminClient  # noqa: PLC0415
    except ImportError as error:
        raise TopicError("confluent-kafka is not there: pip install 'event-processor[kafka]'") from error
    away = TopicError(
        f"no broker answers at {brokers}. Start one there (with Docker: docker compose up --detach kafka), or name another: "
        "make streaming KAFKA_BROKERS=host:9092"
    )
    if not any(_listens(each) for each in brokers.split(",")):
        raise away
    try:
        yield AdminClient({"bootstrap.servers": brokers, "log_level": 0, "socket.timeout.ms": 5000})
    except TimeoutError as error:
        raise away from error
    except KafkaException as error:
        code = error.args[0].name()
        if code in ("_TRANSPORT", "_TIMED_OUT", "_ALL_BROKERS_DOWN"):
            raise away from error
        raise TopicError(f"the broker at {brokers} refuses: {error.args[0].str()}") from error


def make_topic(brokers: str, *, is_divided: bool) -> None:
    """Makes the topic if it is not there. Raises `TopicError`, also if it is to be divided and has another number of partitions."""
    with _admin(brokers) as admin:
        found = admin.list_topics(timeout=ANSWER_S).topics.get(TOPIC)
        if found is None:
            from confluent_kafka.admin import NewTopic  # noqa: PLC0415 - as above

            admin.create_topics([NewTopic(TOPIC, num_partitions=PARTITIONS)])[TOPIC].result(KNOWN_S)
            _wait(admin, is_there=True)
            WORK.mkdir(exist_ok=True)
            MADE.write_text(json.dumps({"brokers": brokers, "id": _id(admin)}), encoding="utf-8")
        elif is_divided and len(found.partitions) != PARTITIONS:
            raise TopicError(f"the topic {TOPIC} has {len(found.partitions)} partitions, not {PARTITIONS}: use PROCESSES=1")


def remove_topic() -> None:
    """Removes the topic that was made here, if it is still that one. Raises `TopicError`."""
    if not MADE.exists():
        return
    made = json.loads(MADE.read_text(encoding="utf-8"))
    with _admin(made["brokers"]) as admin:
        if _id(admin) == made["id"]:
            admin.delete_topics([TOPIC])[TOPIC].result(KNOWN_S)
            _wait(admin, is_there=False)
            print(f"topic {TOPIC}: removed")
    MADE.unlink()


def _id(admin: Any) -> str:
    """The id of the topic, which another topic of this name does not have; "" if there is none."""
    from confluent_kafka import KafkaException, TopicCollection  # noqa: PLC0415 - as above

    try:
        return str(admin.describe_topics(TopicCollection([TOPIC]))[TOPIC].result(KNOWN_S).topic_id)
    except KafkaException as error:
        if error.args[0].name() == "UNKNOWN_TOPIC_OR_PART":
            return ""
        raise


def _wait(admin: Any, *, is_there: bool) -> None:
    """Returns when the brokers know of a change: they learn it from the controller. Raises `TopicError` if they do not in time."""
    deadline = time.monotonic() + KNOWN_S
    while bool(_id(admin)) is not is_there:
        if time.monotonic() > deadline:
            raise TopicError(
                f"the brokers do not know after {KNOWN_S:.0f} s that the topic {TOPIC} was {'made' if is_there else 'removed'}"
            )
        time.sleep(0.1)
