"""The daemon and the index at a hundred million ids: whether the last cost what the first did.

Owns: the trace of one long run, read from its checkpoints and from the kernel as it goes; the same in a memory cgroup.
Always: the whole log is there before the daemon starts, so that nothing but the daemon takes time; `space_needed` says how much disk that is.
Where there is too little, or no cgroup can be made, that is said in the results, and the rest is measured.
"""

from __future__ import annotations

import json
import shutil
import sys
import time
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path
from typing import Final

from benchmarks.cgroup import CgroupUnavailableError, memory_cgroup
from benchmarks.generate import IdKind, LogShape, outcomes, write_log
from benchmarks.live import restart_times_s
from benchmarks.measure import MeasurementError, Running, Usage, run
from benchmarks.progress import Progress
from benchmarks.results import Json
from benchmarks.subjects import Pipeline, check
from benchmarks.watch import Commits, anonymous_bytes, cpu_s, drop_caches

__all__ = ["KINDS", "ScalePlan", "Trace", "measure_scale", "space_needed"]

KINDS: Final[Sequence[IdKind]] = ("string", "uuid4")
LOOK_S: Final = 0.005
TOLD_S: Final = 2.0
RECORD_BYTES: Final = 125
INDEX_BYTES: Final = 50
WRITTEN_AT_ONCE: Final = 1_000_000
EARLY: Final = (0.01, 0.11)
LATE: Final = (0.90, 1.00)


@dataclass(frozen=True, slots=True)
class ScalePlan:
    """How many records, of which kinds of id, the memory of the cgroup in bytes (0: none), and how often they are read outside of it."""

    records: int = 100_000_000
    kinds: Sequence[IdKind] = KINDS
    memory_bytes: int = 1_000_000_000
    index_only: bool = True
    restarts: int = 5
    runs: int = 5


class Trace:
    """When a run had committed how many records, and what CPU time it had used by then."""

    def __init__(self) -> None:
        self._records: Final[list[int]] = []
        self._wall_s: Final[list[float]] = []
        self._cpu_s: Final[list[float]] = []

    def add(self, records: int, wall_s: float, cpu_s: float) -> None:
        """A commit that counts so many (more than the last), seen then."""
        self._records.append(records)
        self._wall_s.append(wall_s)
        self._cpu_s.append(cpu_s)

    def cost_ns(self, first: int, last: int) -> tuple[float, float]:
        """Wall and CPU nanoseconds a record between two counts of records; between two commits the line is straight."""
        spans = [(self._at(column, last) - self._at(column, first)) * 1e9 for column in (self._wall_s, self._cpu_s)]
        return spans[0] / (last - first), spans[1] / (last - first)

    def _at(self, column: Sequence[float], records: int) -> float:
        place = min(bisect_left(self._records, records), len(self._records) - 1)
        after = self._records[place]
        if place == 0 or after == records:
            return column[place]
        before = self._records[place - 1]
        return column[place - 1] + (column[place] - column[place - 1]) * (records - before) / (after - before)


def space_needed(records: int) -> int:
    """Bytes of disk: the log, the index, and the segments that a merge is about to replace."""
    return records * (RECORD_BYTES + INDEX_BYTES)


def measure_scale(folder: Path, plan: ScalePlan, progress: Progress) -> Json:
    """Every kind of id, alone and in the cgroup; then the index without a log: the results, by kind."""
    results: Json = {}
    for kind in plan.kinds:
        results[kind] = _measured(folder / kind, plan, kind, progress)
        shutil.rmtree(folder / kind, ignore_errors=True)
    if plan.index_only:
        results["index_only"] = {kind: _index_only(plan.records, kind, progress) for kind in plan.kinds}
    return results


