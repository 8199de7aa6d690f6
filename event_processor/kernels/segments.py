"""The kernels of segments: the search of a batch in all of them at once, and the checksums of blocks. See `segments.c`."""

from __future__ import annotations

import ctypes
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from event_processor.kernels.arrays import ByteArray, IntArray, address
from event_processor.kernels.library import LIBRARY

__all__ = ["CHECKSUM_BYTES_MIN", "DESCRIBED", "HELD", "KERNELS", "LEFT", "NEW", "SegmentKernels"]

WordArray: TypeAlias = NDArray[np.uint64]

CHECKSUM_BYTES_MIN: Final = 241
"""The kernels make no checksum of fewer bytes."""
HELD, NEW, LEFT = 0, 1, 2
"""The answer for a fingerprint: a segment holds it, none does, or the caller has to look."""
DESCRIBED: Final = 11
"""The words that describe a segment: `struct segment`."""


class SegmentKernels:
    """The functions of `segments.c`. Used by any thread."""

    def __init__(self, library: ctypes.CDLL) -> None:
        pointer, number = ctypes.c_void_p, ctypes.c_int64
        self._search: Final = library.ep_search_segments
        self._search.argtypes = [pointer, number, pointer, pointer, pointer, number, pointer, pointer]
        self._search.restype = number
        self._checksums: Final = library.ep_checksums
        self._checksums.argtypes = [pointer, number, number, pointer]
        self._checksums.restype = number

    def search(self, segments: IntArray, patterns: WordArray, hi: WordArray, lo: WordArray, answers: ByteArray) -> int:
        """Searches the ascending fingerprints, n, whose answer is NEW, and sets it to HELD, NEW or LEFT.

        Returns how many are LEFT. `segments` (k, DESCRIBED): keep what the words point to, and each descriptor, until this
        returns. All columns are contiguous.
        """
        assert segments.shape[1] == DESCRIBED, "each segment is described"
        assert len(hi) == len(lo) == len(answers), "an answer for each"
        places = np.empty(len(hi), np.int64)
        columns = map(address, (patterns, hi, lo))
        left: int = self._search(address(segments), len(segments), *columns, len(hi), address(answers), address(places))
        return left

    def checksums(self, content: NDArray[Any], block_bytes: int) -> WordArray | None:
        """The checksum of each `block_bytes` of contiguous content; the last block may be shorter.

        None if a block is too short for the kernel.
        """
        checksums = np.empty(-(-content.nbytes // block_bytes), np.uint64)
        made = self._checksums(address(content), content.nbytes, block_bytes, address(checksums))
        return checksums if made == len(checksums) else None


KERNELS: Final = None if LIBRARY is None else SegmentKernels(LIBRARY)
"""None if there is no library."""
