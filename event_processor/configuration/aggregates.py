"""What `[aggregates.NAME]` may say: which events are grouped by what, what is measured of them, and over which windows.

Owns: the keys of an aggregate and of its window, and what the text of a measure means.
Always: an aggregate's rows have every name once.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Final, Literal, TypeAlias, cast

from pydantic import Field, StringConstraints, field_validator
from pydantic_core import PydanticCustomError

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
WINDOW_S_MAX: Final = 640 * 366 * 86_400
"""Longer than from the first timestamp that can be read to the last: what is longer still says the same."""
STEP_S_MAX: Final = 9_000_000_000
"""Some 285 years: in nanoseconds a signed 64-bit number, as timestamps are."""

Name = Annotated[str, StringConstraints(min_length=1, max_length=256)]


@dataclass(frozen=True, slots=True)
class Measure:
    """One column of an aggregate's rows. `field` is empty where events are counted, whatever they hold."""

    name: str
    function: MeasureFunction
    field: str


class WindowOptions(Section):
    """Windows of event time: a row for each, once the events are past its end.

    The ends lie on whole multiples of `every_s` from 1970-01-01 00:00 UTC; the first row is that of the step in which the first event lies,
    the last, at the end of finished input, that of the step behind the last event.
    """

    size_s: int = Field(ge=1, le=WINDOW_S_MAX, examples=[600])
    """How long a window is, in seconds."""
    every_s: int | None = Field(default=None, ge=1, le=STEP_S_MAX, examples=[60])
    """How far the next window's end is from this one's, in seconds; by default `size_s`, so that windows do not overlap."""
    closed: Literal["left", "right", "both", "none"] = "left"
    """Which of its two ends belongs to a window: an event at that very instant counts in it."""
    empty: int | Annotated[float, Field(allow_inf_nan=False)] | None = Field(default=None, examples=[0])
    """What the measures of a window without events say; without it such a window has no row. Only without `group_by`."""
    start_as: str = "window_start"
    """The name of the column with the window's start; "" for none."""
    end_as: str = "window_end"
    """The name of the column with the window's end; "" for none."""
    timestamp_format: Literal["rfc3339", "datetime", "epoch_s"] = "rfc3339"
    """How start and end are written: "2018-12-26T18:11:00Z", "2018-12-26 18:11:00" in the zone of `event.timestamp_zone`, or seconds."""

    @property
    def step_s(self) -> int:
        """The distance of two windows' ends, in seconds."""
        return self.every_s or self.size_s


class AggregateOptions(Section):
    """Measures of the accepted events, by group; with a window, of the events in it, in the order of [order]."""

    group_by: tuple[Name, ...] = ()
    """The fields by which events are grouped, dotted names reach inside; a field that is missing is null. Without any, all are one group."""
    measures: Mapping[Name, str] = Field(examples=[{"events": "count", "average": "mean(value)"}])
    """What each column of a row says: "count", or "count", "sum", "mean", "min", "max", "first" or "last" of a field, as in "mean(duration)".
    Sums are exact. An event without the field, or with null, adds nothing; nor does one whose field is no number where one is needed,
    and these are counted as `unfit`."""
    where: Mapping[Name, Scalar | tuple[Scalar, ...]] = Field(default_factory=dict)
    """Which events count: for each field the value that it must have, or an array of such values."""
    groups_max: int = Field(default=100_000, ge=1)
    """How many groups there may be, with a window at once; past it an event of a new one is not counted here, but as `over_limit`."""
    window: WindowOptions | None = None
    """The window; without one an aggregate is over everything that was ever accepted."""

    @field_validator("measures")
    @classmethod
    def _measures_can_be_read(cls, measures: Mapping[str, str]) -> Mapping[str, str]:
        if not measures:
            raise PydanticCustomError("measures", 'at least one, such as events = "count"')
        for text in measures.values():
            found = _MEASURE.fullmatch(text)
            if found is None or (found[2] is None and found[1] != "count"):
                raise PydanticCustomError("measures", '"count", or a function of a field, such as "mean(duration)"')
        return measures

    def columns(self) -> tuple[Measure, ...]:
        """The measures, in order."""
        found = ((name, _MEASURE.fullmatch(text)) for name, text in self.measures.items())
        return tuple(Measure(name, cast("MeasureFunction", each[1]), each[2] or "") for name, each in found if each)

    def row_names(self) -> list[str]:
        """The columns of a row, in order."""
        ends = [name for name in (self.window.start_as, self.window.end_as) if name] if self.window else []
        return [*ends, *self.group_by, *self.measures]


def aggregate_contradictions(name: str, options: AggregateOptions) -> Iterator[tuple[str, str]]:
    """What is wrong between keys that are each right: pairs of a dotted key and what is wanted there."""
    names = options.row_names()
    if len(set(names)) < len(names):
        yield f"aggregates.{name}", "measures and groups with names that no other column of the row has"
    fields = sorted({*options.group_by, *options.where, *(measure.field for measure in options.columns() if measure.field)})
    for outer in fields:
        if inner := next((field for field in fields if field.startswith(f"{outer}.")), ""):
            yield f"aggregates.{name}", f'fields that are not inside one another, as "{inner}" is inside "{outer}"'
    if options.window and options.window.empty is not None and options.group_by:
        yield f"aggregates.{name}.window.empty", "no value together with group_by: of a group without events nothing is known"
    if options.window and options.window.step_s > STEP_S_MAX:
        yield f"aggregates.{name}.window.every_s", f"a number up to {STEP_S_MAX:,}, since size_s is more"
