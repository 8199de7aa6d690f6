"""Merges many segments, or the runs of a generation, into a stream of sections; and the threads in which merges run.

Owns: the merge, step by step; the executors; and `Turns`, so that no commit waits for a merge.
Always: memory is one buffer per input and one section, whatever the size of the inputs. Inputs are only read. A job's result or
failure is in its future; no thread loses one. Of the jobs under way, the one of the lowest rank goes on.
Never: commits anything: a merge counts only once a checkpoint names its output. A job does not outlive the process: the threads
are daemons, and an unfinished job leaves an orphan file.
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
    """Runs jobs, at any time. The index has at most one job per level under way, and all but one of them wait for their turn."""

    def submit(self, job: Callable[[], Result]) -> Future[Result]:
        """Starts a job, and returns its future. Does not raise what the job raises."""
        ...


class BackgroundThreads:
    """Runs each job in a daemon thread of its own."""

    def submit(self, job: Callable[[], Result]) -> Future[Result]:
        future: Future[Result] = Future()
        Thread(target=_run, args=(job, future), name="ids-merge", daemon=True).start()
        return future


class Inline:
    """Runs a job at once, in the caller's thread: for a command that has nothing else to do, and for repeatable tests."""

    def submit(self, job: Callable[[], Result]) -> Future[Result]:
        future: Future[Result] = Future()
        _run(job, future)
        return future


class Turns:
    """Lets one of several jobs run: the job under way with the lowest rank. All their threads use it."""

    def __init__(self) -> None:
        self._changed: Final = Condition()
        self._ranks: Final[list[int]] = []

    @contextmanager
    def under_way(self, rank: int) -> Iterator[None]:
        """A job of this rank is under way within this context: jobs of higher ranks wait meanwhile."""
        with self._changed:
            self._ranks.append(rank)
        try:
            yield
        finally:
            with self._changed:
                self._ranks.remove(rank)
                self._changed.notify_all()

    def wait(self, rank: int) -> None:
        """Returns when no job of a lower rank is under way. A job calls it between its steps."""
        with self._changed:
            self._changed.wait_for(lambda: self.may_go_on(rank))

    def may_go_on(self, rank: int) -> bool:
        """Whether no job of a lower rank is under way."""
        return min(self._ranks, default=rank) >= rank


def _run(job: Callable[[], Result], future: Future[Result]) -> None:
    """Runs the job and stores its result or its exception in `future`."""
    if not future.set_running_or_notify_cancel():
        return
    try:
        result = job()
    except BaseException as error:  # noqa: BLE001 - raised in the thread that asks for the result
        future.set_exception(error)
    else:
        future.set_result(result)


_BUFFER_BLOCKS: Final = 32
"""64 KiB per input: long enough for sequential reads, short enough that the merged rows stay in the processor's cache."""
_BUFFER_ROWS: Final = 4096

_Reader: TypeAlias = Callable[[int], Run]
"""Reads the rows of an input from a place on, as many as a buffer holds."""


def merged_sections(segments: Sequence[Segment], section_rows: int) -> Iterator[RowArray]:
    """Yields all fingerprints of `segments`, ascending, `section_rows` at a time; only the last section may be shorter.

    Each is valid until the next is asked for. Raises `StateError`, `StorageError`.
    """
    readers = [partial(segment.rows_from, blocks_max=_BUFFER_BLOCKS) for segment in segments]
    if KERNELS is None:
        return sections_by_numpy(readers, section_rows)
    buffer_rows = _BUFFER_BLOCKS * max(segment.block_rows for segment in segments)
    return _sections(KERNELS.merge([segment.for_kernel for segment in segments], buffer_rows), readers, section_rows)


def joined_sections(runs: Sequence[Run], section_rows: int) -> Iterator[RowArray]:
    """As `merged_sections`, of `runs`. No two of them may hold the same fingerprint."""
    readers = [partial(_part, run) for run in runs]
    if KERNELS is None:
        return sections_by_numpy(readers, section_rows)
    return _sections(KERNELS.merge([None] * len(runs), _BUFFER_ROWS), readers, section_rows)


def _part(run: Run, first_row: int) -> Run:
    return run.part(first_row, first_row + _BUFFER_ROWS)


def _sections(merge: RowMerge, readers: Sequence[_Reader], section_rows: int) -> Iterator[RowArray]:
    """Yields what the kernel merges. Rows that it cannot read come from a reader, which also says what is wrong."""
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
    """As `merged_sections` and `joined_sections`, in numpy, without the kernel."""
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
        # Take every row up to the lowest of the buffers' ends: unread rows lie above it. This empties one buffer per step.
        bound = min((cursor.buffer.hi[-1], cursor.buffer.lo[-1]) for cursor in cursors)
        yield join_runs([run for cursor in cursors if len(run := cursor.take_through(*bound))])


class _Cursor:
    """The progress of the merge in one input."""

    def __init__(self, reader: _Reader) -> None:
        self._reader: Final = reader
        self._next_row = 0
        self.buffer = EMPTY_RUN

    def fill(self) -> bool:
        """Fills an empty buffer. Returns whether it holds rows; False at the end of the input."""
        if not len(self.buffer):
            self.buffer = self._reader(self._next_row)
            self._next_row += len(self.buffer)
        return bool(len(self.buffer))

    def take_through(self, hi: np.uint64, lo: np.uint64) -> Run:
        """Removes from the buffer the rows up to and including (`hi`, `lo`), and returns them."""
        count = self.buffer.count_through(hi, lo)
        taken, self.buffer = self.buffer.part(0, count), self.buffer.part(count, len(self.buffer))
        return taken
