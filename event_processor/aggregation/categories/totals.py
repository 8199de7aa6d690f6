"""Adds batches to the totals of each category: count, exact sum, least and greatest value, first and last event by id.

Owns: adding a batch, and merging two totals.
Always: totals can be merged, and the total of a log does not depend on its batches. A total is a value: adding makes a new one.
Never: changes a total that it was given.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from event_processor.aggregation.categories.batch import AcceptedEvents, BatchTotals, batch_totals
from event_processor.aggregation.categories.columns import UNKNOWN, CategoryTotal, KnownRows, TotalColumns, Totals
from event_processor.aggregation.categories.first_and_last import Extremes, order_words
from event_processor.aggregation.categories.lazy_objects import LateObjects
from event_processor.aggregation.exact_sum import add_exactly, added_by_group, exact_mean
from event_processor.columns.ids import WordArray, id_key
from event_processor.columns.numbered_texts import NumberedTexts, no_numbers
from event_processor.model.columns import BoolArray, IdColumn, IntArray, TimestampColumn

__all__ = ["AcceptedEvents", "CategoryTotal", "Totals", "add_batch", "merge"]

TABLES_MAX: Final = 8
"""The number of string tables whose rows are cached. Each decoder has one table per source."""


def add_batch(
    totals: Mapping[str, CategoryTotal],
    events: AcceptedEvents,
    read_timestamps: Callable[[TimestampColumn], Sequence[str | None]],
) -> Totals:
    """Returns the totals with the events added. Events with equal ids are in log order, and the later one counts as greater.

    `read_timestamps` turns each timestamp of a record into the form of the checkpoint; None if it is not a timestamp.
    """
    before = Totals.of(totals)
    if not len(events.ids):
        return before
    batch = batch_totals(events)
    index, rows, known = _rows(before, batch.names)
    columns = before.columns.widened(len(index) - len(before.index))
    columns = _with_counts(columns, rows, batch.sizes)
    if events.values is not None:
        columns = _with_values(columns, rows, batch)
    changes = _with_ids(columns, rows, rows >= len(before.index), events.ids, batch.extremes)
    columns, changed, places = changes
    if len(changed):
        make = _no_timestamps if events.timestamps is None else _texts_of(events.timestamps.picked(places), read_timestamps)
        columns = replace(columns, last_timestamps=columns.last_timestamps.written(changed, make, len(index)))
    return Totals(index, columns, known)


def merge(earlier: CategoryTotal, later: CategoryTotal) -> CategoryTotal:
    """Merges two totals. If ids are equal, the first id is from `earlier` and the last id from `later`."""
    parts = add_exactly(earlier.sum_parts, list(later.sum_parts))
    values = None if earlier.values is None or later.values is None else earlier.values + later.values
    last = later if id_key(later.last_id) >= id_key(earlier.last_id) else earlier
    first = later if id_key(later.first_id) < id_key(earlier.first_id) else earlier
    return CategoryTotal(
        count=earlier.count + later.count,
        sum=parts[0] if parts else 0.0,
        sum_parts=parts,
        min=_least(earlier.min, later.min),
        max=_greatest(earlier.max, later.max),
        mean=exact_mean(parts, values) if values else None,
        first_id=first.first_id,
        last_id=last.last_id,
        last_timestamp=last.last_timestamp,
        values=values,
    )


def _rows(before: Totals, names: Sequence[str]) -> tuple[dict[str, int], IntArray, Sequence[KnownRows]]:
    """The index with a row for each name, the rows, and the updated caches. The old index does not change."""
    if not isinstance(names, NumberedTexts):
        index, rows = _looked_up(before.index, names)
        return index, rows, before.known
    of_table = next((known.rows for known in before.known if known.table is names.table), None)
    by_number = no_numbers(len(names.table)) if of_table is None else of_table
    rows = by_number[names.numbers]
    index, unknown = before.index, np.flatnonzero(rows < 0)
    if not len(unknown):
        return index, rows, before.known
    fresh = names.picked(unknown)
    index, rows[unknown] = _looked_up(index, list(fresh))
    # Copy, do not write: an older value still uses the old array, and its index has no such rows.
    by_number = by_number.copy()
    by_number[fresh.numbers] = rows[unknown]
    others = [known for known in before.known if known.table is not names.table]
    return index, rows, [KnownRows(names.table, by_number), *others[: TABLES_MAX - 1]]


def _looked_up(index: dict[str, int], names: Sequence[str]) -> tuple[dict[str, int], IntArray]:
    """The index with a row for each name, and the rows."""
    try:
        return index, np.fromiter(map(index.__getitem__, names), np.int64, len(names))
    except KeyError:
        opened = [name for name in names if name not in index]
        index = {**index, **dict(zip(opened, range(len(index), len(index) + len(opened)), strict=True))}
        return index, np.fromiter(map(index.__getitem__, names), np.int64, len(names))


def _with_counts(columns: TotalColumns, rows: IntArray, sizes: IntArray) -> TotalColumns:
    counts = columns.counts.copy()
    counts[rows] += sizes  # each row occurs once
    return replace(columns, counts=counts)


def _with_values(columns: TotalColumns, rows: IntArray, batch: BatchTotals) -> TotalColumns:
    """Adds sums, least and greatest values. Events without a value add nothing."""
    least, greatest = columns.least.copy(), columns.greatest.copy()
    least[rows] = np.minimum(least[rows], batch.least)
    greatest[rows] = np.maximum(greatest[rows], batch.greatest)
    values = columns.values.copy()
    # An unknown number stays unknown.
    values[rows] = np.where(values[rows] == UNKNOWN, UNKNOWN, values[rows] + batch.values)
    return replace(columns, values=values, parts=added_by_group(columns.parts, rows, batch.terms), least=least, greatest=greatest)


def _with_ids(
    columns: TotalColumns, rows: IntArray, is_new: BoolArray, ids: IdColumn, extremes: Extremes
) -> tuple[TotalColumns, IntArray, IntArray]:
    """Updates first and last ids. Also returns the rows with a new last id, and the places of these events."""
    batch_key, key = id_key(ids[extremes.greatest]), columns.greatest_key
    if extremes.rising and (key is None or id_key(ids[0]) >= key):
        # No id of this batch is below an earlier one: no first id changes, and every last id does.
        firsts, lasts = np.flatnonzero(is_new), np.arange(len(rows))
        first, last = _Ends.at(ids, extremes.first[firsts]), _Ends.at(ids, extremes.last)
    else:
        first, last = _Ends.at(ids, extremes.first), _Ends.at(ids, extremes.last)
        is_first = is_new | first.overtake(columns.first_words[rows], columns.first_ids, rows, is_new=is_new, last=False)
        is_last = is_new | last.overtake(columns.last_words[rows], columns.last_ids, rows, is_new=is_new, last=True)
        firsts, lasts = np.flatnonzero(is_first), np.flatnonzero(is_last)
        first, last = first.picked(firsts), last.picked(lasts)
    first_ids, first_words = first.written(columns.first_ids, columns.first_words, rows[firsts])
    last_ids, last_words = last.written(columns.last_ids, columns.last_words, rows[lasts])
    changed = replace(
        columns,
        first_ids=first_ids,
        first_words=first_words,
        last_ids=last_ids,
        last_words=last_words,
        greatest_key=batch_key if key is None else max(key, batch_key),
    )
    return changed, rows[lasts], extremes.last[lasts]


@dataclass(frozen=True, slots=True)
class _Ends:
    """The first (or last) id of each category in a batch, and the `order_words`; both (m,)."""

    ids: IdColumn
    words: WordArray

    @classmethod
    def at(cls, ids: IdColumn, places: IntArray) -> _Ends:
        found = ids.picked(places)
        return cls(found, order_words(found))

    def picked(self, places: IntArray) -> _Ends:
        """The ids at these places (ascending)."""
        return self if len(places) == len(self.words) else _Ends(self.ids.picked(places), self.words[places])

    def overtake(self, old_words: WordArray, present: LateObjects, rows: IntArray, *, is_new: BoolArray, last: bool) -> BoolArray:
        """Whether each id becomes the first (last) of its row: it is below (not below) the present one."""
        overtakes = np.asarray(self.words > old_words if last else self.words < old_words, np.bool_)
        for tie in np.flatnonzero((self.words == old_words) & ~is_new).tolist():
            new_key, old_key = id_key(self.ids[tie]), id_key(present.resolved()[rows[tie]])
            overtakes[tie] = new_key >= old_key if last else new_key < old_key
        return overtakes

    def written(self, present: LateObjects, words: WordArray, rows: IntArray) -> tuple[LateObjects, WordArray]:
        """Writes these ids and words into `rows`. The columns become as long as `words`."""
        if not len(rows):
            return present, words
        words = words.copy()
        words[rows] = self.words
        return present.written(rows, lambda wanted: self.ids.picked(wanted).to_list(), len(words)), words


def _texts_of(
    column: TimestampColumn, read_timestamps: Callable[[TimestampColumn], Sequence[str | None]]
) -> Callable[[IntArray], Sequence[str | None]]:
    return lambda wanted: read_timestamps(column.picked(wanted))


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
