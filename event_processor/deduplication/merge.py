"""Many segments, or the runs of a generation, into one, as a stream of sections.

Always: memory is one buffer an input and one section, whatever their size. The inputs are only read.
Never: a merge decides nothing: what it made counts once a checkpoint names it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from functools import partial
from threading import Condition, Thread
from typing import Final, Protocol, TypeAlias, TypeVar

import numpy as np

from event_processor.deduplication.fingerprints import RowArray
from event_processor.deduplication.runs import EMPTY_RUN, Run, join_runs
from event_processor.deduplication.segments import Segment
from event_processor.kernels.merge import KERNELS, RowMerge

__all__ = ["BackgroundThreads", "Executor", "Inline", "Turns", "joined_sections", "merged_sections", "sections_by_numpy"]

Result = TypeVar("Result")


class Executor(Protocol):
    """Runs jobs, some time. The index has at most one under way a level, and all but one of them wait for their turn."""

    def submit(self, job: Callable[[], Result]) -> Future[Result]:
        """Takes a job; its future tells when it is done. Does not raise what the job raises."""
        ...


class BackgroundThreads:
    """A daemon thread a job."""

    def submit(self, job: Callable[[], Result]) -> Future[Result]:
        future: Future[Result] = Future()
        Thread(target=_run, args=(job, future), name="ids-merge", daemon=True).start()
        return future


class Inline:
    """At once, in the caller's thread: for a command that has nothing else to do, and for a repeatable test."""

    def submit(self, job: Callable[[], Result]) -> Future[Result]:
        future: Future[Result] = Future()
        _run(job, future)
        return future


class Turns:
    """Lets one of several jobs go on: the one of the least rank that is under way. For the threads of all of them."""

    def __init__(self) -> None:
        self._changed: Final = Condition()
        self._ranks: Final[list[int]] = []

    @contextmanager
    def under_way(self, rank: int) -> Iterator[None]:
        """A job of this rank is under way within this context: from now on those of greater ranks wait for it."""
        with self._changed:
            self._ranks.append(rank)
        try:
            yield
        finally:
            with self._changed:
                self._ranks.remove(rank)
                self._changed.notify_all()

    def wait(self, rank: int) -> None:
        """Returns when no job of a lesser rank is under way; a job calls it between its steps."""
        with self._changed:
            self._changed.wait_for(lambda: self.may_go_on(rank))

    def may_go_on(self, rank: int) -> bool:
        """Whether no job of a lesser rank is under way."""
        return min(self._ranks, default=rank) >= rank


def _run(job: Callable[[], Result], future: Future[Result]) -> None:
    """The job's outcome, whatever it is, into `future`."""
    if not future.set_running_or_notify_cancel():
        return
    try:
        result = job()
    except BaseException as error:  # noqa: BLE001 - the thread that asks for the result raises it
        future.set_exception(error)
    else:
        future.set_result(result)


_BUFFER_BLOCKS: Final = 32
"""64 KiB an input: reads long enough to be sequential, short enough that what is joined stays near the processor."""
_BUFFER_ROWS: Final = 4096

_Reader: TypeAlias = Callable[[int], Run]
"""The rows of an input from a place on, as many as a buffer holds."""


def merged_sections(segments: Sequence[Segment], section_rows: int) -> Iterator[RowArray]:
    """All fingerprints of `segments`, ascending, so many rows at a time, each good until the next is asked for; only the last may be shorter.

    Raises `StateError`, `StorageError`.
    """
    readers = [partial(segment.rows_from, blocks_max=_BUFFER_BLOCKS) for segment in segments]
    if KERNELS is None:
        return sections_by_numpy(readers, section_rows)
    buffer_rows = _BUFFER_BLOCKS * max(segment.block_rows for segment in segments)
    return _sections(KERNELS.merge([segment.for_kernel for segment in segments], buffer_rows), readers, section_rows)


def joined_sections(runs: Sequence[Run], section_rows: int) -> Iterator[RowArray]:
    """The same of `runs`, of which no two may hold one fingerprint."""
    readers = [partial(_part, run) for run in runs]
    if KERNELS is None:
        return sections_by_numpy(readers, section_rows)
    return _sections(KERNELS.merge([None] * len(runs), _BUFFER_ROWS), readers, section_rows)


def _part(run: Run, first_row: int) -> Run:
    return run.part(first_row, first_row + _BUFFER_ROWS)


def _sections(merge: RowMerge, readers: Sequence[_Reader], section_rows: int) -> Iterator[RowArray]:
    """What a kernel merges. What it cannot read it is given, and so it is where a reader says what is wrong."""
    rows = np.empty((section_rows, 2), np.uint64)
    filled = section_rows
    while filled == section_rows:
        filled = 0
        starved: int | None = -1
        while starved is not None:
            put, starved = merge.put(rows[filled:])
            filled += put
            if starved is not None:
                merge.fill(starved, readers[starved](merge.next_row(starved)).rows())
        if filled:
            yield rows[:filled]


def sections_by_numpy(readers: Sequence[_Reader], section_rows: int) -> Iterator[RowArray]:
    """The twin of `merged_sections` and `joined_sections`."""
    waiting = EMPTY_RUN
    for run in _merged_by_numpy(readers):
        waiting = Run(np.concatenate([waiting.hi, run.hi]), np.concatenate([waiting.lo, run.lo]))
        while len(waiting) >= section_rows:
            yield waiting.part(0, section_rows).rows()
            waiting = waiting.part(section_rows, len(waiting))
    if len(waiting):
        yield waiting.rows()


def _merged_by_numpy(readers: Iterable[_Reader]) -> Iterator[Run]:
    cursors = [_Cursor(reader) for reader in readers]
    while cursors := [cursor for cursor in cursors if cursor.fill()]:
        # Whatever is not above the least of the buffers' ends is all there: what is still unread lies above. One buffer
        # is used up each time.
        bound = min((cursor.buffer.hi[-1], cursor.buffer.lo[-1]) for cursor in cursors)
        yield join_runs([run for cursor in cursors if len(run := cursor.take_through(*bound))])


class _Cursor:
    """How far one input was merged."""

    def __init__(self, reader: _Reader) -> None:
        self._reader: Final = reader
        self._next_row = 0
        self.buffer = EMPTY_RUN

    def fill(self) -> bool:
        """Whether anything is left, with some of it in the buffer."""
        if not len(self.buffer):
            self.buffer = self._reader(self._next_row)
            self._next_row += len(self.buffer)
        return bool(len(self.buffer))

    def take_through(self, hi: np.uint64, lo: np.uint64) -> Run:
        """Takes what is not above (`hi`, `lo`) out of the buffer."""
        count = self.buffer.count_through(hi, lo)
        taken, self.buffer = self.buffer.part(0, count), self.buffer.part(count, len(self.buffer))
        return taken
