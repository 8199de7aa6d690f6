"""Consecutive records of an outbox as one value: by column, and each as an object only if it is asked for.

Owns: `RecordBlock`, how it is cut, and how a record of it is decoded.
Always: the same records as their lines, in the same order, without a gap. A block does not change.
Never: checks anything (its reader has).
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

import msgspec

from event_processor.model.delivery import OutboxRecord

__all__ = ["EventPlaces", "RecordBlock", "Runs", "place_in", "without_object"]

Value = TypeVar("Value")
_DECODER: Final = msgspec.json.Decoder(OutboxRecord)


def without_object(line: bytes, object_bytes: int) -> bytes:
    """The line of a record as we write it, with null in the place of its object, which is the last `object_bytes` of it."""
    return line[: -object_bytes - len(b"}\n")] + b"null}"


def place_in(ends: Sequence[int], index: int) -> tuple[int, int]:
    """The part in which an item is, and its index there. `ends`: for each part, the number of items in it and before it.

    Raises `IndexError`.
    """
    count = ends[-1]
    if not -count <= index < count:
        raise IndexError(index)
    index %= count
    part = bisect_right(ends, index)
    return part, index - (ends[part - 1] if part else 0)


@dataclass(frozen=True)  # without slots, which the interpreter does not join with Generic in every version
class Runs(Generic[Value]):
    """Values of consecutive records, most of which are alike: each value, and the number of the record after its last one."""

    values: Sequence[Value]
    ends: Sequence[int]

    def part(self, begin: int, end: int) -> Runs[Value]:
        """The values of the records from `begin` to `end` - 1; at least one."""
        first, last = bisect_right(self.ends, begin), bisect_right(self.ends, end - 1) + 1
        return Runs(self.values[first:last], [min(each, end) - begin for each in self.ends[first:last]])

    def counted(self) -> list[tuple[Value, int]]:
        """Each value, and how many records have it."""
        return list(zip(self.values, map(int.__sub__, self.ends, [0, *self.ends]), strict=False))

    def at(self, index: int) -> Value:
        """The value of one record."""
        return self.values[bisect_right(self.ends, index)]


@dataclass(frozen=True, slots=True)
class EventPlaces:
    """Where the records are in their sources: `source` and `generation` in runs, offset and line of each."""

    sources: Runs[tuple[str, int]]
    offsets: Sequence[int]
    lines: Sequence[int]


@dataclass(frozen=True, slots=True)
class RecordBlock:
    """The records from sequence `first` on, at least one.

    `content` has their lines from `begin` on; line i ends before `ends[i]`. `objects` has their objects from `objects_begin` on, each
    with a line feed, up to `object_ends[i]`. `clocks`: `@now` and `@elapsed_ms`. `places` is None if one of them is not that of an event.
    """

    first: int
    content: bytes
    begin: int
    ends: Sequence[int]
    objects: bytes
    objects_begin: int
    object_ends: Sequence[int]
    clocks: Runs[tuple[str, float]]
    places: EventPlaces | None

    def __len__(self) -> int:
        return len(self.ends)

    @property
    def last(self) -> int:
        """The sequence of the last record."""
        return self.first + len(self.ends) - 1

    @property
    def size_bytes(self) -> int:
        """The size of all lines."""
        return self.ends[-1] - self.begin

    def line_bytes(self, index: int) -> int:
        """The size of one line."""
        return self.ends[index] - (self.ends[index - 1] if index else self.begin)

    def record(self, index: int) -> OutboxRecord:
        """One record. Its object is not looked at: its chain was checked, and it may be JSON that this decoder refuses."""
        line = self.content[self.ends[index - 1] if index else self.begin : self.ends[index]]
        content = self.objects[self.object_ends[index - 1] if index else self.objects_begin : self.object_ends[index] - 1]
        if not line.endswith(content + b"}\n"):
            return _DECODER.decode(line)
        record = _DECODER.decode(without_object(line, len(content)))
        return msgspec.structs.replace(record, object=msgspec.Raw(content))

    def object_lines(self) -> bytes:
        """The objects of all records, each with a line feed."""
        return self.objects[self.objects_begin : self.object_ends[-1]]

    def part(self, begin: int, end: int) -> RecordBlock:
        """The records from `begin` to `end` - 1; at least one. Nothing is copied but columns."""
        if not begin and end == len(self.ends):
            return self
        places = self.places
        if places is not None:
            places = EventPlaces(places.sources.part(begin, end), places.offsets[begin:end], places.lines[begin:end])
        return RecordBlock(
            self.first + begin,
            self.content,
            self.ends[begin - 1] if begin else self.begin,
            self.ends[begin:end],
            self.objects,
            self.object_ends[begin - 1] if begin else self.objects_begin,
            self.object_ends[begin:end],
            self.clocks.part(begin, end),
            places,
        )

    def fitting(self, events_max: int, bytes_max: int) -> int:
        """How many records, from the first on, are at most `events_max` with lines of at most `bytes_max` bytes together."""
        return min(events_max, bisect_right(self.ends, self.begin + bytes_max))
