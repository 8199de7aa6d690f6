"""The configuration: its core sections as frozen models, each with its defaults and limits, and the hash of what the state depends on.

Owns: what a configuration may say about the core, the faults that lie between its sections, and `config_parts`. An adapter's
own keys belong to the adapter's options model, which extends `SourceOptions` or `SinkOptions`.
Always: a key that is not known is a fault; so is a value outside its limits. A model is frozen, its arrays are tuples, and
its paths are `ConfiguredPath`: made absolute by the loader, and aware of how they were written. The docstring below a field is
its documentation, also in the file that `init` writes.
Never: nothing here opens a file, and no adapter is known by name.
"""

from __future__ import annotations

import hashlib
import os
import re
import zoneinfo
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from itertools import combinations
from typing import Annotated, Final, Literal

import orjson
from pydantic import Field, SerializeAsAny, StringConstraints, field_validator
from pydantic_core import PydanticCustomError

from event_processor.configuration.aggregates import AggregateOptions, aggregate_contradictions
from event_processor.configuration.transforms import TransformOptions
from event_processor.model.event import Json
from event_processor.model.options import ConfiguredPath, LocatedText, Section, SinkOptions, SourceOptions

__all__ = [
    "AGGREGATES",
    "DEAD_LETTERS",
    "EVENTS",
    "NAME_PATTERN",
    "RESERVED_SOURCE_NAME",
    "BatchOptions",
    "Configuration",
    "ConfiguredPath",
    "DedupOptions",
    "EngineOptions",
    "EventOptions",
    "LocatedText",
    "LogOptions",
    "OrderOptions",
    "OutboxOptions",
    "PartChange",
    "Section",
    "SinkOptions",
    "SourceOptions",
    "StateOptions",
    "TotalsOptions",
    "TransformOptions",
    "changed_parts",
    "config_hash",
    "config_parts",
    "contradictions",
    "name_fault",
]

NAME_PATTERN: Final = r"[A-Za-z0-9_-]{1,64}"
"""What a source and a sink may be called: a bare key of TOML, so that a dotted key names one thing."""
RESERVED_SOURCE_NAME: Final = "intake"
"""The source of retried dead letters and posted events, which is always there."""
EVENTS: Final = "events"
DEAD_LETTERS: Final = "dead_letters"
AGGREGATES: Final = "aggregates"
"""What a sink may write: the events, the rejected records, or the rows of an aggregate, as "aggregates.NAME"."""
CONFIG_HASH_BYTES: Final = 16

FieldName = Annotated[str, StringConstraints(min_length=1)]


class EventOptions(Section):
    """Which field of a record is which. A dotted name reaches inside: "payload.size"."""

    id: FieldName | Annotated[tuple[FieldName, ...], Field(min_length=1)] = "id"
    """A field; several of them, ["a", "b"]: the id is then all of them together; or "@position": every record is an event of
    its own, and a log that is written twice is counted twice."""
    category: str = "category"
    """A field; "" for one total."""
    value: str = "value"
    """A field; "" to count only."""
    value_missing: Literal["reject", "count_only"] = "reject"
    """What becomes of a record without a value, or with null: "reject", or "count_only", which counts it and adds nothing."""
    timestamp: str = "timestamp"
    """A field: RFC 3339, "YYYY-MM-DD HH:MM:SS[.ffffff]", or epoch seconds. A bad one rejects only where it is used. "" for none."""
    timestamp_zone: str = "UTC"
    """The zone (IANA name) of timestamps without one."""
    model: str = ""
    """ "package.module:Model", a pydantic model of your own that each record must satisfy. One with validators of its own
    takes the slow path."""

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
    """Whether an id counts once, and how it is held."""

    enabled: bool = True
    """false counts every record; nothing is remembered then, and nothing can be asked later."""
    fingerprint: Literal["xxh3", "blake2b"] = "xxh3"
    """How ids are held: "xxh3" is fast; "blake2b" is keyed, for where senders might choose ids to collide."""


class OrderOptions(Section):
    """The order in which sinks and windows see events. Totals do not wait for it."""

    by: Literal["id", "timestamp"] = "id"
    """ "id" (integers by value before strings by code point) or "timestamp"; ties go by position."""
    buffer_events: int = Field(default=1024, ge=0, le=10_000_000)
    """How many events wait for earlier ones, in memory; an event that comes later than that is passed on late. 0 = off."""
    idle_release_ms: int = Field(default=2000, ge=0)
    """A live log that is silent this long, in milliseconds, lets go of what waits; 0 = never."""


