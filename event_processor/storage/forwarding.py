"""A file system over another one: every call goes to the other.

Owns: `ForwardingFileSystem`, the base of those that change or measure a few calls.
Always: each method calls the same method of the other file system, and has its answer.
Never: does anything else.
"""

from __future__ import annotations

from typing import Final

from event_processor.model.columns import ByteArray, IntArray
from event_processor.model.file_system import DIRECTORY_MODE, FILE_MODE, FileStatus, FileSystem

__all__ = ["ForwardingFileSystem"]


class ForwardingFileSystem:
    """A `FileSystem` over `fs`. Subclasses override the calls that are their own."""

    def __init__(self, fs: FileSystem) -> None:
        self._fs: Final = fs

    @property
    def has_descriptors_of_the_system(self) -> bool:
        return self._fs.has_descriptors_of_the_system

    def open(self, path: str, flags: int, mode: int = FILE_MODE) -> int:
        return self._fs.open(path, flags, mode)

    def close(self, descriptor: int) -> None:
        self._fs.close(descriptor)

    def read(self, descriptor: int, size_bytes: int, offset: int) -> bytes:
        return self._fs.read(descriptor, size_bytes, offset)

    def read_into(self, descriptor: int, view: memoryview, offset: int) -> int:
        return self._fs.read_into(descriptor, view, offset)

    def read_each(self, descriptor: int, content: ByteArray, begins: IntArray, offsets: IntArray) -> int:
        return self._fs.read_each(descriptor, content, begins, offsets)

    def next_data(self, descriptor: int, offset: int) -> int:
        return self._fs.next_data(descriptor, offset)

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

    def status(self, path: str) -> FileStatus | None:
        return self._fs.status(path)

    def status_of(self, descriptor: int) -> FileStatus:
        return self._fs.status_of(descriptor)

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
