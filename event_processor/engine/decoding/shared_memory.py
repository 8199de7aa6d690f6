"""Memory that this process and a child see both: without a name, gone with the last of them.

Owns: the file behind it. It lies in memory where the kernel can do that, else in the temporary folder.
"""

from __future__ import annotations

import mmap
import os
import tempfile
from typing import Final

__all__ = ["SharedMemory"]


class SharedMemory:
    """`size_bytes` of memory behind a descriptor, which a child may be given. Raises `OSError`."""

    def __init__(self, descriptor: int, size_bytes: int) -> None:
        """Owns `descriptor` from here on."""
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
        """Gives the descriptor back. The memory goes with the last view of it."""
        os.close(self.descriptor)
