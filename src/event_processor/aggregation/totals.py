"""The totals of each category: count, exact sum, least and greatest value, first and last event by id.

Always: totals are mergeable, and the total of a log does not depend on how it was cut into batches. A total is a value:
adding gives a new one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain, zip_longest
from typing import Final

import numpy as np

from event_processor.aggregation.exact_sum import add_exactly, canonical_by_group, sum_by_group, without_empty_rows
from event_processor.aggregation.extremes import Extremes, Groups, find_extremes, one_group, order_words
from event_processor.aggregation.late_objects import LateObjects
from event_processor.aggregation.total_columns import CategoryTotal, ShownTotals, TotalColumns, Totals
from event_processor.contracts import BoolArray, CategoryColumn, FloatArray, IdColumn, IntArray, TimestampColumn
from event_processor.id_columns import WordArray
from event_processor.id_order import id_key

__all__ = ["AcceptedEvents", "CategoryTotal", "ShownTotals", "Totals", "add_batch", "merge"]

ONE_TOTAL: Final = ""
"""The name of the only category where the configuration names none."""
BYTE_CODES, SHORT_CODES = 2**8, 2**16
"""numpy sorts integers of up to 16 bits stably by radix, ten times faster than wider ones."""


LONG_RUN: Final = 64


@dataclass(frozen=True, slots=True)
class AcceptedEvents:
    """Accepted events by column, in log order, n of each; None where the configuration names no such field.

    `categories` may name some that no event bears. `values` hold 0.0 where `has_value` is False, and never -0.0; `has_value`
    is None where every event has a value. `timestamps` are as they stand in the records.
    """

    ids: IdColumn
    categories: CategoryColumn | None
    values: FloatArray | None
    has_value: BoolArray | None
    timestamps: TimestampColumn | None


def add_batch(
    totals: Mapping[str, CategoryTotal],
    events: AcceptedEvents,
    read_timestamps: Callable[[Sequence[object]], Sequence[str | None]],
) -> Totals:
    """The totals with the events added. Events of one id come in log order; a later one is the later by id too.

    `read_timestamps` gives each timestamp, as it stands in a record, as the checkpoint shows it; None where it is none.
    """
    before = Totals.of(totals)
    if not len(events.ids):
        return before
    names, groups = _group(events.categories, len(events.ids))
    index, rows = _rows(before.index, names)
    columns = before.columns.widened(len(index) - len(before.index))
    columns = _with_counts(columns, rows, groups.sizes)
    columns = _with_values(columns, rows, events, groups)
    changes = _with_ids(columns, rows, rows >= len(before.index), events.ids, find_extremes(events.ids, groups))
    columns, changed, places = changes
    if len(changed):
        make = _no_timestamps if events.timestamps is None else _texts_of(events.timestamps.picked(places), read_timestamps)
        columns = replace(columns, last_timestamps=columns.last_timestamps.written(changed, make, len(index)))
    return Totals(index, columns)


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


def _group(categories: CategoryColumn | None, count: int) -> tuple[list[str], Groups]:
    """The categories that some event bears, and the events of each."""
    if categories is None:
        return [ONE_TOTAL], one_group(np.arange(count))
    names, codes = list(categories.names), categories.codes
    sizes = np.bincount(codes, minlength=len(names))
    narrow = np.uint8 if len(names) <= BYTE_CODES else np.uint16 if len(names) <= SHORT_CODES else np.int64
    order = np.argsort(codes.astype(narrow), kind="stable")
    borne = np.flatnonzero(sizes)
    if len(borne) < len(names):
        codes = (np.cumsum(sizes > 0) - 1)[codes]
        names, sizes = [names[code] for code in borne.tolist()], sizes[borne]
    return names, Groups(codes, order, np.cumsum(sizes) - sizes, sizes)


def _rows(index: dict[str, int], names: list[str]) -> tuple[dict[str, int], IntArray]:
    """The index with a row for each of the names, and their rows. The old index stays as it is."""
    try:
        return index, np.fromiter(map(index.__getitem__, names), np.int64, len(names))
    except KeyError:
        opened = [name for name in names if name not in index]
        index = {**index, **dict(zip(opened, range(len(index), len(index) + len(opened)), strict=True))}
        return index, np.fromiter(map(index.__getitem__, names), np.int64, len(names))


def _with_counts(columns: TotalColumns, rows: IntArray, sizes: IntArray) -> TotalColumns:
    counts = columns.counts.copy()
    counts[rows] += sizes  # each row stands there once
    return replace(columns, counts=counts)


def _with_values(columns: TotalColumns, rows: IntArray, events: AcceptedEvents, groups: Groups) -> TotalColumns:
    """With sums, least and greatest values; an event without a value adds nothing to them."""
    if events.values is None:
        return columns
    lower = upper = events.values
    if events.has_value is not None:
        lower, upper = np.where(events.has_value, lower, np.inf), np.where(events.has_value, upper, -np.inf)
    least, greatest = columns.least.copy(), columns.greatest.copy()
    least[rows] = np.minimum(least[rows], _best_by_group(lower, groups, np.minimum, np.inf))
    greatest[rows] = np.maximum(greatest[rows], _best_by_group(upper, groups, np.maximum, -np.inf))
    added = sum_by_group(events.values, groups.numbers, groups.sizes)
    # Great terms before small ones settle soonest.
    terms = [term for term in chain(*zip_longest(columns.parts[:, rows], added)) if term is not None]
    changed = canonical_by_group(terms)
    parts = np.zeros((max(len(columns.parts), len(changed)), len(columns.counts)))
    parts[: len(columns.parts)] = columns.parts
    parts[:, rows] = 0.0
    parts[: len(changed), rows] = changed
    return replace(columns, parts=without_empty_rows(parts), least=least, greatest=greatest)


def _best_by_group(values: FloatArray, groups: Groups, best_of: np.ufunc, worst: float) -> FloatArray:
    """The least or the greatest value of each group. In a long run numpy is faster, but it is slow to begin one."""
    if len(values) >= LONG_RUN * len(groups.sizes):
        return np.asarray(best_of.reduceat(values[groups.order], groups.starts), np.float64)
    best = np.full(len(groups.sizes), worst)
    best_of.at(best, groups.numbers, values)
    return best


def _with_ids(
    columns: TotalColumns, rows: IntArray, is_new: BoolArray, ids: IdColumn, extremes: Extremes
) -> tuple[TotalColumns, IntArray, IntArray]:
    """With first and last ids; and the rows whose last changed, and the places of these events."""
    batch_key, key = id_key(ids[extremes.greatest]), columns.greatest_key
    if extremes.rising and (key is None or id_key(ids[0]) >= key):
        # No id of this batch is below any before: no first changes, and every last does.
        firsts, lasts = is_new, np.ones(len(rows), np.bool_)
    else:
        firsts = is_new | _overtaking(
            ids, extremes.first, columns.first_words, columns.first_ids, rows, is_new=is_new, last=False
        )
        lasts = is_new | _overtaking(ids, extremes.last, columns.last_words, columns.last_ids, rows, is_new=is_new, last=True)
    first_ids, first_words = _replaced(columns.first_ids, columns.first_words, rows[firsts], ids, extremes.first[firsts])
    last_ids, last_words = _replaced(columns.last_ids, columns.last_words, rows[lasts], ids, extremes.last[lasts])
    changed = replace(
        columns,
        first_ids=first_ids,
        first_words=first_words,
        last_ids=last_ids,
        last_words=last_words,
        greatest_key=batch_key if key is None else max(key, batch_key),
    )
    return changed, rows[lasts], extremes.last[lasts]


def _overtaking(
    ids: IdColumn,
    places: IntArray,
    words: WordArray,
    present: LateObjects,
    rows: IntArray,
    *,
    is_new: BoolArray,
    last: bool,
) -> BoolArray:
    """Whether the id at each place is to be the first (the last) of its row: below (not below) the one that is it at present."""
    new_words, old_words = order_words(ids.picked(places)), words[rows]
    overtakes = np.asarray(new_words > old_words if last else new_words < old_words, np.bool_)
    for tie in np.flatnonzero((new_words == old_words) & ~is_new).tolist():
        new_key, old_key = id_key(ids[places[tie]]), id_key(present.resolved()[rows[tie]])
        overtakes[tie] = new_key >= old_key if last else new_key < old_key
    return overtakes


def _replaced(
    present: LateObjects, words: WordArray, rows: IntArray, ids: IdColumn, places: IntArray
) -> tuple[LateObjects, WordArray]:
    """Ids and their words with those at `places` in `rows`; there are as many as words."""
    if not len(rows):
        return present, words
    picked = ids.picked(places)
    words = words.copy()
    words[rows] = order_words(picked)
    return present.written(rows, lambda wanted: picked.picked(wanted).to_list(), len(words)), words


def _texts_of(
    column: TimestampColumn, read_timestamps: Callable[[Sequence[object]], Sequence[str | None]]
) -> Callable[[IntArray], Sequence[str | None]]:
    return lambda wanted: read_timestamps(column.picked(wanted).to_list())


def _no_timestamps(wanted: IntArray) -> Sequence[None]:
    return [None] * len(wanted)


def _least(one: float | None, other: float | None) -> float | None:
    if one is None or other is None:
        return other if one is None else one
    return min(one, other)


def _greatest(one: float | None, other: float | None) -> float | None:
    if one is None or other is None:
        return other if one is None else one
    return max(one, other)
