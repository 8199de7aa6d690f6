"""The column form in which events travel, so that C can work on a whole batch.

Owns: the array types, and what a column of ids, categories and timestamps promises.
Always: a batch travels by columns, never event by event.
Never: no implementation of an id or timestamp column lives here (`columns/`).
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
    """The ids of m events, in whatever form costs least; an id becomes a Python value only where it is asked for."""

    def __len__(self) -> int: ...

    def __getitem__(self, place: int, /) -> EventId:
        """One id."""
        ...

    def to_list(self) -> list[EventId]:
        """All of them."""
        ...

    def picked(self, places: IntArray) -> IdColumn:
        """Those at these places, in arrays of their own."""
        ...

    def is_ascending(self) -> bool:
        """Whether they are known to rise (equal ones may follow each other), by `id_order`; False says nothing."""
        ...


@dataclass(frozen=True, slots=True)
class CategoryColumn:
    """The categories of m events: event i counts in `names[codes[i]]`. `names` are distinct, each is that of some event."""

    codes: IntArray
    names: Sequence[str]

    def picked(self, places: IntArray) -> CategoryColumn:
        """Those at these places."""
        codes, counts = self.codes[places], np.zeros(len(self.names), np.int64)
        counts[codes] = 1
        if counts.all():
            return CategoryColumn(codes, self.names)
        kept = np.flatnonzero(counts)
        renumbered = np.cumsum(counts) - 1
        return CategoryColumn(renumbered[codes], [self.names[code] for code in kept.tolist()])


Ids: TypeAlias = "IdColumn | Sequence[EventId]"


class PreparedIds(Protocol):
    """Ids in a form that only the index that prepared them can read."""

    def __len__(self) -> int: ...


class TimestampColumn(Protocol):
    """The timestamps of m events, as they stand in the records; one becomes a Python value only where it is asked for."""

    def picked(self, places: IntArray) -> TimestampColumn:
        """Those at these places, in arrays of their own."""
        ...

    def to_list(self) -> Sequence[object]:
        """All of them: str, int, float, or None where there is none."""
        ...

    def spans(self) -> tuple[bytes, IntArray, IntArray] | None:
        """Where they stand as they are: timestamp i is the text `content[begins[i]:ends[i]]`; None where they are not all such texts."""
        ...


@dataclass(frozen=True, slots=True)
class EventLines:
    """The JSON objects of m events, where the records are not that: event i is `content[starts[i]:ends[i]]`, a line feed behind it."""

    content: bytes
    starts: IntArray
    ends: IntArray


@dataclass(frozen=True, slots=True)
class Columns:
    r"""One chunk, decoded: its valid events by column, and what became of the other records.

    A chunk of n records has `record_count` n; record i is `content[starts[i]:ends[i]]`, its line end (`\n` or `\r\n`)
    left out. The m valid events stand in ascending place: `rows` (m, ascending) are their record indices, and
    `ids`, `categories`, `values`, `timestamps` have m entries each. `rejections` are ascending by row, and
    m + blank_count + len(rejections) == n.

    categories: None where every event counts in one total. values: finite, below 2**960 in magnitude, never -0.0; None where events are only counted.
    has_value: None where every event has one; else False marks an event that is counted without a value (`values` holds 0.0).
    timestamps: None where the configuration names no field. timestamps_ns: since 1970-01-01 UTC; None unless they are used to order or window by.
    prepared_ids: the same ids in a form that the index prepared ahead, or None. events: the events' JSON objects; None where each is its record.
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

    def record(self, row: int) -> bytes:
        """The bytes of record `row`, without its line end."""
        return self.content[int(self.starts[row]) : int(self.ends[row])]


@dataclass(frozen=True, slots=True)
class Lines:
    """The n records of a chunk: record i is `content[starts[i]:ends[i]]`, without its line end.

    `readable` (n,) marks those that are valid UTF-8 and within the size limit.
    """

    content: bytes
    starts: IntArray
    ends: IntArray
    readable: BoolArray

    def record(self, row: int) -> bytes:
        """The bytes of one record."""
        return self.content[int(self.starts[row]) : int(self.ends[row])]

    def records(self, rows: Sequence[int]) -> Iterator[bytes]:
        """The bytes of these records."""
        places = np.array(rows, np.int64)
        for start, end in zip(self.starts[places].tolist(), self.ends[places].tolist(), strict=True):
            yield self.content[start:end]
