"""Many segments, or the runs of a generation, into one, as a stream.

Always: memory is one buffer an input, whatever their size. The inputs are only read.
Never: a merge decides nothing: what it made counts once a checkpoint names it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np

from event_processor.deduplication.runs import EMPTY_RUN, Run, join_runs
from event_processor.deduplication.segments import Segment
from event_processor.native.fingerprints import KERNELS, FingerprintKernels

__all__ = ["joined_parts", "merged_by_numpy", "merged_runs"]

_BUFFER_BLOCKS: Final = 64
"""128 KiB an input: reads long enough to be sequential, and 8 MiB for 64 inputs."""
_PART_ROWS: Final = 8192
"""As many as a buffer of an input holds."""


def merged_runs(segments: Sequence[Segment]) -> Iterator[Run]:
    """All fingerprints of `segments`, ascending, in runs as they come. Raises `StateError`, `StorageError`."""
    if KERNELS is None:
        yield from merged_by_numpy(segments)
        return
    yield from _merged_by(KERNELS, [segment.runs(_BUFFER_BLOCKS) for segment in segments])


def joined_parts(runs: Sequence[Run]) -> Iterator[Run]:
    """All fingerprints of `runs`, ascending, in parts. No fingerprint may stand in two runs."""
    if KERNELS is None:
        yield join_runs(runs)
        return
    # To touch the same little memory again and again costs less than to join all at once.
    yield from _merged_by(KERNELS, [_parts(run) for run in runs])


def _parts(run: Run) -> Iterator[Run]:
    return (run.part(start, start + _PART_ROWS) for start in range(0, len(run), _PART_ROWS))


def _merged_by(kernels: FingerprintKernels, sources: Sequence[Iterator[Run]]) -> Iterator[Run]:
    """All that the sources give, as `merged_by_numpy` does it; where each buffer stands is kept as the kernel takes it."""
    buffers = kernels.buffers(len(sources))
    while True:
        for number in buffers.empty():
            run = next(sources[number], EMPTY_RUN)
            buffers.fill(number, (run.hi, run.lo))
        joined = Run(*buffers.take())
        if not len(joined):
            return
        yield joined


def merged_by_numpy(segments: Sequence[Segment]) -> Iterator[Run]:
    """The twin of `merged_runs`."""
    cursors = [_Cursor(segment) for segment in segments]
    while cursors := [cursor for cursor in cursors if cursor.fill()]:
        # Whatever is not above the least of the buffers' ends is all there: what is still unread lies above. One buffer
        # is used up each time.
        bound = min((cursor.buffer.hi[-1], cursor.buffer.lo[-1]) for cursor in cursors)
        yield join_runs([run for cursor in cursors if len(run := cursor.take_through(*bound))])


class _Cursor:
    """How far one input was merged."""

    def __init__(self, segment: Segment) -> None:
        self._runs: Final = segment.runs(_BUFFER_BLOCKS)
        self.buffer = EMPTY_RUN

    def fill(self) -> bool:
        """Whether anything is left, with some of it in the buffer."""
        if not len(self.buffer):
            self.buffer = next(self._runs, EMPTY_RUN)
        return bool(len(self.buffer))

    def take_through(self, hi: np.uint64, lo: np.uint64) -> Run:
        """Takes what is not above (`hi`, `lo`) out of the buffer."""
        count = self.buffer.count_through(hi, lo)
        taken, self.buffer = self.buffer.part(0, count), self.buffer.part(count, len(self.buffer))
        return taken
