"""Records that a receiver refuses for good: one line each, durable before the cursor that counts them.

Owns: `state/delivery/NAME.failed.jsonl`.
Always: the cursor holds the file's committed length. Bytes after it were never committed and are cut off at the next start.
Never: decides that a record has failed.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Final

import msgspec

from event_processor.engine.delivery.cursor_file import DELIVERY_FOLDER
from event_processor.model.errors import StateError
from event_processor.model.transactions import SKIPPED_STAGE, FailedRecord
from event_processor.storage.append_file import AppendFile, committed_lines
from event_processor.storage.durable import FileSystem

__all__ = ["FailedAgain", "FailedRecords", "bytes_through", "failed_again", "failed_lines", "failed_path", "is_from"]


def failed_path(directory: str, name: str) -> str:
    """The file of the failed records of sink `name`, in a state directory."""
    return os.path.join(directory, DELIVERY_FOLDER, f"{name}.failed.jsonl")


def bytes_through(fs: FileSystem, directory: str, name: str, length_bytes: int, sequence: int) -> int:
    """The length without the last records that are after `sequence`. Raises `StateError`, `StorageError`."""
    end = kept = 0
    for line in chain.from_iterable(committed_lines(fs, failed_path(directory, name), length_bytes)):
        end += len(line) + 1
        if msgspec.json.decode(line, type=FailedRecord).sequence <= sequence:
            kept = end
    return kept


def is_from(record: FailedRecord, state_id: str, first: int) -> bool:
    """Whether the state `state_id` released it with the sequence `first` or a later one: another state may have left it here."""
    return record.sequence >= first and record.key.startswith(f"{state_id}:")


@dataclass(frozen=True, slots=True)
class FailedAgain:
    """The failed records of a sink from one record on: how many failed, how many were skipped, and the bytes of all others."""

    failed: int
    skipped: int
    kept_bytes: int


def failed_again(fs: FileSystem, directory: str, name: str, committed_bytes: int, *, state_id: str, first: int) -> FailedAgain:
    """Counts the failed records of the lane `name` with the sequence `first` or a later one. Raises `StateError`, `StorageError`."""
    failed = skipped = kept_bytes = 0
    for line, record in failed_lines(fs, directory, name, committed_bytes):
        if is_from(record, state_id, first):
            failed += record.stage != SKIPPED_STAGE
            skipped += record.stage == SKIPPED_STAGE
        else:
            kept_bytes += len(line) + 1
    return FailedAgain(failed, skipped, kept_bytes)


def failed_lines(fs: FileSystem, directory: str, name: str, committed_bytes: int) -> Iterator[tuple[bytes, FailedRecord]]:
    """Yields the committed lines, without line feeds, of a lane's failed records. Raises `StateError`, `StorageError`."""
    path = failed_path(directory, name)
    for lines in committed_lines(fs, path, committed_bytes) if committed_bytes else ():
        for line in lines:
            try:
                yield line, msgspec.json.decode(line, type=FailedRecord)
            except (msgspec.DecodeError, UnicodeDecodeError) as error:
                raise StateError(f"{path}: has a line that cannot be read: {error}", hint="restore it from a backup") from error


class FailedRecords:
    """The file of one lane. Used by one thread at a time."""

    def __init__(self, fs: FileSystem, directory: str, name: str, committed_bytes: int) -> None:
        """Opens it at its committed length. Raises `StateError` if it is shorter, `LockedError`, `StorageError`."""
        self._file: Final = AppendFile(fs, failed_path(directory, name), committed_bytes)

    def append(self, records: list[FailedRecord]) -> int:
        """Appends the records durably. Returns the file's length in bytes, for the cursor. Raises `StorageError`.

        If we die before the cursor is durable, the lines are cut off, and the records are sent again, and refused again.
        """
        if records:
            self._file.append(b"".join(msgspec.json.encode(record) + b"\n" for record in records))
            self._file.sync()
        return self._file.length_bytes

    def close(self) -> None:
        """Releases the file."""
        self._file.close()
