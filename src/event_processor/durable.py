"""The only module that writes state: the file system as we need it, and the few shapes in which bytes become durable.

Owns: `FileSystem` (what may be asked of a disk; the real one here, a failing one in the tests), atomic replacement, append
files, immutable files, the lock on a directory.
Always: a failed call becomes a `StorageError` that names the call and the file. A failed fsync is never tried again on the
same descriptor: the kernel may have dropped the pages and would then call it a success. A new or renamed file counts as
there only once its folder was synced.
Never: nothing here knows what the bytes mean.
"""

from __future__ import annotations

import fcntl
import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final, Protocol

from event_processor.errors import ConfigurationError, LockedError, StateError, StorageError

__all__ = [
    "AppendFile",
    "DirectoryLock",
    "FileStatus",
    "FileSystem",
    "OperatingSystem",
    "create_file",
    "prepare_directory",
    "read_file",
    "read_range",
    "remove_files",
    "replace_file",
]

DIRECTORY_MODE: Final = 0o750
FILE_MODE: Final = 0o640
TEMPORARY_SUFFIX: Final = ".tmp"


@dataclass(frozen=True, slots=True)
class FileStatus:
    """What the kernel knows of a file: device and inode name it for its life, whatever its path; sizes in bytes."""

    device: int
    inode: int
    size_bytes: int
    is_directory: bool
    is_regular: bool
    modified_ns: int


class FileSystem(Protocol):
    """The calls we make. Each blocks, raises `OSError` as the kernel does, and does nothing beyond its name.

    `write` and `read` may do less than asked and say how much. Nothing is durable before `sync` of its descriptor, and no
    name (new, linked, renamed, unlinked) before `sync_directory` of its folder.
    """

    def open(self, path: str, flags: int, mode: int = FILE_MODE) -> int:
        """A descriptor, closed on exec; `flags` are those of `os.open`."""
        ...

    def close(self, descriptor: int) -> None:
        """Gives the descriptor back. Makes nothing durable."""
        ...

    def read(self, descriptor: int, size_bytes: int, offset: int) -> bytes:
        """At most `size_bytes` from `offset`; empty at the end of the file."""
        ...

    def write(self, descriptor: int, content: bytes | memoryview) -> int:
        """Writes at the descriptor's place (the end, with O_APPEND); returns how many bytes were taken."""
        ...

    def truncate(self, descriptor: int, size_bytes: int) -> None:
        """Cuts the file to `size_bytes`."""
        ...

    def sync(self, descriptor: int) -> None:
        """Content and size are durable when this returns. Never repeat it after a failure."""
        ...

    def sync_directory(self, path: str) -> None:
        """The names in the folder are durable when this returns."""
        ...

    def status(self, path: str) -> FileStatus | None:
        """Of what `path` names, links followed; None where there is nothing."""
        ...

    def status_of(self, descriptor: int) -> FileStatus:
        """Of an open file, whatever became of its name."""
        ...

    def names(self, path: str) -> list[str]:
        """The names in a folder, sorted; empty where there is no such folder."""
        ...

    def make_directory(self, path: str, mode: int = DIRECTORY_MODE) -> None:
        """Makes one folder, whose parent is there."""
        ...

    def link(self, path: str, new_path: str) -> None:
        """A second name for a file; fails where `new_path` is there."""
        ...

    def rename(self, path: str, new_path: str) -> None:
        """Puts `path` in the place of `new_path`, atomically."""
        ...

    def unlink(self, path: str) -> None:
        """Takes the name away."""
        ...

    def lock(self, descriptor: int) -> bool:
        """Takes the exclusive advisory lock of an open file without waiting; False where somebody else has it."""
        ...


class OperatingSystem:
    """The real file system: each method is the system call of its name."""

    def open(self, path: str, flags: int, mode: int = FILE_MODE) -> int:
        return os.open(path, flags | os.O_CLOEXEC, mode)

    def close(self, descriptor: int) -> None:
        os.close(descriptor)

    def read(self, descriptor: int, size_bytes: int, offset: int) -> bytes:
        return os.pread(descriptor, size_bytes, offset)

    def write(self, descriptor: int, content: bytes | memoryview) -> int:
        return os.write(descriptor, content)

    def truncate(self, descriptor: int, size_bytes: int) -> None:
        os.ftruncate(descriptor, size_bytes)

    def sync(self, descriptor: int) -> None:
        os.fsync(descriptor)

    def sync_directory(self, path: str) -> None:
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def status(self, path: str) -> FileStatus | None:
        try:
            return _file_status(os.stat(path))
        except (FileNotFoundError, NotADirectoryError):
            return None

    def status_of(self, descriptor: int) -> FileStatus:
        return _file_status(os.fstat(descriptor))

    def names(self, path: str) -> list[str]:
        try:
            return sorted(os.listdir(path))
        except FileNotFoundError:
            return []

    def make_directory(self, path: str, mode: int = DIRECTORY_MODE) -> None:
        os.mkdir(path, mode)

    def link(self, path: str, new_path: str) -> None:
        os.link(path, new_path)

    def rename(self, path: str, new_path: str) -> None:
        os.rename(path, new_path)

    def unlink(self, path: str) -> None:
        os.unlink(path)

    def lock(self, descriptor: int) -> bool:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True


