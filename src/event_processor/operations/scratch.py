"""A place to recompute in that nobody will ever resume from: a temporary folder, and a file system that does not wait for a disk.

Never: nothing that is kept may be written through this file system.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

from event_processor.durable import OperatingSystem, storage_call

__all__ = ["UnsyncedFileSystem", "scratch_directory"]


class UnsyncedFileSystem(OperatingSystem):
    """The real file system, with each fsync left out."""

    def begin_writing(self, descriptor: int) -> None:
        """Nothing, as for `sync`."""

    def sync(self, descriptor: int) -> None:
        """Nothing: what a crash takes away here is not missed."""

    def sync_directory(self, path: str) -> None:
        """Nothing, likewise."""


@contextmanager
def scratch_directory() -> Iterator[str]:
    """A new folder below $TMPDIR, gone at the end. Raises `StorageError`."""
    with storage_call("mkdir", tempfile.gettempdir()):
        folder = tempfile.TemporaryDirectory(prefix="event-processor-")
    with folder as path:
        yield path
