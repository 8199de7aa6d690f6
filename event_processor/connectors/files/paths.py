"""Globs on the injected file system, and what is at a path.

Owns: expanding a glob, and looking at a path. An obstacle is reported differently from a missing file.
Never: opens a file.
"""

from __future__ import annotations

import errno
import fnmatch
import glob
import os
import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from event_processor.model.errors import StorageError
from event_processor.storage.durable import FileStatus, FileSystem

__all__ = ["Found", "PathPattern", "look_at", "names_in", "storage_failure"]

STOPPING_ERRORS: Final = frozenset({errno.EIO, errno.EMFILE, errno.ENFILE, errno.ENOMEM})
"""The disk or this process is at fault, not the file: waiting for the file would hide it."""


def storage_failure(operation: str, path: str, error: OSError) -> StorageError | None:
    """The error that must stop the process; None if only this file cannot be read for now."""
    return StorageError.from_os(operation, path, error) if error.errno in STOPPING_ERRORS else None


@dataclass(frozen=True, slots=True)
class Found:
    """What is at a path: a regular file's status, or the reason why there is none to read. Both are empty if nothing is there."""

    status: FileStatus | None = None
    obstacle: str = ""


def look_at(fs: FileSystem, path: str) -> Found:
    """What is at `path`. Raises `StorageError` if the disk fails."""
    try:
        status = fs.status(path)
    except OSError as error:
        if failure := storage_failure("stat", path, error):
            raise failure from error
        return Found(obstacle=error.strerror or str(error))
    if status is None:
        return Found()
    if status.is_directory:
        return Found(obstacle="is a folder, not a file")
    return Found(status) if status.is_regular else Found(obstacle="not a regular file")


@lru_cache(maxsize=256)
def _component(pattern: str) -> re.Pattern[str]:
    return re.compile(fnmatch.translate(pattern))


class PathPattern:
    """A glob of paths, as a shell reads it: `*` and `?` do not match `/`, and a leading dot must be named."""

    def __init__(self, pattern: str) -> None:
        self.pattern: Final = pattern
        self._folders: Final = os.path.dirname(pattern)
        self._name: Final = os.path.basename(pattern)
        self.literal_prefix: Final = re.split(r"[*?[]", pattern, maxsplit=1)[0]

    def matches(self, path: str) -> bool:
        """Whether the glob matches `path`."""
        if not path.startswith(self.literal_prefix):
            return False
        parts, wanted = path.split("/"), self.pattern.split("/")
        return len(parts) == len(wanted) and all(map(_matches_name, wanted, parts))

    def expand(self, fs: FileSystem) -> list[str]:
        """The existing paths, sorted. A folder that cannot be listed has none. Raises `StorageError`."""
        return sorted(
            os.path.join(folder, name)
            for folder in self.folders(fs)
            for name in names_in(fs, folder or ".")
            if _matches_name(self._name, name)
        )

    def folders(self, fs: FileSystem) -> list[str]:
        """The folders that may contain matches, sorted."""
        if not glob.has_magic(self._folders):
            return [_unescaped(self._folders)]
        return PathPattern(self._folders).expand(fs)


def _matches_name(pattern: str, name: str) -> bool:
    if name.startswith(".") and not pattern.startswith((".", "[.]")):
        return False
    return _component(pattern).match(name) is not None


def _unescaped(path: str) -> str:
    return re.sub(r"\[([*?[])\]", r"\1", path)


def names_in(fs: FileSystem, folder: str) -> list[str]:
    """The names in `folder`, sorted. A folder that cannot be listed has none. Raises `StorageError` if the disk fails."""
    try:
        return fs.names(folder)
    except OSError as error:
        if failure := storage_failure("list", folder, error):
            raise failure from error
        return []
