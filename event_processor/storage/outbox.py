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
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final, TypeAlias

from xxhash import xxh3_128_hexdigest

from event_processor.model.clock import utc_text
from event_processor.model.errors import StateError
from event_processor.storage.append_file import AppendFile
from event_processor.storage.durable import FileSystem, prepare_directory, storage_call

if TYPE_CHECKING:
    from event_processor.model.contracts import Clock
    from event_processor.model.released import Released

__all__ = ["OUTBOX_FOLDER", "SPACES", "OutboxFile", "OutboxSeries", "SeriesPlace", "SeriesView", "chain_after", "committed_view"]

OUTBOX_FOLDER: Final = "outbox"
FILE_BYTES_MAX: Final = 64 * 1_048_576
SPACES: Final = b" \t\r"
"""What JSON allows around a value, besides the line feed."""
WRITE_BYTES: Final = 1_048_576
"""Lines are written in pieces of about this size."""
HINT: Final = "put the file back from a backup, or let the sinks that read it begin anew: event-processor sinks drop"

OutboxFile: TypeAlias = tuple[str, int, int]
"""The path of a file, the sequence of its first record, and its length in bytes."""
SeriesPlace: TypeAlias = tuple[int, str]
"""The sequence of a record, and the chain there."""


def chain_after(chain: str, sequence: int, place: bytes, object_: bytes) -> str:
    """The chain of a record, after `chain`: a hash over that, the sequence, the place and the object; 32 hexadecimal digits.

    No part but the last has a line feed, so the parts cannot run into one another.
    """
    return xxh3_128_hexdigest(b"%b\n%d\n%b\n%b" % (chain.encode(), sequence, place, object_))


@dataclass(frozen=True, slots=True)
class SeriesView:
    """What a durable checkpoint covers of the series of `input`: the last sequence, its chain, and the files, ascending.

    `written_bytes`: how many bytes this process has appended until then. `detached`: by lane, the last record that is for it. `total`: the
    series goes on to this sequence, but only the records up to `sequence` are for the lane that has this view; None if all are.
    """

    input: str
    sequence: int
    chain: str
    files: tuple[OutboxFile, ...]
    written_bytes: int = 0
    detached: Mapping[str, SeriesPlace] = field(default_factory=dict)
    total: int | None = None

    @classmethod
    def of(cls, directory: str, input_name: str, *, appended: Mapping[str, int], sequence: int, chain: str) -> SeriesView:
        """What a checkpoint covers, for a process that only reads. `directory` is the state's."""
        return cls(input_name, sequence, chain, _files_of(directory, input_name, appended))

    def for_lane(self, lane: str) -> SeriesView:
        """What is for this lane: the whole series, or, if it is detached, the records before that."""
        if lane not in self.detached:
            return self
        sequence, chain = self.detached[lane]
        files = tuple(file for file in self.files if file[1] <= sequence)
        return replace(self, sequence=sequence, chain=chain, files=files, total=self.sequence)

    @property
    def oldest(self) -> int:
        """The sequence of the oldest record that is still there; if there is none, the sequence of the next record."""
        return self.files[0][1] if self.files else self.sequence + 1


def committed_view(directory: str, input_name: str, appended: Mapping[str, int], sequence: int, chain: str) -> SeriesView:
    """The view of a series, from a checkpoint alone: its `appended`, the last sequence and the chain. Looks at no file."""
    return SeriesView(input_name, sequence, chain, _files_of(directory, input_name, appended))


