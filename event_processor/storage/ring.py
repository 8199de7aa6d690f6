"""A ring on disk: the figures of the last so many periods, one record of fixed size for each.

Owns: the form of the file, where the record of a period is, and which records are whole.
Always: the file has a fixed size. A record that was torn, or that is of an older turn of the ring, counts as none. A file of another
form, or a damaged one, is made anew, and the caller learns why.
Never: makes anything durable: a ring is for people, and nothing is decided by it. Knows what the values mean.

The file begins with a header of `HEADER_BYTES`: one line of JSON, filled up with spaces. Then follow the records, each of `WORDS` numbers
(float64): the begin of its period, since when it speaks, the values, and a check, which is the exclusive or of the others.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, TypeAlias

import msgspec
import numpy as np
import numpy.typing as npt
from msgspec import Struct

from event_processor.model.file_system import FileSystem
from event_processor.storage.durable import read_range, storage_call

__all__ = ["MISSING", "VALUES_MAX", "FloatArray", "Ring", "RingLayout", "RingRecords"]

HEADER_BYTES: Final = 4096
WORDS: Final = 32
"""256 bytes: a record never crosses a page, so it is rarely torn."""
VALUES_MAX: Final = WORDS - 3
FORM: Final = "event-processor ring 1"
OWNER_CHARACTERS_MAX: Final = 200
MISSING: Final = "there was none"
"""Why a ring was made anew, if there was no file."""
_MARK: Final = np.uint64(0x52494E4731)
"""A part of each check, so that a record of zeros is not whole."""

FloatArray: TypeAlias = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class RingLayout:
    """`slots` periods of `period_s` seconds each, with these columns, at most `VALUES_MAX`."""

    period_s: int
    slots: int
    columns: tuple[str, ...]

    @property
    def size_bytes(self) -> int:
        """The size of the file."""
        return HEADER_BYTES + self.slots * WORDS * 8


class _Header(Struct, frozen=True):
    form: str
    owner: str
    period_s: int
    slots: int
    columns: tuple[str, ...]


_HEADER: Final = msgspec.json.Decoder(_Header)


@dataclass(frozen=True, slots=True)
class RingRecords:
    """What a ring holds, by ascending time. `owner`: the last process that wrote it, as it described itself.

    `begins_s`, `since_s`: (n,); a record speaks for the time from `since_s` on, to the end of the period that begins at `begins_s`.
    `values`: (n, columns).
    """

    owner: str
    begins_s: npt.NDArray[np.int64]
    since_s: npt.NDArray[np.int64]
    values: FloatArray


class Ring:
    """One ring. One process writes it; any process may read it at any time."""

    def __init__(self, fs: FileSystem, path: str, layout: RingLayout) -> None:
        self.path: Final = path
        self._fs: Final = fs
        self._layout: Final = layout

    def begin(self, owner: str) -> str:
        """Prepares the file for this process, which `owner` describes. Returns why it was made anew, or "". Raises `StorageError`."""
        with storage_call("create", self.path):
            with suppress(FileExistsError):
                self._fs.make_directory(os.path.dirname(self.path))
            existed = self._fs.status(self.path) is not None
            descriptor = self._fs.open(self.path, os.O_RDWR | os.O_CREAT)
            try:
                reason = self._fault(descriptor)
                if reason:
                    self._fs.truncate(descriptor, 0)
                    self._fs.truncate(descriptor, self._layout.size_bytes)
                # If we die before this, the header of another process stays, or none: then the next start makes the file anew.
                self._write_at(descriptor, self._header(owner), 0)
            finally:
                self._fs.close(descriptor)
        return reason if existed else MISSING

    def write(self, begin_s: int, since_s: int, values: Sequence[float]) -> None:
        """Replaces the record of the period that begins at `begin_s`. Raises `StorageError`, also if the file is gone."""
        record = np.zeros(WORDS)
        record[0], record[1] = begin_s, since_s
        record[2 : 2 + len(values)] = values
        words = record.view(np.uint64)
        words[-1] = _checks(words[None, :-1])[0]
        with storage_call("write", self.path):
            descriptor = self._fs.open(self.path, os.O_WRONLY)
            try:
                # If we die within, the record is torn, and counts as none.
                self._write_at(descriptor, record.tobytes(), self._offset(begin_s))
            finally:
                self._fs.close(descriptor)

    def record(self, begin_s: int) -> tuple[int, list[float]] | None:
        """Since when the record of this period speaks, and its values; None if there is none. Raises `StorageError`."""
        found = _whole(self._read(WORDS * 8, self._offset(begin_s)))
        if not len(found) or found[0, 0] != begin_s:
            return None
        return int(found[0, 1]), found[0, 2 : 2 + len(self._layout.columns)].tolist()

    def read(self) -> RingRecords | None:
        """Everything in it; None if there is no file of this form. Raises `StorageError`."""
        content = self._read(self._layout.size_bytes, 0)
        header = _header_of(content)
        if header is None or self._differs(header, len(content)):
            return None
        found = _whole(content[HEADER_BYTES:])
        found = found[np.argsort(found[:, 0], kind="stable")]
        begins_s, since_s = found[:, 0].astype(np.int64), found[:, 1].astype(np.int64)
        return RingRecords(header.owner, begins_s, since_s, found[:, 2 : 2 + len(self._layout.columns)])

    def _read(self, size_bytes: int, offset: int) -> bytes:
        """What is there of it; nothing if there is no file."""
        with storage_call("read", self.path):
            if self._fs.status(self.path) is None:
                return b""
            descriptor = self._fs.open(self.path, os.O_RDONLY)
            try:
                return read_range(self._fs, descriptor, size_bytes, offset)
            finally:
                self._fs.close(descriptor)

    def _fault(self, descriptor: int) -> str:
        """Why an open file is not this ring; "" if it is."""
        header = _header_of(read_range(self._fs, descriptor, HEADER_BYTES, 0))
        if header is None:
            return "its header cannot be read"
        return self._differs(header, self._fs.status_of(descriptor).size_bytes)

    def _differs(self, header: _Header, size_bytes: int) -> str:
        layout = self._layout
        if (header.form, header.period_s, header.slots, header.columns) != (FORM, layout.period_s, layout.slots, layout.columns):
            return "it is of another version"
        return "" if size_bytes == layout.size_bytes else f"it has {size_bytes} bytes instead of {layout.size_bytes}"

    def _header(self, owner: str) -> bytes:
        layout = self._layout
        header = _Header(FORM, owner[:OWNER_CHARACTERS_MAX], layout.period_s, layout.slots, layout.columns)
        return msgspec.json.encode(header).ljust(HEADER_BYTES - 1) + b"\n"

    def _offset(self, begin_s: int) -> int:
        return HEADER_BYTES + begin_s // self._layout.period_s % self._layout.slots * WORDS * 8

    def _write_at(self, descriptor: int, content: bytes, offset: int) -> None:
        """Writes every byte, even if the kernel's writes are short. Raises `OSError`."""
        done = 0
        while done < len(content):
            taken = self._fs.write_at(descriptor, content[done:], offset + done)
            if taken <= 0:
                raise OSError(errno.EIO, "the kernel wrote no byte", self.path)
            done += taken


def _header_of(content: bytes) -> _Header | None:
    try:
        return _HEADER.decode(content[:HEADER_BYTES])
    except msgspec.DecodeError:
        return None


def _whole(content: bytes) -> FloatArray:
    """The records in these bytes that are whole, in their order: (n, `WORDS`)."""
    records = np.frombuffer(content[: len(content) // (WORDS * 8) * WORDS * 8], np.float64).reshape(-1, WORDS)
    words = records.view(np.uint64)
    found: FloatArray = records[_checks(words[:, :-1]) == words[:, -1]]
    return found


def _checks(words: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """The check of each row."""
    checks: npt.NDArray[np.uint64] = np.bitwise_xor.reduce(words, axis=1) ^ _MARK
    return checks
