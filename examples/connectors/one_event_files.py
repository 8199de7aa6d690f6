"""Example of your own connector: a source that reads a folder of files with one event each.

The folder is one generation. Files are read in the order of their names, so a new file must have a greater name than all before
(a time, a number with leading zeros). The position is the name of the last file that was read. The offset counts the bytes of all
files so far.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Literal

from event_processor import (
    Chunk,
    ConfiguredPath,
    Connector,
    Json,
    PastGeneration,
    Piece,
    Source,
    SourceContext,
    SourceOptions,
    StateError,
    StorageError,
    World,
)

GENERATION = 1


class OneEventFilesOptions(SourceOptions):
    """A folder of files with one event each."""

    type: Literal["one_event_files"] = "one_event_files"
    folder: ConfiguredPath
    """The folder. Files whose names start with a dot are not read: write a file under such a name, then rename it."""

    def patterns(self) -> Sequence[str]:
        return (f"{self.folder}/*",)


@contextmanager
def reading(path: str) -> Iterator[None]:
    """A failure of the disk stops the process with words, and nothing is counted that was not read."""
    try:
        yield
    except OSError as error:
        raise StorageError.from_os("read", path, error) from error


def names_after(folder: str, name: str) -> list[str]:
    """The names of the files after `name`, in order."""
    with reading(folder):
        found = os.listdir(folder) if os.path.isdir(folder) else []
    return sorted(each for each in found if each > name and not each.startswith("."))


def record_of(path: str) -> bytes:
    """The content of a file as one line."""
    with reading(path), open(path, "rb") as file:
        return b" ".join(file.read().splitlines()) + b"\n"


def last_and_offset(position: Mapping[str, Json]) -> tuple[str, int]:
    """What a position says. Raises `StateError` if it is none of ours."""
    last, offset = position.get("last"), position.get("offset")
    if not isinstance(last, str) or not isinstance(offset, int):
        raise StateError("the state has a position that this connector did not write", hint="use the connector that wrote it")
    return last, offset


class OneEventFiles:
    """The source."""

    def __init__(self, options: OneEventFilesOptions, context: SourceContext) -> None:
        self.name = context.name
        self._options = options
        self._last = ""
        self._offset = 0

    def open(self, positions: Mapping[int, Mapping[str, Json]], next_generation: int) -> None:
        if GENERATION in positions:
            self._last, self._offset = last_and_offset(positions[GENERATION])

    def read(self, bytes_max: int) -> Chunk | None:
        records: list[bytes] = []
        size_bytes = 0
        for name in names_after(self._options.folder, self._last):
            record = record_of(os.path.join(self._options.folder, name))
            if len(record) > self._options.record_bytes_max + 1:
                if records:
                    break
                return self._chunk(name, b"", oversized_bytes=len(record))
            if records and size_bytes + len(record) > bytes_max:
                break
            records.append(record)
            size_bytes += len(record)
            self._last = name
        return self._chunk(self._last, b"".join(records)) if records else None

    def _chunk(self, last: str, content: bytes, *, oversized_bytes: int = 0) -> Chunk:
        offset, self._last = self._offset, last
        self._offset += len(content) + oversized_bytes
        position: dict[str, Json] = {"last": last, "offset": self._offset}
        return Chunk(self.name, GENERATION, offset, content, position, oversized_bytes=oversized_bytes)

    def lag_bytes(self) -> int:
        names = names_after(self._options.folder, self._last)
        with reading(self._options.folder):
            return sum(os.path.getsize(os.path.join(self._options.folder, name)) for name in names)

    def has_more(self) -> bool:
        return bool(names_after(self._options.folder, self._last))

    def wait_s(self) -> float | None:
        return None

    def acknowledge(self) -> None:
        """Does nothing: the files stay."""

    def close(self) -> None:
        """Does nothing: no file stays open."""


class PastFiles:
    """The files that were read, to be read again."""

    head = b""

    def __init__(self, options: OneEventFilesOptions, last: str) -> None:
        self._options = options
        self._last = last

    def pieces(self, start: int, end: int, bytes_max: int) -> Iterator[Piece]:
        offset = 0
        for name in names_after(self._options.folder, ""):
            if offset >= end or name > self._last:
                return
            record = record_of(os.path.join(self._options.folder, name))
            if offset >= start:
                is_oversized = len(record) > self._options.record_bytes_max + 1
                yield Piece(offset, b"", oversized_bytes=len(record)) if is_oversized else Piece(offset, record)
            offset += len(record)

    def close(self) -> None:
        """Does nothing: no file stays open."""


class OneEventFilesConnector(Connector):
    """`type = "one_event_files"`."""

    type_name = "one_event_files"
    source_options = OneEventFilesOptions

    def source(self, options: OneEventFilesOptions, context: SourceContext) -> Source:
        return OneEventFiles(options, context)

    def reopen(self, options: OneEventFilesOptions, position: Mapping[str, Json], world: World) -> PastGeneration | None:
        """The files, if they are still those that were read: the same names up to the last, with as many bytes."""
        last, offset = last_and_offset(position)
        names = [name for name in names_after(options.folder, "") if name <= last]
        sizes = [len(record_of(os.path.join(options.folder, name))) for name in names]
        return PastFiles(options, last) if sum(sizes) == offset else None
