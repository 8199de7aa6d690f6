"""The kernel that merges sources of rows. `merge.c` says what it does."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from event_processor.kernels.arrays import IntArray, address
from event_processor.kernels.library import LIBRARY

__all__ = ["KERNELS", "MergeKernels", "RowMerge"]

RowArray: TypeAlias = NDArray[np.uint64]
"""(n, 2): hi and lo of fingerprints."""

_SOURCE_WORDS: Final = 6
"""`struct source`."""
_BEGIN, _END, _NEXT_ROW, _IS_AT_END = 2, 3, 4, 5


class MergeKernels:
    """The functions of `merge.c`. Used by any thread."""

    def __init__(self, library: ctypes.CDLL) -> None:
        pointer, number = ctypes.c_void_p, ctypes.c_int64
        self._merge: Final = library.ep_merge
        self._merge.argtypes = [pointer, number, number, *[pointer] * 3, number, pointer]
        self._merge.restype = number

    def merge(self, segments: Sequence[IntArray | None], buffer_rows: int) -> RowMerge:
        """Starts a merge of as many sources: a segment, described as for a search, or None if the caller supplies the rows.

        `buffer_rows`: the rows of each source in memory; at least one block.
        """
        return RowMerge(self._merge, segments, buffer_rows)


class RowMerge:
    """k ascending sources, merged step by step. Used by one thread. Keep the segments' descriptions and descriptors as long."""

    def __init__(self, kernel: ctypes._NamedFuncPointer, segments: Sequence[IntArray | None], buffer_rows: int) -> None:
        count = len(segments)
        self._kernel: Final = kernel
        self._segments: Final = segments
        self._buffer_rows: Final = buffer_rows
        self._buffers: Final = np.empty((count, buffer_rows, 2), np.uint64)
        self._joined_rows: Final = np.empty((2, count * buffer_rows, 2), np.uint64)
        self._sources: Final = np.zeros((count, _SOURCE_WORDS), np.int64)
        for place, segment in enumerate(segments):
            self._sources[place, :2] = (0 if segment is None else address(segment), address(self._buffers[place]))
        self._joined: Final = np.array([*map(address, self._joined_rows), 0, 0, 0], np.int64)
        self._ends: Final = np.empty(count, np.int64)
        self._starved: Final = np.empty(1, np.int64)

    def put(self, rows: RowArray) -> tuple[int, int | None]:
        """Puts the next rows of all sources into `rows`, as many as fit.

        Returns how many, and the source that must be filled before more can follow, if any.
        """
        put: int = self._kernel(
            address(self._sources),
            len(self._sources),
            self._buffer_rows,
            *map(address, (self._joined, self._ends, rows)),
            len(rows),
            address(self._starved),
        )
        starved = int(self._starved[0])
        return put, None if starved < 0 else starved

    def next_row(self, source: int) -> int:
        """The source's first row that was not in its buffer yet."""
        return int(self._sources[source, _NEXT_ROW])

    def fill(self, source: int, rows: RowArray) -> None:
        """Fills a starved source with its rows from `next_row` on: whole blocks of a segment, none at its end."""
        self._buffers[source, : len(rows)] = rows
        self._sources[source, _BEGIN] = 0
        self._sources[source, _END] = len(rows)
        self._sources[source, _NEXT_ROW] += len(rows)
        self._sources[source, _IS_AT_END] = not len(rows)


KERNELS: Final = None if LIBRARY is None else MergeKernels(LIBRARY)
"""None if there is no library."""
