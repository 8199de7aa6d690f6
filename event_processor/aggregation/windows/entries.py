"""What is kept of some events of one group: their number, and the total of each measured field.

Owns: the form of an entry, in memory and on disk; how two are merged; and how a batch of events is split into segments, from
which entries are made.
Always: an entry is a value. Sums are exact (`exact_sum.py`), so the order and the number of additions do not matter, and what was
added can be subtracted again. Merging is associative: of two first values with the same key, the earlier argument's is kept; of
two last values, the later's. Within a segment the keys rise, and events with equal keys keep the order in which they came.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from msgspec import Struct

from event_processor.aggregation.exact_sum import add_exactly, canonical_by_group, sum_by_group
from event_processor.configuration.aggregates import Measure
from event_processor.model.columns import BoolArray, FloatArray, IntArray

__all__ = [
    "Entry",
    "FieldPlan",
    "FieldTotal",
    "FieldValues",
    "Keyed",
    "Segments",
    "field_plans",
    "merge_entries",
    "segments_of",
    "summarise",
]


@dataclass(frozen=True, slots=True)
class Segments:
    """n events in g segments. `order` (n,) lists the events segment by segment; None if they are already in that order.

    Segment i is the `sizes[i]` events from `starts[i]` on; none is empty.
    """

    order: IntArray | None
    starts: IntArray
    sizes: IntArray


def segments_of(columns: Sequence[IntArray], keys: IntArray | None) -> tuple[Segments, IntArray]:
    """Groups n events, at least one, by the values of the columns, the first before the second, and then by `keys`, if given.

    Also returns the place of each segment's first event (g,).
    """
    if len(columns) > 1 and not (columns[-1] != columns[-1][0]).any():
        columns = columns[:-1]
    order: IntArray | None = None
    if not _is_sorted([*columns, *([] if keys is None else [keys])]):
        order = np.lexsort([*([] if keys is None else [keys]), *reversed(columns)])
        columns = [column[order] for column in columns]
    begins: BoolArray = np.zeros(len(columns[0]), np.bool_)
    begins[0] = True
    for column in columns:
        begins[1:] |= column[1:] != column[:-1]
    starts = np.flatnonzero(begins)
    sizes = np.diff(np.append(starts, len(begins)))
    return Segments(order, starts, sizes), starts if order is None else np.minimum.reduceat(order, starts)


def _is_sorted(columns: Sequence[IntArray]) -> bool:
    """Whether each column rises by itself. Then they also rise together."""
    return all(bool((column[1:] >= column[:-1]).all()) for column in columns)


Keyed = tuple[int, Any]
"""A key that orders events, and a field's value as in the JSON."""


class FieldTotal(Struct, frozen=True, array_like=True):
    """One field's values of some events. Members that the plan does not need keep their default.

    `parts` is the exact sum, canonical. `first` and `last` are the values with the least and the greatest key.
    """

    count: int = 0
    parts: tuple[float, ...] = ()
    least: float | None = None
    greatest: float | None = None
    first: Keyed | None = None
    last: Keyed | None = None


class Entry(Struct, frozen=True, array_like=True):
    """Some events of a group: their number, and the totals of the measured fields, in the order of the plan."""

    count: int
    fields: tuple[FieldTotal, ...]


@dataclass(frozen=True, slots=True)
class FieldPlan:
    """What is kept of a field."""

    name: str
    sums: bool
    extremes: bool
    ends: bool

    @property
    def is_number(self) -> bool:
        """Whether only numbers count."""
        return self.sums or self.extremes


def field_plans(measures: Sequence[Measure]) -> tuple[FieldPlan, ...]:
    """What to keep of each field, in the order in which the measures name them."""
    functions: dict[str, set[str]] = {}
    for measure in measures:
        if measure.field:
            functions.setdefault(measure.field, set()).add(measure.function)
    return tuple(
        FieldPlan(name, sums=bool(of & {"sum", "mean"}), extremes=bool(of & {"min", "max"}), ends=bool(of & {"first", "last"}))
        for name, of in functions.items()
    )


def merge_entries(earlier: Entry, later: Entry) -> Entry:
    """Merges the entries of earlier and of later events."""
    fields = tuple(_merged(one, other) for one, other in zip(earlier.fields, later.fields, strict=True))
    return Entry(earlier.count + later.count, fields)


