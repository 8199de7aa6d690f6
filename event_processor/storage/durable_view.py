"""The disk as the reader of a shared log may see it: the log ends where it is durable.

Owns: `DurableView`.
Always: a reader of the log sees whole lines that survive a power cut, and nothing else. All other files are as they are.
Never: changes what a call does; it only hides bytes.
"""

from __future__ import annotations

from typing import Final

from event_processor.model.columns import ByteArray, IntArray
from event_processor.model.file_system import DIRECTORY_MODE, FILE_MODE, FileStatus, FileSystem
from event_processor.storage.shared_log import SharedLog

__all__ = ["DurableView"]


class DurableView:
    """A `FileSystem` over another one. Used by one thread, that of the reader."""

    has_descriptors_of_the_system = False
    """A kernel that read by itself would see what is hidden."""

    def __init__(self, fs: FileSystem, log: SharedLog) -> None:
        self._fs: Final = fs
        self._log: Final = log

    # What a reader sees.

    def status(self, path: str) -> FileStatus | None:
        return self._log.look() if path == self._log.path else self._fs.status(path)

    def status_of(self, descriptor: int) -> FileStatus:
        return self._log.clipped(self._fs.status_of(descriptor))

    def read(self, descriptor: int, size_bytes: int, offset: int) -> bytes:
        end = self.status_of(descriptor).size_bytes
        return self._fs.read(descriptor, min(size_bytes, end - offset), offset) if offset < end else b""

    def read_into(self, descriptor: int, view: memoryview, offset: int) -> int:
        content = self.read(descriptor, len(view), offset)
        view[: len(content)] = content
        return len(content)

    def next_data(self, descriptor: int, offset: int) -> int:
        return min(self._fs.next_data(descriptor, offset), max(offset, self.status_of(descriptor).size_bytes))

    # The rest, as it is.

    def open(self, path: str, flags: int, mode: int = FILE_MODE) -> int:
        return self._fs.open(path, flags, mode)

    def close(self, descriptor: int) -> None:
        self._fs.close(descriptor)

    def read_each(self, descriptor: int, content: ByteArray, begins: IntArray, offsets: IntArray) -> int:
        return self._fs.read_each(descriptor, content, begins, offsets)

    def write(self, descriptor: int, content: bytes | memoryview) -> int:
        return self._fs.write(descriptor, content)

    def write_at(self, descriptor: int, content: bytes, offset: int) -> int:
        return self._fs.write_at(descriptor, content, offset)

    def truncate(self, descriptor: int, size_bytes: int) -> None:
        self._fs.truncate(descriptor, size_bytes)

    def begin_writing(self, descriptor: int) -> None:
        self._fs.begin_writing(descriptor)

    def sync(self, descriptor: int) -> None:
        self._fs.sync(descriptor)

    def sync_directory(self, path: str) -> None:
        self._fs.sync_directory(path)

    def link_target(self, path: str) -> str | None:
        return self._fs.link_target(path)

    def names(self, path: str) -> list[str]:
        return self._fs.names(path)

    def make_directory(self, path: str, mode: int = DIRECTORY_MODE) -> None:
        self._fs.make_directory(path, mode)

    def link(self, path: str, new_path: str) -> None:
        self._fs.link(path, new_path)

    def rename(self, path: str, new_path: str) -> None:
        self._fs.rename(path, new_path)

    def unlink(self, path: str) -> None:
        self._fs.unlink(path)

    def remove_directory(self, path: str) -> None:
        self._fs.remove_directory(path)

    def lock(self, descriptor: int) -> bool:
        return self._fs.lock(descriptor)
