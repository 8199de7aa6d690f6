"""The options of a topic as a source.

Owns: the keys of `[sources.NAME]` with `type = "kafka"`, and the rules between them.
Always: brokers, credentials and `client` may change while a state goes on; topic, partitions and mode may not.
Never: connects, or imports the client library.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final, Literal, Self, TypeAlias

from pydantic import Field, field_validator, model_validator
from pydantic_core import PydanticCustomError

from event_processor.connectors.kafka.client_options import KafkaClientOptions
from event_processor.model.event import Json
from event_processor.model.options import SharedInput, SourceOptions

__all__ = ["KafkaSourceOptions", "Metadata"]

Metadata: TypeAlias = Literal["key", "headers", "timestamp"]
_TOPIC: Final = re.compile(r"[A-Za-z0-9._-]{1,249}")
_IN_THE_STATE: Final = ("type", "topic", "mode", "group", "partitions", "start", "format", "metadata", "record_bytes_max")


class KafkaSourceOptions(KafkaClientOptions, SourceOptions):
    """A topic of Kafka. Its positions are in the checkpoint, so each record is counted exactly once."""

    type: Literal["kafka"]
    """The kind of source: a topic of Kafka."""
    topic: str = Field(examples=["transactions"])
    """The topic. If it does not exist, the source waits for it, and `status` says so."""
    mode: Literal["assigned", "group"] = "assigned"
    """ "assigned": this process reads all `partitions`, exactly once. "group": the members of `group` share the partitions, and a record is
    counted at least once, because a partition that moves to another member moves without our state."""
    group: str | None = Field(default=None, examples=["shop"])
    """The consumer group, with mode = "group"."""
    partitions: tuple[int, ...] = Field(default=(), examples=[[0, 1]])
    """The partitions to read, with mode = "assigned". Empty: all of them, also those that are added later."""
    start: Literal["beginning", "end"] = "beginning"
    """Where to start at the very first start. Partitions that are added later are read from their beginning."""
    format: Literal["jsonl"] = "jsonl"
    """The format of a record: a JSON object. A record may have line ends in it. An empty one, or one without a value, is blank."""
    metadata: tuple[Metadata, ...] = Field(default=(), examples=[["key", "headers"]])
    """What is added to each record's object: "key" as the field "@key", "timestamp" (of the record, RFC 3339) as "@timestamp", "headers"
    as "@headers.NAME". They are ordinary fields: `event.id = "@key"`."""

    @field_validator("topic")
    @classmethod
    def _topic_is_a_name(cls, name: str) -> str:
        if _TOPIC.fullmatch(name) and name not in (".", ".."):
            return name
        raise PydanticCustomError("topic", "the name of one topic: letters, digits, dots, _ and -")

    @field_validator("partitions")
    @classmethod
    def _partitions_are_numbers(cls, numbers: tuple[int, ...]) -> tuple[int, ...]:
        if all(number >= 0 for number in numbers) and len(set(numbers)) == len(numbers):
            return tuple(sorted(numbers))
        raise PydanticCustomError("partitions", "numbers from 0 on, each only once")

    @model_validator(mode="after")
    def _mode_fits(self) -> Self:
        if (self.mode == "group") != (self.group is not None):
            raise ValueError('group together with mode = "group"')
        if self.mode == "group" and self.partitions:
            raise ValueError('partitions only with mode = "assigned": the group shares them out')
        return self

    def identity(self) -> Mapping[str, Json]:
        """What the state depends on. Where the brokers are, and who we are there, may change."""
        return self.model_dump(mode="json", include=set(_IN_THE_STATE))

    def shared_input(self, first: KafkaSourceOptions) -> SharedInput | None:
        """One topic of one cluster, unless the sources share its partitions out. Brokers with no address in common are other clusters."""
        if self.topic != first.topic:
            return None
        brokers, others = ({address.strip() for address in each.brokers.split(",")} for each in (self, first))
        if not brokers & others or (self.group is not None and self.group == first.group):
            return None
        if not (self.partitions and first.partitions):
            return SharedInput("topic", "a different topic", "this topic", is_taken=True)
        if shared := sorted({*self.partitions} & {*first.partitions}):
            numbers = ", ".join(map(str, shared))
            return SharedInput("partitions", "other partitions", f"{numbers} of this topic", is_taken=True)
        return None

    def path_of(self, partition: int) -> str:
        """What a partition is called in positions and messages."""
        return f"{self.topic}/{partition}"
