"""What each of the last records of the intake counted as: a ring of a million outcomes, in memory and on disk.

Owns: the form of the ring, and which outcomes survive a restart.
Always: an outcome is found by the exact position of its record, so a position within a record has none. Outcomes of records that no
checkpoint counts are dropped at a start. If the file cannot be written, that is reported once, and the outcomes stay in memory.
Never: is relied on; makes a commit wait for the disk. (The step decides outcomes, here they are only kept.)

The file begins with a header of `HEADER_BYTES`: one line of JSON, filled up with spaces. Then follow `SLOTS` words of 8 bytes. Record
number n of the source (from 0) has slot n modulo `SLOTS`. From the highest bit on, a word has 18 bits for the generation, 44 for the
offset and 2 for the outcome; 0 is an empty slot. So every word says by itself which record it is of, and words ascend as records do.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from threading import Lock
from typing import Final, Literal, TypeAlias

import msgspec
import numpy as np
import numpy.typing as npt
from msgspec import Struct

from event_processor.engine.delivery.reports import HISTORY_FOLDER
from event_processor.engine.state import SourceState
from event_processor.model.columns import BoolArray, Columns, IntArray
from event_processor.model.errors import StorageError
from event_processor.model.event import Chunk
from event_processor.model.file_system import FileSystem
from event_processor.model.messages import in_one_line
from event_processor.model.rejections import Rejections
from event_processor.model.telemetry import Telemetry
from event_processor.storage.durable import read_range, storage_call

__all__ = ["OUTCOMES_NAME", "SLOTS", "Outcome", "Outcomes"]

Outcome: TypeAlias = Literal["accepted", "duplicate", "rejected", "blank"]
WordArray: TypeAlias = npt.NDArray[np.uint64]

OUTCOMES_NAME: Final = f"{HISTORY_FOLDER}/intake.ring"
"""The file, below the state directory."""
SLOTS: Final = 1 << 20
HEADER_BYTES: Final = 4096
WORD_BYTES: Final = 8
FORM: Final = "event-processor outcomes 1"
REMEDY: Final = "everything else goes on; receipts forget outcomes at a restart: make room, or let this user write there"
_OUTCOMES: Final[Sequence[Outcome]] = ("accepted", "duplicate", "rejected", "blank")
_ACCEPTED, _DUPLICATE, _REJECTED, _BLANK = range(4)
_OUTCOME_BITS: Final = 2
_OFFSET_BITS: Final = 44
_GENERATION_BITS: Final = 18
"""Positions with more bits are not kept: 17 TB of a file, 262,143 files."""


class _Header(Struct, frozen=True):
    form: str
    state_id: str
    slots: int


_HEADER: Final = msgspec.json.Decoder(_Header)


class Outcomes:
    """The outcomes of one source. The thread of the loop adds them; any thread may ask."""

    def __init__(self, fs: FileSystem, directory: str, source: str, telemetry: Telemetry, *, slots: int = SLOTS) -> None:
        """The ring of the last `slots` records of `source` in the state directory, empty until `begin`."""
        self.path: Final = os.path.join(directory, OUTCOMES_NAME)
        self._fs: Final = fs
        self._source: Final = source
        self._telemetry: Final = telemetry
        self._lock: Final = Lock()
        self._words: Final[WordArray] = np.zeros(slots, np.uint64)
        self._slots: Final = slots
        self._first = 0
        """The number of the first record in the ring."""
        self._unbroken = 0
        """The number of the first record from which on none is missing."""
        self._end = 0
        """The number after that of the last record."""
        self._is_usable = False
        """Whether the file can be written."""

    def begin(self, state_id: str, committed: SourceState) -> None:
        """Takes what the file says about records that are counted. Never raises: without the file, nothing is known yet."""
        self._first = self._unbroken = self._end = committed.counts.read
        try:
            words = self._read(state_id)
            is_kept = _are_counted(words, committed)
            is_kept[self._missed(words, is_kept)] = False
            self._forget(np.flatnonzero((words != 0) & ~is_kept))
        except (StorageError, OSError) as error:
            self._give_up(error)
            return
        self._is_usable = True
        words[~is_kept] = 0
        known = np.unique(words[is_kept])
        self._first = self._end - len(known)
        self._put(self._first, known)
        self._unbroken = self._end - _last_run(np.roll(words, -(self._end % self._slots)))

    def _missed(self, words: WordArray, is_counted: BoolArray) -> IntArray:
        """The slots of the last records, if the file missed them: after a power cut, a failed write, or a time without outcomes.

        They have words of the lap before, or none. Left so, later words beside them would look as if nothing were missing.
        """
        counted = np.where(is_counted, words, np.uint64(0))
        if not counted.any():
            return np.zeros(0, np.int64)
        count = (self._end - 1 - int(np.argmax(counted))) % self._slots
        return np.arange(self._end - count, self._end) % self._slots

    def add(self, chunk: Chunk, columns: Columns | None, accepted: BoolArray, over_limit: BoolArray, first: int) -> None:
        """Keeps the outcomes of a chunk whose first record has the number `first`. Never raises.

        `columns` is None if the chunk is one record over the size limit. `accepted`, `over_limit`: of its valid events.
        """
        if chunk.source != self._source:
            return
        if columns is None:
            offsets, outcomes = np.array([chunk.offset]), np.array([_REJECTED])
        else:
            offsets, outcomes = chunk.offset + columns.starts, np.full(columns.record_count, _BLANK)
            outcomes[columns.rows] = np.where(accepted, _ACCEPTED, np.where(over_limit, _REJECTED, _DUPLICATE))
            outcomes[Rejections.of(columns.rejections).rows] = _REJECTED
        words = _words_of(chunk.generation, offsets, outcomes)[-self._slots :]
        first += len(offsets) - len(words)
        with self._lock:
            if first != self._end:
                # It cannot be told what is between them.
                self._first = self._unbroken = first
            self._end = first + len(words)
            self._first = max(self._first, self._end - self._slots)
            self._unbroken = max(self._unbroken, self._first)
            self._put(first, words)
        self._write(first, words)

    def of(self, generation: int, offsets: Sequence[int]) -> list[Outcome | None]:
        """What the records at these offsets count as, or will count as; None if that is not known, or if no record begins there."""
        if generation >= 1 << _GENERATION_BITS:
            return [None] * len(offsets)
        known = [offset < 1 << _OFFSET_BITS for offset in offsets]
        places = np.array([offset if is_known else 0 for offset, is_known in zip(offsets, known, strict=True)], np.int64)
        wanted = _words_of(generation, places, np.zeros(len(places), np.int64))
        with self._lock:
            found = np.maximum.reduce([_matches(part, wanted) for part in self._parts()])
        return [
            _OUTCOMES[int(word) & _BLANK] if is_known and word else None
            for word, is_known in zip(found.tolist(), known, strict=True)
        ]

    def reaches(self, generation: int, offset: int) -> bool:
        """Whether every record from this position on is in the ring: none is missing after the first at this position or before."""
        with self._lock:
            first = int(self._words[self._unbroken % self._slots]) if self._unbroken < self._end else 0
        if not first or generation >= 1 << _GENERATION_BITS or offset >= 1 << _OFFSET_BITS:
            return False
        return first >> _OUTCOME_BITS <= generation << _OFFSET_BITS | offset

    def _parts(self) -> list[WordArray]:
        """The words in the ring, in one or two ascending parts."""
        begin, end = self._first % self._slots, self._end % self._slots
        if self._end - self._first == self._slots or begin > end:
            return [self._words[begin:], self._words[:end]]
        return [self._words[begin:end]]

    def _put(self, first: int, words: WordArray) -> None:
        begin = first % self._slots
        room = self._slots - begin
        self._words[begin : begin + len(words)] = words[:room]
        self._words[: max(0, len(words) - room)] = words[room:]

    # The file. It is opened for each write, as nothing closes it when a pipeline is closed.

    def _read(self, state_id: str) -> WordArray:
        """The words of all slots of the file. One of another state is made anew. Raises `StorageError`."""
        with storage_call("open", self.path):
            with suppress(FileExistsError):
                self._fs.make_directory(os.path.dirname(self.path))
            with self._opened(os.O_RDWR | os.O_CREAT) as descriptor:
                content = read_range(self._fs, descriptor, HEADER_BYTES + self._slots * WORD_BYTES, 0)
                header = _Header(FORM, state_id, self._slots)
                if _header_of(content) != header:
                    # If we die before the header is written, the next start makes the file anew, too.
                    self._fs.truncate(descriptor, 0)
                    self._write_at(descriptor, msgspec.json.encode(header).ljust(HEADER_BYTES - 1) + b"\n", 0)
                    content = b""
        whole_bytes = max(0, len(content) - HEADER_BYTES) // WORD_BYTES * WORD_BYTES
        words = np.zeros(self._slots, np.uint64)
        words[: whole_bytes // WORD_BYTES] = np.frombuffer(content[HEADER_BYTES : HEADER_BYTES + whole_bytes], "<u8")
        return words

    def _forget(self, slots: IntArray) -> None:
        """Empties slots of records that are not counted: read again beside other sources, they may count as something else.

        Durable, or a power cut could bring them back after the records were counted. Costs nothing after a clean end.
        """
        if not len(slots):
            return
        with storage_call("write", self.path), self._opened(os.O_WRONLY) as descriptor:
            for run in np.split(slots, np.flatnonzero(np.diff(slots) != 1) + 1):
                self._write_at(descriptor, bytes(len(run) * WORD_BYTES), HEADER_BYTES + int(run[0]) * WORD_BYTES)
            self._fs.sync(descriptor)

    def _write(self, first: int, words: WordArray) -> None:
        """Writes the slots of these records. If we die within, the others are not known after a restart."""
        if not self._is_usable:
            return
        content, begin = words.astype("<u8").tobytes(), first % self._slots
        room_bytes = (self._slots - begin) * WORD_BYTES
        try:
            with storage_call("write", self.path), self._opened(os.O_WRONLY) as descriptor:
                self._write_at(descriptor, content[:room_bytes], HEADER_BYTES + begin * WORD_BYTES)
                self._write_at(descriptor, content[room_bytes:], HEADER_BYTES)
        except (StorageError, OSError) as error:
            self._give_up(error)

    @contextmanager
    def _opened(self, flags: int) -> Iterator[int]:
        descriptor = self._fs.open(self.path, flags)
        try:
            yield descriptor
        finally:
            self._fs.close(descriptor)

    def _write_at(self, descriptor: int, content: bytes, offset: int) -> None:
        """Writes every byte, even if the kernel's writes are short. Raises `OSError`."""
        done = 0
        while done < len(content):
            taken = self._fs.write_at(descriptor, content[done:], offset + done)
            if taken <= 0:
                raise OSError(errno.EIO, "the kernel wrote no byte", self.path)
            done += taken

    def _give_up(self, error: Exception) -> None:
        self._is_usable = False
        self._telemetry.history_unavailable(path=self.path, reason=in_one_line(str(error)), remedy=REMEDY)


