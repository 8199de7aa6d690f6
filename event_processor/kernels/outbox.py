"""The lines of an outbox, written and read in blocks: calls `outbox.c`.

Owns: how the kernels are called, and the arrays that they write to.
Always: writes the same bytes as `storage/outbox.py` does line by line, and accepts no line that `storage/outbox_reader.py` would refuse.
Never: says what is wrong with a line.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from ctypes import c_int64, c_void_p
from dataclasses import dataclass
from itertools import accumulate
from typing import Final

import numpy as np

from event_processor.kernels.arrays import ByteArray, IntArray, address, content_address
from event_processor.kernels.library import LIBRARY

__all__ = ["NEW_CLOCK", "NEW_PLACE", "ReadLines", "WrittenLines", "can_write", "read_lines", "write_lines"]

NEW_PLACE: Final = 1
NEW_CLOCK: Final = 2
_CHAIN_BYTES: Final = 32
_EXTRA_BYTES: Final = 64
_LINE_BYTES_MIN: Final = 100
"""No line of the form is shorter."""

if LIBRARY is not None:
    LIBRARY.ep_outbox_write.argtypes = [
        c_void_p, c_int64, c_void_p, c_void_p, c_int64, c_int64, c_void_p, c_int64, c_void_p, c_int64, *(c_void_p,) * 3, c_int64
    ]  # fmt: skip
    LIBRARY.ep_outbox_write.restype = c_int64
    LIBRARY.ep_outbox_read.argtypes = [c_void_p, *(c_int64,) * 3, c_void_p, c_int64, *(c_void_p,) * 7]
    LIBRARY.ep_outbox_read.restype = c_int64


@dataclass(frozen=True, slots=True)
class WrittenLines:
    """Some of the lines, and the sequence and the chain of the last of them."""

    content: bytes
    sequence: int
    chain: str


def can_write() -> bool:
    """Whether there is a library."""
    return LIBRARY is not None


def write_lines(
    content: bytes, places: Sequence[bytes], clock: bytes, *, sequence: int, chain: str, bytes_max: int
) -> Iterator[WrittenLines | None]:
    """Yields the lines of the records in `content`, one a line, about `bytes_max` bytes at a time.

    `sequence` and `chain` are those of the record before; `clock` is what is between the place and the chain. Yields None, last, if a
    record is too short for the kernel: then the rest is to be written without it, from the last yielded sequence on.
    """
    assert LIBRARY is not None, "see can_write"
    joined = b"".join(places)
    place_ends = np.array(list(accumulate(map(len, places))), np.int64)
    link = _chain_room(chain)
    chain_size = len(chain)
    state = np.zeros(2, np.int64)
    longest = _longest(content) + max(map(len, places), default=0) + len(clock) + _CHAIN_BYTES + 2 * _EXTRA_BYTES
    whole = len(content) + len(joined) + len(places) * (len(clock) + _CHAIN_BYTES + _EXTRA_BYTES)
    room, scratch = np.empty(min(bytes_max, whole) + longest, np.uint8), np.empty(longest, np.uint8)
    first = sequence
    while state[1] < len(places):
        size_bytes = LIBRARY.ep_outbox_write(
            content_address(content), len(content), content_address(joined), address(place_ends), len(places),
            first + 1 + int(state[1]), address(link), chain_size, content_address(clock), len(clock),
            address(state), address(scratch), address(room), len(room)
        )  # fmt: skip
        if size_bytes < 0:
            yield None
            return
        chain_size = _CHAIN_BYTES
        yield WrittenLines(room[:size_bytes].tobytes(), first + int(state[1]), link.tobytes().decode())


def _longest(content: bytes) -> int:
    """The length of the longest line, or more."""
    feeds = np.flatnonzero(np.frombuffer(content, np.uint8) == ord("\n"))
    return int(np.diff(feeds, prepend=-1).max(initial=0))


def _chain_room(chain: str) -> ByteArray:
    room = np.zeros(_CHAIN_BYTES, np.uint8)
    room[: len(chain)] = np.frombuffer(chain.encode(), np.uint8)
    return room


@dataclass(frozen=True, slots=True)
class ReadLines:
    """What n lines hold, by column. `ends`: the offset after each line. `objects`: each object and a line feed, up to `object_ends`.

    `offsets`, `lines`: of the record's place; -1 if it is not that of an event. `flags`: NEW_PLACE if the place begins otherwise than
    that of the record before, NEW_CLOCK if the clock fields are others. `chain`: of the last record.
    """

    ends: IntArray
    objects: bytes
    object_ends: IntArray
    offsets: IntArray
    lines: IntArray
    flags: ByteArray
    chain: str


def read_lines(content: bytes, *, sequence: int, count: int, chain: str) -> ReadLines | None:
    """The lines from the first on that are of the usual form, have the sequences from `sequence` on, and follow from `chain`.

    At most `count`. None if there is no library, or if the first line is not so.
    """
    if LIBRARY is None or len(chain) > _CHAIN_BYTES:
        return None
    room = min(count, len(content) // _LINE_BYTES_MIN + 1)
    ends, object_ends, offsets, lines = np.empty((4, room), np.int64)
    flags, objects = np.empty(room, np.uint8), np.empty(len(content), np.uint8)
    scratch = np.empty(len(content) + _EXTRA_BYTES, np.uint8)
    link = _chain_room(chain)
    found = LIBRARY.ep_outbox_read(
        content_address(content), len(content), sequence, room, address(link), len(chain),
        address(ends), address(objects), address(object_ends), address(offsets), address(lines), address(flags), address(scratch)
    )  # fmt: skip
    if not found:
        return None
    objects_bytes = objects[: object_ends[found - 1]].tobytes()
    return ReadLines(
        ends[:found], objects_bytes, object_ends[:found], offsets[:found], lines[:found], flags[:found], link.tobytes().decode()
    )
