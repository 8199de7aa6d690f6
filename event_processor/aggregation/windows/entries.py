"""What is kept of some events of one group: their number, and the total of each measured field.

Owns: how two are merged; and how a batch of events is split into segments, from
which entries are made.
Always: an entry is a value. Sums are exact (`exact_sum.py`), so the order and the number of additions do not matter, and what was
added can be subtracted again. Merging is associative: of two first values with the same key, the earlier argument's is kept; of
two last values, the later's. Within a segment the keys rise, and events with equal keys keep the order in which they came.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import compress

import numpy as np

from event_processor.aggregation.documents import Entry, FieldTotal, Keyed, MixedCount
from event_processor.aggregation.exact_sum import add_exactly, canonical_by_group, sum_by_group
from event_processor.configuration.aggregates import Measure
from event_processor.model.columns import BoolArray, FloatArray, IntArray

__all__ = [
    "Entry",
    "FieldPlan",
    "FieldTotal",
    "FieldValues",
    "Keyed",
    "MixedCount",
    "Segments",
    "count_of",
    "field_plans",
    "merge_entries",
    "nothing_of",
    "segments_of",
    "shown_sum",
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


def count_of(present: int, numbers: int) -> int | MixedCount:
    """The count of a field in its only form."""
    return present if present == numbers else MixedCount(present, numbers)


def shown_sum(parts: Sequence[float], present: int, numbers: int) -> float | None:
    """The value of a sum: 0 if no event has the field; None if events have it, but no number."""
    if parts:
        return parts[0]
    return None if present and not numbers else 0.0


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


def nothing_of(plans: Sequence[FieldPlan]) -> Entry:
    """The entry of no events."""
    return Entry(0, tuple(FieldTotal() for _ in plans))


def merge_entries(earlier: Entry, later: Entry) -> Entry:
    """Merges the entries of earlier and of later events."""
    fields = tuple(_merged(one, other) for one, other in zip(earlier.fields, later.fields, strict=True))
    return Entry(earlier.count + later.count, fields)


def _merged(earlier: FieldTotal, later: FieldTotal) -> FieldTotal:
    if not later.count or not earlier.count:
        return earlier if earlier.count else later
    count = count_of(earlier.present + later.present, earlier.numbers + later.numbers)
    parts = add_exactly(earlier.parts, list(later.parts)) if later.parts else earlier.parts
    least, greatest, first, last = earlier.least, earlier.greatest, earlier.first, earlier.last
    if later.least is not None and later.greatest is not None:
        least = later.least if least is None else min(least, later.least)
        greatest = later.greatest if greatest is None else max(greatest, later.greatest)
    if later.first is not None and (first is None or later.first[0] < first[0]):
        first = later.first
    if later.last is not None and (last is None or later.last[0] >= last[0]):
        last = later.last
    return FieldTotal(count, parts, least, greatest, first, last)


@dataclass(frozen=True, slots=True)
class FieldValues:
    """One field of n events.

    `present` (n,) marks the events with the field; None: all. `numbers` (n,): 0.0 where there is none; None if numbers are not
    measured. `is_number` and `is_scalar` (n,) mark the values that can be summed and compared, or kept as first or last; None:
    all that are present. `raw`: the values as decoded.
    """

    present: BoolArray | None
    numbers: FloatArray | None = None
    is_number: BoolArray | None = None
    is_scalar: BoolArray | None = None
    raw: Sequence[object] | None = None

    def picked(self, kept: BoolArray) -> FieldValues:
        """The values of the events that are kept."""
        return FieldValues(
            None if self.present is None else self.present[kept],
            None if self.numbers is None else self.numbers[kept],
            None if self.is_number is None else self.is_number[kept],
            None if self.is_scalar is None else self.is_scalar[kept],
            None if self.raw is None else list(compress(self.raw, kept)),
        )


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
    present = _counted(values.present, segments)
    counts: Sequence[int | MixedCount] = present
    nothing: list[None] = [None] * len(present)
    parts: Sequence[tuple[float, ...]] = [()] * len(present)
    least: Sequence[float | None] = nothing
    greatest: Sequence[float | None] = nothing
    if values.numbers is not None and plan.is_number:
        numbers = values.numbers if order is None else values.numbers[order]
        is_number = values.present if values.is_number is None else values.is_number
        number_counts = present if values.is_number is None else _counted(is_number, segments)
        counts = list(map(count_of, present, number_counts))
        if plan.sums:
            parts = _exact_parts(numbers, sizes)
        if plan.extremes:
            fit = is_number if order is None or is_number is None else is_number[order]
            lower, upper = (numbers, numbers) if fit is None else _outside(numbers, fit)
            least = _if_any(np.minimum.reduceat(lower, starts).tolist(), number_counts)
            greatest = _if_any(np.maximum.reduceat(upper, starts).tolist(), number_counts)
    first, last = _ends(values, keys, segments) if plan.ends else (nothing, nothing)
    return list(map(FieldTotal, counts, parts, least, greatest, first, last))


def _counted(marks: BoolArray | None, segments: Segments) -> list[int]:
    """How many events of each segment are marked; all if there are no marks."""
    if marks is None:
        sizes: list[int] = segments.sizes.tolist()
        return sizes
    ordered = marks if segments.order is None else marks[segments.order]
    counts: list[int] = np.add.reduceat(ordered.astype(np.int64), segments.starts).tolist()
    return counts


def _if_any(found: list[float], counts: Sequence[int]) -> Sequence[float | None]:
    """The numbers found in each segment; None for a segment without one."""
    return found if all(counts) else [each if count else None for each, count in zip(found, counts, strict=True)]


def _exact_parts(numbers: FloatArray, sizes: IntArray) -> list[tuple[float, ...]]:
    groups = np.repeat(np.arange(len(sizes)), sizes)
    parts = canonical_by_group(sum_by_group(numbers, groups, sizes))
    if len(parts) == 0:
        return [()] * len(sizes)
    if len(parts) == 1:
        return [(part,) if part else () for part in parts[0].tolist()]
    return [tuple(part for part in column if part) for column in parts.T.tolist()]


def _outside(numbers: FloatArray, fit: BoolArray) -> tuple[FloatArray, FloatArray]:
    """Two copies of the numbers: values that are not marked become infinity in the first, minus infinity in the second."""
    return np.where(fit, numbers, np.inf), np.where(fit, numbers, -np.inf)


def _ends(values: FieldValues, keys: IntArray | None, segments: Segments) -> tuple[list[Keyed | None], list[Keyed | None]]:
    """The first and the last value of each segment that has one, with their keys."""
    assert keys is not None, "first and last need keys"
    assert values.raw is not None, "first and last need values"
    places = np.arange(len(keys)) if segments.order is None else segments.order
    numbers = np.repeat(np.arange(len(segments.sizes)), segments.sizes)
    fit = values.present if values.is_scalar is None else values.is_scalar
    if fit is not None:
        kept = fit[places]
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
