"""The daemon as it follows a log: how long until an event is durable, what that writes, what idleness costs, how fast a restart is.

Always: latencies are from just before the append of event n to the look that finds a checkpoint which counts n + 1 records; the
looks follow each other within microseconds. A checkpoint is seen when it is renamed; the fsync of its folder still follows. The
fsync of the same file system stands beside them.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Final

import event_processor
from benchmarks.generate import LogShape, blocks, write_log
from benchmarks.measure import Running
from benchmarks.progress import Progress
from benchmarks.results import Json
from benchmarks.subjects import Pipeline
from benchmarks.watch import Commits, cpu_s, drop_caches, written

__all__ = ["LivePlan", "fsync_times_ms", "measure_live", "restart_times_s"]

SHAPE: Final = LogShape()
LIMIT_S: Final = 60.0
EACH_EVENT: Final = "[batch]\npace_ms = 0\n"
"""Latencies are of commits that are not held; `quiet.py` has the others."""


@dataclass(frozen=True, slots=True)
class LivePlan:
    """How much: for each rate (events a second) the seconds; how long idleness is waited for and watched, the files of each glob; fsyncs, restarts."""

    rates: Sequence[tuple[int, float]] = ((20, 20.0), (1_000, 15.0))
    settle_s: float = 2.0
    idle_s: float = 10.0
    files: Sequence[int] = (1, 1_000)
    fsyncs: int = 300
    restart_records: int = 1_000_000
    restarts: int = 5


def measure_live(folder: Path, plan: LivePlan, progress: Progress) -> Json:
    """All of it: the results, by name."""
    results: Json = {"rates": {}, "idle": {}}
    for rate, duration_s in plan.rates:
        progress.say(f"live: {rate} events a second")
        results["rates"][str(rate)] = _at_rate(folder / f"rate-{rate}", rate, duration_s, plan.fsyncs)
    for files in plan.files:
        progress.say(f"live: idle, {files} files")
        results["idle"][str(files)] = _idle(folder / f"idle-{files}", files, plan)
    progress.say("live: restarts")
    results["restart"] = _restarts(folder / "restart", plan)
    return results


def fsync_times_ms(folder: Path, count: int) -> list[float]:
    """How long an fsync behind a small append takes, ascending."""
    times = []
    descriptor = os.open(folder / "fsync", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    try:
        for _ in range(count):
            os.write(descriptor, b"x" * 100)
            start_s = time.perf_counter()
            os.fsync(descriptor)
            times.append((time.perf_counter() - start_s) * 1e3)
    finally:
        os.close(descriptor)
    return sorted(times)


@contextmanager
def _following(pipeline: Pipeline) -> Iterator[Running]:
    """The daemon over the pipeline, stopped at the end by a signal, as an operator would."""
    with Running(pipeline.command()) as daemon:
        yield daemon
        daemon.send(signal.SIGTERM)
        daemon.wait(LIMIT_S)


def _at_rate(folder: Path, rate: int, duration_s: float, fsyncs_count: int) -> Json:
    """A paced writer, and the time of every event until it is durable."""
    folder.mkdir()
    log = folder / "log.jsonl"
    pipeline = Pipeline(folder, log, EACH_EVENT)
    write_log(log, SHAPE, 0, 1)
    with _following(pipeline) as daemon:
        commits = Commits(pipeline.checkpoint)
        commits.wait_for(1, LIMIT_S)
        fsyncs = fsync_times_ms(folder, fsyncs_count)
        lines = b"".join(blocks(SHAPE, 1, 1 + round(rate * duration_s))).splitlines(keepends=True)
        bytes_before, cpu_before_s = written(daemon.process_id), cpu_s(daemon.process_id)
        start_s = time.perf_counter()
        latencies_ms = sorted(_append_paced(log, lines, rate, commits))
        elapsed_s = time.perf_counter() - start_s
        cpu_used_s, bytes_after = cpu_s(daemon.process_id) - cpu_before_s, written(daemon.process_id)
    return {
        "events": len(lines),
        "median_ms": round(median(latencies_ms), 3),
        "p99_ms": round(latencies_ms[int(len(latencies_ms) * 0.99)], 3),
        "max_ms": round(latencies_ms[-1], 3),
        "fsync_median_ms": round(median(fsyncs), 3),
        "fsync_p99_ms": round(fsyncs[int(len(fsyncs) * 0.99)], 3),
        "written_bytes_per_event": round((bytes_after[0] - bytes_before[0]) / len(lines)),
        "dirtied_bytes_per_event": round((bytes_after[1] - bytes_before[1]) / len(lines)),
        "cpu_percent": round(cpu_used_s / elapsed_s * 100, 1),
    }


def _append_paced(log: Path, lines: Sequence[bytes], rate: int, commits: Commits) -> list[float]:
    """Appends each line when it is due; milliseconds for each until a checkpoint counts it."""
    before = commits.records
    appended_s: list[float] = []
    latencies_ms: list[float] = []
    descriptor = os.open(log, os.O_WRONLY | os.O_APPEND)
    start_s = time.perf_counter()
    limit_s = start_s + len(lines) / rate + LIMIT_S
    try:
        while len(latencies_ms) < len(lines) and (now_s := time.perf_counter()) < limit_s:
            if len(appended_s) < len(lines) and now_s >= start_s + len(appended_s) / rate:
                appended_s.append(time.perf_counter())
                os.write(descriptor, lines[len(appended_s) - 1])
            if commits.look():
                seen_s = time.perf_counter()
                latencies_ms += [(seen_s - each_s) * 1e3 for each_s in appended_s[len(latencies_ms) : commits.records - before]]
    finally:
        os.close(descriptor)
    commits.wait_for(before + len(lines), 0.0)
    return latencies_ms


def _idle(folder: Path, files: int, plan: LivePlan) -> Json:
    """The share of a core that the daemon takes while nothing is appended."""
    logs = folder / "logs"
    logs.mkdir(parents=True)
    for number in range(files):
        write_log(logs / f"{number}.jsonl", SHAPE, number * 3, number * 3 + 3)
    pipeline = Pipeline(folder, logs / "0.jsonl", glob=str(logs / "*.jsonl"))
    with _following(pipeline) as daemon:
        Commits(pipeline.checkpoint).wait_for(3 * files, LIMIT_S)
        time.sleep(plan.settle_s)
        before_s, start_s = cpu_s(daemon.process_id), time.monotonic()
        time.sleep(plan.idle_s)
        percent = (cpu_s(daemon.process_id) - before_s) / (time.monotonic() - start_s) * 100
    return {"cpu_percent": round(percent, 2), "seconds": plan.idle_s}


def _restarts(folder: Path, plan: LivePlan) -> Json:
    """From the start of the process to its first new commit, over a state of so many records."""
    folder.mkdir()
    log = folder / "log.jsonl"
    pipeline = Pipeline(folder, log)
    write_log(log, SHAPE, 0, plan.restart_records)
    with Running(pipeline.command("--once")) as first:
        first.wait()
    times = restart_times_s(pipeline, SHAPE, plan.restart_records, plan.restarts)
    return {"records": plan.restart_records, **times}


def restart_times_s(pipeline: Pipeline, shape: LogShape, records: int, restarts: int) -> Json:
    """The log holds so many records, all committed; each restart appends one more. `cold`: state, log and programs not in the page cache."""
    times: dict[str, list[float]] = {"warm": [], "cold": []}
    programs = [
        Path(module.__file__ or "").parent for module in (event_processor, __import__("numpy"), __import__("pydantic_core"))
    ]
    commits = Commits(pipeline.checkpoint)
    for kind in ["warm"] * restarts + ["cold"] * restarts:
        write_log(pipeline.log, shape, records, records + 1)
        records += 1
        if kind == "cold":
            drop_caches([pipeline.folder, pipeline.log, *programs])
        start_s = time.perf_counter()
        with _following(pipeline):
            commits.wait_for(records, LIMIT_S)
            times[kind].append(time.perf_counter() - start_s)
    return {f"{kind}_s": round(median(each), 3) for kind, each in times.items()}
