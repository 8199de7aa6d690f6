"""The options of `[aggregates.NAME]`: how events are grouped, what is measured, and over which windows.

Owns: the keys of an aggregate and of its window, and the meaning of a measure's text.
Always: each column of an aggregate's rows has its own name.
Never: nothing is measured here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Final, Literal, TypeAlias, cast

from pydantic import AfterValidator, BeforeValidator, Field, StringConstraints, field_validator, model_validator
from pydantic_core import PydanticCustomError

from event_processor.configuration.durations import DURATION_WANTED, duration_s
from event_processor.model.field_names import name_keys
from event_processor.model.options import Section

__all__ = [
    "WINDOW_S_MAX",
    "AggregateOptions",
    "Measure",
    "MeasureFunction",
    "Scalar",
    "WindowOptions",
    "aggregate_contradictions",
]

MeasureFunction: TypeAlias = Literal["count", "sum", "mean", "min", "max", "first", "last"]
Scalar: TypeAlias = bool | int | float | str

_MEASURE: Final = re.compile(r"(count|sum|mean|min|max|first|last)(?:\(\s*([^()\s]|[^()\s][^()]*[^()\s])\s*\))?")
ALL_EVENTS: Final = "*"
"""`count(*)` counts events, as in SQL."""
WINDOW_S_MAX: Final = 640 * 366 * 86_400
"""Longer than the time from the first to the last readable timestamp. A longer window would give the same result."""
STEP_S_MAX: Final = 9_000_000_000
"""About 285 years. In nanoseconds it fits into a signed 64-bit number, like timestamps."""

MEASURE_WANTED: Final = '"count", or count, sum, mean, min, max, first or last of a field, such as "mean(duration)"'


def _measure_can_be_read(text: str) -> str:
    """The measure, with "count" for "count(*)", so that both have one hash."""
    found = _MEASURE.fullmatch(text)
    if found is None or (found[2] in (None, ALL_EVENTS) and found[1] != "count"):
        raise PydanticCustomError("measure", MEASURE_WANTED)
    return "count" if found[2] == ALL_EVENTS else text


def _is_duration(written: object) -> object:
    seconds = duration_s(written)
    if written is not None and (seconds is None or not 1 <= seconds <= WINDOW_S_MAX):
        raise PydanticCustomError("duration", DURATION_WANTED)
    return written


Duration = Annotated[int | str, BeforeValidator(_is_duration)]
Name = Annotated[str, StringConstraints(min_length=1, max_length=256)]


@dataclass(frozen=True, slots=True)
class Measure:
    """One column of an aggregate's rows. `field` is empty if all events are counted, whatever their fields are."""

    name: str
    function: MeasureFunction
    field: str


class WindowOptions(Section):
    """Windows of event time. Each gives a row once an event past its end was released.

    Windows end at whole multiples of `every_s` since 1970-01-01 00:00 UTC. The first row ends at the last multiple that is not
    after the first event. If the input is finished, the last row ends at the first multiple after the last event.
    """

    size: Duration | None = Field(default=None, examples=["10m"])
    """The length of a window: "90s", "15m", "1h30m", "1d", "1w", or whole seconds. The state depends on `size_s` alone: "1m" and 60 are the same."""
    every: Duration | None = Field(default=None, examples=["1m"])
    """The time from the end of a window to the end of the next one, written as `size`. Default: `size`, so windows do not overlap."""
    size_s: int = Field(ge=1, le=WINDOW_S_MAX, examples=[600])
    """`size` in seconds. It is enough to set one of the two."""
    every_s: int | None = Field(default=None, ge=1, le=STEP_S_MAX, examples=[60])
    """`every` in seconds. It is enough to set one of the two."""
    closed: Literal["left", "right", "both", "none"] = "left"
    """Which of its two ends belong to a window: an event exactly at such an end counts in the window."""
    empty: int | Annotated[float, Field(allow_inf_nan=False)] | None = Field(default=None, examples=[0])
    """The value of the measures of a window without events. If it is not set, such a window has no row. Only without
    `group_by`."""
    start_as: str = "window_start"
    """The name of the column with the window's start; "" for no such column."""
    end_as: str = "window_end"
    """The name of the column with the window's end; "" for no such column."""
    time_from: Literal["all", "measured"] = "all"
    """Which events move the time forward, and so close windows: all accepted events, or only those that `where` selects. With
    "measured", the last row of finished input is for the last selected event."""
    timestamp_format: Literal["rfc3339", "datetime", "epoch_s"] = "rfc3339"
    """How start and end are written: "2018-12-26T18:11:00Z", "2018-12-26 18:11:00" in the zone of `event.timestamp_zone`, or
    seconds."""

    @model_validator(mode="before")
    @classmethod
    def _seconds_follow(cls, table: object) -> object:
        """Sets `size_s` and `every_s` from `size` and `every`. Both may be set if they say the same: `config` shows both."""
        if not isinstance(table, Mapping):
            return table
        values: dict[str, object] = dict(table)
        for key in ("size", "every"):
            seconds = duration_s(values.get(key))
            if values.get(key) is not None:
                # A value that is not a duration is a fault of its own; any seconds keep it from being two.
                values.setdefault(f"{key}_s", seconds or 1)
            if seconds and values[f"{key}_s"] not in (None, seconds):
                raise PydanticCustomError("both", "{key} or {key}_s, not both with different values", {"key": key})
        return values

    @property
    def step_s(self) -> int:
        """The time between the ends of two windows, in seconds."""
        return self.every_s or self.size_s


