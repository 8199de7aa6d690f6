"""The entries of windows as lines: as they stand on disk, counted, measured and hashed.

Owns: the form of a line, and what is known of all lines together without a look at them.
Always: the hash does not depend on the order of the lines. Entries that change no more lie in a queue, and leave it at its head; one is
written as a line only when somebody wants to see it, so that one that comes and goes in between costs none.
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
"""Whether an entry came behind the latest cell, its cell and its group."""
BLOCK_LINES: Final = 256
_HASH_END: Final = 1 << 128


class EntryRow(Struct, frozen=True, array_like=True):
    """An entry on disk. `is_behind`: it came behind the latest cell."""

    aggregate: str
    is_behind: bool
    cell: int
    group: GroupKey
    entry: Entry


_ENCODER: Final = msgspec.json.Encoder()
_DECODER: Final = msgspec.json.Decoder(EntryRow)


def encode_line(aggregate: str, place: Place, entry: Entry) -> bytes:
    """An entry as it stands on disk, without a line feed."""
    return _ENCODER.encode(EntryRow(aggregate, *place, entry))


def line_beginning(aggregate: str) -> bytes:
    """What the lines of this aggregate begin with, and no other line of ours."""
    return _ENCODER.encode([aggregate])[:-1] + b","


def decode_line(line: bytes) -> EntryRow:
    """Raises `msgspec.DecodeError` for a line that is none of ours."""
    return _DECODER.decode(line)


class EntryLines:
    """The lines of all entries of an aggregate. `settle` puts an entry in the queue; `write` makes lines of those that have none yet.

    Length, size, digest and `all` are of what is written: who asks for them writes first.
    """

    def __init__(self) -> None:
        self._oldest: EntryRow | None = None
        self._head: Final[deque[bytes]] = deque()
        self._blocks: Final[deque[bytes]] = deque()
        """Lines between head and tail, joined: as objects of their own, millions would take twice the memory, and time at each garbage collection."""
        self._tail: list[bytes] = []
        self._unwritten: Final[deque[EntryRow]] = deque()
        """Behind the tail."""
        self._settled_count = 0
        self._unsettled: Final[dict[Place, bytes]] = {}
        self._hash = 0
        self.size_bytes = 0

    def __len__(self) -> int:
        return self._settled_count + len(self._unsettled)

    def all(self) -> list[bytes]:
        """Those that change no more, in their order, then the others."""
        between = [line for block in self._blocks for line in block.split(b"\n")]
        return [*self._head, *between, *self._tail, *self._unsettled.values()]

    @property
    def digest(self) -> str:
        """A hash of all of them; "" where there are none."""
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
        """Takes the head off the queue."""
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
        """An entry that changes no more."""
        self._unwritten.append(row)

    def write(self) -> list[bytes]:
        """The lines of what was settled since the last call and is in the queue still."""
        lines = [_ENCODER.encode(row) for row in self._unwritten]
        self._unwritten.clear()
        for line in lines:
            self.settle_line(line)
        return lines

    def settle_put(self, place: Place) -> None:
        """An entry that has a line, and changes no more."""
        line = self._unsettled[place]
        self.drop(place)
        self.settle_line(line)

    def settle_line(self, line: bytes) -> None:
        """An entry that changes no more, of which the line is known. In the queue it stands before those that have none."""
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
        """The line of an entry that may still change, in the place of the one before."""
        self.drop(place)
        self._unsettled[place] = line
        self._count(line, 1)

    def drop(self, place: Place) -> None:
        """An entry is no more among those that may change; perhaps it had no line yet."""
        line = self._unsettled.pop(place, None)
        if line is not None:
            self._count(line, -1)

    def _count(self, line: bytes, times: int) -> None:
        self.size_bytes += times * len(line)
        self._hash += times * xxhash.xxh3_128_intdigest(line)