def _file_status(status: os.stat_result) -> FileStatus:
    return FileStatus(
        device=status.st_dev,
        inode=status.st_ino,
        size_bytes=status.st_size,
        is_directory=stat.S_ISDIR(status.st_mode),
        is_regular=stat.S_ISREG(status.st_mode),
        modified_ns=status.st_mtime_ns,
    )


@contextmanager
def storage_call(operation: str, path: str) -> Iterator[None]:
    """Turns an `OSError` of the calls inside into the `StorageError` that names `operation` and `path`."""
    try:
        yield
    except OSError as error:
        raise StorageError.from_os(operation, path, error) from error


def read_file(fs: FileSystem, path: str) -> bytes | None:
    """The whole file, or None where there is none. For small files only. Raises `StorageError`."""
    with storage_call("read", path):
        if fs.status(path) is None:
            return None
        descriptor = fs.open(path, os.O_RDONLY)
        try:
            return read_range(fs, descriptor, fs.status_of(descriptor).size_bytes, 0)
        finally:
            fs.close(descriptor)


def read_range(fs: FileSystem, descriptor: int, size_bytes: int, offset: int) -> bytes:
    """`size_bytes` from `offset`, or less where the file ends before. Raises `OSError`."""
    first = fs.read(descriptor, size_bytes, offset)
    if len(first) == size_bytes or not first:
        return first
    parts = [first]
    missing = size_bytes - len(first)
    while missing and (part := fs.read(descriptor, missing, offset + size_bytes - missing)):
        parts.append(part)
        missing -= len(part)
    return b"".join(parts)


def prepare_directory(fs: FileSystem, path: str) -> None:
    """Makes the folder and those above it where they are missing, each durable in its parent. Raises `StorageError`."""
    status = fs.status(path)
    if status is not None:
        if not status.is_directory:
            raise ConfigurationError(f"{path}: a folder is wanted here, and this is a file", hint="name another path")
        return
    parent = os.path.dirname(path) or "."
    if parent != path:
        prepare_directory(fs, parent)
    with storage_call("mkdir", path):
        try:
            fs.make_directory(path)
        except FileExistsError:
            return
        fs.sync_directory(parent)


def create_file(fs: FileSystem, path: str, parts: Sequence[bytes | memoryview]) -> None:
    """Writes a new file and makes its content durable; its name is durable once the caller synced the folder.

    Raises `StorageError`; what was begun is then left behind under `path`, where no checkpoint names it.
    """
    with storage_call("create", path):
        descriptor = fs.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
    try:
        for part in parts:
            _write_all(fs, descriptor, path, part)
        with storage_call("fsync", path):
            fs.sync(descriptor)
    finally:
        fs.close(descriptor)


def replace_file(fs: FileSystem, path: str, content: bytes) -> None:
    """Puts `content` in the place of `path`: whoever looks, at any time and after any crash, sees the old or the new whole.

    Raises `StorageError`; the old file then still stands.
    """
    temporary = path + TEMPORARY_SUFFIX
    remove_files(fs, [temporary])
    # If we die here, or anywhere before the rename, the old file stands; the temporary one is removed by the next call.
    create_file(fs, temporary, [content])
    with storage_call("rename", path):
        fs.rename(temporary, path)
    # If we die here, a power cut may still bring the old file back: the rename is not durable before its folder is.
    with storage_call("fsync", os.path.dirname(path) or "."):
        fs.sync_directory(os.path.dirname(path) or ".")


def remove_files(fs: FileSystem, paths: Sequence[str]) -> None:
    """Unlinks what is there of `paths`. Not durable before the folder is synced. Raises `StorageError`."""
    for path in paths:
        with storage_call("unlink", path):
            try:
                fs.unlink(path)
            except FileNotFoundError:
                continue


