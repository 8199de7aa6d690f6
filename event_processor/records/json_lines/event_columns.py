"""The valid events of a chunk in columns, from any reader.

Owns: `EventColumns`, and how the columns of two readers are joined.
Always: a join changes no event. Events have the order of their records.
Never: no record is read here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import repeat
from typing import TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from event_processor.columns.ids import IntegerIds, PlainIds, TextIds
from event_processor.model.columns import BoolArray, CategoryColumn, FloatArray, IdColumn, IntArray, TimestampColumn
from event_processor.model.event import Chunk, EventId

__all__ = ["EventColumns", "joined", "positions"]

_Scalar = TypeVar("_Scalar", bound=np.generic)


@dataclass(frozen=True, slots=True)
class EventColumns:
    """m valid events. `rows` (m, ascending) are the numbers of their records. The other columns are those of `contracts.Columns`.

    A column is None if the configuration does not name its field (`ids`: if the position is the id). `has_value` is also None if
    every event has a value.
    """

    rows: IntArray
    ids: IdColumn | None
    categories: CategoryColumn | None
    values: FloatArray | None
    has_value: BoolArray | None
    timestamps: TimestampColumn | None
    timestamps_ns: IntArray | None


def joined(one: EventColumns, other: EventColumns) -> EventColumns:
    """The events of both, in the order of their records. No record may be in both."""
    if not len(other.rows) or not len(one.rows):
        return one if len(one.rows) else other
    rows = np.concatenate([one.rows, other.rows])
    order = np.argsort(rows, kind="stable")
    return EventColumns(
        rows=rows[order],
        ids=None if one.ids is None or other.ids is None else _joined_ids(one.ids, other.ids, order),
        categories=_joined_categories(one.categories, other.categories, order),
        values=_joined_arrays(one.values, other.values, order),
        has_value=_joined_marks(one, other, order),
        timestamps=_joined_timestamps(one, other, order),
        timestamps_ns=_joined_arrays(one.timestamps_ns, other.timestamps_ns, order),
    )


def _joined_arrays(one: NDArray[_Scalar] | None, other: NDArray[_Scalar] | None, order: IntArray) -> NDArray[_Scalar] | None:
    return None if one is None or other is None else np.concatenate([one, other])[order]


def _joined_marks(one: EventColumns, other: EventColumns, order: IntArray) -> BoolArray | None:
    if one.has_value is None and other.has_value is None:
        return None
    marks = [np.ones(len(each.rows), np.bool_) if each.has_value is None else each.has_value for each in (one, other)]
    return np.concatenate(marks)[order]


def _joined_ids(one: IdColumn, other: IdColumn, order: IntArray) -> IdColumn:
    """The ids of both. In the form of `one` if the ids of `other` fit it, or else as Python values."""
    values = other.to_list()
    kinds = set(map(type, values))
    if isinstance(one, TextIds) and kinds == {str}:
        encoded = [text.encode() for text in cast("list[str]", values)]
        ends = len(one.content) + np.cumsum(np.fromiter(map(len, encoded), np.int64, len(encoded)))
        begins = np.concatenate([[len(one.content)], ends[:-1]])
        content = b"".join([one.content, *encoded])
        return TextIds(content, np.concatenate([one.begins, begins])[order], np.concatenate([one.ends, ends])[order])
    if isinstance(one, IntegerIds) and kinds == {int}:
        return IntegerIds(np.concatenate([one.numbers, np.array(values, np.int64)])[order])
    everything: Sequence[EventId] = [*one.to_list(), *values]
    return PlainIds([everything[place] for place in order.tolist()])


def _joined_categories(one: CategoryColumn | None, other: CategoryColumn | None, order: IntArray) -> CategoryColumn | None:
    if one is None or other is None:
        return None
    numbers = {name: number for number, name in enumerate(dict.fromkeys([*one.names, *other.names]))}
    renumbered = np.array([numbers[name] for name in other.names], np.int64)
    return CategoryColumn(np.concatenate([one.codes, renumbered[other.codes]])[order], list(numbers))


def _joined_timestamps(one: EventColumns, other: EventColumns, order: IntArray) -> TimestampColumn | None:
    if one.timestamps is None or other.timestamps is None:
        return None
    return _JoinedTimestamps(one.timestamps, other.timestamps, len(one.rows), order)


def positions(chunk: Chunk, starts: IntArray, rows: IntArray) -> PlainIds:
    """The positions of the records `rows`, as their ids. Record i begins at `starts[i]`."""
    return PlainIds(list(zip(repeat(chunk.source), repeat(chunk.generation), chunk.offsets(starts, rows).tolist())))


@dataclass(frozen=True, slots=True)
class _JoinedTimestamps:
    """The timestamps of two columns in a new order. The first column has `count` events."""

    one: TimestampColumn
    other: TimestampColumn
    count: int
    order: IntArray

    def picked(self, places: IntArray) -> _JoinedTimestamps:
        wanted = self.order[places]
        is_one = wanted < self.count
        one, other = self.one.picked(wanted[is_one]), self.other.picked(wanted[~is_one] - self.count)
        count = int(np.count_nonzero(is_one))
        order = np.where(is_one, np.cumsum(is_one) - 1, count + np.cumsum(~is_one) - 1)
        return _JoinedTimestamps(one, other, count, order)

    def to_list(self) -> Sequence[object]:
        everything = [*self.one.to_list(), *self.other.to_list()]
        return [everything[place] for place in self.order.tolist()]

    def spans(self) -> None:
        """None: the timestamps may be in two different contents."""
