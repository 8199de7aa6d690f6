"""What the process does with memory that it freed, and large memory that is not to be kept.

Owns: the one setting of the C library's allocator that this program changes, and what goes around it.
"""

from __future__ import annotations

import ctypes
import mmap
from contextlib import suppress
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

__all__ = ["keep_freed_memory", "words_of_their_own"]

_TRIM_THRESHOLD: Final = -1
_MMAP_THRESHOLD: Final = -3
_MMAP_BYTES: Final = 32 << 20
"""The most that every version accepts."""
_KEPT_BYTES: Final = 1 << 30


def keep_freed_memory() -> None:
    """Keeps what is freed for the next allocation, where the C library can be told to (glibc); does nothing elsewhere.

    A batch needs arrays of some hundred kilobytes, over and over. By default each may be handed back to the kernel when it is
    freed and come back page by page, zeroed, which takes longer than the arithmetic on it. The process then holds on to
    the most it ever needed; that is bounded by the batch. For a whole process: a library does not call this for its host.
    """
    with suppress(OSError, AttributeError, TypeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_MMAP_THRESHOLD, _MMAP_BYTES)
        mallopt(_TRIM_THRESHOLD, _KEPT_BYTES)


def words_of_their_own(count: int) -> NDArray[np.uint64]:
    """(count,) words, zeros, that go back to the kernel as soon as nobody holds them, whatever the allocator keeps; for large arrays that live long."""
    room = mmap.mmap(-1, max(count, 1) * 8, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    # The array holds the map, and the map goes with the array.
    words: NDArray[Any] = np.frombuffer(room, "<u8", count)
    return words
