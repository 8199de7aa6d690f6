"""What the process does with memory that it freed.

Owns: the one setting of the C library's allocator that this program changes.
"""

from __future__ import annotations

import ctypes
from contextlib import suppress
from typing import Final

__all__ = ["keep_freed_memory"]

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
