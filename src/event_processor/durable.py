"""The only module that writes state: the file system as we need it, and the few shapes in which bytes become durable.

Owns: append files and the reading of what is committed of them, immutable files, the lock on a directory; `file_system.py` has the calls they make.
Always: a failed call becomes a `StorageError` that names the call and the file. A failed fsync is never tried again on the
same descriptor: the kernel may have dropped the pages and would then call it a success. A new or renamed file counts as
there only once its folder was synced.
Never: nothing here knows what the bytes mean.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Final

from event_processor.errors import ConfigurationError, LockedError, StateError, StorageError
from event_processor.file_system import DIRECTORY_MODE, FILE_MODE, FileStatus, FileSystem, OperatingSystem

__all__ = [
    "BEGUN_BYTES",
    "DIRECTORY_MODE",
    "FILE_MODE",
    "AppendFile",
    "DirectoryLock",
    "FileStatus",
    "FileSystem",
    "OperatingSystem",
    "append_lines",
    "committed_lines",
    "create_file",
    "prepare_directory",
    "read_file",
    "read_range",
    "remove_files",
    "remove_tree",
    "replace_file",
    "storage_boundary",
    "storage_call",
]

READ_BYTES: Final = 1_048_576
SYNC_BYTES: Final = 32 * 1_048_576
BEGUN_BYTES: Final = 1_048_576


@contextmanager
def storage_call(operation: str, path: str) -> Iterator[None]:
    """Turns an `OSError` of the calls inside into the `StorageError` that names `operation` and `path`."""
    try:
        yield
    except OSError as error:
        raise StorageError.from_os(operation, path, error) from error


@contextmanager
def storage_boundary(directory: str) -> Iterator[None]:
    """The same for calls that only look (stat, list): the kernel named the file, or it is of `directory`."""
    try:
        yield
    except OSError as error:
        raise StorageError.from_os("access", str(error.filename or directory), error) from error


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
    parent = os.path.dirname(path) or "."
    with storage_call("stat", path):
        status = fs.status(path)
    if status is None and parent != path:
        prepare_directory(fs, parent)
    if status is not None and not status.is_directory:
        raise ConfigurationError(f"{path}: a folder is wanted here, and this is a file", hint="name another path")
    with storage_call("mkdir", path):
        if status is None:
            with suppress(FileExistsError):
                fs.make_directory(path)
        # A folder that is there may have been made by a process that died before this. One whose parent we may not even
        # read was made by somebody else, who answers for it.
        with suppress(PermissionError):
            fs.sync_directory(parent)


def create_file(fs: FileSystem, path: str, parts: Iterable[bytes | memoryview], *, sync_bytes: int = SYNC_BYTES) -> None:
    """Writes a new file and makes its content durable; its name is durable once the caller synced the folder.

    A large one is made durable as it grows, so many bytes at a time: a commit's fsync on the same disk then waits for no more than these.
    Raises `StorageError`; what was begun is then left behind under `path`, where no checkpoint names it.
    """
    with storage_call("create", path):
        descriptor = fs.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
    try:
        unsynced_bytes = 0
        for part in parts:
            _write_all(fs, descriptor, path, part)
            unsynced_bytes += len(part)
            if unsynced_bytes >= sync_bytes:
                unsynced_bytes = 0
                with storage_call("fsync", path):
                    fs.sync(descriptor)
        with storage_call("fsync", path):
            fs.sync(descriptor)
    finally:
        fs.close(descriptor)


def replace_file(fs: FileSystem, path: str, parts: Iterable[bytes], token: str) -> None:
    """Makes `path` a file of these bytes, durably: until it is whole, what stood there stands, or nothing.

    `token` makes the name of its own under which it is written first, in the same folder. Raises `StorageError`, or what `parts` raises;
    nothing is left behind then.
    """
    folder = os.path.dirname(path) or "."
    temporary = os.path.join(os.path.dirname(path), f".{os.path.basename(path)}.{token}.partial")
    try:
        # If we die before the rename, the old file stands, and the beginning of a new one under the other name.
        create_file(fs, temporary, parts)
        with storage_call("rename", path):
            fs.rename(temporary, path)
    except BaseException:
        with suppress(StorageError):
            remove_files(fs, [temporary])
        raise
    with storage_call("fsync", folder):
        # If we die before this, either file may stand after a power cut; both are whole.
        fs.sync_directory(folder)


def remove_files(fs: FileSystem, paths: Sequence[str]) -> None:
    """Unlinks what is there of `paths`. Not durable before the folder is synced. Raises `StorageError`."""
    for path in paths:
        with storage_call("unlink", path):
            try:
                fs.unlink(path)
            except FileNotFoundError:
                continue


def remove_tree(fs: FileSystem, path: str) -> None:
    """Takes a folder that only we ever wrote into away, with all that is in it. Not durable before its parent is synced.

    Costs nothing where there is no such folder. Raises `StorageError`; the rest is removed by the next call.
    """
    for name in fs.names(path):
        below = os.path.join(path, name)
        status = fs.status(below)
        if status is not None and status.is_directory:
            remove_tree(fs, below)
        else:
            remove_files(fs, [below])
    with storage_call("rmdir", path):
        if fs.status(path) is not None:
            fs.remove_directory(path)


def _write_all(fs: FileSystem, descriptor: int, path: str, content: bytes | memoryview) -> None:
    """Writes every byte, however short the kernel's writes are. Raises `StorageError`."""
    rest = memoryview(content)
    while rest:
        with storage_call("write", path):
            taken = fs.write(descriptor, rest)
        if taken <= 0:
            raise StorageError("write", path, 0, "the kernel took no byte")
        rest = rest[taken:]