class OutboxSeries:
    """The records of one input, written within commits: a `Sink` that `NoticesRemoval`. Used by one thread at a time.

    `drop_before`, `note_waiting` and `view` may be called from other threads.
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
        detached: Mapping[str, SeriesPlace] | None = None,
        is_read: bool = True,
        sealed_after: int = 0,
    ) -> None:
        """Continues after `sequence` and `chain`, with the files that the checkpoint's `appended` names.

        `directory` is the state's. `new_token` gives parts of names that are never used twice. `detached`: by lane, the last record that
        is for it. `is_read`: some lane is not detached; otherwise only sequence and chain go on. Nothing is appended to files whose
        first record is at or before `sealed_after`. What was written after the checkpoint is cut off. Raises `StateError` if a file is missing or too short, `LockedError`, `StorageError`.
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
        self._detached: Mapping[str, SeriesPlace] = dict(detached or {})
        self._is_read = is_read
        self.sealed_after = sealed_after
        """What follows this record is in other files than the record itself."""
        self._spare: tuple[int, tuple[tuple[int, int], ...]] = (0, ())
        """The sequence up to which nothing need be kept, and what must be kept all the same: after one sequence, up to another."""
        self._written_bytes = 0
        self._files: tuple[OutboxFile, ...] = _files_of(directory, input_name, appended)
        """All files. The length of the open one is in `_file`."""
        self._require_files()
        self._file: AppendFile | None = None
        """The last file, while more may be appended to it."""
        if self._files and self._files[-1][2] < file_bytes_max and self._files[-1][1] > sealed_after:
            self._file = AppendFile(fs, self._files[-1][0], self._files[-1][2])
        self._view = self._present()
        self._opened_bytes: Final = sum(length_bytes for *_, length_bytes in self._files)
        self._waiting: Mapping[str, tuple[int, int]] | None = None
        """By lane, the bytes that waited when `written_bytes` was this; None until the lanes say so."""

    @property
    def undelivered_bytes(self) -> int:
        """The bytes that wait for the slowest lane that is not detached, with those that no checkpoint covers yet."""
        waiting = self.waiting_bytes
        if waiting is None:
            # Until the lanes say so, everything waits.
            return self._opened_bytes + self._written_bytes
        return max(waiting.values(), default=0)

    @property
    def waiting_bytes(self) -> dict[str, int] | None:
        """The bytes that wait for each lane that is not detached; None if that is not known yet."""
        if self._waiting is None:
            return None
        waiting = {name: each for name, each in self._waiting.items() if name not in self._detached}
        return {
            name: waiting_bytes + self._written_bytes - written_bytes for name, (waiting_bytes, written_bytes) in waiting.items()
        }

    def note_waiting(self, waiting: Mapping[str, tuple[int, SeriesView]]) -> None:
        """By lane: so many bytes of this view wait for it. Any thread may call it."""
        self._waiting = {name: (waiting_bytes, view.written_bytes) for name, (waiting_bytes, view) in waiting.items()}

    def detach(self, lane: str, *, is_read: bool) -> SeriesPlace:
        """What is written from now on is not for this lane. Returns the last record that is. `is_read`: as at the start.

        If we die before the checkpoint that says so, the lane is not detached.
        """
        place = self.sequence, self.chain
        self._detached = {**self._detached, lane: place}
        self._is_read = is_read
        # So the lane holds no file with later records, and lines that follow a gap are never in the file before it.
        self.sealed_after = self.sequence
        if self._file is not None:
            self._file.close()
            self._file = None
        return place

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
        if not self._is_read:
            self._pass_over(released)
            return
        now = utc_text(self._clock.wall_ns())
        elapsed_ms = round(max(0.0, self._clock.monotonic_s() - self._begun_s) * 1000, 3)
        clock_fields = f'"@now":"{now}","@elapsed_ms":{elapsed_ms},"chain":"'.encode()
        file = self._open_file()
        for piece, places in zip(released.pieces, released.places, strict=True):
            for lines in self._lines(piece, places, clock_fields):
                file.append(lines)
                self._written_bytes += len(lines)

    def _pass_over(self, released: Released) -> None:
        """Counts the records, and writes no line: every lane is detached, and reads them from the log when it is attached."""
        sequence, chain = self.sequence, self.chain
        for piece, places in zip(released.pieces, released.places, strict=True):
            for place, record in zip(places, piece.split(b"\n")[:-1], strict=True):
                sequence += 1
                chain = chain_after(chain, sequence, place, record.strip(SPACES))
        self.sequence, self.chain = sequence, chain

    def _lines(self, piece: bytes, places: Sequence[bytes], clock_fields: bytes) -> Iterable[bytes]:
        """Yields the lines of a piece's records, about `WRITE_BYTES` at a time."""
        from event_processor.kernels.outbox import can_write, write_lines  # noqa: PLC0415 - only to write

        before = self.sequence
        if can_write():
            clock = b"," + clock_fields
            found = write_lines(piece, places, clock, sequence=self.sequence, chain=self.chain, bytes_max=WRITE_BYTES)
            for written in found:
                if written is None:
                    break
                self.sequence, self.chain = written.sequence, written.chain
                yield written.content
        done = self.sequence - before
        if done < len(places):
            yield from self._lines_one_by_one(piece.split(b"\n")[done:-1], places[done:], clock_fields)

    def _lines_one_by_one(self, records: Sequence[bytes], places: Sequence[bytes], clock_fields: bytes) -> Iterable[bytes]:
        """The same, without the kernel."""
        sequence, chain = self.sequence, self.chain
        lines, size_bytes = [], 0
        for place, record in zip(places, records, strict=True):
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

    def drop_before(self, sequence: int, held: Sequence[tuple[int, int]] = ()) -> bool:
        """From the next commit on, the checkpoint names no file whose records are all at or below `sequence`, unless it is held.

        `held`: files with a record after the first number and up to the second are kept. Returns whether there is a file to drop. It is
        unlinked when the predecessor does not name it either: after one more commit.
        """
        # A cursor may be ahead of the outbox after a fallback. Its lane still has to read the records up to there.
        self._spare = (max(self._spare[0], min(sequence, self._view.sequence)), tuple(held))
        return self.has_spare_files

    @property
    def has_spare_files(self) -> bool:
        """Whether the next commit leaves a file out that is no longer needed."""
        return len(self._kept(self._files)) < len(self._files)

    def _drop(self) -> None:
        """Forgets the files that are no longer needed. Until the next checkpoint is durable, the present one still names them."""
        kept = self._kept(self._files)
        if self._file is not None and kept[-1:] != self._files[-1:]:
            self._file.close()
            self._file = None
        self._files = kept

    def _kept(self, files: Sequence[OutboxFile]) -> tuple[OutboxFile, ...]:
        """The files that some lane still needs."""
        through, held = self._spare
        ends = [first - 1 for _, first, _ in files[1:]] + [self.sequence]
        kept = []
        for file, following in zip(files, ends, strict=False):
            first = file[1]
            # After a seal there may be a gap: what follows was written for no lane, or was dropped.
            end = min(following, self.sealed_after) if first <= self.sealed_after else following
            if end > through or any(end > after and first <= last for after, last in held):
                kept.append(file)
        return tuple(kept)

    def close(self) -> None:
        """Closes the open file."""
        if self._file is not None:
            self._file.close()

    def _present(self) -> SeriesView:
        return SeriesView(self.input, self.sequence, self.chain, self._files, self._written_bytes, self._detached)

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
