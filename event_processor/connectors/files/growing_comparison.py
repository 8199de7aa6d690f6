"""Compares a sink's growing file with what was released, and finds the first difference.

Owns: the comparison of bytes, and `GrowingOutput`, a growing file's `CommittedOutput`.
Always: files are compared in blocks, whatever their size.
Never: writes anything.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from event_processor.model.connector import CommittedFile, Difference, SinkVerification
from event_processor.storage.durable import read_range, storage_call

__all__ = ["EXCERPT_BYTES", "GrowingOutput"]

BLOCK_BYTES: Final = 1_048_576
EXCERPT_BYTES: Final = 80


class GrowingOutput:
    """The committed bytes of a growing file, as a `CommittedOutput`. The file is only appended to, so it is not kept open."""

    is_whole: Final = True

    def __init__(self, name: str, key: str, committed: CommittedFile, *, header_bytes: int) -> None:
        """`key` is its entry in `appended`. `header_bytes` come before its first line."""
        self._name: Final = name
        self._key: Final = key
        self._committed: Final = committed
        self._header_bytes: Final = header_bytes

    def compare(self, released: CommittedFile) -> SinkVerification:
        committed = self._committed
        skipped_bytes = max(0, released.length_bytes - committed.length_bytes)
        difference = self._missing() or compare_files(self._name, committed, released, header_bytes=self._header_bytes)
        return SinkVerification(self._name, committed.path, committed.length_bytes, skipped_bytes, difference=difference)

    def close(self) -> None:
        """Does nothing: no file is open."""

    def _missing(self) -> Difference | None:
        """The missing committed bytes, as a difference; None if all exist."""
        committed = self._committed
        with storage_call("stat", committed.path):
            status = committed.fs.status(committed.path)
        there_bytes = status.size_bytes if status else 0
        if there_bytes >= committed.length_bytes:
            return None
        return Difference(f"{self._key} ({committed.path}, bytes that are there)", there_bytes, committed.length_bytes)


def compare_files(name: str, committed: CommittedFile, recomputed: CommittedFile, *, header_bytes: int = 0) -> Difference | None:
    """The first place where a sink's file differs from what was released; None if it does not differ.

    A sink that was added to a state later holds only the end of what was released. So the committed bytes are compared with as
    many bytes at the end, except for the header, which is at the start of both. Raises `StateError` if the committed file is
    shorter than its committed length, `StorageError`.
    """
    skipped_bytes = recomputed.length_bytes - committed.length_bytes
    if skipped_bytes < 0:
        return Difference(f"sinks.{name} (bytes)", committed.length_bytes, recomputed.length_bytes)
    # The header of a later sink needs no check: the sink's start refuses a file with another header.
    offset = _first_difference(committed, recomputed, start=header_bytes if skipped_bytes else 0, shift=skipped_bytes)
    if offset is None:
        return None
    place = f"sinks.{name} (byte {offset})"
    return Difference(place, _excerpt(committed, offset), _excerpt(recomputed, offset + skipped_bytes))


def _first_difference(one: CommittedFile, other: CommittedFile, *, start: int, shift: int) -> int | None:
    """The first offset from `start` at which the two differ. The bytes of `one` are `shift` bytes later in `other`."""
    with _opened(one) as first, _opened(other) as second:
        for offset in range(start, one.length_bytes, BLOCK_BYTES):
            size_bytes = min(BLOCK_BYTES, one.length_bytes - offset)
            with storage_call("read", one.path):
                left = read_range(one.fs, first, size_bytes, offset)
            with storage_call("read", other.path):
                right = read_range(other.fs, second, size_bytes, offset + shift)
            if left != right:
                differing = (index for index, (a, b) in enumerate(zip(left, right, strict=False)) if a != b)
                return offset + next(differing, min(len(left), len(right)))
    return None


@contextmanager
def _opened(file: CommittedFile) -> Iterator[int]:
    with storage_call("open", file.path):
        descriptor = file.fs.open(file.path, os.O_RDONLY)
    try:
        yield descriptor
    finally:
        file.fs.close(descriptor)


def _excerpt(file: CommittedFile, offset: int) -> str:
    """The bytes of the file from `offset`, cut to a length worth showing."""
    with _opened(file) as descriptor, storage_call("read", file.path):
        size_bytes = max(0, min(EXCERPT_BYTES, file.length_bytes - offset))
        return read_range(file.fs, descriptor, size_bytes, offset).decode("utf-8", "replace")