def append_lines(fs: FileSystem, path: str, lines: Sequence[bytes]) -> None:
    """Adds whole lines to a log of ours that others read, durably and under its lock: all of them or none.

    A torn last line, as a died appender leaves it, is cut off first: it was never acknowledged, and no reader took it for a
    record. Raises `LockedError` where somebody else appends just now, `StorageError`.
    """
    with storage_call("open", path):
        descriptor = fs.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT)
    try:
        with storage_call("lock", path):
            if not fs.lock(descriptor):
                raise LockedError(f"{path}: another process appends to this file", hint="try again when it is done")
            size_bytes = fs.status_of(descriptor).size_bytes
            whole_bytes = _whole_lines_bytes(fs, descriptor, size_bytes)
            if whole_bytes < size_bytes:
                fs.truncate(descriptor, whole_bytes)
        try:
            _write_all(fs, descriptor, path, b"".join(line + b"\n" for line in lines))
            with storage_call("fsync", path):
                # If we die before this, some of the lines may stand; they were not acknowledged, and may be added again.
                fs.sync(descriptor)
        except StorageError:
            with suppress(OSError):
                fs.truncate(descriptor, whole_bytes)
            raise
    finally:
        fs.close(descriptor)
    with storage_call("fsync", os.path.dirname(path) or "."):
        fs.sync_directory(os.path.dirname(path) or ".")


def _whole_lines_bytes(fs: FileSystem, descriptor: int, size_bytes: int) -> int:
    """How much of the file is whole lines: the offset behind its last line feed."""
    end = size_bytes
    while end:
        start = max(0, end - 65_536)
        feed = read_range(fs, descriptor, end - start, start).rfind(b"\n")
        if feed >= 0:
            return start + feed + 1
        end = start
    return 0


def committed_lines(fs: FileSystem, path: str, length_bytes: int) -> Iterator[list[bytes]]:
    """The lines of a file's first `length_bytes`, without their ends, in order; in lists, so that a file of any size may be read.

    Raises `StateError` where the file is shorter, `StorageError`.
    """
    if not length_bytes:
        return
    with storage_call("read", path):
        descriptor = fs.open(path, os.O_RDONLY) if fs.status(path) is not None else None
    if descriptor is None:
        raise _too_short(path, length_bytes)
    try:
        rest = b""
        offset = 0
        while offset < length_bytes:
            with storage_call("read", path):
                block = read_range(fs, descriptor, min(READ_BYTES, length_bytes - offset), offset)
            if not block:
                raise _too_short(path, length_bytes)
            offset += len(block)
            *lines, rest = (rest + block).split(b"\n")
            yield lines
        if rest:
            yield [rest]
    finally:
        fs.close(descriptor)


def _too_short(path: str, length_bytes: int) -> StateError:
    return StateError(
        f"{path}: gone or shorter than the {length_bytes} bytes of it that were committed",
        hint="put the file back, or make the state anew from the log: event-processor replay",
    )


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
        with storage_call("stat", path):
            found = fs.status(path)
        if committed_bytes and (found is None or found.size_bytes < committed_bytes):
            held = "is missing" if found is None else f"holds {found.size_bytes} bytes"
            raise StateError(
                f"{path}: {held}, but {committed_bytes} bytes of it were committed",
                hint="put the file back, or make the state anew from the log: event-processor replay",
            )
        if found is not None and not found.is_regular:
            raise ConfigurationError(f"{path}: not a file that can be appended to", hint="name another path")
        # A file that is there may have been made by a process that died before its folder was synced: only a committed
        # length tells that the name survives a power cut.
        self._name_is_durable = committed_bytes > 0
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

    def begin_writing(self) -> None:
        """Lets the disk begin with what was appended, where it is much, so that `sync` finds less to wait for. Makes nothing durable."""
        if self.length_bytes - self.synced_bytes >= BEGUN_BYTES and not self._broken:
            self._fs.begin_writing(self._descriptor)

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
        _write_all(self._fs, self._descriptor, self.path, f"{owner}\n".encode())

    def release(self) -> None:
        """Gives the lock back. The file stays: a lock on an unlinked file excludes nobody."""
        self._fs.close(self._descriptor)
