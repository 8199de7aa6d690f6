"""The column form in which events travel, so that C can work on a whole batch.

Owns: the array types, and the contracts of the columns of ids, categories and timestamps.
Always: events travel in columns, a batch at a time.
Never: implements an id or timestamp column (`columns/` does).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from event_processor.model.event import EventId
from event_processor.model.rejections import Rejection

__all__ = [
    "BoolArray",
    "ByteArray",
    "CategoryColumn",
    "Columns",
    "EventLines",
    "FloatArray",
    "IdColumn",
    "Ids",
    "IntArray",
    "Lines",
    "PreparedIds",
    "TimestampColumn",
]

BoolArray: TypeAlias = NDArray[np.bool_]
FloatArray: TypeAlias = NDArray[np.float64]
IntArray: TypeAlias = NDArray[np.int64]
ByteArray: TypeAlias = NDArray[np.uint8]


class IdColumn(Protocol):
    """The ids of m events, in the cheapest form. An id becomes a Python value only if a caller reads it."""

    def __len__(self) -> int: ...

    def __getitem__(self, place: int, /) -> EventId:
        """One id."""
        ...

    def to_list(self) -> list[EventId]:
        """All ids."""
        ...

    def picked(self, places: IntArray) -> IdColumn:
        """The ids at these places, as copies."""
        ...

    def is_ascending(self) -> bool:
        """Whether the ids are known to rise by `id_order` (equal neighbours are allowed). False means unknown."""
        ...


@dataclass(frozen=True, slots=True)
class CategoryColumn:
    """The categories of m events: event i has category `names[codes[i]]`. `names` are distinct, and each has an event."""

    codes: IntArray
    names: Sequence[str]

    def picked(self, places: IntArray) -> CategoryColumn:
        """The categories at these places."""
        codes, counts = self.codes[places], np.zeros(len(self.names), np.int64)
        counts[codes] = 1
        if counts.all():
            return CategoryColumn(codes, self.names)
        kept = np.flatnonzero(counts)
        renumbered = np.cumsum(counts) - 1
        return CategoryColumn(renumbered[codes], [self.names[code] for code in kept.tolist()])


Ids: TypeAlias = "IdColumn | Sequence[EventId]"


class PreparedIds(Protocol):
    """Ids in a prepared form. Only the index that prepared them can read it."""

    def __len__(self) -> int: ...


class TimestampColumn(Protocol):
    """The timestamps of m events, as written in the records. One becomes a Python value only if a caller reads it."""

    def picked(self, places: IntArray) -> TimestampColumn:
        """The timestamps at these places, as copies."""
        ...

    def to_list(self) -> Sequence[object]:
        """All timestamps: str, int, float, or None if an event has none."""
        ...

    def spans(self) -> tuple[bytes, IntArray, IntArray] | None:
        """The places of the texts: timestamp i is `content[begins[i]:ends[i]]`. None if not all timestamps are such texts."""
        ...


@dataclass(frozen=True, slots=True)
class EventLines:
    """The JSON objects of m events, if the records are not JSON objects.

    Event i is `content[starts[i]:ends[i]]`, then a line feed.
    """

    content: bytes
    starts: IntArray
    ends: IntArray


@dataclass(frozen=True, slots=True)
class Columns:
    r"""One decoded chunk: its valid events in columns, and the outcomes of the other records.

    A chunk of n records has `record_count` n. Record i is `content[starts[i]:ends[i]]`, without its line end (`\n` or `\r\n`).
    `rows` (m, ascending) are the record indices of the m valid events. `ids`, `categories`, `values` and `timestamps` have m
    entries each. `rejections` are ascending by row, and m + blank_count + len(rejections) + foreign_count == n. `foreign_count`: records
    that belong to other shards, whatever they are; 0 without shards.

    categories: None if there is one total for all events. values: finite, below 2**960 in magnitude, never -0.0; None if events
    are only counted. has_value: None if every event has a value; False marks an event that is counted without one (`values`
    holds 0.0). timestamps: None if the configuration names no field. timestamps_ns: since 1970-01-01 UTC; None unless the order
    or a window uses them. prepared_ids: the ids in the prepared form of the index, or None. events: the JSON objects; None if
    each is its record.
    """

    content: bytes
    record_count: int
    blank_count: int
    starts: IntArray
    ends: IntArray
    rows: IntArray
    ids: IdColumn
    categories: CategoryColumn | None
    values: FloatArray | None
    has_value: BoolArray | None
    timestamps: TimestampColumn | None
    timestamps_ns: IntArray | None
    rejections: Sequence[Rejection]
    prepared_ids: PreparedIds | None = None
    events: EventLines | None = None
    foreign_count: int = 0

    def record(self, row: int) -> bytes:
        """The bytes of record `row`, without its line end."""
        return self.content[int(self.starts[row]) : int(self.ends[row])]


@dataclass(frozen=True, slots=True)
class Lines:
    """The n records of a chunk. Record i is `content[starts[i]:ends[i]]`, without its line end.

    `readable` (n,) marks records that are valid UTF-8 and within the size limit.
    """

    content: bytes
    starts: IntArray
    ends: IntArray
    readable: BoolArray

    def record(self, row: int) -> bytes:
        """The bytes of one record."""
        return self.content[int(self.starts[row]) : int(self.ends[row])]

    def records(self, rows: Sequence[int]) -> Iterator[bytes]:
        """Yields the bytes of these records."""
        places = np.array(rows, np.int64)
        for start, end in zip(self.starts[places].tolist(), self.ends[places].tolist(), strict=True):
            yield self.content[start:end]
