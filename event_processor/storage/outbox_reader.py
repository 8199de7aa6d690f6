"""Reads the committed records of a series of the outbox, in order.

Owns: where a reader is in the files, and the checks of what it reads.
Always: every record after `after` is read once, in order, and none beyond the view's lengths. A gap is an error, never skipped.
Never: writes. Reads a file whose records all lie at or before its place: such a file may be gone.
"""

from __future__ import annotations

import os
from typing import Final

import msgspec

from event_processor.model.delivery import OutboxRecord
from event_processor.model.errors import StateError
from event_processor.model.record_blocks import RecordBlock
from event_processor.storage.durable import FileSystem, read_range, storage_call
from event_processor.storage.outbox import OutboxFile, SeriesView, chain_after

__all__ = ["OutboxReader", "chain_after_record", "last_sequence", "not_following", "require_follows"]

SCAN_BYTES: Final = 1_048_576
LINE_BYTES_MIN: Final = 4096
HINT: Final = "restore the newest state from a backup, or let the sink begin anew: event-processor sinks drop"
_DECODER: Final = msgspec.json.Decoder(OutboxRecord)


def chain_after_record(chain: str, record: OutboxRecord) -> str:
    """The chain of a record that was read, if that of the record before it is `chain`."""
    return chain_after(chain, record.sequence, msgspec.json.encode(record.place), bytes(record.object))


def not_following(sequence: int) -> StateError:
    """A record is not the one that was written after the record before it."""
    return StateError(
        f"the outbox has a record at sequence {sequence} that does not follow from the one before",
        hint="restore the state from a backup, or let the sink begin anew: event-processor sinks drop",
    )


def require_follows(chain: str, record: OutboxRecord) -> None:
    """Raises `StateError` if a record that was read does not follow from the one before it, whose chain is `chain`."""
    if chain_after_record(chain, record) != record.chain:
        raise not_following(record.sequence)


def last_sequence(fs: FileSystem, file: OutboxFile) -> int:
    """The sequence of the last record of a file. Raises `StateError` if the file is missing, shorter, or has no such line; `StorageError`."""
    path, _, length_bytes = file
    with storage_call("open", path):
        if fs.status(path) is None:
            raise StateError(f"{path}: is missing", hint=HINT)
        descriptor = fs.open(path, os.O_RDONLY)
    try:
        size_bytes = min(LINE_BYTES_MIN, length_bytes)
        while True:
            with storage_call("read", path):
                block = read_range(fs, descriptor, size_bytes, length_bytes - size_bytes)
            begins = block.rfind(b"\n", 0, -1) + 1
            if begins or size_bytes == length_bytes:
                break
            size_bytes = min(2 * size_bytes, length_bytes)
        return _DECODER.decode(block[begins:]).sequence
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise StateError(f"{path}: its last line is not a record of an outbox: {error}", hint=HINT) from error
    finally:
        fs.close(descriptor)


