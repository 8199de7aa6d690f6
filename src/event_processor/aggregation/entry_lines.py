"""The entries of windows as lines: as they stand on disk, counted, measured and hashed.

Owns: the form of a line, and what is known of all lines together without a look at them.
Always: the hash does not depend on the order of the lines. Those that change no more lie in a queue, and leave it at its head.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Final, TypeAlias

import msgspec
import xxhash
from msgspec import Struct

from event_processor.aggregation.entries import Entry
from event_processor.aggregation.measured import GroupKey

__all__ = ["EntryLines", "EntryRow", "Place", "decode_line", "encode_line"]

Place: TypeAlias = tuple[bool, int, GroupKey]
"""Whether an entry came behind the latest cell, its cell and its group."""
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


def decode_line(line: bytes) -> EntryRow:
    """Raises `msgspec.DecodeError` for a line that is none of ours."""
    return _DECODER.decode(line)


class EntryLines:
    """The lines of all entries of an aggregate."""

    def __init__(self) -> None:
        self._settled: Final[deque[bytes]] = deque()
        self._unsettled: Final[dict[Place, bytes]] = {}
        self._hash = 0
        self.size_bytes = 0

    def __len__(self) -> int:
        return len(self._settled) + len(self._unsettled)

    def all(self) -> list[bytes]:
        """Those that change no more, in their order, then the others."""
        return [*self._settled, *self._unsettled.values()]

    @property
    def digest(self) -> str:
        """A hash of all of them; "" where there are none."""
        return f"{self._hash:032x}" if len(self) else ""

    @property
    def oldest(self) -> bytes | None:
        """The head of the queue."""
        return self._settled[0] if self._settled else None

    def drop_oldest(self) -> None:
        """Takes the head off the queue."""
        self._count(self._settled.popleft(), -1)

    def settle(self, line: bytes) -> None:
        """A line that changes no more."""
        self._settled.append(line)
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
        self._hash = (self._hash + times * xxhash.xxh3_128_intdigest(line)) % _HASH_END
