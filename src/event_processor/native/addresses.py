"""How columns are handed to a kernel: by where they stand in memory.

Never: a kernel is given an array that is not contiguous.
"""

from __future__ import annotations

import ctypes
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

__all__ = ["address", "content_address"]


def address(column: NDArray[Any]) -> int:
    """Where the column stands in memory. It has to be contiguous, and to be kept until the call returns."""
    flags = column.flags
    assert flags.c_contiguous, "a kernel reads a column from front to back"
    if flags.writeable and column.size:  # a third of what the description of the whole array costs
        return ctypes.addressof(ctypes.c_char.from_buffer(cast("Any", column)))
    place: int = column.__array_interface__["data"][0]
    return place


def content_address(content: bytes) -> int:
    """Where the bytes stand in memory."""
    return address(np.frombuffer(content, np.uint8))
