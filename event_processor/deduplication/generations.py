"""Recent ids, which are in no segment yet: in memory as a few sorted runs, on disk in the active file.

Owns: `Generation`, and the frames of the active file: their bytes, and how they are read again.
Always: a generation holds the ids of one future segment: in the active file, or not yet appended to it. It has few runs: eight
of about one size are joined. A table of marks comes first, so that runs are searched only for ids that may be here.
Never: adds an id to a frozen generation; changes a frame after it was written.

The active file: the ids learnt since the last segment was sealed, appended commit by commit. It is a sequence of frames. A frame
is a head of 16 bytes, a checksum and the number of rows, and then the rows, 16 bytes each. The checksum (xxh3_64, seeded with
the frame's offset) covers the number and the rows, so it detects a flipped bit and a frame in the wrong place. Within the
committed length there are only whole frames. Bytes beyond it were never committed, and are cut off.
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
    """Encodes `run` as a frame to append at `offset`."""
    content = len(run).to_bytes(_CHECKSUM.size, "little") + run.rows().tobytes()
    return _CHECKSUM.pack(xxhash.xxh3_64_intdigest(content, offset)) + content


def read_active(fs: FileSystem, path: str, committed_bytes: int, committed_ids: int) -> tuple[Run, int]:
    """Returns all ids within the committed length, and the number of their frames.

    Raises `StateError` if the file is not as it was written, `StorageError`.
    """
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
        hint="put the original file back, or rebuild the state from the log: event-processor replay",
    )


_RUNS_JOINED: Final = 8
"""A search in one more run costs about as much as joining; groups of eight balance the two."""
_MARKS_PER_ID: Final = 32
"""At most one probe in thirty-two then reaches the runs by chance."""
_MARK_BITS_MIN: Final = 3
"""One whole byte of marks."""
_WORD_BITS: Final = 64
_BYTE_BITS: Final = 8


class Generation:
    """Distinct ids that will become one segment. Used by the main thread; `runs` may go to another thread once it is frozen."""

    def __init__(self, ids_max: int) -> None:
        """`ids_max` sizes the marks: a bit each, or a byte with numpy. More ids stay correct, but slower."""
        mark_bits = max(_MARK_BITS_MIN, (ids_max * _MARKS_PER_ID - 1).bit_length())
        self.ids = 0
        self.frames = 0
        """The number of pieces added. Each is a frame of the active file."""
        self.runs: list[Run] = []
        self._unwritten: list[Run] = []
        self._described: IntArray = np.zeros((0, 5), np.int64)
        self._marks: Final = np.zeros((1 << mark_bits) // (1 if KERNELS is None else _BYTE_BITS), dtype=np.uint8)
        self._mark_shift: Final = _WORD_BITS - mark_bits

    def restore(self, run: Run, frames: int) -> None:
        """Adds ids that are already on disk, in `frames` frames."""
        self._hold(run)
        self.frames += frames

    def add(self, run: Run) -> None:
        """Adds ids that are in no run here. The next commit writes them."""
        self._hold(run)
        self.frames += 1
        self._unwritten.append(run)

    def take_unwritten(self) -> Sequence[Run]:
        """Returns the runs added since the last call."""
        taken, self._unwritten = self._unwritten, []
        return taken

    def search(self, sought: Run, new: BoolArray) -> None:
        """Clears in `new` (one answer per fingerprint of `sought`) the fingerprints that are here."""
        if KERNELS is not None:
            KERNELS.search_runs(self._marks, self._mark_shift, self._described, (sought.hi, sought.lo), new.view(np.uint8))
            return
        # As in a filter: no place is out of range, so "clip" is faster. Only fingerprints still marked new are searched.
        hits: IntArray = (self._marks.take(self._mark_of(sought), mode="clip").view(np.bool_) & new).nonzero()[0]
        asked = sought.picked(hits)
        for run in self.runs:
            new[hits[run.contains(asked)]] = False

    def _mark_of(self, run: Run) -> IntArray:
        """The mark of each fingerprint: the high bits of `hi`, so that a sorted run reads the marks in one pass."""
        return (run.hi >> np.uint64(self._mark_shift)).view(np.int64)

    def _hold(self, run: Run) -> None:
        """Adds a run. Joins the last eight once they are in one size class (a power of eight)."""
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
            # The runs before the new one, or before those that were joined, stay where they are.
            kept = len(self.runs) - 1
            fresh = KERNELS.described([(run.hi, run.lo) for run in self.runs[kept:]])
            self._described = np.concatenate([self._described[:kept], fresh])


def _size_class(run: Run) -> int:
    """The power of eight that the run's length reaches."""
    return (len(run).bit_length() - 1) // 3
