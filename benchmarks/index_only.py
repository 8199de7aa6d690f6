"""The index of seen ids without a log: `python -m benchmarks.index_only --ids 1000000 --kind uuid4`.

Prints one line of JSON: nanoseconds an id to observe and to commit, early (1 to 11 %) and late (the last 10 %), the slowest batch,
anonymous memory beyond that of the empty index, and how long opening it again takes. Making the ids is not counted.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np

from benchmarks.generate import IdKind, LogShape, id_texts
from benchmarks.watch import anonymous_bytes
from event_processor.columns.ids import IntegerIds, TextIds
from event_processor.deduplication.fingerprints import mint_fingerprinter, open_fingerprinter
from event_processor.deduplication.index import DedupIndex
from event_processor.deduplication.merge import BackgroundThreads
from event_processor.model.columns import IdColumn
from event_processor.model.event import Json
from event_processor.model.telemetry import Telemetry
from event_processor.storage.durable import OperatingSystem

EARLY: Final = (0.01, 0.11)
LOOK_BATCHES: Final = 10
LATE: Final = (0.90, 1.00)


def main() -> None:
    """Fills one index, and tells."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--ids", type=int, default=1_000_000)
    parser.add_argument("--batch", type=int, default=43_000)
    parser.add_argument("--kind", choices=["string", "integer", "uuid4"], default="string")
    parser.add_argument("--dir", default=None, help="where the index is made (a temporary folder)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.dir) as folder:
        print(json.dumps(filled(str(Path(folder) / "ids"), options.ids, options.batch, options.kind)))


def filled(directory: str, ids: int, batch: int, kind: IdKind) -> dict[str, float]:
    """Observes and commits so many new ids, batch by batch; the figures."""
    index = opened(directory, None, 0)
    base_bytes = anonymous_bytes(os.getpid())
    done, slowest_s, anonymous_max = 0, 0.0, base_bytes
    spans: list[tuple[int, float]] = []
    manifest: dict[str, Json] = {}
    appended_bytes = 0
    for column in columns(ids, batch, kind):
        start_s = time.perf_counter()
        index.observe(column)
        commit = index.take()
        manifest, appended_bytes = dict(commit.write()), sum(commit.appended().values())
        span_s = time.perf_counter() - start_s
        done += len(column)
        spans.append((done, span_s))
        slowest_s = max(slowest_s, span_s)
        if len(spans) % LOOK_BATCHES == 0 or done == ids:
            anonymous_max = max(anonymous_max, anonymous_bytes(os.getpid()))
    index.close()
    start_s = time.perf_counter()
    opened(directory, manifest, appended_bytes).close()
    return {
        "ids": ids,
        "early_ns": round(mean_ns(spans, batch, *EARLY), 1),
        "late_ns": round(mean_ns(spans, batch, *LATE), 1),
        "slowest_batch_ms": round(slowest_s * 1e3, 1),
        "anonymous_bytes_max": anonymous_max - base_bytes,
        "reopen_s": round(time.perf_counter() - start_s, 3),
    }


def mean_ns(spans: list[tuple[int, float]], batch: int, first: float, last: float) -> float:
    """Nanoseconds an id of the batches that end between two shares of the whole."""
    total = spans[-1][0]
    chosen = [span_s for done, span_s in spans if first * total < done <= last * total] or [spans[-1][1]]
    return sum(chosen) * 1e9 / (len(chosen) * batch)


def opened(directory: str, manifest: dict[str, Json] | None, committed_bytes: int) -> DedupIndex:
    """The index as the manifest says, with merges in the background."""
    fingerprinter = mint_fingerprinter("xxh3") if manifest is None else open_fingerprinter("xxh3", str(manifest["seed"]))
    return DedupIndex(
        OperatingSystem(),
        directory,
        manifest=manifest,
        committed_bytes=committed_bytes,
        fingerprinter=fingerprinter,
        telemetry=Telemetry(),
        executor=BackgroundThreads(),
    )


def columns(ids: int, batch: int, kind: IdKind) -> Iterator[IdColumn]:
    """New ids, in the form in which they come out of a decoded chunk."""
    shape = LogShape(ids=kind)
    for start in range(0, ids, batch):
        numbers = np.arange(start, min(start + batch, ids), dtype=np.int64)
        if kind == "integer":
            yield IntegerIds(numbers)
        else:
            texts = id_texts(shape, numbers)
            width = texts.shape[1]
            begins = np.arange(len(numbers), dtype=np.int64) * width + 1
            yield TextIds(texts.tobytes(), begins, begins + width - 2)


if __name__ == "__main__":
    main()
