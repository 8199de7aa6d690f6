"""The tries of the last records, for `explain` and for the page: a ring of two files, never relied on.

Owns: `state/history/tries.0.jsonl` and `tries.1.jsonl`, and the form of their lines.
Always: together they hold at most about `FILE_BYTES_MAX` bytes twice. Lines are written about once a second, without fsync: a crash
loses some.
Never: holds a record's content, or a secret.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Final

import msgspec
from msgspec import Struct

from event_processor.model.errors import EventProcessorError
from event_processor.storage.durable import FileSystem, read_file, storage_call, write_all

__all__ = ["Try", "TryRing", "tries_in"]

FILE_BYTES_MAX: Final = 4 * 1_048_576
HISTORY_FOLDER: Final = "history"
KEPT_MAX: Final = 10_000
"""If the file cannot be written, this number of tries is kept in memory."""


class Try(Struct, frozen=True):
    """One request of one lane, which was answered at `at` (RFC 3339, UTC).

    `sink`: the name of the lane; the lane of retried records has another name than the sink. `stage`: "deliver", or the enricher's name.
    `sequences`: of its records; `number`: which try it was. `verdict`, `status` and `words` come from the answer. `next_in_s`: how long
    the receiver asked to wait; 0 if it did not.
    """

    at: str
    sink: str
    stage: str
    sequences: tuple[int, ...]
    number: int
    took_ms: float
    verdict: str
    status: str = ""
    words: str = ""
    next_in_s: float = 0.0


class TryRing:
    """Writes the tries. Used by one thread."""

    def __init__(self, fs: FileSystem, directory: str, *, file_bytes_max: int = FILE_BYTES_MAX) -> None:
        """The folder `history` exists. Nothing is written yet. Raises `StorageError`."""
        self._fs: Final = fs
        self._paths: Final = _paths(directory)
        self._file_bytes_max: Final = file_bytes_max
        self._lines: list[bytes] = []
        self._place = 0
        self._size_bytes = 0
        contents = [read_file(fs, path) or b"" for path in self._paths]
        # The file whose first try is later is the one that is written.
        if _begun_at(contents[1]) > _begun_at(contents[0]):
            self._place = 1
        self._size_bytes = len(contents[self._place])

    def note(self, tried: Try) -> None:
        """Remembers a try until `flush`."""
        if len(self._lines) < KEPT_MAX:
            self._lines.append(msgspec.json.encode(tried) + b"\n")

    def flush(self) -> None:
        """Writes what was noted. If it cannot be written, it is tried again with the next."""
        if not self._lines:
            return
        content = b"".join(self._lines)
        with suppress(EventProcessorError, OSError):
            self._append(content)
            self._lines.clear()

    def _append(self, content: bytes) -> None:
        """Appends to the present file. If that is full, begins the other one anew."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        if self._size_bytes >= self._file_bytes_max:
            self._place, self._size_bytes = 1 - self._place, 0
            flags |= os.O_TRUNC
        path = self._paths[self._place]
        with storage_call("open", path):
            descriptor = self._fs.open(path, flags)
        try:
            write_all(self._fs, descriptor, path, content)
        finally:
            self._fs.close(descriptor)
        self._size_bytes += len(content)


def tries_in(fs: FileSystem, directory: str, sink: str, sequences: Sequence[int]) -> Iterator[Try]:
    """Yields the tries of these records at a sink that are still known, oldest first. A torn line is passed over.

    Raises `StorageError`.
    """
    wanted = set(sequences)
    found = []
    for path in _paths(directory):
        for line in (read_file(fs, path) or b"").split(b"\n"):
            try:
                tried = msgspec.json.decode(line, type=Try)
            except msgspec.MsgspecError:
                continue
            if tried.sink == sink and not wanted.isdisjoint(tried.sequences):
                found.append(tried)
    yield from sorted(found, key=lambda each: each.at)


def _begun_at(content: bytes) -> str:
    """When the first try of a file was answered; empty if it has none."""
    with suppress(msgspec.MsgspecError):
        return msgspec.json.decode(content.partition(b"\n")[0], type=Try).at
    return ""


def _paths(directory: str) -> tuple[str, str]:
    return (
        os.path.join(directory, HISTORY_FOLDER, "tries.0.jsonl"),
        os.path.join(directory, HISTORY_FOLDER, "tries.1.jsonl"),
    )
