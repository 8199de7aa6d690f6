"""The outbox: append files of the records that wait for lanes, one series for each input that a lane reads.

Owns: `state/outbox/`: the names of its files, the form of a line, the chain, and when a file is full or no longer needed.
Always: sequences have no gap, and a batch is in one file. `chain` covers every record since the series began. What a line holds is
fixed when it is written, so that every try sends the same. A reader gets a new view only after a durable checkpoint covers it.
Never: unlinks a file (the checkpoint store does, when no checkpoint names it any more); reads (`outbox_reader.py` does).
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

from xxhash import xxh3_128_hexdigest

from event_processor.model.clock import utc_text
from event_processor.model.contracts import Clock
from event_processor.model.errors import StateError
from event_processor.model.released import Released
from event_processor.storage.append_file import AppendFile
from event_processor.storage.durable import FileSystem, prepare_directory, storage_call

__all__ = ["OUTBOX_FOLDER", "OutboxFile", "OutboxSeries", "SeriesView", "chain_after", "committed_view"]

OUTBOX_FOLDER: Final = "outbox"
FILE_BYTES_MAX: Final = 64 * 1_048_576
SPACES: Final = b" \t\r"
"""What JSON allows around a value, besides the line feed."""
WRITE_BYTES: Final = 1_048_576
"""Lines are written in pieces of about this size."""
HINT: Final = "put the file back from a backup, or let the sinks that read it begin anew: event-processor sinks drop"

OutboxFile: TypeAlias = tuple[str, int, int]
"""The path of a file, the sequence of its first record, and its length in bytes."""


def chain_after(chain: str, sequence: int, place: bytes, object_: bytes) -> str:
    """The chain of a record, after `chain`: a hash over that, the sequence, the place and the object; 32 hexadecimal digits.

    No part but the last has a line feed, so the parts cannot run into one another.
    """
    return xxh3_128_hexdigest(b"%b\n%d\n%b\n%b" % (chain.encode(), sequence, place, object_))


@dataclass(frozen=True, slots=True)
class SeriesView:
    """What a durable checkpoint covers of the series of `input`: the last sequence, its chain, and the files, ascending.

    `written_bytes`: how many bytes this process has appended until then.
    """

    input: str
    sequence: int
    chain: str
    files: tuple[OutboxFile, ...]
    written_bytes: int = 0

    @classmethod
    def of(cls, directory: str, input_name: str, *, appended: Mapping[str, int], sequence: int, chain: str) -> SeriesView:
        """What a checkpoint covers, for a process that only reads. `directory` is the state's."""
        return cls(input_name, sequence, chain, _files_of(directory, input_name, appended))

    @property
    def oldest(self) -> int:
        """The sequence of the oldest record that is still there; if there is none, the sequence of the next record."""
        return self.files[0][1] if self.files else self.sequence + 1


def committed_view(directory: str, input_name: str, appended: Mapping[str, int], sequence: int, chain: str) -> SeriesView:
    """The view of a series, from a checkpoint alone: its `appended`, the last sequence and the chain. Looks at no file."""
    return SeriesView(input_name, sequence, chain, _files_of(directory, input_name, appended))


