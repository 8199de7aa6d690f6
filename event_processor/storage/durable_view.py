"""The disk as the reader of a shared log may see it: the log ends where it is durable.

Owns: `DurableView`.
Always: a reader of the log sees whole lines that survive a power cut, and nothing else. All other files are as they are.
Never: changes what a call does; it only hides bytes.
"""

from __future__ import annotations

from typing import Final

from event_processor.model.file_system import FileStatus, FileSystem
from event_processor.storage.forwarding import ForwardingFileSystem
from event_processor.storage.shared_log import SharedLog

__all__ = ["DurableView"]


class DurableView(ForwardingFileSystem):
    """A `FileSystem` over another one. Used by one thread, the reader."""

    def __init__(self, fs: FileSystem, log: SharedLog) -> None:
        super().__init__(fs)
        self._log: Final = log

    @property
    def has_descriptors_of_the_system(self) -> bool:
        # A kernel that read by itself would see what is hidden.
        return False

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
