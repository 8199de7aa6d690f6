"""A quiet log: what the daemon costs while few events come, at each pace of commits, and what it costs at rest.

Always: each contestant follows a log of its own, and they take turns. The writer appends each event when it is due. CPU time is of the
process and of every process that it started; bytes are those that it passed to `write`; a latency is from just before the append to the look
that finds a checkpoint which counts the event. Between two looks the one that looks sleeps a millisecond, so it takes no core for itself.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Final

from benchmarks.generate import LogShape, blocks, write_log
from benchmarks.measure import Running, run
from benchmarks.progress import Progress
from benchmarks.results import Json
from benchmarks.subjects import PROGRAM, Pipeline
from benchmarks.watch import Commits, cpu_s, resident_bytes, written

__all__ = ["QuietPlan", "measure_quiet"]

SHAPE: Final = LogShape()
LIMIT_S: Final = 60.0
LOOK_S: Final = 0.001
SILENCE_S: Final = 0.7
"""Longer than any commit is held by default."""
PACES: Final = {"auto": "", "50 ms": "[batch]\npace_ms = 50\n", "each event": "[batch]\npace_ms = 0\n"}
COMMANDS: Final = ("version", "--help", "status")


@dataclass(frozen=True, slots=True)
class QuietPlan:
    """How much: for each rate (events a second) the seconds; single events after a silence; how often a command is started."""

    rates: Sequence[tuple[int, float]] = ((10, 15.0), (100, 10.0), (1_000, 10.0), (5_000, 10.0))
    paces: Sequence[str] = tuple(PACES)
    singles: int = 20
    starts: int = 5
    settle_s: float = 1.0


def measure_quiet(folder: Path, plan: QuietPlan, turns: int, progress: Progress) -> Json:
    """All of it: the results, by name; each is the median of its turns."""
    found: dict[str, dict[str, list[Json]]] = {}
    for turn in range(turns):
        for rate, duration_s in plan.rates:
            for pace in plan.paces:
                progress.say(f"quiet: {rate} events a second, {pace}, turn {turn + 1} of {turns}")
                place = folder / f"{rate}-{pace.replace(' ', '-')}-{turn}"
                found.setdefault(str(rate), {}).setdefault(pace, []).append(
                    _at_rate(place, (rate, duration_s), PACES[pace], plan.settle_s)
                )
    progress.say("quiet: single events, at rest, and starts")
    return {
        "rates": {rate: {pace: _medians(each) for pace, each in paces.items()} for rate, paces in found.items()},
        "rest": _at_rest(folder / "rest", plan),
    }


def _medians(turns: Sequence[Json]) -> Json:
    return {key: round(median(turn[key] for turn in turns), 2) for key in turns[0]}


def _at_rate(folder: Path, load: tuple[int, float], extra: str, settle_s: float) -> Json:
    """A paced writer, and what the daemon took meanwhile. `load`: events a second, and for how many seconds."""
    rate, duration_s = load
    log = folder / "log.jsonl"
    pipeline = Pipeline(folder, log, extra)
    write_log(log, SHAPE, 0, 1)
    lines = b"".join(blocks(SHAPE, 1, 1 + round(rate * duration_s))).splitlines(keepends=True)
    with Running(pipeline.command()) as daemon:
        commits = Commits(pipeline.checkpoint)
        commits.wait_for(1, LIMIT_S)
        time.sleep(settle_s)
        cpu_before_s, bytes_before, start_s = cpu_s(daemon.process_id), written(daemon.process_id), time.perf_counter()
        latencies_ms, seen = _append(log, lines, rate, commits)
        elapsed_s = time.perf_counter() - start_s
        used_s, bytes_after = cpu_s(daemon.process_id) - cpu_before_s, written(daemon.process_id)
        daemon.send(signal.SIGTERM)
        daemon.wait(LIMIT_S)
    return {
        "cpu_percent": used_s / elapsed_s * 100,
        "bytes_per_event": (bytes_after[0] - bytes_before[0]) / len(lines),
        "dirtied_per_event": (bytes_after[1] - bytes_before[1]) / len(lines),
        "commits_per_s": seen / elapsed_s,
        "median_ms": median(latencies_ms),
        "p99_ms": sorted(latencies_ms)[int(len(latencies_ms) * 0.99)],
    }


def _append(log: Path, lines: Sequence[bytes], rate: int, commits: Commits) -> tuple[list[float], int]:
    """Appends each line when it is due. Milliseconds for each until a checkpoint counts it, and how many checkpoints were seen."""
    before, seen = commits.records, 0
    appended_s: list[float] = []
    latencies_ms: list[float] = []
    descriptor = os.open(log, os.O_WRONLY | os.O_APPEND)
    start_s = time.perf_counter()
    try:
        while len(latencies_ms) < len(lines) and (now_s := time.perf_counter()) < start_s + len(lines) / rate + LIMIT_S:
            while len(appended_s) < len(lines) and now_s >= start_s + len(appended_s) / rate:
                appended_s.append(time.perf_counter())
                os.write(descriptor, lines[len(appended_s) - 1])
            if commits.look():
                seen, seen_s = seen + 1, time.perf_counter()
                latencies_ms += [(seen_s - each_s) * 1e3 for each_s in appended_s[len(latencies_ms) : commits.records - before]]
            else:
                time.sleep(LOOK_S)
    finally:
        os.close(descriptor)
    commits.wait_for(before + len(lines), 0.0)
    return latencies_ms, seen


def _at_rest(folder: Path, plan: QuietPlan) -> Json:
    """A daemon at rest: single events, its memory; and what starting a command takes."""
    log = folder / "log.jsonl"
    pipeline = Pipeline(folder, log)
    write_log(log, SHAPE, 0, 1)
    singles_ms = []
    with Running(pipeline.command()) as daemon:
        commits = Commits(pipeline.checkpoint)
        commits.wait_for(1, LIMIT_S)
        for number in range(plan.singles):
            time.sleep(SILENCE_S)
            line = b"".join(blocks(SHAPE, 1 + number, 2 + number))
            singles_ms += _append(log, [line], 1, commits)[0]
        resident = resident_bytes(daemon.process_id)
        starts = {}
        for command in COMMANDS:
            options = ("--config", str(pipeline.configuration)) if command == "status" else ()
            starts[command] = median(run((*PROGRAM, command, *options))[0].cpu_s for _ in range(plan.starts))
        daemon.send(signal.SIGTERM)
        daemon.wait(LIMIT_S)
    return {"single_median_ms": median(singles_ms), "single_p90_ms": sorted(singles_ms)[int(len(singles_ms) * 0.9)],
            "resident_bytes": resident, "starts_cpu_s": starts}  # fmt: skip