class AggregateOptions(Section):
    """Measures of the accepted events, by group. With a window: of the events in each window, in the order of [order]."""

    group_by: tuple[Name, ...] = ()
    """The fields by which events are grouped. Dotted names reach inside objects. A missing field counts as null. Empty: all
    events are one group."""
    measures: Mapping[Name, Annotated[str, AfterValidator(_measure_can_be_read)]] = Field(
        examples=[{"events": "count", "average": "mean(value)"}]
    )
    """Column = measure: "count" (or "count(*)"), or "count", "sum", "mean", "min", "max", "first" or "last" of a field, as in
    "mean(duration)". Sums are exact. If the field is missing or null, the event adds nothing. If a measure needs a number and the
    field is not one, the event adds nothing to that measure and is counted as `unfit`."""
    where: Mapping[Name, Scalar | tuple[Scalar, ...]] = Field(default_factory=dict)
    """Which events are measured: field = the value that it must have, or an array of such values."""
    where_missing: Literal["leave_out", "measure"] = "leave_out"
    """Whether an event is measured if a field of `where` is missing or null."""
    groups_max: int = Field(default=100_000, ge=1)
    """The maximum number of groups; with a window, of groups at the same time. Above it, an event of a new group is not measured
    but counted as `over_limit`."""
    window: WindowOptions | None = None
    """The window. Without one, the aggregate covers all events ever accepted."""

    @field_validator("measures")
    @classmethod
    def _something_is_measured(cls, measures: Mapping[str, str]) -> Mapping[str, str]:
        if not measures:
            raise PydanticCustomError("measures", 'at least one, such as events = "count"')
        return measures

    def columns(self) -> tuple[Measure, ...]:
        """The measures, in the order of the configuration."""
        found = ((name, _MEASURE.fullmatch(text)) for name, text in self.measures.items())
        return tuple(Measure(name, cast("MeasureFunction", each[1]), each[2] or "") for name, each in found if each)

    def row_names(self) -> list[str]:
        """The names of a row's columns, in order."""
        ends = [name for name in (self.window.start_as, self.window.end_as) if name] if self.window else []
        return [*ends, *self.group_by, *self.measures]


def aggregate_contradictions(name: str, options: AggregateOptions) -> Iterator[tuple[str, str]]:
    """Contradictions between keys that are valid alone: pairs of a dotted key and what is wanted."""
    names = options.row_names()
    if len(set(names)) < len(names):
        yield f"aggregates.{name}", "a different name for each column of the row"
    fields = sorted({*options.group_by, *options.where, *(measure.field for measure in options.columns() if measure.field)})
    for outer in fields:
        keys = name_keys(outer)
        if inner := next((field for field in fields if name_keys(field)[: len(keys)] == keys != name_keys(field)), ""):
            wanted = (
                f'fields that are not inside one another, as "{inner}" is inside "{outer}" (quote a key that has dots itself)'
            )
            yield f"aggregates.{name}", wanted
    if options.window and options.window.empty is not None and options.group_by:
        yield f"aggregates.{name}.window.empty", "no value together with group_by: the groups of an empty window are not known"
    if options.window and options.window.step_s > STEP_S_MAX:
        yield f"aggregates.{name}.window.every_s", f"a number up to {STEP_S_MAX:,}: the default, size_s, is larger"
