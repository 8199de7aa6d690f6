"""The options of a sink that writes into a topic.

Owns: the keys of `[sinks.NAME]` with `type = "kafka"`.
Always: what the lane's promise depends on is no key: acks, idempotence and the transactional id are the sink's own.
Never: imports the client library, or connects.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import ClassVar, Final, Literal, Self

from pydantic import Field, field_validator, model_validator
from pydantic_core import PydanticCustomError

from event_processor.connectors.kafka.client_options import KafkaClientOptions
from event_processor.model.event import Json
from event_processor.model.remote import RemoteSinkOptions

__all__ = ["CURSOR_TOPIC", "KafkaSinkOptions"]

CURSOR_TOPIC: Final = "event-processor-cursors"
_TOPIC: Final = re.compile(r"[A-Za-z0-9._-]{1,249}")


class KafkaSinkOptions(KafkaClientOptions, RemoteSinkOptions):
    """Records in a topic, exactly once for readers of committed records: records and the place of the sink are one transaction."""

    holds_cursor: ClassVar[bool] = True
    place_key: ClassVar[str] = "topic"
    fields_key: ClassVar[str] = "record_key"
    type: Literal["kafka"]
    """The kind of sink: a topic of Kafka."""
    topic: str = Field(examples=["results"])
    """The topic. It must exist."""
    record_key: str = Field(default="", examples=["id"])
    """The field whose value is the key of a record in the topic; a dotted name reaches inside. Records with one key are in one
    partition, in order. Empty, or if a record lacks the field: no key."""
    headers: bool = True
    """Whether each record has headers that say where it comes from: `event_processor.key`, `event_processor.sequence` and
    `event_processor.line`."""
    cursor_topic: str = CURSOR_TOPIC
    """The topic that holds the place of this sink, and of others. It is compacted. If it is missing, the first start makes it."""
    dead_letter_topic: str = Field(default="", examples=["results-failed"])
    """The topic for records that fail, with headers that say where they come from and why they failed. It must exist. Empty: they
    are kept in state/delivery only. Not for a sink with `input = "dead_letters"`."""
    request_events_max: int = Field(default=1000, ge=1, le=100_000)
    """The maximum number of records in one transaction."""
    request_bytes_max: int = Field(default=4_194_304, ge=1, le=1 << 30)
    """The maximum bytes of records in one transaction. A larger record is sent alone."""
    order: Literal["strict"] = "strict"
    """Always "strict": one transaction at a time, in order."""

    @field_validator("topic", "cursor_topic", "dead_letter_topic")
    @classmethod
    def _topic_is_a_name(cls, name: str) -> str:
        if (_TOPIC.fullmatch(name) and name not in (".", "..")) or not name:
            return name
        raise PydanticCustomError("topic", "a name of letters, digits, dots, _ and -, of at most 249 characters")

    @model_validator(mode="after")
    def _topics_differ(self) -> Self:
        if not self.topic or not self.cursor_topic:
            raise ValueError("a topic, and a cursor_topic")
        if self.cursor_topic in (self.topic, self.dead_letter_topic):
            raise ValueError("another cursor_topic: it holds nothing but the places of sinks")
        if self.topic == self.dead_letter_topic:
            raise ValueError("another dead_letter_topic than topic")
        if self.dead_letter_topic and self.input == "dead_letters":
            raise ValueError("no dead_letter_topic if input is dead_letters: topic is the one for dead letters")
        return self

    def topics(self) -> Sequence[str]:
        """The topics that must exist before the first record."""
        return [name for name in (self.topic, self.dead_letter_topic) if name]

    def target(self) -> Mapping[str, Json]:
        """The topics. Not the brokers: a cluster may get new ones, and another cluster does not know the cursor."""
        return {"type": self.type, "topic": self.topic, "cursor_topic": self.cursor_topic}

    def fields(self) -> Sequence[str]:
        """The field of the key."""
        return [self.record_key] if self.record_key else []
