"""What the tests of the index of seen ids share: tiny limits, a hash that collides on purpose, merges that run when told to."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np

from event_processor.deduplication.fingerprints import Algorithm, Fingerprinter, RowArray, Xxh3Fingerprinter
from event_processor.deduplication.index import DedupIndex, IndexLimits
from event_processor.deduplication.merge import Executor, Inline
from event_processor.deduplication.segment_format import Geometry, Manifest
from event_processor.deduplication.writer import Mint
from event_processor.model.columns import Ids
from event_processor.model.event import EventId, Json
from event_processor.model.telemetry import Telemetry
from event_processor.storage.durable import FileSystem

Result = TypeVar("Result")

DIRECTORY = "/state/ids"
TINY = IndexLimits(
    seal_ids=16, merge_segments=2, merge_segments_above=2, merge_segments_max=4, geometry=Geometry(block_rows=4, section_blocks=2)
)


class Colliding:
    """Keeps the hash's `lo` whole and only `hi_bits` of its `hi`, so that many ids share it."""

    algorithm: Algorithm = "xxh3"
    seed = "00" * 8

    def __init__(self, hi_bits: int) -> None:
        self._whole = Xxh3Fingerprinter(bytes(8))
        self._shift = np.uint64(64 - hi_bits)

    def rows(self, ids: Ids) -> RowArray:
        rows = self._whole.rows(ids).copy()
        rows[:, 0] = rows[:, 0] >> self._shift << self._shift
        return rows


class Delayed:
    """Keeps each job until the test lets it run."""

    def __init__(self) -> None:
        self.jobs: list[Callable[[], None]] = []

    def submit(self, job: Callable[[], Result]) -> Future[Result]:
        future: Future[Result] = Future()

        def run() -> None:
            if not future.set_running_or_notify_cancel():
                return
            try:
                result = job()
            except BaseException as error:  # noqa: BLE001 - a simulated crash, too, belongs to who asks for the result
                future.set_exception(error)
            else:
                future.set_result(result)

        self.jobs.append(run)
        return future

    def run(self) -> None:
        jobs, self.jobs = self.jobs, []
        for job in jobs:
            job()


@dataclass
class Committed:
    """What a checkpoint would hold, and the ids that it covers."""

    manifest: Mapping[str, Json] = field(default_factory=dict)
    appended: Mapping[str, int] = field(default_factory=dict)
    ids: frozenset[EventId] = frozenset()

    @property
    def files(self) -> set[str]:
        return set(Manifest.of(self.manifest).file_names) if self.manifest else set()


class Names:
    """`kind-1`, `kind-2`, …: never one twice, over all restarts."""

    def __init__(self) -> None:
        self._count = 0

    def __call__(self, kind: str) -> str:
        self._count += 1
        return f"{kind}-{self._count}"


def open_index(
    fs: FileSystem,
    committed: Committed | None = None,
    *,
    fingerprinter: Fingerprinter | None = None,
    executor: Executor | None = None,
    limits: IndexLimits = TINY,
    mint: Mint | None = None,
) -> DedupIndex:
    """The index as `committed` left it."""
    committed = committed or Committed()
    return DedupIndex(
        fs,
        DIRECTORY,
        manifest=committed.manifest or None,
        committed_bytes=sum(committed.appended.values()),
        fingerprinter=fingerprinter or Xxh3Fingerprinter(bytes(8)),
        telemetry=Telemetry(),
        executor=executor or Inline(),
        limits=limits,
        mint=mint or Names(),
    )


def first_times(ids: Sequence[EventId], seen: set[EventId]) -> list[bool]:
    """The definition: an id is new unless it stood earlier. `1` and `"1"` are two; Python's own set says the same of them."""
    news = []
    for event_id in ids:
        news.append(event_id not in seen)
        seen.add(event_id)
    return news


def commit(index: DedupIndex, seen: set[EventId]) -> Committed:
    """Takes and writes everything observed."""
    taken = index.take()
    manifest = taken.write()
    return Committed(manifest, taken.appended(), frozenset(seen))
