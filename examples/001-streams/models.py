"""The records of the four streams: as they come, as they are sent, and the figures about them.

Owns: the sources and priorities, `StreamRecord` (a line of a stream), `StreamData` (the same in a program), `ProcessedRecord`
(what the downstream API gets), and `PipelineMetrics`.
Always: a value is of its type or refused. "3" is no priority, and true is no number.
Never: reads a clock. So a line has the same verdict in every run.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum, IntEnum
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

SourceName = Literal["user_events", "transaction_data", "system_metrics", "security_logs"]
SECONDS_MAX = 100_000_000_000
"""Timestamps are epoch seconds. A larger number has another unit, such as milliseconds."""
PROCESSING_TIME_MS_MAX = 10_000


class StreamSource(Enum):
    """The four streams."""

    USER_EVENTS = "user_events"
    TRANSACTION_DATA = "transaction_data"
    SYSTEM_METRICS = "system_metrics"
    SECURITY_LOGS = "security_logs"


class Priority(IntEnum):
    """How urgent a record is."""

    LOW = 1
    MEDIUM = 2
    HIGH = 3
    CRITICAL = 4


class StreamRecord(BaseModel):
    """A line of a stream. Plain fields only, so that it is compiled for the fast decoder."""

    model_config = ConfigDict(strict=True)

    source: SourceName
    timestamp: Annotated[float, Field(ge=0, lt=SECONDS_MAX)]
    priority: Annotated[int, Field(ge=1, le=4)]
    data: dict[str, Any]
    sequence_id: Annotated[int, Field(ge=0)]


@dataclass(frozen=True, slots=True)
class StreamData:
    """A record of a stream. Nothing is checked here: about 15 % of a stream's records have faults."""

    source: StreamSource
    timestamp: float
    priority: Priority
    data: dict[str, Any]
    sequence_id: int


def _plain(value: object) -> object:
    """The value of an enum's member; any other value as it is."""
    return value.value if isinstance(value, Enum) else value


class ProcessedRecord(BaseModel):
    """What the downstream API gets. Raises `pydantic.ValidationError` with the field at fault."""

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid")

    source: Annotated[SourceName, BeforeValidator(_plain)]
    timestamp: Annotated[float, Field(ge=0, lt=SECONDS_MAX, allow_inf_nan=False)]
    priority: Annotated[int, BeforeValidator(_plain), Field(ge=1, le=4)]
    processed_at: Annotated[float, Field(ge=0, lt=SECONDS_MAX, allow_inf_nan=False)]
    processing_time_ms: Annotated[float, Field(ge=0, lt=PROCESSING_TIME_MS_MAX, allow_inf_nan=False)]
    transformed_data: Annotated[dict[str, Any], Field(min_length=1)]

    @field_validator("transformed_data")
    @classmethod
    def _says_something(cls, data: dict[str, Any]) -> dict[str, Any]:
        if all(value is None or value in ("", [], {}) for value in data.values()):
            raise ValueError("every value is empty")
        return data

    @model_validator(mode="after")
    def _is_processed_after_it_came(self) -> Self:
        if self.processed_at < self.timestamp:
            raise ValueError("processed_at is before timestamp")
        return self


@dataclass(frozen=True, slots=True)
class PipelineMetrics:
    """The figures of a pipeline so far. Rates of errors are from 0 to 1."""

    total_processed: int = 0
    processing_rate_per_second: float = 0.0
    avg_processing_time_ms: float = 0.0
    """From the moment the pipeline read a record until it was accepted, with waits and retries."""
    error_rate: float = 0.0
    """After retries: records that could not be sent, of those that were valid."""
    backlog_size: int = 0
    rate_limit_hits: int = 0
    """Refusals by the downstream API because of its limit."""
    by_source: dict[str, int] = field(default_factory=dict)
    by_priority: dict[int, int] = field(default_factory=dict)
    error_rate_before_retries: float = 0.0
    """Failed requests, of all requests."""
    rejected: int = 0
    """Records with faults, which were not sent."""
    failed: int = 0
    """Valid records that were given up after retries."""
