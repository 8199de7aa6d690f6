"""An input that is still written: how much of it counts, by a small file beside it that its writer replaces.

Owns: `Arrival`, what has come of one input; `ArrivedView`, the disk with nothing of the input beyond that.
Always: what has come only grows, up to a length that was announced before the first byte, a power cut included. Bytes that were announced as come, and are not
in the file, end the run.
Never: waits (the loop does).
"""

from __future__ import annotations

import os
from dataclasses import replace
from typing import Final

import msgspec

from event_processor.model.errors import InputGoneError
from event_processor.model.file_system import FileStatus, FileSystem
from event_processor.storage.durable import read_file, storage_call
from event_processor.storage.forwarding import ForwardingFileSystem

__all__ = ["Announced", "Arrival", "ArrivedView", "announced"]

HINT: Final = "write the input again, and start again with another --state"


class Announced(msgspec.Struct, frozen=True):
    """The content of the small file: the first `offset` bytes of `length` count. Other keys are ignored."""

    offset: int
    length: int


def announced(fs: FileSystem, path: str) -> Announced:
    """What the small file at `path` says. Raises `InputGoneError` if there is none, or if it says nothing; `StorageError`."""
    content = read_file(fs, path)
    if content is None:
        raise InputGoneError(f"{path}: is gone: it says how much of the input has come, and not all had come", hint=HINT)
    try:
        found = msgspec.json.decode(content, type=Announced)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InputGoneError(f"{path}: does not say how much of the input has come: {error}", hint=HINT) from error
    if not 0 <= found.offset <= found.length:
        words = f"{path}: says that {found.offset} of {found.length} bytes of the input have come"
        raise InputGoneError(words, hint='wanted: {"offset", "length"} with 0 <= offset <= length')
    return found


class Arrival:
    """How much of one input has come. Used by one thread."""

    def __init__(self, fs: FileSystem, path: str, length_bytes: int) -> None:
        """`path`: of the small file; empty: the input is finished, and all of it is there. `length_bytes`: as it was announced."""
        self._fs: Final = fs
        self._path: Final = path
        self._length_bytes: Final = length_bytes
        self.come_bytes = 0
        """The bytes that count, when it was looked at last."""
        self.is_complete = not path

    def look(self) -> bool:
        """Looks again. Returns whether all has come. Raises `InputGoneError`, `StorageError`."""
        if not self.is_complete:
            found = announced(self._fs, self._path)
            if found.length != self._length_bytes or found.offset < self.come_bytes:
                now = f"{found.offset} of {found.length} bytes of the input have come"
                before = f"before, it was {self.come_bytes} of {self._length_bytes}"
                raise InputGoneError(f"{self._path}: says that {now}; {before}", hint=HINT)
            if found.offset > self.come_bytes:
                self._settle()
            self.come_bytes = found.offset
            self.is_complete = found.offset == found.length
        return self.is_complete

    def _settle(self) -> None:
        """Makes durable that the small file was replaced. Its writer may not have done it yet. Raises `StorageError`."""
        folder = os.path.dirname(self._path) or "."
        with storage_call("fsync", folder):
            # If we die before this, nothing was read. Without it, a power cut could bring back the file that says less than our
            # state has counted, and the run could never go on.
            self._fs.sync_directory(folder)

    def has(self, end_bytes: int) -> bool:
        """Whether the first `end_bytes` have come, or all there will be."""
        return self.is_complete or end_bytes <= self.come_bytes


class ArrivedView(ForwardingFileSystem):
    """A `FileSystem` in which each open file is the input, and ends where it has come to. Used by one thread."""

    def __init__(self, fs: FileSystem, path: str, arrival: Arrival) -> None:
        super().__init__(fs)
        self._path: Final = path
        self._arrival: Final = arrival

    @property
    def has_descriptors_of_the_system(self) -> bool:
        # A kernel that read by itself would see what is hidden.
        return False

    def status_of(self, descriptor: int) -> FileStatus:
        found = self._fs.status_of(descriptor)
        self._require_come(found.size_bytes)
        return replace(found, size_bytes=self._arrival.come_bytes)

    def read(self, descriptor: int, size_bytes: int, offset: int) -> bytes:
        wanted_bytes = min(size_bytes, self._arrival.come_bytes - offset)
        if wanted_bytes <= 0:
            return b""
        content = self._fs.read(descriptor, wanted_bytes, offset)
        if not content:
            self._require_come(offset)
        return content

    def read_into(self, descriptor: int, view: memoryview, offset: int) -> int:
        content = self.read(descriptor, len(view), offset)
        view[: len(content)] = content
        return len(content)

    def next_data(self, descriptor: int, offset: int) -> int:
        return min(self._fs.next_data(descriptor, offset), max(offset, self._arrival.come_bytes))

    def _require_come(self, end_bytes: int) -> None:
        """Raises `InputGoneError` if the file ends before what has come. Otherwise its end would pass for the end of the input."""
        if end_bytes < self._arrival.come_bytes:
            words = f"{self._path}: ends at byte {end_bytes}, although {self._arrival.come_bytes} bytes of it had come"
            raise InputGoneError(words, hint=HINT)