class TotalsOptions(Section):
    """The totals per category."""

    categories_max: int = Field(default=100_000, ge=1)
    """How many categories there may be; past it an event of a new one is rejected. Each stands in every checkpoint: many
    make each commit slower."""


class BatchOptions(Section):
    """How much one commit covers."""

    bytes_max: int = Field(default=4_194_304, ge=1024, le=1 << 30)
    """The bytes of the log that are gathered into one commit, at most; memory grows with it, and small ones cost an fsync more
    often. In a backlog the next ones gather while one is committed, up to four times this where that takes long; and where the
    checkpoint is large (over 64 KiB) a commit covers sixteen times its size, if that is more, but never more than sixteen times this."""
    linger_ms: int = Field(default=0, ge=0, le=60_000)
    """How long a commit waits for more, in milliseconds; each event may be that much later in the checkpoint."""


class OutboxOptions(Section):
    """Released events that wait for remote sinks."""

    bytes_max: int = Field(default=1_073_741_824, ge=1 << 20)
    """How many bytes may wait on disk; past it the sources pause until a sink takes some."""


class StateOptions(Section):
    """Where the state lives."""

    dir: ConfiguredPath = ConfiguredPath("state")
    """The folder of the checkpoint and all that belongs to it, for one process alone. It must be on a local disk, and whoever
    deletes it starts from zero. --state and $STATE_DIRECTORY go before it."""


class EngineOptions(Section):
    """What the work is done with."""

    workers: int = Field(default=1, ge=1, le=64)
    """How many decode a backlog, the loop among them: threads where the kernels read the lines, else further processes. More than one costs
    memory, and gains where cores are free. The others are started when there is a backlog; the totals are the same."""


