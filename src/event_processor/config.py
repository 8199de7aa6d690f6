"""The configuration: its core sections as frozen models, each with its defaults and limits.

Owns: what a configuration may say about the core. An adapter's own keys (a source's or a sink's options) belong to the
adapter's options model; here they are a table with a `type`.
Always: a key that is not known is a fault; so is a value outside its limits. Relative paths were made absolute by the loader.
Never: nothing here opens a file of the pipeline.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["BatchOptions", "DedupOptions", "EventOptions", "LogOptions", "OrderOptions", "StateOptions", "TotalsOptions"]

FieldName = Annotated[str, Field(min_length=1)]


class Section(BaseModel):
    """A table of the configuration: frozen, and closed against unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class EventOptions(Section):
    """Which field of a record is which. A dotted name reaches inside: "payload.size"."""

    id: FieldName | tuple[FieldName, ...] = "id"
    """A field, several (the id is then all of them together), or "@position" (every record is an event of its own)."""
    category: str = "category"
    """A field; "" for one total."""
    value: str = "value"
    """A field; "" to count only."""
    value_missing: Literal["reject", "count_only"] = "reject"
    timestamp: str = "timestamp"
    """A field: RFC 3339, "YYYY-MM-DD HH:MM:SS[.ffffff]", or epoch seconds. A bad one rejects only where it is used. "" for none."""
    timestamp_zone: str = "UTC"
    """The zone (IANA name) of timestamps without one."""
    model: str = ""
    """"package.module:Model", a pydantic model of your own that each record must satisfy."""


class DedupOptions(Section):
    """Whether an id counts once, and how it is held."""

    enabled: bool = True
    fingerprint: Literal["xxh3", "blake2b"] = "xxh3"


class OrderOptions(Section):
    """The order in which sinks and windows see events."""

    by: Literal["id", "timestamp"] = "id"
    buffer_events: int = Field(default=1024, ge=0, le=10_000_000)
    """How many events the heap holds; 0 = off."""
    idle_release_ms: int = Field(default=2000, ge=0)
    """A silent live log lets go after this long; 0 = never."""


class TotalsOptions(Section):
    """The totals per category."""

    categories_max: int = Field(default=100_000, ge=1)


class BatchOptions(Section):
    """How much one commit covers."""

    bytes_max: int = Field(default=4_194_304, ge=1024, le=1 << 30)
    linger_ms: int = Field(default=0, ge=0, le=60_000)


class StateOptions(Section):
    """Where the state lives."""

    dir: Path = Path("state")


class LogOptions(Section):
    """What is logged on stderr."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["auto", "text", "json"] = "auto"
    """auto: text on a terminal, json elsewhere."""