def _measured(folder: Path, plan: ScalePlan, kind: IdKind, progress: Progress) -> Json:
    """One kind of id."""
    folder.mkdir(parents=True)
    free, needed = shutil.disk_usage(folder).free, space_needed(plan.records)
    if free < needed:
        return {"failed": f"needs {needed / 1e9:.0f} GB of disk, {free / 1e9:.0f} GB are free"}
    shape = LogShape(ids=kind)
    pipeline = Pipeline(folder, folder / "log.jsonl")
    for start in range(0, plan.records, WRITTEN_AT_ONCE):
        progress.say(f"scale, {kind}: writing the log, {start // 1_000_000} of {plan.records // 1_000_000} million records")
        write_log(pipeline.log, shape, start, min(start + WRITTEN_AT_ONCE, plan.records))
    try:
        results = _median_of([_followed(pipeline, shape, plan.records, progress) for _ in range(plan.runs)])
        size_bytes = pipeline.log.stat().st_size
        results["restart"] = restart_times_s(pipeline, shape, plan.records, plan.restarts)
        if plan.memory_bytes:
            with pipeline.log.open("r+b") as log:
                log.truncate(size_bytes)
            results["in_cgroup"] = _in_cgroup(pipeline, shape, plan, progress)
    except MeasurementError as error:
        return {"failed": str(error)}
    return results


def _median_of(runs: Sequence[Json]) -> Json:
    """The run whose ratio is the median of all (of two in the middle the greater), with the ratios of all."""
    ascending = sorted(runs, key=itemgetter("late_times_early"))
    return {**ascending[len(ascending) // 2], "late_times_early_all": [each["late_times_early"] for each in ascending]}


def _in_cgroup(pipeline: Pipeline, shape: LogShape, plan: ScalePlan, progress: Progress) -> Json:
    """The same again, within bounded memory; the log is not in the page cache, which counts too."""
    drop_caches([pipeline.log])
    try:
        with memory_cgroup(plan.memory_bytes) as cgroup:
            results = _followed(pipeline, shape, plan.records, progress, cgroup)
    except CgroupUnavailableError as error:
        return {"skipped": str(error)}
    except MeasurementError as error:
        return {"failed": str(error)}
    return {**results, "memory_bytes": plan.memory_bytes}


def _followed(pipeline: Pipeline, shape: LogShape, records: int, progress: Progress, cgroup: str = "") -> Json:
    """Runs over the whole log, and looks at it as it goes. Raises `MeasurementError`."""
    pipeline.remove_state()
    trace, commits, anonymous_max = Trace(), Commits(pipeline.checkpoint), 0
    with Running(pipeline.command("--once"), cgroup=cgroup) as daemon:
        told_s = 0.0
        while daemon.alive:
            if commits.look():
                now_s = time.perf_counter()
                trace.add(commits.records, now_s, cpu_s(daemon.process_id))
                anonymous_max = max(anonymous_max, anonymous_bytes(daemon.process_id))
                if now_s - told_s > TOLD_S:
                    told_s = now_s
                    progress.say(f"scale, {shape.ids}: {commits.records // 1_000_000} of {records // 1_000_000} million records")
            time.sleep(LOOK_S)
        usage = daemon.wait()
    check(pipeline.checkpoint, outcomes(shape, 0, records))
    return _told(pipeline, trace, usage, records, anonymous_max)


def _told(pipeline: Pipeline, trace: Trace, usage: Usage, records: int, anonymous_max: int) -> Json:
    """The figures of one run."""
    early, late = ([round(share * records) for share in span] for span in (EARLY, LATE))
    early_ns, late_ns = trace.cost_ns(*early), trace.cost_ns(*late)
    return {
        "records": records,
        "wall_s": round(usage.wall_s, 2),
        "early_ns": round(early_ns[0], 1),
        "late_ns": round(late_ns[0], 1),
        "early_cpu_ns": round(early_ns[1], 1),
        "late_cpu_ns": round(late_ns[1], 1),
        "late_times_early": round(late_ns[0] / early_ns[0], 3),
        "anonymous_bytes_max": anonymous_max,
        "peak_bytes": usage.peak_bytes,
        "written_bytes_per_event": round(usage.written_bytes / records, 1),
        "dirtied_bytes_per_event": round(usage.dirtied_bytes / records, 1),
        "checkpoint_bytes": pipeline.checkpoint.stat().st_size,
    }


def _index_only(records: int, kind: IdKind, progress: Progress) -> Json:
    """The index alone, in a process of its own: what it costs as it grows."""
    progress.say(f"scale: the index alone, {kind}")
    try:
        usage, said = run((sys.executable, "-m", "benchmarks.index_only", "--ids", str(records), "--kind", kind))
    except MeasurementError as error:
        return {"failed": str(error)}
    results: Json = json.loads(said.splitlines()[-1])
    return {**results, "peak_bytes": usage.peak_bytes, "written_bytes_per_id": round(usage.written_bytes / records, 1)}
