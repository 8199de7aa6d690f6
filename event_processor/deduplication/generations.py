"""The ids that stand in no segment yet, in memory: a few sorted runs instead of a set.

Always: a generation holds what one segment will hold: it is the content of the active file and what waits to be appended to it.
Its runs are few: eight of about one size become one. A table of marks stands before them, so that only what may be here is searched.
Never: a generation that was frozen gains an id.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Sequence
from typing import Final

import numpy as np
import xxhash

from event_processor.deduplication.runs import ROW_BYTES, Run, join_runs, sort_rows
from event_processor.kernels.fingerprints import KERNELS
from event_processor.model.columns import BoolArray, IntArray
from event_processor.model.errors import StateError
from event_processor.storage.durable import FileSystem, read_range, storage_call

__all__ = ["Generation", "encode_frame", "read_active"]

_CHECKSUM: Final = struct.Struct("<Q")
_HEAD: Final = struct.Struct("<QQ")


def encode_frame(run: Run, offset: int) -> bytes:
    """The frame of `run`, to be appended at `offset`."""
    content = len(run).to_bytes(_CHECKSUM.size, "little") + run.rows().tobytes()
    return _CHECKSUM.pack(xxhash.xxh3_64_intdigest(content, offset)) + content


def read_active(fs: FileSystem, path: str, committed_bytes: int, committed_ids: int) -> tuple[Run, int]:
    """All ids within the committed length, and in how many frames they stand. Raises `StateError` where they are not what was written, `StorageError`."""
    content = _read_committed(fs, path, committed_bytes)
    parts = []
    offset = 0
    while offset < committed_bytes:
        start = offset + _HEAD.size
        if start > committed_bytes:
            raise _damaged(path, f"the frame at byte {offset} is cut off")
        checksum, count = _HEAD.unpack_from(content, offset)
        end = start + count * ROW_BYTES
        if end > committed_bytes or xxhash.xxh3_64_intdigest(content[offset + _CHECKSUM.size : end], offset) != checksum:
            raise _damaged(path, f"the frame at byte {offset} does not match its checksum")
        parts.append(content[start:end])
        offset = end
    rows = np.frombuffer(b"".join(parts), dtype="<u8").reshape(-1, 2)
    if len(rows) != committed_ids:
        raise _damaged(path, f"holds {len(rows)} ids, but {committed_ids} were committed")
    run, _ = sort_rows(rows)
    return run, len(parts)


def _read_committed(fs: FileSystem, path: str, committed_bytes: int) -> memoryview:
    with storage_call("read", path):
        if fs.status(path) is None:
            raise _damaged(path, "is missing, though the checkpoint names it")
        descriptor = fs.open(path, os.O_RDONLY)
        try:
            content = read_range(fs, descriptor, committed_bytes, 0)
        finally:
            fs.close(descriptor)
    if len(content) != committed_bytes:
        raise _damaged(path, f"holds {len(content)} bytes, but {committed_bytes} were committed")
    return memoryview(content)


def _damaged(path: str, reason: str) -> StateError:
    return StateError(
        f"{path}: {reason}",
        hint="put back the file as it was, or make the state anew from the log: event-processor replay",
    )


_RUNS_JOINED: Final = 8
"""A search in one more run costs about as much as joining; eights balance them."""
_MARKS_PER_ID: Final = 32
"""At most one probe in thirty-two then goes on to the runs by chance."""
_MARK_BITS_MIN: Final = 3
"""A whole byte of them."""
_WORD_BITS: Final = 64
_BYTE_BITS: Final = 8


class Generation:
    """Distinct ids on their way into one segment. Used by the main thread; `runs` may be handed to another once frozen."""

    def __init__(self, ids_max: int) -> None:
        """`ids_max` sizes the marks, a bit each, or a byte where numpy sets them; more ids are right, but slower."""
        mark_bits = max(_MARK_BITS_MIN, (ids_max * _MARKS_PER_ID - 1).bit_length())
        self.ids = 0
        self.frames = 0
        """In so many pieces they were added, each of which is a frame of the active file."""
        self.runs: list[Run] = []
        self._unwritten: list[Run] = []
        self._described: IntArray = np.zeros((0, 5), np.int64)
        self._marks: Final = np.zeros((1 << mark_bits) // (1 if KERNELS is None else _BYTE_BITS), dtype=np.uint8)
        self._mark_shift: Final = _WORD_BITS - mark_bits

    def restore(self, run: Run, frames: int) -> None:
        """Takes what is on disk already, in so many frames."""
        self._hold(run)
        self.frames += frames

    def add(self, run: Run) -> None:
        """Takes ids that are in no run here, to be written at the next commit."""
        self._hold(run)
        self.frames += 1
        self._unwritten.append(run)

    def take_unwritten(self) -> Sequence[Run]:
        """What was added since the last call."""
        taken, self._unwritten = self._unwritten, []
        return taken

    def search(self, sought: Run, new: BoolArray) -> None:
        """Takes out of `new` (an answer a fingerprint of `sought`) what is here."""
        if KERNELS is not None:
            KERNELS.search_runs(self._marks, self._mark_shift, self._described, (sought.hi, sought.lo), new.view(np.uint8))
            return
        # As in a filter: no place lies outside, and to say so is faster. Only what is still thought new is looked for.
        hits: IntArray = (self._marks.take(self._mark_of(sought), mode="clip").view(np.bool_) & new).nonzero()[0]
        asked = sought.picked(hits)
        for run in self.runs:
            new[hits[run.contains(asked)]] = False

    def _mark_of(self, run: Run) -> IntArray:
        """The mark of each fingerprint: the high bits of `hi`, so that a sorted run walks through the marks once."""
        return (run.hi >> np.uint64(self._mark_shift)).view(np.int64)

    def _hold(self, run: Run) -> None:
        """Adds a run, and joins the last eight as soon as they are of one size class (a power of eight)."""
        if not len(run):
            return
        self.ids += len(run)
        if KERNELS is not None:
            KERNELS.marks_set(self._marks, self._mark_shift, run.hi)
        else:
            self._marks[self._mark_of(run)] = 1
        self.runs.append(run)
        while len(self.runs) >= _RUNS_JOINED and _size_class(self.runs[-_RUNS_JOINED]) <= _size_class(self.runs[-1]):
            self.runs[-_RUNS_JOINED:] = [join_runs(self.runs[-_RUNS_JOINED:])]
        if KERNELS is not None:
            self._described = KERNELS.described([(run.hi, run.lo) for run in self.runs])


def _size_class(run: Run) -> int:
    """Which power of eight the run's length reaches."""
    return (len(run).bit_length() - 1) // 3
