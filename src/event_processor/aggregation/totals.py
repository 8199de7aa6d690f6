"""The totals of each category: count, exact sum, least and greatest value, first and last event by id.

Always: totals are mergeable, and the total of a log does not depend on how it was cut into batches. A total is a value:
adding gives a new one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from msgspec import Struct
from msgspec.structs import replace

from event_processor.aggregation.exact_sum import add_exactly
from event_processor.contracts import FloatArray, IntArray
from event_processor.event import EventId
from event_processor.id_order import id_key, is_ascending

__all__ = ["AcceptedEvents", "CategoryTotal", "add_batch", "merge"]

ONE_TOTAL = ""
"""The name of the only category where the configuration names none."""
RADIX_GROUPS_MAX = 32_767
"""numpy sorts 16-bit integers stably by radix, several times faster than wider ones."""


class CategoryTotal(Struct, frozen=True):
    """What is known of one category. `min` and `max` are None until a value was seen; `sum` is `sum_parts`, rounded once.

    `last_timestamp` is that of the event that is last by id, in RFC 3339 and UTC, or None where it bears none that can be read.
    """

    count: int
    sum: float
    sum_parts: tuple[float, ...]
    min: float | None
    max: float | None
    mean: float
    first_id: int | str | tuple[int | str, ...]
    last_id: int | str | tuple[int | str, ...]
    last_timestamp: str | None


@dataclass(frozen=True, slots=True)
class AcceptedEvents:
    """Accepted events by column, in log order, n of each; None where the configuration names no such field.

    `has_value` is None where every event has a value. `timestamps` are as they stand in the records.
    """

    ids: Sequence[EventId]
    categories: Sequence[str] | None
    values: FloatArray | None
    has_value: np.ndarray[tuple[int], np.dtype[np.bool_]] | None
    timestamps: Sequence[object] | None


def add_batch(
    totals: Mapping[str, CategoryTotal],
    events: AcceptedEvents,
    read_timestamp: Callable[[object], str | None],
) -> dict[str, CategoryTotal]:
    """The totals with the events added. Events of one id come in log order; a later one is the later by id too."""
    added = dict(totals)
    if not events.ids:
        return added
    ascending = is_ascending(events.ids)
    for category, rows in _groups(events.categories, len(events.ids)):
        part = _total_of(events, rows, ascending=ascending, read_timestamp=read_timestamp)
        earlier = added.get(category)
        added[category] = part if earlier is None else merge(earlier, part)
    return added


def merge(earlier: CategoryTotal, later: CategoryTotal) -> CategoryTotal:
    """The total of both; where ids are equal, first is the earlier's and last the later's."""
    parts = add_exactly(earlier.sum_parts, list(later.sum_parts))
    total = parts[0] if parts else 0.0
    count = earlier.count + later.count
    last = later if id_key(later.last_id) >= id_key(earlier.last_id) else earlier
    first = later if id_key(later.first_id) < id_key(earlier.first_id) else earlier
    return CategoryTotal(
        count=count,
        sum=total,
        sum_parts=parts,
        min=_least(earlier.min, later.min),
        max=_greatest(earlier.max, later.max),
        mean=total / count,
        first_id=first.first_id,
        last_id=last.last_id,
        last_timestamp=last.last_timestamp,
    )


def _groups(categories: Sequence[str] | None, count: int) -> list[tuple[str, IntArray]]:
    """Each category with the rows of its events, ascending, in the order in which the categories appear."""
    if categories is None:
        return [(ONE_TOTAL, np.arange(count))]
    codes_by_name = {name: code for code, name in enumerate(dict.fromkeys(categories))}
    dtype = np.int16 if len(codes_by_name) <= RADIX_GROUPS_MAX else np.int32
    codes = np.fromiter(map(codes_by_name.__getitem__, categories), dtype=dtype, count=count)
    by_code = np.argsort(codes, kind="stable")
    bounds = np.concatenate(([0], np.cumsum(np.bincount(codes, minlength=len(codes_by_name)))))
    return [(name, by_code[start:end]) for name, (start, end) in zip(codes_by_name, pairwise(bounds.tolist()), strict=True)]


def _total_of(
    events: AcceptedEvents, rows: IntArray, *, ascending: bool, read_timestamp: Callable[[object], str | None]
) -> CategoryTotal:
    """The total of one category's events of one batch."""
    first_row, last_row = _first_and_last(events.ids, rows, ascending=ascending)
    total = CategoryTotal(
        count=len(rows),
        sum=0.0,
        sum_parts=(),
        min=None,
        max=None,
        mean=0.0,
        first_id=events.ids[first_row],
        last_id=events.ids[last_row],
        last_timestamp=None if events.timestamps is None else read_timestamp(events.timestamps[last_row]),
    )
    if events.values is None:
        return total
    values = events.values[rows] if events.has_value is None else events.values[rows[events.has_value[rows]]]
    if not len(values):
        return total
    parts = add_exactly((), values.tolist())
    value_sum = parts[0] if parts else 0.0
    return replace(
        total,
        sum=value_sum,
        sum_parts=parts,
        min=float(values.min()),
        max=float(values.max()),
        mean=value_sum / len(rows),
    )


def _first_and_last(ids: Sequence[EventId], rows: IntArray, *, ascending: bool) -> tuple[int, int]:
    """The rows of the events that are first and last by id; of equal ids the earliest and the latest row."""
    if ascending:
        first = int(rows[0])
        # Rows of an id that repeats stand together; the first of them is the earliest already.
        return first, int(rows[-1])
    row_list: list[int] = rows.tolist()
    keys = [(id_key(ids[row]), row) for row in row_list]
    return min(keys)[1], max(keys)[1]


def _least(one: float | None, other: float | None) -> float | None:
    if one is None or other is None:
        return other if one is None else one
    return min(one, other)


def _greatest(one: float | None, other: float | None) -> float | None:
    if one is None or other is None:
        return other if one is None else one
    return max(one, other)
