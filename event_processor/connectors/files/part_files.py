"""The files of a part sink: their names, and reading back what is committed.

Owns: the names of published, pending and complete parts; and `CommittedParts`, which reads a sink's committed lines while a
daemon may write on.
Always: `CommittedParts` keeps the pending file open from the start. So the committed lines can be read even if the daemon has
reached a later part and removed that file. Readers may remove parts, so a missing part is no fault.
Never: changes a file.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from event_processor.connectors.files.sink_options import PART_PLACEHOLDER
from event_processor.model.errors import StorageError
from event_processor.records.writing.outputs import PartOutput
from event_processor.storage.durable import FileSystem, read_file, read_range, storage_call

__all__ = ["PART_PLACEHOLDER", "CommittedParts", "FoundParts", "PartNames"]

_NUMBER: Final = "([1-9][0-9]{0,17})"


@dataclass(frozen=True, slots=True)
class FoundParts:
    """The numbers of the parts in a folder, ascending, by kind of file."""

    published: Sequence[int]
    pending: Sequence[int]
    complete: Sequence[int]


class PartNames:
    """The names for one path with `{n}` in its last component."""

    def __init__(self, path: str) -> None:
        self._folder, self._name = os.path.split(path)
        number = _NUMBER.join(map(re.escape, self._name.split(PART_PLACEHOLDER, 1)))
        self._published: Final = re.compile(number)
        self._pending: Final = re.compile(rf"\.{number}\.pending")
        self._complete: Final = re.compile(rf"\.{number}\.complete")

    @property
    def folder(self) -> str:
        """The folder of all of them."""
        return self._folder or "."

    def published(self, number: int) -> str:
        """The path of a published part."""
        return os.path.join(self._folder, self._of(number))

    def pending(self, number: int) -> str:
        """The path where the lines of an open part gather."""
        return os.path.join(self._folder, f".{self._of(number)}.pending")

    def complete(self, number: int) -> str:
        """The path where a whole part waits for the checkpoint that covers it."""
        return os.path.join(self._folder, f".{self._of(number)}.complete")

    def number_of_pending(self, path: str) -> int | None:
        """The number of the part whose pending file is `path`; None if it is no pending file."""
        folder, name = os.path.split(path)
        match = self._pending.fullmatch(name)
        return int(match[1]) if match and folder == self._folder else None

    def found(self, fs: FileSystem) -> FoundParts:
        """The existing files."""
        names = fs.names(self.folder)
        kinds = (self._published, self._pending, self._complete)
        published, pending, complete = (
            sorted(int(match[1]) for match in map(kind.fullmatch, names) if match is not None) for kind in kinds
        )
        return FoundParts(published, pending, complete)

    def paths(self, fs: FileSystem) -> list[str]:
        """The paths of all existing files."""
        found = self.found(fs)
        return [
            *map(self.published, found.published),
            *map(self.complete, found.complete),
            *map(self.pending, found.pending),
        ]

    def _of(self, number: int) -> str:
        return self._name.replace(PART_PLACEHOLDER, str(number), 1)


READ_BYTES: Final = 1_048_576


class CommittedParts:
    """The parts of one sink, up to the open one."""

    def __init__(self, names: PartNames, output: PartOutput, open_part: tuple[int, int], *, fs: FileSystem) -> None:
        """`open_part`: the open part's number, and the committed length of its pending file. Raises `StorageError`."""
        self.open_number, self.pending_bytes = open_part
        self.pending_path: Final = names.pending(self.open_number)
        self._names: Final = names
        self._output: Final = output
        self._fs: Final = fs
        with storage_call("open", self.pending_path):
            try:
                self._descriptor: int | None = fs.open(self.pending_path, os.O_RDONLY)
            except FileNotFoundError:
                self._descriptor = None

    @property
    def pending_bytes_there(self) -> int:
        """How many of the pending file's committed bytes exist."""
        if self._descriptor is None:
            return 0
        with storage_call("stat", self.pending_path):
            return min(self.pending_bytes, self._fs.status_of(self._descriptor).size_bytes)

    def pending(self) -> Iterator[bytes]:
        """The existing committed bytes of the pending file, in blocks. Raises `StorageError`."""
        end = self.pending_bytes_there
        for offset in range(0, end, READ_BYTES):
            assert self._descriptor is not None
            with storage_call("read", self.pending_path):
                yield read_range(self._fs, self._descriptor, min(READ_BYTES, end - offset), offset)

    def path(self, number: int) -> str:
        """The path where readers find a part."""
        return self._names.published(number)

    def content(self, number: int) -> bytes | None:
        """A committed part, published or not yet renamed; None if it was removed. Raises `StorageError`."""
        for path in (self._names.published(number), self._names.complete(number), self._names.published(number)):
            try:
                content = read_file(self._fs, path)
            except StorageError as error:
                # It was removed between the look and the opening.
                if error.errno != errno.ENOENT:
                    raise
                content = None
            if content is not None:
                return content
        return None

    def count(self, content: bytes) -> int | None:
        """The number of lines that a part was made from; None if it is not a valid part."""
        return self._output.count(content)

    def holds(self, content: bytes, lines: bytes) -> bool:
        """Whether a part holds what `lines` would give."""
        return self._output.holds(content, lines)

    def close(self) -> None:
        """Closes the pending file."""
        if self._descriptor is not None:
            self._fs.close(self._descriptor)
