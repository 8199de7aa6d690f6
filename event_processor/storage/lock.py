"""The lock of a state directory: one writer.

Owns: `DirectoryLock`, the lock file with the name of its owner, and what becomes of a lock that another process handed to this one.
Always: the kernel holds the lock, and releases it if the process dies. The owner's name in the file is information only.
Never: unlinks the lock file: a lock on an unlinked file excludes no other process.
"""

from __future__ import annotations

import os
from collections.abc import MutableMapping
from contextlib import suppress
from typing import Final

from event_processor.model.errors import LockedError
from event_processor.model.file_system import FileSystem
from event_processor.storage.durable import storage_call, write_all

__all__ = ["HANDED_LOCK", "DirectoryLock", "keep_handed_lock"]

HANDED_LOCK: Final = "EVENT_PROCESSOR_HANDED_LOCK"
"""The environment variable that tells a process which of its descriptors is a lock that was handed to it."""


def keep_handed_lock(variables: MutableMapping[str, str]) -> None:
    """Lets no program that this process starts have the lock that was handed to it: the kernel would keep the lock for that one.

    `variables`: the environment, which then says nothing of it. Call it before any code of a user runs.
    """
    number = variables.pop(HANDED_LOCK, "")
    if number.isdecimal():
        with suppress(OSError):
            os.set_inheritable(int(number), False)


class DirectoryLock:
    """Makes this process the only writer of a directory, by a kernel lock on a file in it.

    The kernel releases the lock when the process dies. The file holds the owner's name and process id, for people to read;
    only the lock decides.
    """

    def __init__(self, fs: FileSystem, path: str, owner: str) -> None:
        """Takes the lock at `path`, then writes `owner` into it. Raises `LockedError` with the holder's name, `StorageError`."""
        self.path: Final = path
        self._fs: Final = fs
        with storage_call("open", path):
            self._descriptor = fs.open(path, os.O_RDWR | os.O_CREAT)
        try:
            self._take(owner)
        except BaseException:
            fs.close(self._descriptor)
            raise

    @property
    def descriptor(self) -> int:
        """For a process that is to hold the lock as well: it is released when the last holder has closed it, or died."""
        return self._descriptor

    def name(self, owner: str) -> None:
        """Writes another owner into the file. Raises `StorageError`."""
        with storage_call("write", self.path):
            self._fs.truncate(self._descriptor, 0)
            self._fs.write_at(self._descriptor, f"{owner}\n".encode(), 0)

    def _take(self, owner: str) -> None:
        """Locks the file first, then writes the owner."""
        with storage_call("lock", self.path):
            if not self._fs.lock(self._descriptor):
                holder = self._fs.read(self._descriptor, 200, 0).decode("utf-8", "replace").strip() or "another process"
                raise LockedError(f"{self.path}: held by {holder}", hint="stop it first, or name another directory with --state")
            self._fs.truncate(self._descriptor, 0)
        write_all(self._fs, self._descriptor, self.path, f"{owner}\n".encode())

    def release(self) -> None:
        """Releases the lock, unless another process holds it as well. The file stays: a lock on an unlinked file excludes no other process."""
        self._fs.close(self._descriptor)
