"""The core sections of the configuration as frozen models, with defaults and limits, and the hash that the state depends on.

Owns: the keys of the core, the faults between its sections, and `config_parts`. A connector's own keys are in its options model,
which extends `SourceOptions` or `SinkOptions`.
Always: an unknown key is a fault, and so is a value outside its limits. A model is frozen, its arrays are tuples, and its paths
are `ConfiguredPath`: absolute, with the text as it was written. The docstring below a field is its documentation, also in the
file that `init` writes.
Never: opens a file; knows a connector by name.
"""

from __future__ import annotations

import re
import zoneinfo
from collections.abc import Mapping, Sequence
from typing import Annotated, Final, Literal, Self

from pydantic import Field, SerializeAsAny, StringConstraints, field_validator, model_validator
from pydantic_core import PydanticCustomError

from event_processor.configuration.aggregates import AggregateOptions
from event_processor.configuration.http_options import HttpOptions, IntakeOptions
from event_processor.configuration.jobs_options import JobsOptions
from event_processor.configuration.targets import TargetsOptions
from event_processor.configuration.tests import TestOptions
from event_processor.configuration.transforms import TransformOptions
from event_processor.model.enriching import EnricherOptions
from event_processor.model.options import ConfiguredPath, LocatedText, Section, SinkOptions, SourceOptions
from event_processor.model.remote import ServiceOptions
from event_processor.model.time_patterns import pattern_fault

__all__ = [
    "AGGREGATES",
    "CATEGORY_FIELDS",
    "DEAD_LETTERS",
    "EVENTS",
    "NAME_PATTERN",
    "OTHERWISE",
    "RESERVED_SOURCE_NAME",
    "TOTALS",
    "BatchOptions",
    "Configuration",
    "ConfiguredPath",
    "DeadLettersOptions",
    "DedupOptions",
    "EngineOptions",
    "EventOptions",
    "HttpOptions",
    "IntakeOptions",
    "JobsOptions",
    "LocatedText",
    "LogOptions",
    "OrderOptions",
    "OutboxOptions",
    "Section",
    "SinkOptions",
    "SourceOptions",
    "StateOptions",
    "TotalsOptions",
    "TransformOptions",
    "name_fault",
    "shard_name",
]

NAME_PATTERN: Final = r"[A-Za-z0-9_-]{1,64}"
"""The names of sources and sinks: bare TOML keys, so that a dotted key is unambiguous."""
RESERVED_SOURCE_NAME: Final = "intake"
"""The source of retried dead letters and posted events. It always exists."""
EVENTS: Final = "events"
DEAD_LETTERS: Final = "dead_letters"
AGGREGATES: Final = "aggregates"
TOTALS: Final = "totals"
"""The inputs of a sink: the events, the rejected records, the rows of an aggregate ("aggregates.NAME"), or the totals."""
CATEGORY_FIELDS: Final = ("category", "count", "values", "sum", "min", "max", "mean", "first_id", "last_id", "last_timestamp")
"""The fields of a row of the totals."""
OTHERWISE: Final = "otherwise"
"""In a key's `json_schema_extra`: its default under a condition, in words. Such a key is better not written into a file."""
SHARE: Final = re.compile(r"\d{1,3}(\.\d{1,6})? ?%")
PERCENT_MAX: Final = 100
PACE_MS_MAX: Final = 60_000

TIMESTAMP_FORMATS: Final = ("auto", "epoch_s", "epoch_ms", "epoch_us", "epoch_ns")
"""The names of forms of a timestamp. Any other form is a pattern."""

FieldName = Annotated[str, StringConstraints(min_length=1)]


def _several(value: str | tuple[str, ...]) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else value


