"""Where the lines of a file are that only grows, so that its last ones are found without reading the rest.

Owns: `LineIndex`, the offsets of some line starts, and `IndexedLines`, which reads backwards from any line.
Always: asked again, it reads only what was added. To find a line costs about `MARK_BYTES`, wherever it is; more only if lines near it are longer
than most.
Never: reads beyond the given length; keeps the lines.
"""

from __future__ import annotations

import os
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from event_processor.model.errors import StateError
from event_processor.model.file_system import FileSystem
from event_processor.storage.append_file import committed_lines
from event_processor.storage.durable import read_range, storage_call

__all__ = ["IndexedLines", "LineIndex"]

MARK_BYTES: Final = 65_536
"""One line start is remembered for about so many bytes: 16,384 of them for a file of a gigabyte."""


@dataclass(frozen=True, slots=True)
class _Mark:
    """A line start: its number, from 0, and its offset in bytes."""

    line: int
    offset: int


@dataclass(frozen=True, slots=True)
class IndexedLines:
    """The lines of the first `length_bytes` of a file: `count` of them. It stays as it is while the index grows."""

    fs: FileSystem
    path: str
    count: int
    length_bytes: int
    _marks: Sequence[_Mark]
    _marks_count: int

    def before(self, stop: int) -> Iterator[bytes]:
        """Yields the lines before number `stop` (from 0), without line feeds, the last one first.

        Raises `StateError` if the file is shorter now, `StorageError`.
        """
        if stop <= 0 or not self._marks_count:
            return
        with storage_call("open", self.path):
            descriptor = self.fs.open(self.path, os.O_RDONLY)
        try:
            last = bisect_right(self._marks, stop - 1, 0, self._marks_count, key=lambda mark: mark.line) - 1
            for number in range(last, -1, -1):
                lines = self._block(descriptor, number)
                yield from reversed(lines[: stop - self._marks[number].line])
        finally:
            self.fs.close(descriptor)

    def _block(self, descriptor: int, number: int) -> list[bytes]:
        """The lines from one mark to the next."""
        begin, following = self._marks[number].offset, number + 1
        end = self._marks[following].offset if following < self._marks_count else self.length_bytes
        with storage_call("read", self.path):
            content = read_range(self.fs, descriptor, end - begin, begin)
        if len(content) < end - begin:
            raise StateError(
                f"{self.path}: ends at byte {begin + len(content)}, but {self.length_bytes} bytes were committed",
                hint="put the file back, or rebuild the state from the log: event-processor replay",
            )
        return content.split(b"\n")[:-1]


class LineIndex:
    """The index of one file. Used by one thread at a time; what it returned may be used by others."""

    def __init__(self, fs: FileSystem, path: str) -> None:
        """Reads nothing yet."""
        self._fs: Final = fs
        self._path: Final = path
        self._inode = 0
        self._marks: list[_Mark] = []
        self._count = 0
        self._length_bytes = 0

    def lines(self, length_bytes: int) -> IndexedLines:
        """The lines of the first `length_bytes`, which is the end of a line.

        Raises `StateError` if the file is shorter, `StorageError`.
        """
        with storage_call("stat", self._path):
            status = self._fs.status(self._path)
        inode = status.inode if status else 0
        if inode != self._inode or length_bytes < self._length_bytes:
            # Whoever reads an earlier value keeps the list of then.
            self._marks, self._count, self._length_bytes = [], 0, 0
        self._inode = inode
        if length_bytes > self._length_bytes:
            self._extend(length_bytes)
        return IndexedLines(self._fs, self._path, self._count, self._length_bytes, self._marks, len(self._marks))

    def _extend(self, length_bytes: int) -> None:
        """Reads what was added. If reading fails, the index is as before."""
        marks, count, offset = self._marks, self._count, self._length_bytes
        known = len(marks)
        try:
            for lines in committed_lines(self._fs, self._path, length_bytes, self._length_bytes):
                # In slices, not line by line: a state of a million dead letters is counted at each `status`.
                size_bytes = sum(map(len, lines)) + len(lines)
                step = max(1, len(lines) * MARK_BYTES // max(1, size_bytes))
                for begin in range(0, len(lines), step):
                    if not marks or offset - marks[-1].offset >= MARK_BYTES // 2:
                        marks.append(_Mark(count, offset))
                    part = lines[begin : begin + step]
                    count += len(part)
                    offset += sum(map(len, part)) + len(part)
        except BaseException:
            del marks[known:]
            raise
        self._count, self._length_bytes = count, length_bytes
