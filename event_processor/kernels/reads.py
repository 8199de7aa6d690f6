"""The kernel that reads many pieces of a file at once. `reads.c` says what it does."""

from __future__ import annotations

import ctypes
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from event_processor.kernels.arrays import IntArray, address
from event_processor.kernels.library import LIBRARY

__all__ = ["KERNELS", "ReadKernels"]


class ReadKernels:
    """The function of `reads.c`. Used by any thread."""

    def __init__(self, library: ctypes.CDLL) -> None:
        pointer, number = ctypes.c_void_p, ctypes.c_int64
        self._read_at_once: Final = library.ep_read_at_once
        self._read_at_once.argtypes = [number, pointer, pointer, pointer, number, pointer]
        self._read_at_once.restype = number

    def read_at_once(self, descriptor: int, content: NDArray[Any], begins: IntArray, offsets: IntArray) -> IntArray:
        """Reads piece i from offsets[i] into content[begins[i]:begins[i + 1]], if it is in the page cache.

        `begins` (n + 1,), `offsets` (n,); the pieces lie within `content` (bytes). Returns the numbers of the pieces that were
        not read whole. Raises no error.
        """
        assert 0 <= int(begins[0]) <= int(begins[-1]) <= len(content), "the pieces lie within"
        left = np.empty(len(offsets), np.int64)
        places = map(address, (content, begins, offsets))
        return left[: self._read_at_once(descriptor, *places, len(offsets), address(left))]


KERNELS: Final = None if LIBRARY is None else ReadKernels(LIBRARY)
"""None if there is no library."""
