"""What a file holds, read at any offset, whether it is plain or compressed.

Owns: the `Content` protocol, and plain files. `compressed.py` has the others, and tells which is which.
Never: nothing here knows lines.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Final, Protocol, TypeAlias

from event_processor.durable import FileStatus, FileSystem, read_range

__all__ = ["Content", "Opener", "PlainContent", "open_regular"]


class Content(Protocol):
    """The bytes of one open file. Every method raises `OSError` as the kernel does."""

    is_compressed: bool
    """Compressed content, and the items of a document, never grow: their end is the end."""
    damage: str
    """Why the content ends before its time, as far as it was read; empty for sound content."""

    def read(self, size_bytes: int, offset: int) -> bytes:
        """`size_bytes` from `offset`; less only where the content ends. Offsets count decompressed bytes."""
        ...

    def disk_bytes(self, offset: int) -> int:
        """How much of the file on disk was read to get to `offset`, for whoever watches."""
        ...

    def status(self) -> FileStatus:
        """Of the open file, whatever became of its name; its size is the one on disk."""
        ...

    def restart(self) -> None:
        """Forgets what was decoded, since the file has changed."""
        ...

    def close(self) -> None:
        """Gives the descriptor back."""
        ...


Opener: TypeAlias = Callable[[str], Content]
"""Opens the regular file at a path, by what it holds. Raises `OSError`; `ConfigurationError` where an extra is missing."""


def open_regular(fs: FileSystem, path: str) -> int:
    """A descriptor to read the regular file at `path`. Raises `OSError`.

    Without waiting: the open of a named pipe would else wait for its writer, should one stand there since we looked.
    """
    return fs.open(path, os.O_RDONLY | os.O_NONBLOCK)


class PlainContent:
    """A file that holds its records as they are."""

    is_compressed = False
    damage = ""

    def __init__(self, fs: FileSystem, descriptor: int) -> None:
        """Owns `descriptor` from here on."""
        self._fs: Final = fs
        self._descriptor: Final = descriptor

    def read(self, size_bytes: int, offset: int) -> bytes:
        return read_range(self._fs, self._descriptor, size_bytes, offset) if size_bytes > 0 else b""

    def disk_bytes(self, offset: int) -> int:
        return offset

    def status(self) -> FileStatus:
        return self._fs.status_of(self._descriptor)

    def restart(self) -> None:
        """Nothing is kept of a plain file."""

    def close(self) -> None:
        self._fs.close(self._descriptor)
