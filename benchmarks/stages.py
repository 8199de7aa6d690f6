"""Where the time of a backlog goes, stage by stage, in one process.

Owns: the seams, functions of the package by name, each wrapped by a clock for the time of one run; what a stage calls in another
stage is the other's. Work in other threads is told apart: it overlaps.
Always: the sum is more than an undisturbed run takes, since clocks cost too, and threads wait for one another; the undisturbed run
stands beside it. A seam that is no longer there is left out, and named.
"""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import wraps
from importlib import import_module
from pathlib import Path
from typing import Any, Final, TypeAlias

from benchmarks.generate import LogShape
from benchmarks.progress import Progress
from benchmarks.results import Json
from benchmarks.subjects import Logs, Pipeline, check
from event_processor import build, load

__all__ = ["SEAMS", "Clocks", "Seams", "measure_stages", "timed_seams"]

Seams: TypeAlias = Sequence[tuple[str, str, str]]
SEAMS: Final[Seams] = (
    ("read the log", "event_processor.connectors.files.following.source", "FileSource.read"),
    ("decode and judge", "event_processor.records.json_lines.format", "JsonLinesFormat.decode"),
    ("hash ids", "event_processor.deduplication.fingerprints", "Xxh3Fingerprinter.rows"),
    ("look up ids", "event_processor.deduplication.index", "DedupIndex.observe"),
    ("totals", "event_processor.engine.step", "add_batch"),
    ("order", "event_processor.engine.order", "OrderStage.push"),
    ("the rest of the step", "event_processor.engine.loop", "advance"),
    ("append ids", "event_processor.deduplication.writer", "Commit.write"),
    ("seal a segment", "event_processor.deduplication.writer", "IndexWriter.seal"),
    ("merge segments", "event_processor.deduplication.index", "DedupIndex._merged"),
    ("encode the checkpoint", "event_processor.engine.checkpoint_document", "CheckpointEncoder.encode"),
    ("save the checkpoint", "event_processor.engine.checkpoint", "CheckpointStore.save"),
    ("the rest of the loop", "event_processor.engine.loop", "Processor.run"),
    ("write", "event_processor.storage.file_system", "OperatingSystem.write"),
    ("fsync", "event_processor.storage.file_system", "OperatingSystem.sync"),
    ("fsync of folders", "event_processor.storage.file_system", "OperatingSystem.sync_directory"),
)
"""A stage, and where it is entered: module, and function or method."""


class Clocks:
    """The time of each stage, what it calls in others left out, by whether it was in the main thread."""

    def __init__(self, now_ns: Callable[[], int] = time.perf_counter_ns) -> None:
        self._now_ns: Final = now_ns
        self.spent_ns: Final[dict[tuple[str, bool], int]] = defaultdict(int)
        self._inner: Final = threading.local()
        self._lock: Final = threading.Lock()

    @property
    def stage(self) -> str:
        """The stage that the calling thread is in; empty if it is in none."""
        return getattr(self._inner, "stage", "")

    def wrapped(self, stage: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function, timed."""

        @wraps(function)
        def timed(*arguments: Any, **named: Any) -> Any:
            outer_ns, self._inner.ns = getattr(self._inner, "ns", 0), 0
            outer, self._inner.stage = self.stage, stage
            start_ns = self._now_ns()
            try:
                return function(*arguments, **named)
            finally:
                span_ns = self._now_ns() - start_ns
                with self._lock:
                    self.spent_ns[stage, threading.current_thread() is threading.main_thread()] += span_ns - self._inner.ns
                self._inner.ns, self._inner.stage = outer_ns + span_ns, outer

        return timed


@contextmanager
def timed_seams(clocks: Clocks, seams: Seams = SEAMS) -> Iterator[list[str]]:
    """Inside, every seam is timed; gives the names of the stages whose seam is not there."""
    missing = []
    with ExitStack() as undone:
        for stage, module, name in seams:
            owner: Any = import_module(module)
            *path, last = name.split(".")
            for each in path:
                owner = getattr(owner, each, None)
            function = getattr(owner, last, None)
            if function is None:
                missing.append(stage)
                continue
            setattr(owner, last, clocks.wrapped(stage, function))
            undone.callback(setattr, owner, last, function)
        yield missing


def measure_stages(folder: Path, records: int, progress: Progress) -> Json:
    """One backlog of the plain shape, undisturbed and then with clocks: nanoseconds an event by stage."""
    logs, shape = Logs(folder), LogShape()
    pipeline = Pipeline(folder / "pipeline", logs.log(shape, records))
    expected = logs.outcomes(shape, records)
    walls_ns = []
    clocks = Clocks()
    missing: list[str] = []
    for disturbed in (False, False, True):
        progress.say(f"stages: {records} records{', with clocks' if disturbed else ''}")
        pipeline.remove_state()
        with ExitStack() as around:
            if disturbed:
                missing = around.enter_context(timed_seams(clocks))
            processor = around.enter_context(build(load(str(pipeline.configuration))))
            start_ns = time.perf_counter_ns()
            processor.run()
            walls_ns.append(time.perf_counter_ns() - start_ns)
        check(pipeline.checkpoint, expected)
    return {
        "records": records,
        "undisturbed_ns": round(min(walls_ns[:-1]) / records, 1),
        "with_clocks_ns": round(walls_ns[-1] / records, 1),
        "missing": missing,
        "stages": [
            {
                "stage": stage,
                "main_ns": round(clocks.spent_ns[stage, True] / records, 1),
                "other_ns": round(clocks.spent_ns[stage, False] / records, 1),
            }
            for stage, _, _ in SEAMS
            if stage not in missing
        ],
    }