class EventOptions(Section):
    """The fields of a record that the program reads. A dotted name reaches inside objects: "payload.size".

    A key that has these dots itself wins. With quotes, 'a."b.c"', a name is exact.
    """

    id: FieldName | Annotated[tuple[FieldName, ...], Field(min_length=1)] = "id"
    """A field with a string of 1 to 1,024 characters or a 64-bit integer; or several, ["a", "b"], whose values together are the id; or "@position": every record has its own id, so a record
    that is written twice is counted twice."""
    category: str = "category"
    """A field with a string of 1 to 256 characters; "" for one total over all events."""
    category_numbers: Literal["reject", "text"] = "reject"
    """What happens to a record whose category is a number: "reject", or "text": 200 counts as "200"."""
    value: str = "value"
    """A field with a number; "" to only count."""
    value_missing: Literal["reject", "count_only"] = "reject"
    """What happens to a record whose value is missing or null: "reject", or "count_only": count it and add nothing to the sum."""
    timestamp: str = "timestamp"
    """A field. If it is not a timestamp, the record is rejected only if the order or a window uses timestamps. "" for none."""
    timestamp_format: str | Annotated[tuple[str, ...], Field(min_length=1)] = "auto"
    """How it is written. "auto": RFC 3339, "YYYY-MM-DD[ HH:MM:SS[.ffffff]]", "31/Jan/2026:23:59:59 +0100", or a number of seconds since
    1970. "epoch_s", "epoch_ms", "epoch_us", "epoch_ns": a number since 1970, or its text. Or a pattern of strptime, such as
    "%d.%m.%Y %H:%M:%S.%f". Or several of these, of which the first that fits is read."""
    timestamp_zone: str = "UTC"
    """The time zone (IANA name) of timestamps without one."""
    model: str = ""
    """ "package.module:Model": your own pydantic model; a record that does not satisfy it is rejected. Models with their own
    validators are slower."""

    @field_validator("model")
    @classmethod
    def _model_is_a_reference(cls, reference: str) -> str:
        if reference and not re.fullmatch(r"[^\W\d][\w.]*:[^\W\d][\w.]*", reference):
            raise PydanticCustomError("reference", '"package.module:Model"')
        return reference

    @field_validator("id")
    @classmethod
    def _position_stands_alone(cls, fields: str | tuple[str, ...]) -> str | tuple[str, ...]:
        if not isinstance(fields, str) and "@position" in fields:
            raise PydanticCustomError("position", '"@position" alone, or fields without it')
        return fields

    @field_validator("timestamp_format")
    @classmethod
    def _format_is_known(cls, formats: str | tuple[str, ...]) -> str | tuple[str, ...]:
        for each in _several(formats):
            if each not in TIMESTAMP_FORMATS and "%" not in each:
                raise PydanticCustomError("format", f'{", ".join(TIMESTAMP_FORMATS)}, or a pattern such as "%d.%m.%Y %H:%M:%S"')
            if each not in TIMESTAMP_FORMATS and (fault := pattern_fault(each)):
                raise PydanticCustomError("format", "a pattern of a date: this one {fault}", {"fault": fault})
        return formats

    @property
    def timestamp_formats(self) -> tuple[str, ...]:
        """`timestamp_format` as several."""
        return _several(self.timestamp_format)

    @field_validator("timestamp_zone")
    @classmethod
    def _zone_is_known(cls, name: str) -> str:
        if name == "UTC":
            return name
        try:
            zoneinfo.ZoneInfo(name)
        except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError) as error:
            raise PydanticCustomError("zone", 'a time zone that this machine knows, such as "Europe/Lisbon"') from error
        return name


class DedupOptions(Section):
    """Whether an id counts only once, and how ids are stored."""

    enabled: bool = True
    """Whether an id counts only once. If false, every record counts and ids are not stored; only a replay can switch it on
    later."""
    fingerprint: Literal["xxh3", "blake2b"] = "xxh3"
    """The hash of the ids: "xxh3" is fast; "blake2b" is keyed, for senders who might choose ids that collide."""


class OrderOptions(Section):
    """The order in which sinks and windows get events. Totals do not wait for it."""

    by: Literal["id", "timestamp"] = Field(default="id", json_schema_extra={OTHERWISE: '"timestamp" with windows'})
    """ "id" (integers by value, before strings by code point) or "timestamp". If an aggregate has a window, the default is
    "timestamp". Equal keys: in log order."""
    buffer_events: int = Field(default=1024, ge=0, le=10_000_000)
    """How many events wait in memory for earlier ones. An event that comes too late for the buffer is forwarded as late. 0 = no
    buffer."""
    idle_release_ms: int = Field(default=2000, ge=0)
    """Flush the buffer if a live log has no new input for this long, in milliseconds. 0 = never."""


class TotalsOptions(Section):
    """The totals per category."""

    categories_max: int = Field(default=100_000, ge=1)
    """The maximum number of categories. Above it, an event of a new category is rejected. Every checkpoint contains all
    categories, so many make each commit slower."""


