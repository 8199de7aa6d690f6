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

from event_processor.model.errors import ConfigurationError, StorageError
from event_processor.model.file_system import DIRECTORY_MODE, FILE_MODE, FileStatus, FileSystem
from event_processor.storage.file_system import OperatingSystem

__all__ = [
    "DIRECTORY_MODE",
    "FILE_MODE",
    "FileStatus",
    "FileSystem",
    "OperatingSystem",
    "create_file",
    "prepare_directory",
    "read_file",
    "read_range",
    "remove_files",
    "remove_tree",
    "replace_file",
    "storage_boundary",
    "storage_call",
    "write_all",
]

SYNC_BYTES: Final = 32 * 1_048_576


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
            write_all(fs, descriptor, path, part)
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


def write_all(fs: FileSystem, descriptor: int, path: str, content: bytes | memoryview) -> None:
    """Writes every byte, however short the kernel's writes are. Raises `StorageError`."""
    rest = memoryview(content)
    while rest:
        with storage_call("write", path):
            taken = fs.write(descriptor, rest)
        if taken <= 0:
            raise StorageError("write", path, 0, "the kernel took no byte")
        rest = rest[taken:]
