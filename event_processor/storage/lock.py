"""The lock of a state directory: one writer.

Always: the kernel holds the lock; the lock file is never unlinked, and the pid in it is information only.
"""

from __future__ import annotations

import os
from typing import Final

from event_processor.model.errors import LockedError
from event_processor.model.file_system import FileSystem
from event_processor.storage.durable import storage_call, write_all

__all__ = ["DirectoryLock"]


class DirectoryLock:
    """The one writer of a directory: a kernel lock on a file in it, which is never unlinked and frees itself when we die.

    The file holds the owner's process id, for people to read; only the lock itself decides.
    """

    def __init__(self, fs: FileSystem, path: str, owner: str) -> None:
        """Takes the lock at `path`, and writes `owner` into it. Raises `LockedError` naming who holds it, `StorageError`."""
        self.path: Final = path
        self._fs: Final = fs
        with storage_call("open", path):
            self._descriptor = fs.open(path, os.O_RDWR | os.O_CREAT)
        try:
            self._take(owner)
        except BaseException:
            fs.close(self._descriptor)
            raise

    def _take(self, owner: str) -> None:
        """Locks the file, and only then says whose it is."""
        with storage_call("lock", self.path):
            if not self._fs.lock(self._descriptor):
                holder = self._fs.read(self._descriptor, 200, 0).decode("utf-8", "replace").strip() or "another process"
                raise LockedError(f"{self.path}: held by {holder}", hint="stop it first, or name another directory with --state")
            self._fs.truncate(self._descriptor, 0)
        write_all(self._fs, self._descriptor, self.path, f"{owner}\n".encode())

    def release(self) -> None:
        """Gives the lock back. The file stays: a lock on an unlinked file excludes nobody."""
        self._fs.close(self._descriptor)
