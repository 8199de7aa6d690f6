"""The index of seen ids: decides which id is new, over all time, in bounded memory and at a constant cost.

Owns: the files of `<state>/ids` and their counterparts in memory; `NothingIsKnown`, the index if duplicates are not looked for.
Always: each observed id is in exactly one place: a generation (recent ids: in memory, and in the active file once written) or a
segment (on disk, with a filter in memory). A full generation becomes a segment. Eight of these become one of the next level, and
four of any other level one of the next, in the background. So a search covers a few runs and some segments per level.
A merge of a higher level takes longer. A merge of a lower level goes first, so that no segments pile up meanwhile.
Never: lets a merge or a seal change an answer; unlinks a file; turns a wrong byte on disk into a wrong answer.

Threads. `observe`, `take` and `close` belong to one thread, here the main thread. A commit's `write` may run in another thread
at the same time. Merges run in their own threads, one per level, and only one of them works at a time. They share only what no
longer changes (runs, frozen generations, open segments). The result of a write or a merge waits in a queue or a future until
the main thread adopts it, so `observe` always sees one complete state.

Memory: 1.88 bytes per id in segments, and a fixed part: two generations of `seal_ids` (16 bytes per id) and the buffers of the
merges under way.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator, Mapping
from concurrent.futures import CancelledError, Future, wait
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from threading import Event as Flag
from typing import Final

import numpy as np

from event_processor.deduplication.fingerprints import Fingerprinter, RowArray
from event_processor.deduplication.generations import Generation, read_active
from event_processor.deduplication.high_water import HighWaterMarks
from event_processor.deduplication.limits import IndexLimits
from event_processor.deduplication.merge import Executor, Turns, merged_sections
from event_processor.deduplication.runs import Run, SortedFingerprints, sort_rows
from event_processor.deduplication.segment_format import Header, Manifest, SegmentEntry
from event_processor.deduplication.segments import OpenSegments, Segment, create_segment
from event_processor.deduplication.writer import Commit, IndexWriter, Mint, Replacement, mint_name
from event_processor.kernels.fingerprints import KERNELS
from event_processor.model.columns import BoolArray, Ids, IntArray, PreparedIds
from event_processor.model.errors import StateError
from event_processor.model.event import Json
from event_processor.model.telemetry import Telemetry
from event_processor.storage.durable import FileSystem, prepare_directory

__all__ = ["DedupIndex", "IndexLimits", "NothingIsKnown", "firsts_by_numpy", "taken_by_numpy"]


class NothingIsKnown:
    """The index if duplicates are not looked for: every id is new, and none is remembered."""

    def observe(self, ids: Ids, prepared: PreparedIds | None = None) -> BoolArray:  # noqa: ARG002 -- as any index is asked
        """Marks all as new."""
        return np.ones(len(ids), dtype=np.bool_)

    def contains(self, ids: Ids) -> BoolArray:
        """Marks none as seen."""
        return np.zeros(len(ids), dtype=np.bool_)


@dataclass(frozen=True, slots=True)
class _Merge:
    """A merge under way."""

    inputs: tuple[Segment, ...]
    result: Future[SegmentEntry]


class DedupIndex:
    """`SeenIds` on segments, filters and one active file."""

    def __init__(
        self,
        fs: FileSystem,
        directory: str,
        *,
        manifest: Mapping[str, Json] | None,
        committed_bytes: int,
        fingerprinter: Fingerprinter,
        telemetry: Telemetry,
        executor: Executor,
        limits: IndexLimits | None = None,
        mint: Mint = mint_name,
    ) -> None:
        """Opens the index as in the checkpoint, or an empty one if `manifest` is None.

        `directory` is `<state>/ids`; it is made if missing. `committed_bytes` is the committed length of the active file.
        `fingerprinter` must be the one that the manifest names. Reads filters and the active file, not the rows of segments.
        Raises `StateError` if a file is not as it was committed, `StorageError` if a call fails.
        """
        self._fs: Final = fs
        self._directory: Final = directory
        self._fingerprinter: Final = fingerprinter
        self._telemetry: Final = telemetry
        self._executor: Final = executor
        self._limits: Final = limits or IndexLimits()
        self._mint: Final = mint
        self._generations: list[Generation] = [Generation(self._limits.seal_ids)]
        self._frozen: list[Generation] = []
        self._sealed: Final[deque[tuple[Generation, Segment]]] = deque()
        self._segments: Final = OpenSegments(fs)
        self._merges: Final[dict[int, _Merge]] = {}
        self._turns: Final = Turns()
        self._stopping: Final = Flag()
        prepare_directory(fs, directory)
        committed = self._committed(manifest)
        self._marks: Final = HighWaterMarks(committed.greatest_ids)
        self._writer: Final = self._open(committed, committed_bytes)

    def observe(self, ids: Ids, prepared: PreparedIds | None = None) -> BoolArray:
        """As `SeenIds.observe`. Raises `StateError` or `StorageError`; then it has remembered nothing."""
        if not len(ids):
            return np.zeros(0, dtype=np.bool_)
        batch, places = self._sorted(ids, prepared)
        firsts, doubtful, asked = _firsts(batch, places, self._marks.pass_over(ids))
        answers = self._search_everywhere(asked)
        new, by_id = _taken(batch, places, firsts, doubtful, answers)
        self._remember(new)
        return by_id

    def contains(self, ids: Ids) -> BoolArray:
        """As `SeenIds.contains`. Raises `StateError` or `StorageError`."""
        if not len(ids):
            return np.zeros(0, dtype=np.bool_)
        batch, places = sort_rows(self._fingerprinter.rows(ids))
        return _put_back(places, ~self._search_everywhere(batch))

    def _sorted(self, ids: Ids, prepared: PreparedIds | None) -> tuple[Run, IntArray]:
        """The fingerprints, ascending, and the place of each."""
        if prepared is None:
            return sort_rows(self._fingerprinter.rows(ids))
        assert isinstance(prepared, SortedFingerprints), "prepared by this package"
        own = self._fingerprinter
        assert (prepared.algorithm, prepared.seed) == (own.algorithm, own.seed), "prepared under this index's hash"
        return prepared.run, prepared.places

    def take(self) -> Commit:
        """As `SeenIds.take`. Does not block, but loads the filter of a finished merge: some milliseconds for ten million ids.

        Raises what a merge in the background raised.
        """
        self._adopt_sealed()
        replacement = self._adopt_merge()
        youngest = self._generations[-1]
        if youngest.ids >= self._limits.seal_ids or youngest.frames >= self._limits.frames_max:
            self._freeze()
        frozen, self._frozen = self._frozen, []
        unwritten = self._generations[-1].take_unwritten()
        self._start_merges()
        return Commit(
            self._writer,
            replacement=replacement,
            frozen=frozen,
            unwritten=unwritten,
            greatest_ids=self._marks.to_list(),
            sealed=lambda generation, segment: self._sealed.append((generation, segment)),
        )

    def close(self) -> None:
        """As `SeenIds.close`. No write may be under way. A running merge stops at its next step and leaves an orphan file.

        Closes everything first. Then raises what a merge in the background raised and no call has reported yet.
        """
        self._stopping.set()
        merges = list(self._merges.values())
        self._merges.clear()
        under_way = [merge.result for merge in merges if not merge.result.cancel()]
        wait(under_way)
        self._adopt_sealed()
        self._segments.close(list(self._segments))
        self._writer.close()
        for result in under_way:
            with suppress(CancelledError):
                # Nothing that was committed depends on the merge, but a failing disk must be reported.
                result.result()

    def _committed(self, content: Mapping[str, Json] | None) -> Manifest:
        own = Manifest(fingerprint=self._fingerprinter.algorithm, seed=self._fingerprinter.seed, greatest_ids=())
        if content is None:
            return own
        manifest = Manifest.of(content)
        if (manifest.fingerprint, manifest.seed) != (own.fingerprint, own.seed):
            raise StateError(
                f"{self._directory}: its ids have another fingerprint ({manifest.fingerprint}) or seed than this run uses",
                hint="rebuild the state from the log: event-processor replay",
            )
        return manifest

    def _open(self, manifest: Manifest, committed_bytes: int) -> IndexWriter:
        """Opens every file that the manifest names. If one fails, none stays open."""
        try:
            for entry in manifest.segments:
                self._segments.add(Segment(self._fs, self._directory, entry))
            if manifest.active:
                path = os.path.join(self._directory, manifest.active)
                self._generations[-1].restore(*read_active(self._fs, path, committed_bytes, manifest.active_ids))
            return IndexWriter(
                self._fs,
                self._directory,
                manifest=manifest,
                committed_bytes=committed_bytes,
                geometry=self._limits.geometry,
                mint=self._mint,
            )
        except BaseException:
            self._segments.close(list(self._segments))
            raise

    def _search_everywhere(self, batch: Run) -> BoolArray:
        """Marks each fingerprint of the batch that is not found anywhere."""
        new = np.ones(len(batch), dtype=np.bool_)
        self._adopt_sealed()
        for generation in self._generations:
            generation.search(batch, new)
        self._segments.search(batch, new)
        return new

    def _remember(self, fresh: Run) -> None:
        """Adds new ids to the youngest generation, or to a new one if it would outgrow its size."""
        if not len(fresh):
            return
        if self._generations[-1].ids and self._generations[-1].ids + len(fresh) > self._limits.seal_ids:
            self._freeze()
        self._generations[-1].add(fresh)

    def _freeze(self) -> None:
        """Freezes the youngest generation for the next commit to seal, and starts a new one."""
        self._frozen.append(self._generations[-1])
        self._generations.append(Generation(self._limits.seal_ids))

    def _adopt_sealed(self) -> None:
        """Replaces generations that a write has sealed by their segments."""
        while self._sealed:
            generation, segment = self._sealed.popleft()
            self._generations.remove(generation)
            self._segments.add(segment)

    def _adopt_merge(self) -> Replacement | None:
        """Replaces the inputs of a finished merge by its output: one merge per call, of the lowest level.

        Raises what the merge raised.
        """
        level = min((level for level, merge in self._merges.items() if merge.result.done()), default=None)
        if level is None:
            return None
        merge = self._merges.pop(level)
        output = merge.result.result()
        # Discard the inputs' filters before loading the output's, so that both are never in memory together.
        self._segments.close(merge.inputs)
        inputs = frozenset(segment.entry.file for segment in merge.inputs)
        count = len(merge.inputs)
        del merge
        self._segments.add(Segment(self._fs, self._directory, output))
        self._telemetry.segments_merged(inputs=count, ids=output.ids, size_bytes=output.size_bytes)
        return Replacement(output=output, inputs=inputs)

    def _start_merges(self) -> None:
        """Starts a merge in the background for each full level, unless one of that level is under way."""
        by_level = sorted(self._segments, key=lambda segment: segment.entry.level)
        for number, group in groupby(by_level, key=lambda segment: segment.entry.level):
            level = tuple(group)
            enough = self._limits.merge_segments_above if number else self._limits.merge_segments
            if len(level) >= enough and number not in self._merges:
                inputs = level[: self._limits.merge_segments_max]
                self._merges[number] = _Merge(inputs, self._executor.submit(partial(self._merged, number, inputs)))

    def _merged(self, level: int, inputs: tuple[Segment, ...]) -> SegmentEntry:
        """Writes one segment from `inputs`. Runs in the background; touches nothing that changes."""
        header = Header(level=level + 1, ids=sum(segment.entry.ids for segment in inputs), geometry=self._limits.geometry)
        with self._turns.under_way(level):
            return create_segment(self._fs, self._directory, self._mint("segment"), header, self._until_stopped(level, inputs))

    def _until_stopped(self, level: int, inputs: tuple[Segment, ...]) -> Iterator[RowArray]:
        for section in merged_sections(inputs, self._limits.geometry.section_rows):
            self._turns.wait(level)
            if self._stopping.is_set():
                raise CancelledError
            yield section


def _firsts(batch: Run, places: IntArray, known: BoolArray) -> tuple[BoolArray, IntArray, Run]:
    """Marks the fingerprints of a sorted batch that differ from the one before: of equal ones, the first by place.

    Also returns the ascending places of the marked ones that `known` (an answer per id, in the order of the ids) does not mark
    as new, and the fingerprints there.
    """
    if KERNELS is None:
        return firsts_by_numpy(batch, places, known)
    firsts, doubtful, columns = KERNELS.firsts((batch.hi, batch.lo), places, known)
    return firsts, doubtful, Run(*columns)


def firsts_by_numpy(batch: Run, places: IntArray, known: BoolArray) -> tuple[BoolArray, IntArray, Run]:
    """As `_firsts`, without the kernel."""
    firsts = np.ones(len(batch), dtype=np.bool_)
    firsts[1:] = (batch.hi[1:] != batch.hi[:-1]) | (batch.lo[1:] != batch.lo[:-1])
    doubtful = (firsts & ~known[places]).nonzero()[0]
    return firsts, doubtful, batch.picked(doubtful)


def _taken(batch: Run, places: IntArray, firsts: BoolArray, doubtful: IntArray, answers: BoolArray) -> tuple[Run, BoolArray]:
    """The new fingerprints, and for each id whether it is new. `answers`: for each of `doubtful`, whether it is new."""
    if KERNELS is None:
        return taken_by_numpy(batch, places, firsts, doubtful, answers)
    new, by_id = KERNELS.take_new((batch.hi, batch.lo), places, firsts, doubtful, answers)
    return Run(*new), by_id


def taken_by_numpy(
    batch: Run, places: IntArray, firsts: BoolArray, doubtful: IntArray, answers: BoolArray
) -> tuple[Run, BoolArray]:
    """As `_taken`, without the kernel."""
    firsts[doubtful] = answers
    return batch.picked(firsts), _put_back(places, firsts)


def _put_back(places: IntArray, answers: BoolArray) -> BoolArray:
    """The answers in the order of the ids; `places` has the place of each."""
    result = np.empty(len(places), dtype=np.bool_)
    result[places] = answers
    return result