class LogOptions(Section):
    """What is logged on stderr."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    """The least that is logged; "debug" says something for every commit."""
    format: Literal["auto", "text", "json"] = "auto"
    """ "auto": text on a terminal, text with priorities in the systemd journal, json elsewhere."""


class Configuration(Section):
    """Everything that one process is told. Sources, aggregates and sinks stand by name."""

    sources: Mapping[str, SerializeAsAny[SourceOptions]]
    transforms: tuple[TransformOptions, ...] = ()
    event: EventOptions = EventOptions()
    dedup: DedupOptions = DedupOptions()
    order: OrderOptions = OrderOptions()
    totals: TotalsOptions = TotalsOptions()
    aggregates: Mapping[str, AggregateOptions] = Field(default_factory=dict)
    sinks: Mapping[str, SerializeAsAny[SinkOptions]] = Field(default_factory=dict)
    batch: BatchOptions = BatchOptions()
    outbox: OutboxOptions = OutboxOptions()
    state: StateOptions = StateOptions()
    engine: EngineOptions = EngineOptions()
    log: LogOptions = LogOptions()

    @property
    def order_is_active(self) -> bool:
        """Whether anything reads events, so that they must be put in order."""
        return any(sink.input == EVENTS for sink in self.sinks.values()) or self.has_windows

    @property
    def has_windows(self) -> bool:
        """Whether any aggregate is over windows."""
        return any(aggregate.window for aggregate in self.aggregates.values())

    @property
    def timestamps_are_used(self) -> bool:
        """Whether anything depends on when events happened, so that a record without a timestamp is none."""
        return self.order.by == "timestamp" or self.has_windows


def name_fault(kind: str, name: str) -> str:
    """What is wanted instead of `name` for one of the "sources" or "sinks"; empty where the name is right."""
    if not re.fullmatch(NAME_PATTERN, name):
        return "a name of 1 to 64 letters, digits, - and _"
    if kind == "sources" and name == RESERVED_SOURCE_NAME:
        return "another name: this one is the source of retried dead letters"
    return ""


def contradictions(configuration: Configuration) -> Iterator[tuple[str, str]]:
    """What is wrong between sections that are each right: pairs of a dotted key and what is wanted there."""
    if configuration.order.by == "timestamp" and not configuration.event.timestamp:
        yield "event.timestamp", 'the field of the timestamp, since order.by = "timestamp" reads it'
    elif configuration.has_windows and not configuration.event.timestamp:
        yield "event.timestamp", "the field of the timestamp, since an aggregate has a window"
    for name, aggregate in configuration.aggregates.items():
        yield from aggregate_contradictions(name, aggregate)
    yield from _sink_input_contradictions(configuration)
    yield from _sink_path_contradictions(configuration)


def _sink_input_contradictions(configuration: Configuration) -> Iterator[tuple[str, str]]:
    """Sinks of rows that nobody makes."""
    with_rows = [f"{AGGREGATES}.{name}" for name, options in configuration.aggregates.items() if options.window]
    for name, sink in configuration.sinks.items():
        if sink.input not in (EVENTS, DEAD_LETTERS, *with_rows):
            known = "".join(f', "{each}"' for each in with_rows)
            yield f"sinks.{name}.input", f'"events", "dead_letters"{known}: an aggregate with a window, by its name'


def _sink_path_contradictions(configuration: Configuration) -> Iterator[tuple[str, str]]:
    """Files that would be written by two, or read and written at once."""
    written = [
        (f"sinks.{name}.path", os.path.normpath(path)) for name, sink in configuration.sinks.items() for path in sink.paths()
    ]
    for (first, path), (second, other) in combinations(written, 2):
        if path == other:
            yield second, f"a path of its own: {first} writes this file too"
    state = os.path.normpath(configuration.state.dir)
    for key, path in written:
        if path == state or path.startswith(f"{state}/"):
            yield key, f"a path outside the state directory ({state})"
        for name, source in configuration.sources.items():
            if any(_is_matched(path, os.path.normpath(pattern)) for pattern in source.patterns()):
                yield key, f"another path: sources.{name} reads this one, and what is written would be read again"


def _is_matched(path: str, pattern: str) -> bool:
    """Whether `path` is `pattern` or one of its files, name by name as globs go: a `*` does not reach over a `/`."""
    names, patterns = path.split("/"), pattern.split("/")
    return path == pattern or (len(names) == len(patterns) and all(map(fnmatchcase, names, patterns)))


def config_parts(configuration: Configuration) -> dict[str, Json]:
    """What the state is a function of, beside the log: flat dotted keys, values as JSON.

    A key that a later release adds must be left out here as long as it holds the value by which earlier releases behaved:
    otherwise an upgrade alone would refuse every state.
    """
    parts: dict[str, Json] = {}
    for name, source in configuration.sources.items():
        parts |= {f"sources.{name}.{key}": value for key, value in source.identity().items()}
    for number, transform in enumerate(configuration.transforms):
        parts |= {f"transforms[{number}].{key}": value for key, value in transform.parts().items()}
    for section in ("event", "dedup", "order", "totals"):
        options: dict[str, Json] = getattr(configuration, section).model_dump(mode="json")
        parts |= {f"{section}.{key}": value for key, value in options.items()}
    del parts["order.idle_release_ms"]  # the journal records each release, so the state does not depend on when they come
    for name, aggregate in configuration.aggregates.items():
        said: dict[str, Json] = aggregate.model_dump(mode="json")
        # As pairs: the order of a row's columns is part of what it says.
        said["measures"] = [[column, text] for column, text in aggregate.measures.items()]
        parts |= {f"{AGGREGATES}.{name}.{key}": value for key, value in said.items()}
    return parts


def config_hash(parts: Mapping[str, Json]) -> str:
    """The fingerprint of `config_parts`, in hexadecimal: equal exactly where they are, whatever the order of the keys."""
    canonical = orjson.dumps(dict(parts), option=orjson.OPT_SORT_KEYS)
    return hashlib.blake2b(canonical, digest_size=CONFIG_HASH_BYTES).hexdigest()


@dataclass(frozen=True, slots=True)
class PartChange:
    """A key on which two configurations differ. None stands for a key that one of them does not have."""

    key: str
    before: Json
    after: Json

    def __str__(self) -> str:
        return f"{self.key}: {_shown(self.before)} -> {_shown(self.after)}"


def _shown(value: Json) -> str:
    return "(absent)" if value is None else orjson.dumps(value).decode()


def changed_parts(before: Mapping[str, Json], after: Mapping[str, Json]) -> list[PartChange]:
    """The keys whose values differ, ascending; empty where the two hash alike."""
    pairs = ((key, before.get(key), after.get(key)) for key in sorted(before.keys() | after.keys()))
    return [PartChange(key, old, new) for key, old, new in pairs if _shown(old) != _shown(new)]
