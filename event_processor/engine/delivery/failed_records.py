"""Records that a receiver refuses for good: one line each, durable before the cursor that counts them.

Owns: `state/delivery/NAME.failed.jsonl`, and the form of its lines.
Always: the cursor holds the file's committed length. Bytes after it were never committed and are cut off at the next start.
Never: decides that a record has failed.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, Final

import msgspec
from msgspec import Struct

from event_processor.engine.delivery.cursor_file import DELIVERY_FOLDER
from event_processor.engine.delivery.queue import Waiting
from event_processor.model.answers import Answer
from event_processor.model.clock import utc_text
from event_processor.storage.append_file import AppendFile
from event_processor.storage.durable import FileSystem

__all__ = ["FailedRecord", "FailedRecords", "failed_path"]


class FailedRecord(Struct, frozen=True):
    """A released record that a sink's receiver refused. `key` is the one it was sent under; `object` is what the outbox has.

    `status`: the receiver's code, for example of HTTP; `reason`: its words. `tries`: how often it was sent alone or with others.
    """

    sink: str
    sequence: int
    key: str
    place: Mapping[str, Any]
    stage: str
    status: str
    reason: str
    tries: int
    failed_at: str
    object: msgspec.Raw

    @classmethod
    def of(cls, sink: str, waiting: Waiting, stage: str, answer: Answer, *, tries: int, wall_ns: int) -> FailedRecord:
        """`waiting`, which is not sent any more. `stage`: "deliver" if its receiver refused it, "skipped" if an operator did."""
        record = waiting.record
        return cls(
            sink=sink,
            sequence=record.sequence,
            key=waiting.key,
            place=record.place,
            stage=stage,
            status=answer.status,
            reason=answer.words,
            tries=tries,
            failed_at=utc_text(wall_ns),
            object=record.object,
        )


def failed_path(directory: str, name: str) -> str:
    """The file of the failed records of sink `name`, in a state directory."""
    return os.path.join(directory, DELIVERY_FOLDER, f"{name}.failed.jsonl")


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
