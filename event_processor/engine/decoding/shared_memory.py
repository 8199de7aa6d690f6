"""Memory that this process and a child share. It has no name, and is freed when both have closed it.

Owns: the file under it: in memory if the kernel can do that, else in the temporary folder.
"""

from __future__ import annotations

import mmap
import os
import tempfile
from typing import Final

__all__ = ["SharedMemory"]


class SharedMemory:
    """`size_bytes` of memory under a descriptor that a child can inherit. Raises `OSError`."""

    def __init__(self, descriptor: int, size_bytes: int) -> None:
        """Owns `descriptor` from now on."""
        self.descriptor: Final = descriptor
        self.size_bytes: Final = size_bytes
        self._map: Final = mmap.mmap(descriptor, size_bytes)
        self.view: Final = memoryview(self._map)

    @classmethod
    def create(cls, size_bytes: int) -> SharedMemory:
        if hasattr(os, "memfd_create"):
            descriptor = os.memfd_create("event-processor-worker")
        else:
            with tempfile.TemporaryFile() as file:
                descriptor = os.dup(file.fileno())
        try:
            os.ftruncate(descriptor, size_bytes)
            return cls(descriptor, size_bytes)
        except BaseException:
            os.close(descriptor)
            raise

    def close(self) -> None:
        """Closes the descriptor. The memory is freed with the last view of it."""
        os.close(self.descriptor)
