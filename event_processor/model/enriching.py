"""Enrichers: what a service adds to records before they are delivered.

Owns: `EnricherOptions`, the keys of `[enrichers.NAME]`, and `Enricher`, the contract of what asks a service.
Always: a record that goes on has every field that its enrichers set.
Never: asks a service (connectors do), or decides what an answer means (a lane does).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Literal, Protocol

import msgspec
from pydantic import BeforeValidator, Field, field_validator
from pydantic_core import PydanticCustomError

from event_processor.model.field_names import name_keys
from event_processor.model.options import Section

if TYPE_CHECKING:
    from event_processor.model.answers import Answer
    from event_processor.model.delivery import Request

__all__ = ["Enricher", "EnricherOptions", "JoinOptions"]


class JoinOptions(Section):
    """How an answer's rows find their records: equal values of two fields."""

    answer: str = Field(min_length=1, examples=["transaction_id"])
    """The field of an answer's row."""
    event: str = Field(min_length=1, examples=["id"])
    """The field of the record."""


def _plain(value: object) -> object:
    return dict(value) if isinstance(value, Mapping) else value


class EnricherOptions(Section):
    """A service that is asked about records before a sink gets them. A request has several records, and its answer a row for each."""

    type: Literal["http"] = "http"
    """The kind of service."""
    service: str = Field(min_length=1, examples=["api"])
    """The name of a table [services.NAME]."""
    path: str = Field(default="/", pattern=r"^/[!-~]*$", examples=["/predict"])
    """Where to ask, after the service's base_url."""
    request_events_max: int = Field(default=100, ge=1, le=100_000)
    """The maximum number of records in one request. The request is a JSON array, and so is its answer."""
    request_bytes_max: int = Field(default=1_048_576, ge=1, le=1 << 30)
    """The maximum bytes of records in one request. A larger record is sent alone."""
    body_fields: Annotated[Mapping[str, object], BeforeValidator(_plain)] = Field(
        default={}, alias="fields", examples=[{"id": "id", "amount": "amount"}]
    )
    """What is sent of each record, as in the sinks of type "http". Empty: the whole record."""
    join: Literal["position"] | JoinOptions = Field(default="position", examples=[{"answer": "transaction_id", "event": "id"}])
    """How rows find their records: "position", the first row belongs to the first record; or a table with a field of the answer and
    one of the event."""
    set_fields: Annotated[Mapping[str, str], BeforeValidator(_plain)] = Field(
        alias="set", min_length=1, examples=[{"category": "category"}]
    )
    """What is set: field of the record = field of the answer's row. A dotted field reaches inside."""

    @field_validator("set_fields")
    @classmethod
    def _fields_are_named(cls, fields: Mapping[str, str]) -> Mapping[str, str]:
        if all(name and value and name_keys(name) for name, value in fields.items()):
            return fields
        raise PydanticCustomError("set", "a field of the record = a field of the answer")


class Enricher(Protocol):
    """Asks one service about records. Used by one thread, the one of the delivery loop; several requests may run at once."""

    async def open(self) -> None:
        """Prepares for requests. Called once, before any other method."""
        ...

    async def enrich(self, request: Request) -> tuple[Answer, Sequence[msgspec.Raw]]:
        """Sends the request once. If it was answered, returns for each record, in order, its object with the fields that are set.

        Otherwise the objects are empty, and the answer says why. Must not raise; if it does, that counts as *wait*.
        """
        ...

    async def refresh(self) -> None:
        """Reads again what an operator may have repaired, such as a token file."""
        ...

    async def close(self) -> None:
        """Releases everything. No request is running."""
        ...
