"""The real file system.

Owns: `OperatingSystem`, which makes the calls that `model.file_system.FileSystem` promises; `OwnerKeepingSystem`, which also gives
new files to the owner of the state.
Always: each method is one system call, `read_each` one or two a piece. Never: nothing here decides when to call what.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import stat
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from event_processor.model.file_system import DIRECTORY_MODE, FILE_MODE, FileStatus

if TYPE_CHECKING:
    from event_processor.model.columns import ByteArray, IntArray

__all__ = ["OperatingSystem", "OwnerKeepingSystem", "file_system_for"]

_WRITE_ONLY: Final = 2
_SYNC_FILE_RANGE: Final = getattr(ctypes.CDLL(None), "sync_file_range", None)  # of Linux
if _SYNC_FILE_RANGE is not None:
    _SYNC_FILE_RANGE.argtypes = [ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint]


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
        # Only the index reads so, for many ids at a time. Other commands need no arrays.
        import numpy as np  # noqa: PLC0415

        from event_processor.kernels.reads import KERNELS  # noqa: PLC0415

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

    def next_data(self, descriptor: int, offset: int) -> int:
        try:
            return os.lseek(descriptor, offset, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:
                return max(offset, os.fstat(descriptor).st_size)
            if error.errno in (errno.EINVAL, errno.EOPNOTSUPP):
                return offset
            raise

    def write(self, descriptor: int, content: bytes | memoryview) -> int:
        return os.write(descriptor, content)

    def write_at(self, descriptor: int, content: bytes, offset: int) -> int:
        return os.pwrite(descriptor, content, offset)

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

    def link_target(self, path: str) -> str | None:
        try:
            return os.readlink(path)
        except OSError as error:
            if error.errno in (errno.EINVAL, errno.ENOENT, errno.ENOTDIR):
                return None
            raise

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


class OwnerKeepingSystem(OperatingSystem):
    """The same for root, who works on another user's state: what it creates belongs to that user.

    Otherwise the service could not open a file that a command of root left in its state.
    """

    def __init__(self, user_id: int, group_id: int) -> None:
        self._owner: Final = (user_id, group_id)

    def open(self, path: str, flags: int, mode: int = FILE_MODE) -> int:
        if not flags & os.O_CREAT:
            return super().open(path, flags, mode)
        try:
            # Only a file that this very call creates changes its owner: an existing one may be a link to a file of others.
            descriptor = super().open(path, flags | os.O_EXCL, mode)
        except FileExistsError:
            if flags & os.O_EXCL:
                raise
            return super().open(path, flags, mode)
        with suppress(PermissionError):  # a file system that knows no other owners
            os.fchown(descriptor, *self._owner)
        return descriptor

    def make_directory(self, path: str, mode: int = DIRECTORY_MODE) -> None:
        super().make_directory(path, mode)
        with suppress(PermissionError):
            os.chown(path, *self._owner, follow_symlinks=False)


def file_system_for(directory: str) -> OperatingSystem:
    """The file system to work on a state `directory` with. For root, new files keep the owner and the group of that folder."""
    try:
        found = os.stat(directory)
    except OSError:
        return OperatingSystem()
    if os.geteuid() != 0 or found.st_uid == 0:
        return OperatingSystem()
    return OwnerKeepingSystem(found.st_uid, found.st_gid)


def _file_status(status: os.stat_result) -> FileStatus:
    return FileStatus(
        device=status.st_dev,
        inode=status.st_ino,
        size_bytes=status.st_size,
        is_directory=stat.S_ISDIR(status.st_mode),
        is_regular=stat.S_ISREG(status.st_mode),
        modified_ns=status.st_mtime_ns,
    )
