"""Ids whose fingerprints were computed and sorted before the index asks for them: in another process, ahead of time.

Always: what was prepared under one hash and seed is used under no other.
"""

from __future__ import annotations

from dataclasses import dataclass

from event_processor.contracts import IdColumn, IntArray
from event_processor.deduplication.fingerprint import Fingerprinter
from event_processor.deduplication.runs import Run, sort_rows
from event_processor.id_columns import TextIds

__all__ = ["SortedFingerprints", "prepared"]


@dataclass(frozen=True, slots=True)
class SortedFingerprints:
    """The fingerprints of a column of m ids in ascending order (`run`), each one's place in the column (`places`, m), and their hash.

    It is of use to nobody but the index.
    """

    run: Run
    places: IntArray
    algorithm: str
    seed: str

    def __len__(self) -> int:
        return len(self.run)


def prepared(ids: IdColumn, fingerprinter: Fingerprinter) -> SortedFingerprints:
    """What the index needs of the ids; and of texts what it will ask them for, `TextIds.peaks`, which they keep."""
    if isinstance(ids, TextIds):
        _ = ids.peaks
    run, places = sort_rows(fingerprinter.rows(ids))
    return SortedFingerprints(run, places, fingerprinter.algorithm, fingerprinter.seed)
