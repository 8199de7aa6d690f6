"""The contract between a lane and its receiver: what is sent, and how a connector answers.

Owns: `OutboxRecord`, `Request`, `Receiver`, its context, and the exceptions with which a class of the user's answers.
Always: a request has at least one record, in the order of the outbox. All tries of a request have the same key and the same records.
Never: contains a lane or a receiver (`engine/delivery/` and `connectors/` do).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import msgspec
from msgspec import Struct

from event_processor.model.answers import Answer
from event_processor.model.event import Json
from event_processor.model.remote import ServiceOptions
from event_processor.model.world import World

__all__ = ["Bad", "OutboxRecord", "Receiver", "ReceiverContext", "Request", "Wait"]


class OutboxRecord(Struct, frozen=True, gc=False):
    """One line of an outbox: a released record that waits for the lanes that read its input.

    `sequence` counts the records of the input from 1. `place` says where the record comes from; two records of one input have
    different places. `now` (RFC 3339, UTC) and `elapsed_ms` (from the read of its batch to its append) are fixed when the line is
    written, so that every try sends the same body. `chain` is the running hash over sequence, place and object.
    """

    sequence: int
    place: dict[str, Any]
    now: str = msgspec.field(name="@now")
    elapsed_ms: float = msgspec.field(name="@elapsed_ms")
    chain: str
    object: msgspec.Raw

    @property
    def place_text(self) -> str:
        """The place as the part of a key: its values with a colon between them. `line` follows from the offset and is left out."""
        return ":".join([_text(value) for name, value in self.place.items() if name != "line"])


def _text(value: Json) -> str:
    if type(value) is str:
        return value
    return str(value) if type(value) is int else msgspec.json.encode(value).decode()


@dataclass(frozen=True, slots=True)
class Request:
    """Records that are sent together. `key`: the same for every try. `keys`: one for each record. `tries`: of this request, before this one."""

    records: Sequence[OutboxRecord]
    keys: Sequence[str]
    key: str
    tries: int = 0


@dataclass(frozen=True, slots=True)
class ReceiverContext:
    """The context of a new receiver. `name`: of the sink. `service`: the table that the sink's `service` names; None without one."""

    name: str
    world: World
    service: ServiceOptions | None = None
    environment: Mapping[str, str] | None = None
    """The environment variables, for secrets; None: the process's own."""
    timestamp_zone: str = "UTC"
    """The zone of timestamps without an offset, as in `[event]`."""
    timestamp_formats: tuple[str, ...] = ("auto",)
    """The forms of its input's timestamps: of events as in `[event]`."""
    sources: Mapping[str, str] = field(default_factory=dict)
    """The path of each source that has one, as written, by name."""
    is_snapshot: bool = False
    """Whether the sink writes a snapshot."""
    pipeline: str = ""
    """The pipeline's name at receivers."""
    shard: str = ""
    """The shard, such as "2/8"; empty without shards."""


class Receiver(Protocol):
    """Sends requests to one remote sink. Used by one thread, the one of the delivery loop; several requests may run at once."""

    async def open(self) -> None:
        """Prepares for requests. Called once, in the delivery loop, before any other method."""
        ...

    async def deliver(self, request: Request) -> Answer:
        """Sends the request once, and returns the answer. Takes at most about the service's `timeout_s`; never tries again.

        It must not raise. If it does, that counts as *wait*, with the exception as the words.
        """
        ...

    async def refresh(self) -> None:
        """The lane is stopped and is about to probe: reads again what an operator may have repaired, such as a token file."""
        ...

    async def close(self) -> None:
        """Releases everything. No request is running."""
        ...


class Wait(Exception):  # noqa: N818 - the name says what the lane does
    """A class of the user's raises it: the same records may be delivered later, after at least `after_s` seconds.

    `status`: the service's code, if it has one. "429" counts as a limit hit.
    """

    status: str = ""

    def __init__(self, words: str = "", *, after_s: float = 0.0, status: str = "") -> None:
        super().__init__(words)
        self.after_s = after_s
        self.status = status


class Bad(Exception):  # noqa: N818 - the name says what the record is
    """A class of the user's raises it: at least one of the records can never be delivered. `status`: the service's code."""

    status: str = ""

    def __init__(self, words: str = "", *, status: str = "") -> None:
        super().__init__(words)
        self.status = status