def _write_all(fs: FileSystem, descriptor: int, path: str, content: bytes | memoryview) -> None:
    """Writes every byte, however short the kernel's writes are. Raises `StorageError`."""
    rest = memoryview(content)
    while rest:
        with storage_call("write", path):
            taken = fs.write(descriptor, rest)
        if taken <= 0:
            raise StorageError("write", path, 0, "the kernel took no byte")
        rest = rest[taken:]


class AppendFile:
    """A file that we alone append to, and whose committed length a checkpoint holds.

    Always: `length_bytes` is what was appended, `synced_bytes` what is durable; what lies beyond the committed length on
    opening was never committed, and is cut off. The file is locked while it is open. After a failed write or fsync
    every further call fails.
    """

    def __init__(self, fs: FileSystem, path: str, committed_bytes: int) -> None:
        """Opens the file, makes it where it is missing and nothing was committed, and cuts it to `committed_bytes`.

        Raises `StateError` where the file is shorter than what was committed, `LockedError` where another process appends
        to it, `StorageError` where a call fails.
        """
        self.path: Final = path
        self._fs: Final = fs
        self._broken = False
        found = fs.status(path)
        if committed_bytes and (found is None or found.size_bytes < committed_bytes):
            held = "is missing" if found is None else f"holds {found.size_bytes} bytes"
            raise StateError(
                f"{path}: {held}, but {committed_bytes} bytes of it were committed",
                hint="put the file back, or make the state anew from the log: event-processor replay",
            )
        if found is not None and not found.is_regular:
            raise ConfigurationError(f"{path}: not a file that can be appended to", hint="name another path")
        self._name_is_durable = found is not None
        with storage_call("open", path):
            self._descriptor = fs.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT)
        try:
            self._take(committed_bytes)
        except BaseException:
            fs.close(self._descriptor)
            raise
        self.length_bytes = committed_bytes
        self.synced_bytes = committed_bytes

    def _take(self, committed_bytes: int) -> None:
        """Locks the file and cuts off what no checkpoint covers."""
        with storage_call("lock", self.path):
            if not self._fs.lock(self._descriptor):
                raise LockedError(f"{self.path}: another process appends to this file", hint="stop it, or name another path")
        with storage_call("truncate", self.path):
            if self._fs.status_of(self._descriptor).size_bytes > committed_bytes:
                # If we die here, the next start cuts the same bytes again. The cut needs no fsync of its own: a tail
                # that comes back after a power cut is still beyond the committed length.
                self._fs.truncate(self._descriptor, committed_bytes)

    def append(self, content: bytes | memoryview) -> None:
        """Adds `content` to the end. Durable only after `sync`. Raises `StorageError`."""
        if self._broken:
            raise StorageError("write", self.path, 0, "an earlier write or fsync of this file failed")
        if not content:
            return
        self._broken = True
        _write_all(self._fs, self._descriptor, self.path, content)
        self._broken = False
        self.length_bytes += len(content)

    def sync(self) -> None:
        """Makes what was appended durable, and the file's name if it is new. Costs nothing where nothing was appended."""
        if self._broken:
            raise StorageError("fsync", self.path, 0, "an earlier write or fsync of this file failed")
        if self.synced_bytes == self.length_bytes:
            return
        self._broken = True
        with storage_call("fsync", self.path):
            self._fs.sync(self._descriptor)
        if not self._name_is_durable:
            folder = os.path.dirname(self.path) or "."
            with storage_call("fsync", folder):
                self._fs.sync_directory(folder)
            self._name_is_durable = True
        self._broken = False
        self.synced_bytes = self.length_bytes

    def close(self) -> None:
        """Gives the descriptor and the lock back. What was not synced stays uncommitted."""
        self._fs.close(self._descriptor)


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
            with storage_call("lock", path):
                taken = fs.lock(self._descriptor)
            if not taken:
                holder = fs.read(self._descriptor, 200, 0).decode("utf-8", "replace").strip() or "another process"
                raise LockedError(f"{path}: held by {holder}", hint="stop it first, or name another directory with --state")
            with storage_call("write", path):
                fs.truncate(self._descriptor, 0)
            _write_all(fs, self._descriptor, path, f"{owner}\n".encode())
        except BaseException:
            fs.close(self._descriptor)
            raise

    def release(self) -> None:
        """Gives the lock back. The file stays: a lock on an unlinked file excludes nobody."""
        self._fs.close(self._descriptor)
