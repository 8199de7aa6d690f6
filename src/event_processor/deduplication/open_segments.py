"""The open segments of an index, asked together: for a whole batch in one call of a kernel, where there is one and the files are the system's.

Always: what the kernel does not settle is asked of the segments one by one, which check what they read and say what is wrong; and so is everything
where there is no kernel. Either way the answer is the same.
Never: a segment is changed here.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Final

import numpy as np

from event_processor.contracts import BoolArray, IntArray
from event_processor.deduplication.filter import BIT_PATTERNS, Probe
from event_processor.deduplication.runs import Run
from event_processor.deduplication.segments import Segment
from event_processor.durable import FileSystem
from event_processor.native.segments import DESCRIBED, HELD, KERNELS, LEFT, SegmentKernels

__all__ = ["OpenSegments"]


class OpenSegments:
    """Some segments, each owned from when it is added. Used by one thread, but that others read the segments meanwhile."""

    def __init__(self, fs: FileSystem) -> None:
        self._kernels: Final = KERNELS if fs.has_descriptors_of_the_system else None
        self._segments: list[Segment] = []
        self._described: IntArray = np.zeros((0, DESCRIBED), np.int64)

    def __len__(self) -> int:
        return len(self._segments)

    def __iter__(self) -> Iterator[Segment]:
        return iter(self._segments)

    def add(self, segment: Segment) -> None:
        self._set([*self._segments, segment])

    def close(self, segments: Collection[Segment]) -> None:
        """Closes these, and asks them no more. Nobody may be reading one of them."""
        self._set([segment for segment in self._segments if segment not in segments])
        for segment in segments:
            segment.close()

    def search(self, batch: Run, new: BoolArray) -> None:
        """Takes out of `new` (an answer a fingerprint of the batch) what a segment holds. Raises `StateError`, `StorageError`."""
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
        """As `search`, but for what it leaves, which stays in `new` no more: the places of these, ascending."""
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
            # Only what is still thought new is read for.
            hits = hits[new[hits]]
            if len(hits):
                new[hits[segment.contains(batch.picked(hits))]] = False

    def _set(self, segments: list[Segment]) -> None:
        self._segments = segments
        self._described = np.array([segment.described() for segment in segments], np.int64).reshape(-1, DESCRIBED)