class BatchOptions(Section):
    """How much one commit covers."""

    bytes_max: int = Field(default=4_194_304, ge=1024, le=1 << 30)
    """The maximum bytes of the log in one commit. Larger values need more memory; smaller ones need more fsyncs. In a backlog,
    the next batch is read during a commit, up to four times this value if the commit takes long. If the checkpoint is large
    (over 64 KiB), a commit covers sixteen times the checkpoint's size if that is more, but at most sixteen times this value."""
    pace_ms: int | Literal["auto"] = Field(default="auto")
    """The time between two commits of a live log, in milliseconds. "auto": a hundred times what a commit takes, reading included, at
    most 250; so commits take about a hundredth of the time. 0: each event is committed at once. A number up to 60,000: commits are that far
    apart. The first event after a silence is committed at once, whatever this is, and a backlog is never held. While a commit is held,
    nothing is read, and the order buffer is not flushed: with a number over `order.idle_release_ms`, held events are released that
    late."""
    linger_ms: int | None = Field(default=None, ge=0, le=60_000, examples=[50])
    """The former name of `pace_ms`, for a number. Give only one of the two."""

    @field_validator("pace_ms", mode="before")
    @classmethod
    def _pace_is_a_number_or_auto(cls, value: object) -> int | str:
        if value == "auto" or (isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= PACE_MS_MAX):
            return value
        raise PydanticCustomError("pace", 'a whole number from 0 to 60,000, or "auto"')

    @property
    def pace_s(self) -> float | None:
        """The distance between two commits in seconds; None for "auto"."""
        if self.linger_ms is not None:
            return self.linger_ms / 1000
        return None if self.pace_ms == "auto" else self.pace_ms / 1000


class OutboxOptions(Section):
    """Released events that wait for remote sinks."""

    bytes_max: int = Field(default=1_073_741_824, ge=1 << 20)
    """The maximum bytes that wait on disk for the slowest sink."""
    when_full: Literal["pause", "detach"] = "pause"
    """What happens then. "pause": the sources pause until a sink has sent some. "detach": the slowest sink gets no later records, until an
    operator attaches it again; they count as skipped, and everything else goes on."""
    keep_s: int = Field(default=86_400, ge=0)
    """How long records stay on disk after every sink was sent them, in seconds."""
    once_wait_s: int = Field(default=300, ge=0)
    """How long `run --once` waits for remote sinks at the end of the log, in seconds. If records wait longer, it exits with 69."""


class DeadLettersOptions(Section):
    """Rejected records."""

    stop_above: int | str = ""
    """End with exit code 65 if more records than this are rejected: a number (1000) since the start, or a share ("5 %") of the last
    10,000 records. Everything that was read is committed first. "" = never."""

    @field_validator("stop_above", mode="before")
    @classmethod
    def _limit_is_a_number_or_a_share(cls, value: object) -> int | str:
        if isinstance(value, int) and not isinstance(value, bool) and value >= 1:
            return value
        if isinstance(value, str) and (value == "" or (SHARE.fullmatch(value) and 0 < _percent(value) <= PERCENT_MAX)):
            return str(value)
        raise PydanticCustomError("limit", 'a whole number above 0, a share such as "5 %", or "" for none')

    @property
    def count_max(self) -> int | None:
        """The largest number of rejected records; None if there is no such limit."""
        return self.stop_above if isinstance(self.stop_above, int) else None

    @property
    def share_max(self) -> float | None:
        """The largest share of rejected records, from 0 to 1; None if there is no such limit."""
        return _percent(self.stop_above) / PERCENT_MAX if isinstance(self.stop_above, str) and self.stop_above else None


def shard_name(shard: str) -> str:
    """What `{shard}` becomes: "2-of-8" for "2/8"; empty if `shard` is not of this form. At most 9,999 shards."""
    found = re.fullmatch(r"([1-9]\d{0,3})/([1-9]\d{0,3})", shard)
    return f"{found[1]}-of-{found[2]}" if found and int(found[1]) <= int(found[2]) else ""


def _percent(share: str) -> float:
    return float(share.rstrip(" %"))


class StateOptions(Section):
    """Where the state is stored."""

    dir: ConfiguredPath = ConfiguredPath("state")
    """The directory of the checkpoint and all other files of the state. Only one process can use it. It must be on a local
    disk. If it is deleted, counting starts from zero. --state and $STATE_DIRECTORY override it."""
    name: str = Field(default="event-processor", pattern=rf"^{NAME_PATTERN}$")
    """The name of this pipeline at receivers that hold the place of a sink, such as databases; by default the configuration file's
    name without its ending. Two pipelines that write to one database need two names."""