class OutboxSeries:
    """The records of one input, written within commits: a `Sink` that `NoticesRemoval`. Used by one thread at a time.

    `drop_before` and `view` may be called from other threads.
    """

    has_open_part: Final = False

    def __init__(
        self,
        fs: FileSystem,
        directory: str,
        input_name: str,
        *,
        appended: Mapping[str, int],
        sequence: int,
        chain: str,
        new_token: Callable[[], str],
        clock: Clock,
        file_bytes_max: int = FILE_BYTES_MAX,
    ) -> None:
        """Continues after `sequence` and `chain`, with the files that the checkpoint's `appended` names.

        `directory` is the state's. `new_token` gives parts of names that are never used twice. What was written after the
        checkpoint is cut off. Raises `StateError` if a file is missing or too short, `LockedError`, `StorageError`.
        """
        self.input: Final = input_name
        self.name: Final = f"{OUTBOX_FOLDER}/{input_name}"
        self.sequence = sequence
        self.chain = chain
        self._fs: Final = fs
        self._directory: Final = directory
        self._new_token: Final = new_token
        self._clock: Final = clock
        self._file_bytes_max: Final = file_bytes_max
        self._published: Callable[[SeriesView], None] = _ignore
        self._begun_s = clock.monotonic_s()
        self._drop_through = 0
        self._written_bytes = 0
        self._files: tuple[OutboxFile, ...] = _files_of(directory, input_name, appended)
        """All files. The length of the open one is in `_file`."""
        self._require_files()
        self._file: AppendFile | None = None
        """The last file, while more may be appended to it."""
        if self._files and self._files[-1][2] < file_bytes_max:
            self._file = AppendFile(fs, self._files[-1][0], self._files[-1][2])
        self._view = self._present()
        self._waiting = (sum(length_bytes for *_, length_bytes in self._files), 0)
        """The bytes that waited when `written_bytes` was this. Until a lane says so, everything waits."""

    @property
    def undelivered_bytes(self) -> int:
        """The bytes that wait for the slowest lane, with those that no checkpoint covers yet."""
        waiting_bytes, written_bytes = self._waiting
        return waiting_bytes + self._written_bytes - written_bytes

    def note_waiting(self, waiting_bytes: int, view: SeriesView) -> None:
        """So many bytes of `view` wait for the slowest lane. Any thread may call it."""
        self._waiting = (waiting_bytes, view.written_bytes)

    @property
    def view(self) -> SeriesView:
        """What a durable checkpoint covers."""
        return self._view

    def on_publish(self, callback: Callable[[SeriesView], None]) -> None:
        """From now on, `callback` gets the new view after each durable checkpoint, in the thread of the commit.

        It gets the present view at once. It must return fast.
        """
        self._published = callback
        callback(self._view)

    def batch_begun(self, begun_s: float) -> None:
        """The next `write` is of a batch that was begun at `begun_s` of the monotonic clock."""
        self._begun_s = begun_s

    def write(self, released: Released) -> None:
        """Appends the records. Not durable before `sync`. Raises `StorageError`.

        If we die before the checkpoint, the next start cuts them off, or its orphans are removed. The log gives the same records
        again, under the same sequences.
        """
        self._drop()
        if not released.count:
            return
        now = utc_text(self._clock.wall_ns())
        elapsed_ms = round(max(0.0, self._clock.monotonic_s() - self._begun_s) * 1000, 3)
        clock_fields = f'"@now":"{now}","@elapsed_ms":{elapsed_ms},"chain":"'.encode()
        file = self._open_file()
        for piece, places in zip(released.pieces, released.places, strict=True):
            for lines in self._lines(piece, places, clock_fields):
                file.append(lines)
                self._written_bytes += len(lines)

    def _lines(self, piece: bytes, places: Sequence[bytes], clock_fields: bytes) -> Iterable[bytes]:
        """Yields the lines of a piece's records, about `WRITE_BYTES` at a time."""
        sequence, chain = self.sequence, self.chain
        lines, size_bytes = [], 0
        for place, record in zip(places, piece.split(b"\n")[:-1], strict=True):
            sequence += 1
            # Spaces around an object are no part of it: a reader of the line gets the object without them.
            record = record.strip(SPACES)  # noqa: PLW2901
            # As `chain_after`; a call for each record would cost as much as the hash.
            chain = xxh3_128_hexdigest(b"%b\n%d\n%b\n%b" % (chain.encode(), sequence, place, record))
            line = b'{"sequence":%d,"place":%b,%b%b","object":%b}\n' % (sequence, place, clock_fields, chain.encode(), record)
            lines.append(line)
            size_bytes += len(line)
            if size_bytes >= WRITE_BYTES:
                yield b"".join(lines)
                lines, size_bytes = [], 0
        yield b"".join(lines)
        self.sequence, self.chain = sequence, chain

    def _open_file(self) -> AppendFile:
        """The file to append to; a new one if there is none, or if the last one is full."""
        if self._file is None:
            folder = os.path.join(self._directory, OUTBOX_FOLDER)
            prepare_directory(self._fs, folder)
            first = self.sequence + 1
            path = os.path.join(folder, f"{self.input}.{first:012}.{self._new_token()}.jsonl")
            self._file = AppendFile(self._fs, path, 0)
            self._files = (*self._files, (path, first, 0))
        return self._file

    def finish(self) -> None:
        """Does nothing: a lane reads on in the same file."""

    def sync(self) -> None:
        """Makes what was written durable, and closes the file if it is full. Raises `StorageError`."""
        if self._file is None:
            return
        self._file.sync()
        path, first, _ = self._files[-1]
        self._files = (*self._files[:-1], (path, first, self._file.length_bytes))
        if self._file.length_bytes >= self._file_bytes_max:
            self._file.close()
            self._file = None

    def appended(self) -> Mapping[str, int]:
        """The length of each file, by its path below the state directory. Call after `sync`."""
        return {f"{OUTBOX_FOLDER}/{os.path.basename(path)}": length_bytes for path, _, length_bytes in self._files}

    def publish(self) -> None:
        """Gives the readers what was synced, since a durable checkpoint covers it.

        If we die before this, the next start does it: the lanes read nothing before that.
        """
        self._view = self._present()
        self._published(self._view)

    def require_presence(self) -> None:
        """Raises `StorageError` if the open file was removed, replaced or cut by others."""
        if self._file is not None:
            self._file.require_presence()

    def drop_before(self, sequence: int) -> bool:
        """From the next commit on, the checkpoint names no file whose records are all at or below `sequence`.

        Returns whether there is such a file. It is unlinked when the predecessor does not name it either: after one more commit.
        """
        # A cursor may be ahead of the outbox after a fallback. Its lane still has to read the records up to there.
        self._drop_through = max(self._drop_through, min(sequence, self._view.sequence))
        return self.has_spare_files

    @property
    def has_spare_files(self) -> bool:
        """Whether the next commit leaves a file out that is no longer needed."""
        return self._count_dropped(self._files) > 0

    def _drop(self) -> None:
        """Forgets the files that are no longer needed. Until the next checkpoint is durable, the present one still names them."""
        count = self._count_dropped(self._files)
        if count and count == len(self._files) and self._file is not None:
            self._file.close()
            self._file = None
        self._files = self._files[count:]

    def _count_dropped(self, files: Sequence[OutboxFile]) -> int:
        """How many of the oldest files hold nothing after `_drop_through`."""
        ends = [first - 1 for _, first, _ in files[1:]] + [self.sequence]
        return sum(end <= self._drop_through for end in ends[: len(files)])

    def close(self) -> None:
        """Closes the open file."""
        if self._file is not None:
            self._file.close()

    def _present(self) -> SeriesView:
        return SeriesView(self.input, self.sequence, self.chain, self._files, self._written_bytes)

    def _require_files(self) -> None:
        """Raises `StateError` if a full file is missing or too short. `AppendFile` looks at the open one itself."""
        for path, _, length_bytes in self._files:
            with storage_call("stat", path):
                status = self._fs.status(path)
            if status is None or status.size_bytes < length_bytes:
                raise StateError(f"{path}: missing, or shorter than the {length_bytes} bytes that were committed", hint=HINT)


def _files_of(directory: str, input_name: str, appended: Mapping[str, int]) -> tuple[OutboxFile, ...]:
    """The files of an input that a checkpoint names, ascending."""
    form = re.compile(rf"{OUTBOX_FOLDER}/{re.escape(input_name)}\.(\d{{12,}})\.[^./]+\.jsonl")
    named = ((form.fullmatch(name), name, length_bytes) for name, length_bytes in appended.items())
    files = [(os.path.join(directory, name), int(found[1]), length_bytes) for found, name, length_bytes in named if found]
    return tuple(sorted(files, key=lambda file: file[1]))


def _ignore(_view: SeriesView) -> None:
    """The callback before there is one."""
