"""Sorted runs of fingerprints: sort, search, join. The rest of the index builds on this arithmetic.

Owns: `Run`, and `SortedFingerprints`: ids hashed and sorted before the index needs them, ahead of time and in any process.
Always: a run is ascending by (hi, lo), holds no fingerprint twice, and never changes. Fingerprints prepared under one hash and
seed are used under no other.
Never: relies on distinct `hi` for correctness. It is only faster if most `hi` are distinct.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias, cast

import numpy as np
from numpy.typing import NDArray

from event_processor.columns.ids import TextIds
from event_processor.deduplication.fingerprints import Fingerprinter, RowArray
from event_processor.kernels.fingerprints import KERNELS
from event_processor.model.columns import BoolArray, IdColumn, IntArray

__all__ = [
    "EMPTY_RUN",
    "ROW_BYTES",
    "Run",
    "SortedFingerprints",
    "WordArray",
    "contains_by_numpy",
    "join_by_numpy",
    "join_runs",
    "prepared",
    "sort_by_numpy",
    "sort_rows",
]

WordArray: TypeAlias = NDArray[np.uint64]

ROW_BYTES: Final = 16


@dataclass(frozen=True, slots=True, eq=False)
class Run:
    """n fingerprints, ascending and distinct: `hi` and `lo`, (n,) each, as separate columns or as views of rows."""

    hi: WordArray
    lo: WordArray

    def __len__(self) -> int:
        return len(self.hi)

    def rows(self) -> RowArray:
        """(n, 2), as on disk."""
        if KERNELS is not None:
            return KERNELS.rows_of((self.hi, self.lo))
        rows = np.empty((len(self.hi), 2), dtype="<u8")
        rows[:, 0] = self.hi
        rows[:, 1] = self.lo
        return rows

    def part(self, start: int, end: int) -> Run:
        """The fingerprints from `start` up to `end`, as a view."""
        return Run(self.hi[start:end], self.lo[start:end])

    def picked(self, which: BoolArray | IntArray) -> Run:
        """The fingerprints that `which` (a mask, or ascending places) selects, as a copy."""
        if KERNELS is not None and which.dtype == np.bool_:
            return Run(*KERNELS.pick(cast("BoolArray", which), (self.hi, self.lo)))
        return Run(self.hi[which], self.lo[which])

    def contains(self, sought: Run) -> BoolArray:
        """For each fingerprint of `sought`, whether it is in this run. `sought` may contain repetitions."""
        if KERNELS is None:
            return contains_by_numpy(self, sought)
        return KERNELS.contains((self.hi, self.lo), (sought.hi, sought.lo))

    def count_through(self, hi: np.uint64, lo: np.uint64) -> int:
        """How many fingerprints are not greater than (`hi`, `lo`)."""
        start, end = (int(np.searchsorted(self.hi, hi, side=side)) for side in ("left", "right"))
        return start + int(np.searchsorted(self.lo[start:end], lo, side="right"))


EMPTY_RUN: Final = Run(np.empty(0, dtype=np.uint64), np.empty(0, dtype=np.uint64))


def sort_rows(rows: RowArray) -> tuple[Run, IntArray]:
    """Returns `rows` in ascending order, and the place of each in `rows`. Equal rows keep the order of their places.

    The result is a `Run` except for repetitions, which the caller removes.
    """
    if KERNELS is None:
        return sort_by_numpy(rows)
    hi, lo, places = KERNELS.sort_rows(rows)
    return Run(hi, lo), places


def join_runs(runs: Sequence[Run]) -> Run:
    """Joins all into one run. No two may hold the same fingerprint."""
    if len(runs) == 1:
        return runs[0]
    if KERNELS is None or not runs:
        return join_by_numpy(runs)
    return Run(*KERNELS.join([(run.hi, run.lo) for run in runs]))


def contains_by_numpy(held: Run, sought: Run) -> BoolArray:
    """As `Run.contains`, in numpy, without the kernel."""
    if not len(held):
        return np.zeros(len(sought), dtype=np.bool_)
    places = np.searchsorted(held.hi, sought.hi)
    np.minimum(places, len(held) - 1, out=places)
    same_hi = held.hi[places] == sought.hi
    found: BoolArray = same_hi & (held.lo[places] == sought.lo)
    for tied in (same_hi & ~found).nonzero()[0]:
        # Another fingerprint with the same `hi` comes first. One case in 2^64 in real data; a test makes many.
        found[tied] = _ties_contain(held, sought.hi[tied], sought.lo[tied], int(places[tied]))
    return found


def _ties_contain(held: Run, hi: np.uint64, lo: np.uint64, start: int) -> bool:
    """Whether (`hi`, `lo`) is among the rows from `start` that share `hi`."""
    end = start + int(np.searchsorted(held.hi[start:], hi, side="right"))
    place = start + int(np.searchsorted(held.lo[start:end], lo))
    return place < end and bool(held.lo[place] == lo)


def sort_by_numpy(rows: RowArray) -> tuple[Run, IntArray]:
    """As `sort_rows`, in numpy, without the kernel."""
    hi, lo = rows[:, 0], rows[:, 1]
    order = _order(hi, lo)
    return Run(hi[order], lo[order]), order


def _order(hi: WordArray, lo: WordArray) -> IntArray:
    """Returns the stable ascending order by (hi, lo).

    Sorts one word per row: `hi` with its low bits replaced by the row's place. A plain sort of words is several times as fast
    as a sort of indices. Rows whose remaining high bits tie (mostly repetitions) are then sorted separately.
    """
    place_bits = max(len(hi) - 1, 1).bit_length()
    place_mask = np.uint64((1 << place_bits) - 1)
    keys = hi & ~place_mask
    keys |= np.arange(len(hi), dtype=np.uint64)
    keys.sort()
    order: IntArray = (keys & place_mask).view(np.int64)
    keys >>= np.uint64(place_bits)
    tied = (keys[1:] == keys[:-1]).nonzero()[0]
    if len(tied):
        slots = np.union1d(tied, tied + 1)
        places = order[slots]
        # The slots of a tie are neighbours, and ties keep their order: sorting all slots together mixes no two ties.
        order[slots] = places[np.lexsort((places, lo[places], hi[places]))]
    return order


def join_by_numpy(runs: Sequence[Run]) -> Run:
    """As `join_runs`, in numpy, without the kernel."""
    hi = np.concatenate([EMPTY_RUN.hi, *(run.hi for run in runs)])
    lo = np.concatenate([EMPTY_RUN.lo, *(run.lo for run in runs)])
    order = _order(hi, lo)
    return Run(hi[order], lo[order])


@dataclass(frozen=True, slots=True)
class SortedFingerprints:
    """The fingerprints of a column of m ids in ascending order (`run`), the place of each (`places`, (m,)), and their hash.

    Only the index uses it.
    """

    run: Run
    places: IntArray
    algorithm: str
    seed: str

    def __len__(self) -> int:
        return len(self.run)


def prepared(ids: IdColumn, fingerprinter: Fingerprinter) -> SortedFingerprints:
    """Computes ahead of time what the index needs of the ids. Texts also cache their `TextIds.peaks`, which it asks for."""
    if isinstance(ids, TextIds):
        _ = ids.peaks
    run, places = sort_rows(fingerprinter.rows(ids))
    return SortedFingerprints(run, places, fingerprinter.algorithm, fingerprinter.seed)
