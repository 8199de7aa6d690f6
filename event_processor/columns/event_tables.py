"""Accepted events as a table that can be sorted: their sort keys, what the format has read of them, and perhaps their lines.

Owns: how tables are made, joined, sorted and cut.
Always: keys are unique, because the sequence of an event is part of its key. So the order of events with equal sort values is the
order of the log, whatever tables they came from. A table owns its arrays: the chunk's may change with the next chunk.
Never: reads or writes a file.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from event_processor.columns.event_slices import Arrivals, EventSlice, KnownColumns, SortKey, lines_between
from event_processor.columns.ids import INTEGER, STRING, IntegerIds, TextIds, id_key
from event_processor.model.columns import BoolArray, CategoryColumn, EventLines, IntArray

__all__ = ["EventTable", "Keys", "NumberKeys", "ObjectKeys", "TextKeys", "joined"]

Number = TypeVar("Number", np.int64, np.float64)


class NumberKeys:
    """Keys of n events whose sort values are 64-bit numbers: timestamps, or integer ids. `values` and `sequences` are (n,)."""

    def __init__(self, values: IntArray, sequences: IntArray) -> None:
        self.values: Final = values
        self.sequences: Final = sequences

    def __len__(self) -> int:
        return len(self.values)

    def at(self, place: int) -> SortKey:
        """One key."""
        return INTEGER, int(self.values[place]), int(self.sequences[place])

    def picked(self, places: slice | IntArray) -> NumberKeys:
        """The keys at these places."""
        return NumberKeys(self.values[places], self.sequences[places])

    def count_through(self, bound: SortKey) -> int:
        """How many of these keys, which ascend, are not above `bound`."""
        kind, value, sequence = bound
        if kind != INTEGER:
            return len(self)  # texts sort after numbers
        first, end = np.searchsorted(self.values, value, "left"), np.searchsorted(self.values, value, "right")
        return int(first + np.searchsorted(self.sequences[first:end], sequence, "right"))

    def order(self) -> IntArray | None:
        """The places in ascending order of the keys; None if they ascend."""
        if bool((self.values[1:] >= self.values[:-1]).all()) and self._ties_ascend(np.arange(len(self))):
            return None
        order = np.argsort(self.values, kind="stable")
        if not self._ties_ascend(order):
            # Equal values of several tables: sort these few by sequence. They lie together, so their places stay the same.
            is_same = self.values[order[1:]] == self.values[order[:-1]]
            is_tied = np.append(is_same, False) | np.append(False, is_same)
            tied = order[is_tied]
            order[is_tied] = tied[np.lexsort((self.sequences[tied], self.values[tied]))]
        return order

    def _ties_ascend(self, order: IntArray) -> bool:
        values, sequences = self.values[order], self.sequences[order]
        return not ((values[1:] == values[:-1]) & (sequences[1:] < sequences[:-1])).any()


class TextKeys:
    """Keys of n events whose ids are strings. The order of UTF-8 is the order of code points."""

    def __init__(self, ids: TextIds, sequences: IntArray) -> None:
        self.ids: Final = ids
        self.sequences: Final = sequences

    def __len__(self) -> int:
        return len(self.ids)

    def at(self, place: int) -> SortKey:
        """One key."""
        return STRING, str(self.ids[place]), int(self.sequences[place])

    def picked(self, places: slice | IntArray) -> TextKeys:
        """The keys at these places."""
        ids = self.ids
        return TextKeys(TextIds(ids.content, ids.begins[places], ids.ends[places]), self.sequences[places])

    def count_through(self, bound: SortKey) -> int:
        """How many of these keys, which ascend, are not above `bound`."""
        return bisect_right(range(len(self)), bound, key=self.at)

    def order(self) -> IntArray | None:
        """The places in ascending order of the keys; None if they ascend."""
        is_log_order = bool((self.sequences[1:] > self.sequences[:-1]).all())
        if is_log_order and self.ids.is_ascending():
            return None
        texts: Sequence[object] = self.ids.encoded
        if not is_log_order:
            texts = list(zip(self.ids.encoded, self.sequences.tolist(), strict=True))
        return np.array(sorted(range(len(texts)), key=texts.__getitem__), np.int64)  # type: ignore[arg-type]  # of one kind


class ObjectKeys:
    """Keys of n events with ids of any kind."""

    def __init__(self, keys: Sequence[SortKey]) -> None:
        self.keys: Final = keys

    def __len__(self) -> int:
        return len(self.keys)

    @property
    def sequences(self) -> IntArray:
        """The sequences, (n,)."""
        return np.fromiter((key[2] for key in self.keys), np.int64, len(self.keys))

    def at(self, place: int) -> SortKey:
        """One key."""
        return self.keys[place]

    def picked(self, places: slice | IntArray) -> ObjectKeys:
        """The keys at these places."""
        if isinstance(places, slice):
            return ObjectKeys(self.keys[places])
        return ObjectKeys([self.keys[place] for place in places.tolist()])

    def count_through(self, bound: SortKey) -> int:
        """How many of these keys, which ascend, are not above `bound`."""
        return bisect_right(self.keys, bound)

    def order(self) -> IntArray | None:
        """The places in ascending order of the keys; None if they ascend."""
        order = sorted(range(len(self.keys)), key=self.keys.__getitem__)
        found = np.array(order, np.int64)
        return None if bool((found[1:] > found[:-1]).all()) else found


Keys: TypeAlias = NumberKeys | TextKeys | ObjectKeys


@dataclass(frozen=True, slots=True)
class EventTable:
    """n events, at least one. `lines` is None if nothing will read more of them than `known`."""

    keys: Keys
    known: KnownColumns
    lines: EventLines | None

    @classmethod
    def of(cls, arrivals: Arrivals, *, keeps_lines: bool) -> EventTable:
        """The arrivals, at least one, in log order."""
        lines = EventLines(*arrivals.spans) if keeps_lines else None
        return cls(_keys_of(arrivals), arrivals.known(), lines)

    def __len__(self) -> int:
        return len(self.keys)

    @property
    def size_bytes(self) -> int:
        """About how many bytes the events take."""
        line_bytes = 0 if self.lines is None else int((self.lines.ends - self.lines.starts).sum())
        return line_bytes + 32 * len(self)

    def picked(self, places: slice | IntArray) -> EventTable:
        """The events at these places."""
        known = self.known
        return EventTable(
            self.keys.picked(places),
            KnownColumns(
                timestamps_ns=None if known.timestamps_ns is None else known.timestamps_ns[places],
                values=None if known.values is None else known.values[places],
                has_value=None if known.has_value is None else known.has_value[places],
                categories=None
                if known.categories is None
                else CategoryColumn(known.categories.codes[places], known.categories.names),
            ),
            None if self.lines is None else EventLines(self.lines.content, self.lines.starts[places], self.lines.ends[places]),
        )

    def in_order(self) -> EventTable:
        """The same events, ascending by key."""
        order = self.keys.order()
        return self if order is None else self.picked(order)

    def slice(self) -> EventSlice:
        """The events as the order stage releases them. Of their places only the number of the record in all sources is known."""
        return EventSlice(len(self), self.text, self.known, place_at=lambda index: ("", 0, 0, self.keys.at(index)[2] + 1))

    def text(self) -> bytes:
        """The lines, each with a line feed after it."""
        assert self.lines is not None, "lines are kept if something reads them"
        return lines_between(self.lines.content, self.lines.starts, self.lines.ends)


def joined(tables: Sequence[EventTable]) -> EventTable:
    """All events of the tables, at least one table, one after the other."""
    if len(tables) == 1:
        return tables[0]
    return EventTable(
        _joined_keys([table.keys for table in tables]),
        _joined_known([table.known for table in tables]),
        _joined_lines([table.lines for table in tables if table.lines is not None]),
    )


def _keys_of(arrivals: Arrivals) -> Keys:
    sequences = arrivals.sequences
    if arrivals.timestamps_ns is not None:
        return NumberKeys(arrivals.timestamps_ns, sequences)
    if isinstance(arrivals.ids, IntegerIds):
        return NumberKeys(arrivals.ids.numbers.copy(), sequences)
    if isinstance(arrivals.ids, TextIds):
        # The places may lie in memory that the next chunk overwrites.
        return TextKeys(TextIds(arrivals.ids.content, arrivals.ids.begins.copy(), arrivals.ids.ends.copy()), sequences)
    keys = zip(map(id_key, arrivals.ids.to_list()), sequences.tolist(), strict=True)
    return ObjectKeys([(kind, value, sequence) for (kind, value), sequence in keys])


def _joined_keys(keys: Sequence[Keys]) -> Keys:
    numbers = [each for each in keys if isinstance(each, NumberKeys)]
    if len(numbers) == len(keys):
        return NumberKeys(np.concatenate([each.values for each in numbers]), np.concatenate([each.sequences for each in numbers]))
    texts = [each for each in keys if isinstance(each, TextKeys)]
    if len(texts) == len(keys):
        content, begins, ends = _joined_spans([(each.ids.content, each.ids.begins, each.ids.ends) for each in texts])
        return TextKeys(TextIds(content, begins, ends), np.concatenate([each.sequences for each in texts]))
    return ObjectKeys([each.at(place) for each in keys for place in range(len(each))])


def _joined_known(parts: Sequence[KnownColumns]) -> KnownColumns:
    """The columns of all parts. Where a part has no `has_value`, every event has a value."""
    sizes = [_size_of(part) for part in parts]
    categories = [part.categories for part in parts if part.categories is not None]
    has_value: BoolArray | None = None
    if any(part.has_value is not None for part in parts):
        has_value = np.concatenate(
            [
                np.ones(size, np.bool_) if part.has_value is None else part.has_value
                for part, size in zip(parts, sizes, strict=True)
            ]
        )
    return KnownColumns(
        timestamps_ns=_joined_arrays([part.timestamps_ns for part in parts]),
        values=_joined_arrays([part.values for part in parts]),
        has_value=has_value,
        categories=_joined_categories(categories) if categories else None,
    )


def _size_of(part: KnownColumns) -> int:
    for column in (part.timestamps_ns, part.values, part.has_value):
        if column is not None:
            return len(column)
    return 0 if part.categories is None else len(part.categories.codes)


def _joined_arrays(arrays: Sequence[NDArray[Number] | None]) -> NDArray[Number] | None:
    found = [array for array in arrays if array is not None]
    return np.concatenate(found) if found else None


def _joined_categories(parts: Sequence[CategoryColumn]) -> CategoryColumn:
    """One column for all. Each name keeps one code: equal names of two parts are one category."""
    numbers: dict[str, int] = {}
    codes = []
    for part in parts:
        renumbered = np.fromiter((numbers.setdefault(name, len(numbers)) for name in part.names), np.int64, len(part.names))
        codes.append(renumbered[part.codes])
    return CategoryColumn(np.concatenate(codes), list(numbers))


def _joined_lines(parts: Sequence[EventLines]) -> EventLines | None:
    return EventLines(*_joined_spans([(each.content, each.starts, each.ends) for each in parts])) if parts else None


def _joined_spans(parts: Sequence[tuple[bytes, IntArray, IntArray]]) -> tuple[bytes, IntArray, IntArray]:
    """One content with all spans. Of each part's content, only the bytes from its first span to its last are copied."""
    contents, all_starts, all_ends = [], [], []
    offset = 0
    for content, starts, ends in parts:
        first, end = int(starts.min()), int(ends.max())
        contents.append(content[first:end])
        all_starts.append(starts + (offset - first))
        all_ends.append(ends + (offset - first))
        offset += end - first
    return b"".join(contents), np.concatenate(all_starts), np.concatenate(all_ends)
