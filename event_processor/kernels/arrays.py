"""How columns are handed to a kernel: their types, and their addresses in memory.

Never: a kernel is given an array that is not contiguous.
"""

from __future__ import annotations

import ctypes
from typing import Any, Final, TypeAlias, cast

import numpy as np
from numpy.typing import NDArray

__all__ = ["BoolArray", "ByteArray", "FloatArray", "IntArray", "address", "content_address", "on_cache_lines"]

BoolArray: TypeAlias = NDArray[np.bool_]
FloatArray: TypeAlias = NDArray[np.float64]
IntArray: TypeAlias = NDArray[np.int64]
ByteArray: TypeAlias = NDArray[np.uint8]

_LINE_BYTES: Final = 64


def address(column: NDArray[Any]) -> int:
    """The address of the column in memory. It must be contiguous, and be kept until the call returns."""
    flags = column.flags
    assert flags.c_contiguous, "a kernel reads a column from front to back"
    if flags.writeable and column.size:  # costs a third of describing the whole array
        return ctypes.addressof(ctypes.c_char.from_buffer(cast("Any", column)))
    place: int = column.__array_interface__["data"][0]
    return place


def content_address(content: bytes) -> int:
    """The address of the bytes in memory."""
    return address(np.frombuffer(content, np.uint8))


def on_cache_lines(size_bytes: int) -> NDArray[np.uint8]:
    """(size_bytes,) zeros that start on a cache line: an item whose size divides 64 bytes never spans two lines."""
    room = np.zeros(size_bytes + _LINE_BYTES, np.uint8)
    skipped = -address(room) % _LINE_BYTES
    return room[skipped : skipped + size_bytes]