def _merged(earlier: FieldTotal, later: FieldTotal) -> FieldTotal:
    if not later.count or not earlier.count:
        return earlier if earlier.count else later
    parts = add_exactly(earlier.parts, list(later.parts)) if later.parts else earlier.parts
    least, greatest, first, last = earlier.least, earlier.greatest, earlier.first, earlier.last
    if later.least is not None and later.greatest is not None and least is not None and greatest is not None:
        least, greatest = min(least, later.least), max(greatest, later.greatest)
    if first is not None and later.first is not None and later.first[0] < first[0]:
        first = later.first
    if last is not None and later.last is not None and later.last[0] >= last[0]:
        last = later.last
    return FieldTotal(earlier.count + later.count, parts, least, greatest, first, last)


@dataclass(frozen=True, slots=True)
class FieldValues:
    """One field of n events. `numbers` (n,): 0.0 if absent. `present` (n,): None if all are present. `raw`: as decoded."""

    numbers: FloatArray | None
    present: BoolArray | None
    raw: Sequence[object] | None


def summarise(
    plans: Sequence[FieldPlan], values: Sequence[FieldValues], keys: IntArray | None, segments: Segments
) -> list[Entry]:
    """Makes the entry of each segment. `keys` (n,) order the events; they are needed if a plan wants ends."""
    columns = [_totals(plan, each, keys, segments) for plan, each in zip(plans, values, strict=True)]
    counts: list[int] = segments.sizes.tolist()
    fields = zip(*columns, strict=True) if columns else [()] * len(counts)
    return [Entry(count, tuple(each)) for count, each in zip(counts, fields, strict=True)]


def _totals(plan: FieldPlan, values: FieldValues, keys: IntArray | None, segments: Segments) -> list[FieldTotal]:
    """One field's total in each segment."""
    order, starts, sizes = segments.order, segments.starts, segments.sizes
    present = values.present if order is None or values.present is None else values.present[order]
    counts: list[int] = (sizes if present is None else np.add.reduceat(present.astype(np.int64), starts)).tolist()
    nothing: list[None] = [None] * len(counts)
    parts: Sequence[tuple[float, ...]] = [()] * len(counts)
    least: Sequence[float | None] = nothing
    greatest: Sequence[float | None] = nothing
    if values.numbers is not None and plan.is_number:
        numbers = values.numbers if order is None else values.numbers[order]
        if plan.sums:
            parts = _exact_parts(numbers, sizes)
        if plan.extremes:
            lower, upper = (numbers, numbers) if present is None else _outside(numbers, present)
            least, greatest = np.minimum.reduceat(lower, starts).tolist(), np.maximum.reduceat(upper, starts).tolist()
    first, last = _ends(values, keys, segments) if plan.ends else (nothing, nothing)
    totals = map(FieldTotal, counts, parts, least, greatest, first, last)
    return [total if total.count else FieldTotal() for total in totals]


def _exact_parts(numbers: FloatArray, sizes: IntArray) -> list[tuple[float, ...]]:
    groups = np.repeat(np.arange(len(sizes)), sizes)
    parts = canonical_by_group(sum_by_group(numbers, groups, sizes))
    if len(parts) == 0:
        return [()] * len(sizes)
    if len(parts) == 1:
        return [(part,) if part else () for part in parts[0].tolist()]
    return [tuple(part for part in column if part) for column in parts.T.tolist()]


def _outside(numbers: FloatArray, present: BoolArray) -> tuple[FloatArray, FloatArray]:
    """Two copies of the numbers: absent values become infinity in the first, minus infinity in the second."""
    return np.where(present, numbers, np.inf), np.where(present, numbers, -np.inf)


def _ends(values: FieldValues, keys: IntArray | None, segments: Segments) -> tuple[list[Keyed | None], list[Keyed | None]]:
    """The first and the last value of each segment that has one, with their keys."""
    assert keys is not None, "first and last need keys"
    assert values.raw is not None, "first and last need values"
    places = np.arange(len(keys)) if segments.order is None else segments.order
    numbers = np.repeat(np.arange(len(segments.sizes)), segments.sizes)
    if values.present is not None:
        kept = values.present[places]
        places, numbers = places[kept], numbers[kept]
    first: list[Keyed | None] = [None] * len(segments.sizes)
    last = list(first)
    if len(places):
        begins = np.flatnonzero(np.append(True, numbers[1:] != numbers[:-1]))
        ends = np.append(begins[1:], len(numbers)) - 1
        for found, at in ((first, begins), (last, ends)):
            for number, place in zip(numbers[at].tolist(), places[at].tolist(), strict=True):
                found[number] = (int(keys[place]), values.raw[place])
    return first, last
