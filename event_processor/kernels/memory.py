"""How the process reuses freed memory, and large arrays that give their memory back at once.

Owns: the one setting of the C library's allocator that this program changes, and the arrays that bypass the allocator.
"""

from __future__ import annotations

import ctypes
import mmap
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["keep_freed_memory", "words_of_their_own"]

_TRIM_THRESHOLD: Final = -1
_MMAP_THRESHOLD: Final = -3
_MMAP_BYTES: Final = 32 << 20
"""The most that every version accepts."""
_KEPT_BYTES: Final = 1 << 30


def keep_freed_memory() -> None:
    """Keeps freed memory for the next allocation, if the C library supports it (glibc); else does nothing.

    A batch needs arrays of some hundred kilobytes, again and again. By default, the allocator may return each to the kernel when
    it is freed. It then comes back page by page, zeroed, which takes longer than the arithmetic on it. The process now keeps
    the most it ever needed; the batch limits that. For a whole process: a library does not call this for its host.
    """
    with suppress(OSError, AttributeError, TypeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_MMAP_THRESHOLD, _MMAP_BYTES)
        mallopt(_TRIM_THRESHOLD, _KEPT_BYTES)


def words_of_their_own(count: int) -> NDArray[np.uint64]:
    """(count,) zero words whose memory returns to the kernel as soon as they are unused. For large arrays that live long."""
    import numpy as np  # noqa: PLC0415 - to keep freed memory needs no arrays

    room = mmap.mmap(-1, max(count, 1) * 8, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    # The array holds the map, and the map is freed with the array.
    words: NDArray[Any] = np.frombuffer(room, "<u8", count)
    return words
