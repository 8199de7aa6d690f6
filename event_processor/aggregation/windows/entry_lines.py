"""The entries of windows as lines: as on disk, with their number, size and hash.

Owns: the form of a line; and the number, size and hash of all lines, kept up to date without reading them.
Always: the hash does not depend on the order of the lines. Entries that no longer change are in a queue, and leave it at its
head. An entry becomes a line only when a caller needs it, so one that comes and goes in between costs no line.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Final, TypeAlias

import msgspec
import xxhash
from msgspec import Struct

from event_processor.aggregation.measures import GroupKey
from event_processor.aggregation.windows.entries import Entry

__all__ = ["EntryLines", "EntryRow", "Place", "decode_line", "encode_line", "line_beginning"]

Place: TypeAlias = tuple[bool, int, GroupKey]
"""Whether an entry came after a later cell, its cell and its group."""
BLOCK_LINES: Final = 256
_HASH_END: Final = 1 << 128


class EntryRow(Struct, frozen=True, array_like=True):
    """An entry on disk. `is_behind`: it came after a later cell."""

    aggregate: str
    is_behind: bool
    cell: int
    group: GroupKey
    entry: Entry


_ENCODER: Final = msgspec.json.Encoder()
_DECODER: Final = msgspec.json.Decoder(EntryRow)


def encode_line(aggregate: str, place: Place, entry: Entry) -> bytes:
    """An entry as a line on disk, without a line feed."""
    return _ENCODER.encode(EntryRow(aggregate, *place, entry))


def line_beginning(aggregate: str) -> bytes:
    """The bytes with which the lines of this aggregate begin, and no other lines of ours."""
    return _ENCODER.encode([aggregate])[:-1] + b","


def decode_line(line: bytes) -> EntryRow:
    """Raises `msgspec.DecodeError` for a line that we did not write."""
    return _DECODER.decode(line)


class EntryLines:
    """The lines of all entries of an aggregate. `settle` puts an entry in the queue; `write` makes the missing lines.

    Length, size, digest and `all` cover only written lines: call `write` first.
    """

    def __init__(self) -> None:
        self._oldest: EntryRow | None = None
        self._head: Final[deque[bytes]] = deque()
        self._blocks: Final[deque[bytes]] = deque()
        """Lines between head and tail, joined. Millions of separate objects would take twice the memory, and time at each garbage
        collection."""
        self._tail: list[bytes] = []
        self._unwritten: Final[deque[EntryRow]] = deque()
        """After the tail."""
        self._settled_count = 0
        self._unsettled: Final[dict[Place, bytes]] = {}
        self._hash = 0
        self.size_bytes = 0

    def __len__(self) -> int:
        return self._settled_count + len(self._unsettled)

    def all(self) -> list[bytes]:
        """The lines that no longer change, in their order, then the others."""
        between = [line for block in self._blocks for line in block.split(b"\n")]
        return [*self._head, *between, *self._tail, *self._unsettled.values()]

    @property
    def digest(self) -> str:
        """A hash of all lines; "" if there are none."""
        return f"{self._hash % _HASH_END:032x}" if len(self) else ""

    @property
    def oldest(self) -> EntryRow | None:
        """The head of the queue."""
        if self._oldest is None:
            if not self._head:
                self._refill()
            if self._head:
                self._oldest = decode_line(self._head[0])
            elif self._unwritten:
                return self._unwritten[0]
        return self._oldest

    def drop_oldest(self) -> None:
        """Removes the head of the queue."""
        self._oldest = None
        if not self._head:
            self._refill()
        if not self._head:
            self._unwritten.popleft()
            return
        self._settled_count -= 1
        self._count(self._head.popleft(), -1)

    def _refill(self) -> None:
        if self._blocks:
            self._head.extend(self._blocks.popleft().split(b"\n"))
        elif self._tail:
            self._head.extend(self._tail)
            self._tail = []

    def settle(self, row: EntryRow) -> None:
        """Queues an entry that no longer changes and has no line yet."""
        self._unwritten.append(row)

    def write(self) -> list[bytes]:
        """Writes and returns the lines of entries that were settled since the last call and are still in the queue."""
        lines = [_ENCODER.encode(row) for row in self._unwritten]
        self._unwritten.clear()
        for line in lines:
            self.settle_line(line)
        return lines

    def settle_put(self, place: Place) -> None:
        """Queues an entry that has a line and no longer changes."""
        line = self._unsettled[place]
        self.drop(place)
        self.settle_line(line)

    def settle_line(self, line: bytes) -> None:
        """Queues the line of an entry that no longer changes. It comes before the entries without a line."""
        self._tail.append(line)
        if len(self._tail) == BLOCK_LINES:
            self._blocks.append(b"\n".join(self._tail))
            self._tail = []
        self._settled_count += 1
        self._count(line, 1)

    def unsettled(self, places: Iterable[Place]) -> list[bytes]:
        """The lines of these entries, which may still change."""
        return [self._unsettled[place] for place in places]

    def put(self, place: Place, line: bytes) -> None:
        """Sets or replaces the line of an entry that may still change."""
        self.drop(place)
        self._unsettled[place] = line
        self._count(line, 1)

    def drop(self, place: Place) -> None:
        """Removes an entry from the entries that may still change. It need not have a line."""
        line = self._unsettled.pop(place, None)
        if line is not None:
            self._count(line, -1)

    def _count(self, line: bytes, times: int) -> None:
        self.size_bytes += times * len(line)
        self._hash += times * xxhash.xxh3_128_intdigest(line)
