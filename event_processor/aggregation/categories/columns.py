"""The totals of all categories as one value, in columns, so that a batch changes thousands of them in a few steps.

Owns: `Totals`, its columns, and `CategoryTotal`, the form of one category.
Always: a value: nothing in it changes after it is made. Row i of every column is the category with index i. The parts of a sum
are canonical (`exact_sum.py`).
Never: makes a `CategoryTotal` before a caller asks for that category.
"""

from __future__ import annotations

from collections.abc import Iterator, KeysView, Mapping, Sequence
from dataclasses import dataclass
from math import inf, isinf
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from event_processor.aggregation.categories.first_and_last import order_words
from event_processor.aggregation.categories.lazy_objects import LateObjects
from event_processor.aggregation.documents import CategoryTotal
from event_processor.aggregation.exact_sum import exact_mean, exact_means, without_empty_rows
from event_processor.columns.ids import OrderKey, PlainIds, WordArray, id_key
from event_processor.model.columns import FloatArray, IntArray

__all__ = ["UNKNOWN", "CategoryTotal", "KnownRows", "TotalColumns", "Totals"]

UNKNOWN: Final = -1
"""Replaces a number of values that a state of version 1 did not keep."""


@dataclass(frozen=True, slots=True)
class TotalColumns:
    """Each column (k,): one entry per category. Arrays may be shared with an earlier value, so they are never written to.

    values: the number of events with a value; -1 if unknown. parts: (p, k), the canonical parts of each sum, followed by zeros.
    least, greatest: inf and -inf if no event had a value. first_words, last_words: `order_words` of the ids. greatest_key: the
    sort key of the greatest id; None if there is no id.
    """

    counts: IntArray
    values: IntArray
    parts: FloatArray
    least: FloatArray
    greatest: FloatArray
    first_ids: LateObjects
    last_ids: LateObjects
    last_timestamps: LateObjects
    first_words: WordArray
    last_words: WordArray
    greatest_key: OrderKey | None

    def widened(self, count: int) -> TotalColumns:
        """Adds `count` empty categories. The caller then writes their ids and timestamps, which widens those columns."""
        if not count:
            return self
        return TotalColumns(
            counts=np.concatenate([self.counts, np.zeros(count, np.int64)]),
            values=np.concatenate([self.values, np.zeros(count, np.int64)]),
            parts=np.concatenate([self.parts, np.zeros((len(self.parts), count))], axis=1),
            least=np.concatenate([self.least, np.full(count, np.inf)]),
            greatest=np.concatenate([self.greatest, np.full(count, -np.inf)]),
            first_ids=self.first_ids,
            last_ids=self.last_ids,
            last_timestamps=self.last_timestamps,
            first_words=np.concatenate([self.first_words, np.zeros(count, np.uint64)]),
            last_words=np.concatenate([self.last_words, np.zeros(count, np.uint64)]),
            greatest_key=self.greatest_key,
        )

    def sums(self) -> FloatArray:
        """The sums, each rounded once."""
        return self.parts[0] if len(self.parts) else np.zeros(len(self.counts))

    def means(self) -> FloatArray:
        """The means; NaN if there is none."""
        return exact_means(self.parts, self.values)


@dataclass(frozen=True, slots=True, eq=False)
class KnownRows:
    """Caches the row of each category by its index in a string table; -1 if not looked up yet. Changes no result."""

    table: NDArray[Any]
    rows: IntArray


class Totals(Mapping[str, CategoryTotal]):
    """The totals of each category, by name."""

    __slots__ = ("columns", "index", "known")

    def __init__(self, index: dict[str, int], columns: TotalColumns, known: Sequence[KnownRows] = ()) -> None:
        """`index`: the row of each category, in the order of the rows; it must not change after this. `known`: one entry per string table."""
        self.index: Final = index
        self.columns: Final = columns
        self.known: Final = known

    @classmethod
    def of(cls, totals: Mapping[str, CategoryTotal]) -> Totals:
        """The same totals in columns."""
        if isinstance(totals, Totals):
            return totals
        rows = list(totals.values())
        parts = np.zeros((max((len(row.sum_parts) for row in rows), default=0), len(rows)))
        for place, row in enumerate(rows):
            parts[: len(row.sum_parts), place] = row.sum_parts
        first_ids, last_ids = [row.first_id for row in rows], [row.last_id for row in rows]
        columns = TotalColumns(
            counts=np.array([row.count for row in rows], np.int64),
            values=np.array([UNKNOWN if row.values is None else row.values for row in rows], np.int64),
            parts=without_empty_rows(parts),
            least=np.array([inf if row.min is None else row.min for row in rows], np.float64),
            greatest=np.array([-inf if row.max is None else row.max for row in rows], np.float64),
            first_ids=LateObjects(first_ids),
            last_ids=LateObjects(last_ids),
            last_timestamps=LateObjects([row.last_timestamp for row in rows]),
            first_words=order_words(PlainIds(first_ids)),
            last_words=order_words(PlainIds(last_ids)),
            greatest_key=max(map(id_key, last_ids), default=None),
        )
        return cls(dict(zip(totals, range(len(rows)), strict=True)), columns)

    def picked(self, rows: IntArray) -> Totals:
        """Only the categories of these rows, each once, in this order."""
        names, columns = list(self.index), self.columns
        ids = [each.resolved()[rows].tolist() for each in (columns.first_ids, columns.last_ids, columns.last_timestamps)]
        first_ids, last_ids, last_timestamps = map(LateObjects, ids)
        picked = TotalColumns(
            counts=columns.counts[rows],
            values=columns.values[rows],
            parts=columns.parts[:, rows],
            least=columns.least[rows],
            greatest=columns.greatest[rows],
            first_ids=first_ids,
            last_ids=last_ids,
            last_timestamps=last_timestamps,
            first_words=columns.first_words[rows],
            last_words=columns.last_words[rows],
            greatest_key=columns.greatest_key,
        )
        return Totals({names[row]: place for place, row in enumerate(rows.tolist())}, picked)

    def __getitem__(self, name: str) -> CategoryTotal:
        row, columns = self.index[name], self.columns
        parts = tuple(part for part in columns.parts[:, row].tolist() if part)
        values = int(columns.values[row])
        least, greatest = float(columns.least[row]), float(columns.greatest[row])
        return CategoryTotal(
            count=int(columns.counts[row]),
            sum=parts[0] if parts else 0.0,
            sum_parts=parts,
            min=None if isinf(least) else least,
            max=None if isinf(greatest) else greatest,
            mean=exact_mean(parts, values) if values > 0 else None,
            first_id=columns.first_ids.resolved()[row],
            last_id=columns.last_ids.resolved()[row],
            last_timestamp=columns.last_timestamps.resolved()[row],
            values=None if values == UNKNOWN else values,
        )

    def __iter__(self) -> Iterator[str]:
        return iter(self.index)

    def __len__(self) -> int:
        return len(self.index)

    def __contains__(self, name: object) -> bool:
        return name in self.index

    def keys(self) -> KeysView[str]:
        return self.index.keys()

    def __repr__(self) -> str:
        return f"Totals({dict(self)!r})"