class EngineOptions(Section):
    """The resources for the work."""

    workers: int = Field(default=1, ge=1, le=64)
    """How many workers decode a backlog, including the main loop. The others are threads if the kernels read the lines, otherwise
    processes. They start only when there is a backlog. More workers need more memory, and help only if cores are free. The totals
    are the same."""
    shard: str = ""
    """The share of the records that this process counts, if several processes share one log: "2/8" is the second of eight. The ids
    decide. Each shard has its own state; `{shard}` in state.dir, and in path and url of a sink, becomes "2-of-8". "" = all records."""

    @field_validator("shard")
    @classmethod
    def _shard_is_one_of_them(cls, shard: str) -> str:
        if shard and not shard_name(shard):
            raise PydanticCustomError("shard", 'the number of a shard and how many there are, such as "2/8", or ""')
        return shard


class LogOptions(Section):
    """The log on stderr."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    """Minimum log level. "debug" logs every commit."""
    format: Literal["auto", "text", "json"] = "auto"
    """ "auto": text on a terminal, text with priorities in the systemd journal, otherwise json."""


class Configuration(Section):
    """The whole configuration of one process. Sources, aggregates and sinks are tables by name."""

    sources: Mapping[str, SerializeAsAny[SourceOptions]]
    transforms: tuple[TransformOptions, ...] = ()
    event: EventOptions = EventOptions()
    dedup: DedupOptions = DedupOptions()
    order: OrderOptions = OrderOptions()
    totals: TotalsOptions = TotalsOptions()
    aggregates: Mapping[str, AggregateOptions] = Field(default_factory=dict)
    services: Mapping[str, ServiceOptions] = Field(default_factory=dict)
    enrichers: Mapping[str, EnricherOptions] = Field(default_factory=dict)
    sinks: Mapping[str, SerializeAsAny[SinkOptions]] = Field(default_factory=dict)
    batch: BatchOptions = BatchOptions()
    outbox: OutboxOptions = OutboxOptions()
    targets: TargetsOptions = TargetsOptions()
    dead_letters: DeadLettersOptions = DeadLettersOptions()
    state: StateOptions = StateOptions()
    http: HttpOptions = HttpOptions()
    intake: IntakeOptions = IntakeOptions()
    jobs: JobsOptions = JobsOptions()
    engine: EngineOptions = EngineOptions()
    log: LogOptions = LogOptions()
    tests: tuple[TestOptions, ...] = ()

    @model_validator(mode="after")
    def _windows_imply_an_order(self) -> Self:
        """A window closes by time. If its events came by id, one event of a far future would make all others late."""
        if self.order_is_implied:
            options = {**self.order.model_dump(), "by": "timestamp"}
            implied = OrderOptions.model_construct(self.order.model_fields_set, **options)
            object.__setattr__(self, "order", implied)  # nothing has seen the new model yet
        return self

    @property
    def order_is_implied(self) -> bool:
        """Whether `order.by` is what the windows imply: nothing sets it."""
        return self.has_windows and "by" not in self.order.model_fields_set

    def ordered_by(self, by: Literal["id", "timestamp"]) -> Configuration:
        """The same with this `order.by`, as if it had been set."""
        return self.model_copy(update={"order": self.order.model_copy(update={"by": by})})

    @property
    def order_is_active(self) -> bool:
        """Whether a sink or a window reads events, so that the order stage is needed."""
        return any(sink.input == EVENTS for sink in self.sinks.values()) or self.has_windows

    @property
    def snapshot_inputs(self) -> Mapping[str, Sequence[str]]:
        """The inputs that are a snapshot: the totals, and aggregates without a window; for each the fields that identify a row."""
        groups = {name: options.group_by for name, options in self.aggregates.items() if options.window is None}
        return {TOTALS: ("category",), **{f"{AGGREGATES}.{name}": fields for name, fields in groups.items()}}

    @property
    def has_windows(self) -> bool:
        """Whether any aggregate has a window."""
        return any(aggregate.window for aggregate in self.aggregates.values())

    @property
    def timestamps_are_used(self) -> bool:
        """Whether the order or a window uses timestamps, so that a record without one is rejected."""
        return self.order.by == "timestamp" or self.has_windows


def name_fault(kind: str, name: str) -> str:
    """What is wanted instead of `name` for one of the "sources" or "sinks"; empty if the name is valid."""
    if not re.fullmatch(NAME_PATTERN, name):
        return "a name of 1 to 64 letters, digits, - and _"
    if kind == "sources" and name == RESERVED_SOURCE_NAME:
        return "another name: this one is the source of retried dead letters"
    return ""