class OutboxReader:
    """One place in a series. Used by one thread."""

    def __init__(self, fs: FileSystem, view: SeriesView, after: int) -> None:
        """Reads the records after sequence `after`. Opens nothing yet."""
        self._fs: Final = fs
        self._view = view
        self._sequence = after
        """The last record that was read."""
        self._file: OutboxFile | None = None
        """The file of the place, as in the view; None: to be found."""
        self._descriptor: int | None = None
        self._offset = 0
        self._next = 0
        """The sequence of the record at `_offset`."""

    @property
    def sequence(self) -> int:
        """The sequence of the last record that was read, or `after`."""
        return self._sequence

    def follow(self, view: SeriesView) -> None:
        """Reads on in `view`, which is newer."""
        self._view = view
        if self._file is not None:
            path = self._file[0]
            self._file = next((file for file in view.files if file[0] == path), None)
            if self._file is None:
                self.close()

    def read(self, bytes_max: int) -> list[tuple[OutboxRecord, int]]:
        """The next records, each with the size of its line in bytes; [] if there is none.

        Together at most `bytes_max` bytes, but at least one record. There may be more than it returns. Raises `StateError` if a
        line is not the record that belongs there, or if records are gone; `StorageError`.
        """
        while self._seek():
            if found := self._records(bytes_max):
                return found
        return []

    def read_block(self, bytes_max: int, chain: str) -> RecordBlock | None:
        """The next records as one value, about `bytes_max` bytes, at least one; None if there is none. There may be more.

        `chain`: of the record before. Raises as `read` does, and `StateError` if a record does not follow from the one before.
        """
        if not self._seek():
            return None
        from event_processor.storage.outbox_blocks import block_of  # noqa: PLC0415 - only a receiver of blocks needs arrays

        block = block_of(
            self._whole_lines(bytes_max),
            sequence=self._next,
            count=self._view.sequence - self._next + 1,
            chain=chain,
            decode=self._decoded,
            follow=require_follows,
        )
        self._sequence = block.last
        self._offset += block.size_bytes
        self._next = block.last + 1
        return block

    def all_bytes(self) -> int:
        """The bytes of all files of the view."""
        return sum(length_bytes for *_, length_bytes in self._view.files)

    def unread_bytes(self) -> int:
        """The committed bytes after the place. May read, to find the place. Raises as `read` does."""
        if not self._seek():
            return 0
        assert self._file is not None
        after = sum(length_bytes for _, first, length_bytes in self._view.files if first > self._file[1])
        return after + self._file[2] - self._offset

    def close(self) -> None:
        """Closes the file. The reader may read on: it finds its place again."""
        if self._descriptor is not None:
            self._fs.close(self._descriptor)
        self._descriptor = self._file = None

    def _seek(self) -> bool:
        """Goes to the next record. Returns whether there is one."""
        if self._sequence >= self._view.sequence:
            return False
        if self._file is not None and self._offset >= self._file[2]:
            self.close()
        if self._file is None:
            self._find_file()
        while self._next <= self._sequence:
            self._skip()
        return True

    def _find_file(self) -> None:
        """Opens the file that holds the next record."""
        wanted = self._sequence + 1
        files = [file for file in self._view.files if file[1] <= wanted]
        if not files:
            oldest = self._view.oldest
            gone = f"records {wanted} to {oldest - 1} are gone, but were not delivered yet"
            again = f"read them from the log: event-processor deliver --from {wanted} --sink NAME; or {HINT}"
            raise StateError(f"the outbox of {self._view.input}: {gone}", hint=again)
        path, first, _ = files[-1]
        with storage_call("open", path):
            if self._fs.status(path) is None:
                raise StateError(f"{path}: is missing, but has records that were not delivered yet", hint=HINT)
            self._descriptor = self._fs.open(path, os.O_RDONLY)
        self._file, self._offset, self._next = files[-1], 0, first

    def _skip(self) -> None:
        """Passes over records that were read before."""
        for line in self._lines(SCAN_BYTES):
            if self._next > self._sequence:
                break
            self._decoded(line, self._next)
            self._passed(line)

    def _records(self, bytes_max: int) -> list[tuple[OutboxRecord, int]]:
        """The next records of the file."""
        found = []
        for line in self._lines(bytes_max):
            if self._next > self._view.sequence:
                # A lane that is detached reads no further, also if the file does.
                break
            found.append((self._decoded(line, self._next), len(line) + 1))
            self._sequence = self._next
            self._passed(line)
        return found

    def _passed(self, line: bytes) -> None:
        self._offset += len(line) + 1
        self._next += 1

    def _lines(self, bytes_max: int) -> list[bytes]:
        """The next lines of the file, without line feeds: at most `bytes_max` bytes, but at least one line."""
        return self._whole_lines(bytes_max)[:-1].split(b"\n")

    def _whole_lines(self, bytes_max: int) -> bytes:
        """The same, with line feeds."""
        assert self._file is not None
        assert self._descriptor is not None
        path, _, length_bytes = self._file
        rest_bytes = length_bytes - self._offset
        size_bytes = max(bytes_max, LINE_BYTES_MIN)
        while True:
            wanted = min(size_bytes, rest_bytes)
            with storage_call("read", path):
                block = read_range(self._fs, self._descriptor, wanted, self._offset)
            if len(block) < wanted:
                raise StateError(f"{path}: shorter than the {length_bytes} bytes that were committed", hint=HINT)
            end = block.rfind(b"\n", 0, max(bytes_max, 0)) + 1 or block.find(b"\n") + 1
            if end:
                return block[:end]
            if wanted == rest_bytes:
                raise self._unreadable("ends without a whole line", self._next)
            size_bytes *= 2

    def _decoded(self, line: bytes, sequence: int) -> OutboxRecord:
        try:
            record = _DECODER.decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise self._unreadable(f"is not a record of an outbox: {error}", sequence) from error
        if record.sequence != sequence:
            raise self._unreadable(f"has sequence {record.sequence}, but {sequence} belongs here", sequence)
        return record

    def _unreadable(self, reason: str, sequence: int) -> StateError:
        assert self._file is not None
        return StateError(f"{self._file[0]}:{sequence - self._file[1] + 1}: {reason}", hint=HINT)
