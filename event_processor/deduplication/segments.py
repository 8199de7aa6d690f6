"""Immutable files of sorted fingerprints, each with its filter: written once, then only read.

Owns: making a segment durable, opening one, the search in it, and `OpenSegments`, the search in all of them at once. With a
kernel and files of the operating system, one kernel call serves a whole batch.
Always: every read is checked before it decides anything, each time: an answer is right, or it is a `StateError` with path and
offset. What the kernel leaves open is searched segment by segment, which checks the reads and says what is wrong; without a
kernel, everything is. The answer is the same. Files are read by pread, so that a bad disk is an error and not a signal.
Never: unlinks a file, or writes to a segment again.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Iterator
from itertools import pairwise
from typing import Final, NoReturn

import numpy as np
import xxhash

from event_processor.deduplication.bloom_filter import BIT_PATTERNS, BLOCK_BYTES, BLOCK_WORDS, Filter, Probe
from event_processor.deduplication.fingerprints import RowArray
from event_processor.deduplication.runs import EMPTY_RUN, ROW_BYTES, Run
from event_processor.deduplication.segment_format import (
    FOOTER_BYTES,
    Header,
    SegmentEntry,
    SegmentIndex,
    block_checksums,
    encode_segment,
)
from event_processor.kernels.arrays import address
from event_processor.kernels.fingerprints import KERNELS
from event_processor.kernels.memory import words_of_their_own
from event_processor.kernels.segments import DESCRIBED, HELD, LEFT, SegmentKernels
from event_processor.kernels.segments import KERNELS as SEGMENT_KERNELS
from event_processor.model.columns import BoolArray, IntArray
from event_processor.model.errors import StateError
from event_processor.storage.durable import FileSystem, create_file, read_range, storage_call

__all__ = ["OpenSegments", "Segment", "create_segment"]

_ROUND_PROBES: Final = 1024
"""Fingerprints searched at once. Each needs a block, so a round holds about 4 MiB at most."""
_FIRST: Final = np.zeros(1, dtype=np.int64)
_REPLAY_HINT: Final = "put the original file back, or rebuild the state from the log: event-processor replay"


def create_segment(fs: FileSystem, directory: str, name: str, header: Header, sections: Iterable[RowArray]) -> SegmentEntry:
    """Writes a new segment from its sections of ascending rows, durably, including its name. Raises `StorageError`."""
    # If we die here, or anywhere before a checkpoint names the file, it is an orphan: the next start removes it.
    create_file(fs, os.path.join(directory, name), encode_segment(header, sections))
    with storage_call("fsync", directory):
        fs.sync_directory(directory)
    return SegmentEntry(file=name, ids=header.ids, level=header.level, size_bytes=header.size_bytes)


class Segment:
    """An open segment: filter and index in memory (1.88 bytes per id), rows on disk. Several threads may read it."""

    def __init__(self, fs: FileSystem, directory: str, entry: SegmentEntry) -> None:
        """Opens the file and loads filter and index. Raises `StateError` if it does not match `entry`, `StorageError`."""
        self.entry: Final = entry
        self._fs: Final = fs
        self._path: Final = os.path.join(directory, entry.file)
        with storage_call("open", self._path):
            status = fs.status(self._path)
            if status is None or not status.is_regular:
                self._fail("is missing, though the checkpoint names it")
            if status.size_bytes != entry.size_bytes:
                self._fail(f"holds {status.size_bytes} bytes, but {entry.size_bytes} were committed")
            self._descriptor = fs.open(self._path, os.O_RDONLY)
        try:
            with storage_call("read", self._path):
                self._header: Final = self._load_header()
                self._index: Final = self._load_index()
                self._piece_offsets: Final = self._section_offsets()
                self._filter: Final = self._load_filter()
        except BaseException:
            fs.close(self._descriptor)
            raise

    def hits(self, probe: Probe) -> IntArray:
        """The ascending places in the probe that may be in here. All others certainly are not. Reads memory only."""
        return self._filter.hits(probe)

    def contains(self, sought: Run) -> BoolArray:
        """For each fingerprint of `sought`, whether it is in here. Reads the blocks that decide it.

        Raises `StateError`, `StorageError`.
        """
        found = np.zeros(len(sought), dtype=np.bool_)
        for start in range(0, len(sought), _ROUND_PROBES):
            part = sought.part(start, start + _ROUND_PROBES)
            found[start : start + len(part)] = self._read(self._blocks_of(part)).contains(part)
        return found

    def rows_from(self, first_row: int, blocks_max: int) -> Run:
        """The ascending fingerprints of at most `blocks_max` blocks from `first_row` on; none at the end.

        `first_row` is the first row of a block. Raises `StateError`, `StorageError`.
        """
        first = -(-first_row // self.block_rows)
        return self._read(np.arange(first, min(first + blocks_max, self._header.block_count)))

    @property
    def block_rows(self) -> int:
        """The rows of a block."""
        return self._header.geometry.block_rows

    @property
    def for_kernel(self) -> IntArray | None:
        """Describes it to a kernel that reads it, valid until it is closed; None if its descriptor is not the system's."""
        return np.array(self.described(), np.int64) if self._fs.has_descriptors_of_the_system else None

    def described(self) -> tuple[int, ...]:
        """The words of `struct segment`, with which a kernel searches this segment; valid until it is closed."""
        index, geometry = self._index, self._header.geometry
        return (
            self._descriptor,
            address(self._filter.words),
            len(self._filter.words) // BLOCK_WORDS,
            address(index.fences),
            address(index.block_checksums),
            address(self._piece_offsets),
            self._header.block_count,
            self._header.ids,
            geometry.block_rows,
            geometry.section_blocks,
            Header.SIZE_BYTES,
        )

    def close(self) -> None:
        """Releases the descriptor."""
        self._fs.close(self._descriptor)

    def _blocks_of(self, sought: Run) -> IntArray:
        """The ascending blocks that hold every fingerprint of `sought` that is in here."""
        fences = self._index.fences
        last = np.maximum(np.searchsorted(fences, sought.hi, side="right") - 1, 0)
        if not (fences[last] == sought.hi).any():
            changes: IntArray = np.diff(last, prepend=-1).nonzero()[0]
            return last[changes]
        # A fence equal to `hi` may have rows of the same `hi` before it, in the block that ends there.
        first = np.maximum(np.searchsorted(fences, sought.hi, side="left") - 1, 0)
        wider = (last - first > 1).nonzero()[0].tolist()
        between = [np.arange(first[place] + 1, last[place]) for place in wider]
        blocks: IntArray = np.unique(np.concatenate([first, last, *between]))
        return blocks

    def _read(self, blocks: IntArray) -> Run:
        """The fingerprints of these blocks (ascending), each block checked. Adjacent blocks are read together."""
        if not len(blocks):
            return EMPTY_RUN
        geometry = self._header.geometry
        block_bytes = geometry.block_rows * ROW_BYTES
        offsets = Header.SIZE_BYTES + blocks * block_bytes + self._piece_offsets[blocks // geometry.section_blocks]
        # Only the very last block may be shorter.
        short_bytes = max(0, (int(blocks[-1]) + 1) * block_bytes - self._header.ids * ROW_BYTES)
        content = np.empty(len(blocks) * block_bytes - short_bytes, np.uint8)
        breaks = (np.diff(offsets) != block_bytes).nonzero()[0] + 1
        firsts = np.concatenate([_FIRST, breaks])
        begins = np.append(firsts * block_bytes, len(content))
        # One call for all reads: a call per read would cost as much as the read.
        with storage_call("read", self._path):
            if self._fs.read_each(self._descriptor, content, begins, offsets[firsts]) != len(content):
                for (begin, end), place in zip(pairwise(begins.tolist()), offsets[firsts].tolist(), strict=True):
                    content.data[begin:end] = self._read_exactly(end - begin, place)
        wrong = np.flatnonzero(block_checksums(content, block_bytes) != self._index.block_checksums[blocks])
        if len(wrong):
            self._fail(f"the block at byte {offsets[wrong[0]]} does not match its checksum")
        rows = content.view("<u8").reshape(-1, 2)
        if KERNELS is not None:
            return Run(rows[:, 0], rows[:, 1])
        # Only `hi` is searched. A few `lo` are compared, which is not worth a copy of all.
        return Run(np.ascontiguousarray(rows[:, 0]), rows[:, 1])

    def _read_exactly(self, size_bytes: int, offset: int) -> bytes:
        """Raises `OSError`."""
        content = read_range(self._fs, self._descriptor, size_bytes, offset)
        if len(content) != size_bytes:
            self._fail(f"ends at byte {offset + len(content)}, but {self.entry.size_bytes} were committed")
        return content

    def _load_header(self) -> Header:
        content = self._read_exactly(min(Header.SIZE_BYTES, self.entry.size_bytes), 0)
        try:
            header = Header.decode(content)
        except ValueError as error:
            self._fail(str(error))
        if (header.ids, header.level, header.size_bytes) != (self.entry.ids, self.entry.level, self.entry.size_bytes):
            self._fail("is another segment than the one that the checkpoint names")
        return header

    def _load_index(self) -> SegmentIndex:
        content = self._read_exactly(self._header.index_bytes + FOOTER_BYTES, self._header.index_offset)
        try:
            return SegmentIndex.decode(self._header, content)
        except ValueError as error:
            self._fail(f"byte {self._header.index_offset}: {error}")

    def _section_offsets(self) -> IntArray:
        """For each section, how many bytes of filter come before its rows."""
        offsets = np.zeros(self._header.section_count, dtype=np.int64)
        np.cumsum(self._index.piece_blocks[:-1].astype(np.int64) * BLOCK_BYTES, out=offsets[1:])
        return offsets

    def _load_filter(self) -> Filter:
        """Joins the filter's pieces, which follow the rows of each section."""
        # The next merge replaces this filter. The allocator could seldom reuse its freed memory for the next one.
        words = words_of_their_own(self._header.filter_blocks * BLOCK_WORDS)
        section_bytes = self._header.geometry.section_rows * ROW_BYTES
        rows_bytes = self._header.ids * ROW_BYTES
        filled = 0
        for section, (blocks, checksum) in enumerate(
            zip(self._index.piece_blocks.tolist(), self._index.piece_checksums.tolist(), strict=True)
        ):
            rows_before = min((section + 1) * section_bytes, rows_bytes)
            offset = Header.SIZE_BYTES + rows_before + int(self._piece_offsets[section])
            piece = self._read_exactly(blocks * BLOCK_BYTES, offset)
            if xxhash.xxh3_64_intdigest(piece) != checksum:
                self._fail(f"the filter at byte {offset} does not match its checksum")
            words[filled : filled + blocks * BLOCK_WORDS] = np.frombuffer(piece, dtype="<u8")
            filled += blocks * BLOCK_WORDS
        return Filter(words)

    def _fail(self, reason: str) -> NoReturn:
        raise StateError(f"{self._path}: {reason}", hint=_REPLAY_HINT)


class OpenSegments:
    """A set of segments, owned once added. Used by one thread; other threads may read the segments meanwhile."""

    def __init__(self, fs: FileSystem) -> None:
        self._kernels: Final = SEGMENT_KERNELS if fs.has_descriptors_of_the_system else None
        self._segments: list[Segment] = []
        self._described: IntArray = np.zeros((0, DESCRIBED), np.int64)

    def __len__(self) -> int:
        return len(self._segments)

    def __iter__(self) -> Iterator[Segment]:
        return iter(self._segments)

    def add(self, segment: Segment) -> None:
        self._set([*self._segments, segment])

    def close(self, segments: Collection[Segment]) -> None:
        """Closes these segments and removes them. No thread may be reading them."""
        self._set([segment for segment in self._segments if segment not in segments])
        for segment in segments:
            segment.close()

    def search(self, batch: Run, new: BoolArray) -> None:
        """Clears in `new` (one answer per fingerprint of the batch) the ones that a segment holds.

        Raises `StateError`, `StorageError`.
        """
        if not self._segments:
            return
        if self._kernels is None:
            self._ask_each(batch, new)
            return
        places = self._search_at_once(self._kernels, batch, new)
        if len(places):
            still_new = np.ones(len(places), np.bool_)
            self._ask_each(batch.picked(places), still_new)
            new[places] = still_new

    def _search_at_once(self, kernels: SegmentKernels, batch: Run, new: BoolArray) -> IntArray:
        """As `search`, with one kernel call. Returns the ascending places that the kernel left open, and clears them in `new`."""
        answers = new.view(np.uint8)
        left = kernels.search(self._described, BIT_PATTERNS, batch.hi, batch.lo, answers)
        places = np.flatnonzero(answers == LEFT) if left else np.zeros(0, np.int64)
        answers[places] = HELD
        return places

    def _ask_each(self, batch: Run, new: BoolArray) -> None:
        """As `search`, segment by segment."""
        probe = Probe.of(batch)
        for segment in self._segments:
            hits = segment.hits(probe)
            # Read only for fingerprints still marked new.
            hits = hits[new[hits]]
            if len(hits):
                new[hits[segment.contains(batch.picked(hits))]] = False

    def _set(self, segments: list[Segment]) -> None:
        self._segments = segments
        self._described = np.array([segment.described() for segment in segments], np.int64).reshape(-1, DESCRIBED)
