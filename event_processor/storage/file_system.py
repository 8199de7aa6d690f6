"""The file system as we need it: the calls that we make to a disk, and the real one.

Owns: `FileSystem`, which the failing disk of the tests implements too, and `OperatingSystem`.
Always: each method is one system call (`read_each`: one or two a piece), and does nothing beyond its name.
Never: decides when to call what.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import stat
from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np

from event_processor.kernels.reads import KERNELS
from event_processor.model.columns import ByteArray, IntArray

__all__ = ["DIRECTORY_MODE", "FILE_MODE", "FileStatus", "FileSystem", "OperatingSystem"]

DIRECTORY_MODE: Final = 0o750
FILE_MODE: Final = 0o640
_WRITE_ONLY: Final = 2
_SYNC_FILE_RANGE: Final = getattr(ctypes.CDLL(None), "sync_file_range", None)  # of Linux
if _SYNC_FILE_RANGE is not None:
    _SYNC_FILE_RANGE.argtypes = [ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint]


@dataclass(frozen=True, slots=True)
class FileStatus:
    """What the kernel knows of a file. Device and inode identify it for its whole life, whatever its path."""

    device: int
    inode: int
    size_bytes: int
    is_directory: bool
    is_regular: bool
    modified_ns: int


class FileSystem(Protocol):
    """The calls that we make. Each blocks, raises `OSError` as the kernel does, and does nothing beyond its name.

    `write` and `read` may do less than asked, and say how much. Content is durable only after `sync` of its descriptor. A name
    (new, linked, renamed, unlinked) is durable only after `sync_directory` of its folder.
    """

    @property
    def has_descriptors_of_the_system(self) -> bool:
        """Whether `open` returns descriptors of the operating system, so that a C kernel may read from them."""
        ...

    def open(self, path: str, flags: int, mode: int = FILE_MODE) -> int:
        """Returns a descriptor, closed on exec; `flags` as in `os.open`."""
        ...

    def close(self, descriptor: int) -> None:
        """Releases the descriptor. Makes nothing durable."""
        ...

    def read(self, descriptor: int, size_bytes: int, offset: int) -> bytes:
        """Reads at most `size_bytes` from `offset`; empty at the end of the file."""
        ...

    def read_into(self, descriptor: int, view: memoryview, offset: int) -> int:
        """As `read`, into `view`, at most its length, for callers with a thousand pieces at once. Returns the bytes read."""
        ...

    def read_each(self, descriptor: int, content: ByteArray, begins: IntArray, offsets: IntArray) -> int:
        """Reads piece i from offsets[i] into content[begins[i]:begins[i + 1]]. Returns the bytes read in all.

        `begins` (n + 1,), `offsets` (n,). The disk may work on all pieces at once.
        """
        ...

    def write(self, descriptor: int, content: bytes | memoryview) -> int:
        """Writes at the descriptor's position (with O_APPEND, the end). Returns the bytes written."""
        ...

    def truncate(self, descriptor: int, size_bytes: int) -> None:
        """Cuts the file to `size_bytes`."""
        ...

    def begin_writing(self, descriptor: int) -> None:
        """Asks the disk to start writing, without waiting. A hint: makes nothing durable, reports no failure."""
        ...

    def sync(self, descriptor: int) -> None:
        """Makes content and size durable before it returns. Never repeat it after a failure."""
        ...

    def sync_directory(self, path: str) -> None:
        """Makes the names in the folder durable before it returns."""
        ...

    def status(self, path: str) -> FileStatus | None:
        """Status of the file at `path`, links followed; None if there is none."""
        ...

    def status_of(self, descriptor: int) -> FileStatus:
        """Status of an open file, even if it has lost its name."""
        ...

    def names(self, path: str) -> list[str]:
        """The names in a folder, sorted; empty if there is no such folder."""
        ...

    def make_directory(self, path: str, mode: int = DIRECTORY_MODE) -> None:
        """Makes one folder. Its parent exists."""
        ...

    def link(self, path: str, new_path: str) -> None:
        """Adds a second name for a file; fails if `new_path` exists."""
        ...

    def rename(self, path: str, new_path: str) -> None:
        """Moves `path` to `new_path` atomically, and replaces a file there."""
        ...

    def unlink(self, path: str) -> None:
        """Removes the name."""
        ...

    def remove_directory(self, path: str) -> None:
        """Removes an empty folder."""
        ...

    def lock(self, descriptor: int) -> bool:
        """Takes the exclusive advisory lock of an open file without waiting; False if another process holds it."""
        ...


class OperatingSystem:
    """The real file system: each method is the system call of its name."""

    @property
    def has_descriptors_of_the_system(self) -> bool:
        return True

    def open(self, path: str, flags: int, mode: int = FILE_MODE) -> int:
        return os.open(path, flags | os.O_CLOEXEC, mode)

    def close(self, descriptor: int) -> None:
        os.close(descriptor)

    def read(self, descriptor: int, size_bytes: int, offset: int) -> bytes:
        return os.pread(descriptor, size_bytes, offset)

    def read_into(self, descriptor: int, view: memoryview, offset: int) -> int:
        return os.preadv(descriptor, (view,), offset)

    def read_each(self, descriptor: int, content: ByteArray, begins: IntArray, offsets: IntArray) -> int:
        left = np.arange(len(offsets)) if KERNELS is None else KERNELS.read_at_once(descriptor, content, begins, offsets)
        if not len(left):
            return int(begins[-1] - begins[0])
        sizes = begins[1:] - begins[:-1]
        pieces = list(zip(begins[left].tolist(), sizes[left].tolist(), offsets[left].tolist(), strict=True))
        if KERNELS is not None:
            # Prefetch every uncached piece before waiting for the first: a disk serves many such reads in the time of one.
            for _, size, offset in pieces:
                os.posix_fadvise(descriptor, offset, size, os.POSIX_FADV_WILLNEED)
        view = content.data
        late_bytes = sum(self.read_into(descriptor, view[begin : begin + size], offset) for begin, size, offset in pieces)
        return int(begins[-1] - begins[0] - sizes[left].sum()) + late_bytes

    def write(self, descriptor: int, content: bytes | memoryview) -> int:
        return os.write(descriptor, content)

    def truncate(self, descriptor: int, size_bytes: int) -> None:
        os.ftruncate(descriptor, size_bytes)

    def begin_writing(self, descriptor: int) -> None:
        if _SYNC_FILE_RANGE is not None:
            # If the disk fails here, the `sync` that follows reports it.
            _SYNC_FILE_RANGE(descriptor, 0, 0, _WRITE_ONLY)

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

    def remove_directory(self, path: str) -> None:
        os.rmdir(path)

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