def _words_of(generation: int, offsets: IntArray, outcomes: IntArray) -> WordArray:
    """The words of records of one generation, with their outcomes. Those that have no room for their position are left out."""
    if generation >= 1 << _GENERATION_BITS:
        return np.zeros(0, np.uint64)
    is_kept = offsets < 1 << _OFFSET_BITS
    places = offsets[is_kept].astype(np.uint64) | np.uint64(generation << _OFFSET_BITS)
    return places << np.uint64(_OUTCOME_BITS) | outcomes[is_kept].astype(np.uint64)


def _matches(words: WordArray, wanted: WordArray) -> WordArray:
    """The word of each wanted position among ascending `words`; 0 if there is none."""
    if not len(words):
        return np.zeros(len(wanted), np.uint64)
    found = words[np.minimum(np.searchsorted(words, wanted), len(words) - 1)]
    return np.where(found >> np.uint64(_OUTCOME_BITS) == wanted >> np.uint64(_OUTCOME_BITS), found, np.uint64(0))


def _last_run(words: WordArray) -> int:
    """How many of the last `words`, which are in the order of their records, certainly are those of as many records in a row.

    They ascend, without an empty slot. What is left of the lap before also ascends, but it is less than a word before it.
    """
    if not words[-1]:
        return 0
    breaks = np.flatnonzero((words[:-1] == 0) | (words[1:] <= words[:-1]))
    begin = int(breaks[-1]) + 1 if len(breaks) else 0
    greatest_before = words[:begin].max(initial=np.uint64(0))
    return len(words) - begin - int(np.searchsorted(words[begin:], greatest_before, side="right"))


def _are_counted(words: WordArray, committed: SourceState) -> BoolArray:
    """Which words are of records that a checkpoint counts."""
    generations = (words >> np.uint64(_OFFSET_BITS + _OUTCOME_BITS)).astype(np.int64)
    offsets = (words >> np.uint64(_OUTCOME_BITS) & np.uint64((1 << _OFFSET_BITS) - 1)).astype(np.int64)
    is_counted: BoolArray = (words != 0) & (generations < committed.next_generation())
    for generation, position in committed.positions().items():
        is_counted &= (generations != generation) | (offsets < _offset_of(position))
    return is_counted


def _offset_of(position: Mapping[str, object]) -> int:
    return int(str(position.get("offset", 0)))


def _header_of(content: bytes) -> _Header | None:
    try:
        return _HEADER.decode(content[:HEADER_BYTES])
    except msgspec.DecodeError:
        return None
