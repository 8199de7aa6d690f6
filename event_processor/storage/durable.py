"""Files and folders that we write once: created, replaced or removed as a whole, durably.

Owns: whole files (immutable or replaced), folders, complete reads and writes, and the step from `OSError` to `StorageError`.
`file_system.py` has the calls, `append_file.py` the files that grow, `lock.py` the lock of a directory.
Always: a failed call becomes a `StorageError` that names the call and the file. A new or renamed file counts as present only
after an fsync of its folder.
Never: interprets the bytes; repeats a failed fsync on the same descriptor: the kernel may have dropped the pages and would then
report success.
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
    "publish_file",
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
    """Turns an `OSError` of the calls inside into a `StorageError` with this `operation` and `path`."""
    try:
        yield
    except OSError as error:
        raise StorageError.from_os(operation, path, error) from error


@contextmanager
def storage_boundary(directory: str) -> Iterator[None]:
    """As `storage_call`, for calls that only look (stat, list). Names the file from the kernel's error, else `directory`."""
    try:
        yield
    except OSError as error:
        raise StorageError.from_os("access", str(error.filename or directory), error) from error


def read_file(fs: FileSystem, path: str) -> bytes | None:
    """Reads the whole file; None if there is none. For small files only. Raises `StorageError`."""
    with storage_call("read", path):
        if fs.status(path) is None:
            return None
        descriptor = fs.open(path, os.O_RDONLY)
        try:
            return read_range(fs, descriptor, fs.status_of(descriptor).size_bytes, 0)
        finally:
            fs.close(descriptor)


def read_range(fs: FileSystem, descriptor: int, size_bytes: int, offset: int) -> bytes:
    """Reads `size_bytes` from `offset`, fewer if the file ends first. Raises `OSError`."""
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
    """Makes the folder and its missing parents, each durable in its own parent.

    Raises `ConfigurationError` if `path` is not a folder, `StorageError`.
    """
    parent = os.path.dirname(path) or "."
    with storage_call("stat", path):
        status = fs.status(path)
    if status is None and parent != path:
        prepare_directory(fs, parent)
    if status is not None and not status.is_directory:
        raise ConfigurationError(f"{path}: is a file, but a folder is needed here", hint="name another path")
    with storage_call("mkdir", path):
        if status is None:
            with suppress(FileExistsError):
                fs.make_directory(path)
        # An existing folder may come from a process that died before this fsync. If we may not even read the parent, another
        # user made the folder; making it durable was then their task.
        with suppress(PermissionError):
            fs.sync_directory(parent)


def create_file(fs: FileSystem, path: str, parts: Iterable[bytes | memoryview], *, sync_bytes: int = SYNC_BYTES) -> None:
    """Writes a new file and makes its content durable. Its name is durable only after the caller syncs the folder.

    Syncs after every `sync_bytes`: a commit's fsync on the same disk then waits for no more than these.
    Raises `StorageError`; the unfinished file then stays under `path`, and no checkpoint names it.
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
    """Replaces `path` by a file of these bytes, durably. Until the new file is whole, the old one stays (or none).

    The new file is first written in the same folder, under a name made from `token`. Only one writer at a time may use a token; it
    may be used again. Raises `StorageError`, or what `parts` raises; the unfinished file is then removed.
    """
    folder = os.path.dirname(path) or "."
    temporary = os.path.join(os.path.dirname(path), f".{os.path.basename(path)}.{token}.partial")
    # A process that died in here left its unfinished file under this name.
    remove_files(fs, [temporary])
    try:
        # If we die before the rename, the old file is still there, and the start of the new one under the other name.
        create_file(fs, temporary, parts)
        with storage_call("rename", path):
            fs.rename(temporary, path)
    except BaseException:
        with suppress(StorageError):
            remove_files(fs, [temporary])
        raise
    with storage_call("fsync", folder):
        # If we die before this, either file may be there after a power cut; both are whole.
        fs.sync_directory(folder)


def publish_file(fs: FileSystem, path: str, content: bytes) -> None:
    """Replaces `path` by a file of these bytes, as a whole but not durably: for news that nothing relies on.

    A reader sees the old file or the new one. After a power cut it may see neither, or an empty file: it must accept that. There
    is no fsync, so a slow disk delays nothing. One writer at a time. Raises `StorageError`.
    """
    temporary = os.path.join(os.path.dirname(path), f".{os.path.basename(path)}.partial")
    with storage_call("create", path):
        descriptor = fs.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    try:
        write_all(fs, descriptor, path, content)
    finally:
        fs.close(descriptor)
    with storage_call("rename", path):
        fs.rename(temporary, path)


def remove_files(fs: FileSystem, paths: Sequence[str]) -> None:
    """Unlinks the `paths` that exist. Not durable before the folder is synced. Raises `StorageError`."""
    for path in paths:
        with storage_call("unlink", path):
            try:
                fs.unlink(path)
            except FileNotFoundError:
                continue


def remove_tree(fs: FileSystem, path: str) -> None:
    """Removes a folder that only we write to, and everything in it. Not durable before its parent is synced.

    Costs nothing if there is no such folder. Raises `StorageError`; the next call removes the rest.
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
    """Writes every byte, even if the kernel's writes are short. Raises `StorageError`."""
    rest = memoryview(content)
    while rest:
        with storage_call("write", path):
            taken = fs.write(descriptor, rest)
        if taken <= 0:
            raise StorageError("write", path, 0, "the kernel wrote no byte")
        rest = rest[taken:]
