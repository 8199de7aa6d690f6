"""A quiet log: what the daemon costs while few events come, at each pace of commits, beside log shippers; where that goes, and what it costs at rest.

Always: each contestant follows a log of its own, and they take turns. The writer appends each event when it is due. CPU time is of the
process and of every process that it started; bytes are those that it passed to `write`; a latency is from just before the append to the look
that finds a checkpoint which counts the event, or the event in a shipper's output. Between two looks the one that looks sleeps a millisecond,
so it takes no core for itself.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Final

from benchmarks.generate import LogShape, blocks, write_log
from benchmarks.live import fsync_times_ms
from benchmarks.live_stages import COMMAND, figures_in
from benchmarks.measure import MeasurementError, Running, run
from benchmarks.progress import Progress
from benchmarks.quiet_peers import SHIPPERS, Followed, Shipper, Visible
from benchmarks.results import Json
from benchmarks.subjects import PROGRAM, Pipeline
from benchmarks.watch import Commits, cpu_s, resident_bytes, wait_for, written

__all__ = ["QuietPlan", "measure_quiet"]

SHAPE: Final = LogShape()
LIMIT_S: Final = 60.0
LOOK_S: Final = 0.001
SILENCE_S: Final = 0.7
"""Longer than any commit is held by default."""
PACES: Final = {"auto": "", "50 ms": "[batch]\npace_ms = 50\n", "each event": "[batch]\npace_ms = 0\n"}
COMMANDS: Final = ("version", "--help", "status")
FSYNCS: Final = 5
"""After each single event, so many fsyncs of the same file system are measured."""
FSYNC_ALLOWANCE_MS: Final = 2.0
"""A single event is compared with an fsync and this, for everything that is not the disk."""


@dataclass(frozen=True, slots=True)
class QuietPlan:
    """How much: for each rate (events a second) the seconds; the runs that are divided by stages, and their seconds; single events after
    a silence; how often a command is started."""

    rates: Sequence[tuple[int, float]] = ((10, 15.0), (100, 10.0), (1_000, 10.0), (5_000, 10.0))
    paces: Sequence[str] = tuple(PACES)
    shippers: Sequence[Shipper] = SHIPPERS
    staged: Sequence[tuple[int, str]] = ((10, "auto"), (100, "auto"), (10, "each event"), (100, "each event"))
    staged_s: float = 10.0
    singles: int = 20
    starts: int = 5
    settle_s: float = 1.0


def measure_quiet(folder: Path, plan: QuietPlan, turns: int, progress: Progress) -> Json:
    """All of it: the results, by name; each is the median of its turns. `absent`: why a shipper has no figure, by name."""
    found: dict[str, dict[str, list[Json]]] = {str(rate): {} for rate, _ in plan.rates}
    absent = {shipper.name: why for shipper in plan.shippers if (why := shipper.missing())}
    contestants = {pace: _daemon(PACES[pace]) for pace in plan.paces}
    contestants |= {shipper.name: shipper.follow for shipper in plan.shippers if shipper.name not in absent}
    for turn in range(turns):
        for rate, duration_s in plan.rates:
            for name, follow in contestants.items():
                if name in absent:
                    continue
                progress.say(f"quiet: {rate} events a second, {name}, turn {turn + 1} of {turns}")
                place = folder / f"{rate}-{name.replace(' ', '-')}-{turn}"
                try:
                    found[str(rate)].setdefault(name, []).append(_at_rate(place, (rate, duration_s), follow, plan.settle_s))
                except MeasurementError as error:
                    if name in plan.paces:
                        raise
                    absent[name] = str(error)
    for name, why in absent.items():
        progress.keep(f"quiet: {name} has no figure: {why}")
    stages = []
    for rate, pace in plan.staged:
        progress.say(f"quiet: stages of a commit, {rate} events a second, {pace}")
        figures = _stages(folder / f"stages-{rate}-{pace.replace(' ', '-')}", (rate, plan.staged_s), PACES[pace], plan.settle_s)
        stages.append({"rate": rate, "pace": pace, **figures})
    progress.say("quiet: single events, at rest, and starts")
    return {
        "rates": {rate: _medians_by_name(names, absent) for rate, names in found.items()},
        "shippers": {shipper.name: absent.get(shipper.name, "") for shipper in plan.shippers},
        "stages": stages,
        "rest": _at_rest(folder / "rest", plan),
    }


def _daemon(extra: str) -> Callable[[Path, Path], Followed]:
    def follow(folder: Path, log: Path) -> Followed:
        pipeline = Pipeline(folder, log, extra)
        return Followed(pipeline.command(), Commits(pipeline.checkpoint))

    return follow


def _medians_by_name(names: Mapping[str, Sequence[Json]], absent: Mapping[str, str]) -> dict[str, Json]:
    """The medians of each; under `times` how many times the CPU of each shipper it took: the median of the ratios within a turn."""
    rows = {name: turns for name, turns in names.items() if name not in absent}
    medians = {name: {key: round(median(turn[key] for turn in turns), 2) for key in turns[0]} for name, turns in rows.items()}
    return {name: medians[name] | {"times": _times(turns, rows)} for name, turns in rows.items()}


def _times(turns: Sequence[Json], rows: Mapping[str, Sequence[Json]]) -> dict[str, float]:
    """By shipper; a shipper that took less than the kernel counts has no ratio."""
    return {
        name: round(median(mine["cpu_percent"] / theirs["cpu_percent"] for mine, theirs in zip(turns, others, strict=True)), 2)
        for name, others in rows.items()
        if name not in PACES and all(theirs["cpu_percent"] for theirs in others)
    }


def _at_rate(folder: Path, load: tuple[int, float], follow: Callable[[Path, Path], Followed], settle_s: float) -> Json:
    """A paced writer, and what the program took meanwhile. `load`: events a second, and for how many seconds."""
    rate, duration_s = load
    log = folder / "log.jsonl"
    folder.mkdir(parents=True, exist_ok=True)
    write_log(log, SHAPE, 0, 1)
    lines = b"".join(blocks(SHAPE, 1, 1 + round(rate * duration_s))).splitlines(keepends=True)
    followed = follow(folder, log)
    with Running(followed.command) as program:
        visible = followed.visible
        wait_for(
            lambda: (visible.look() and visible.records > 0) or not program.alive,
            f"{followed.command[0]} finished its first event",
            LIMIT_S,
        )
        if visible.records < 1:
            raise MeasurementError(f"it ended before its first event: {program.said()}")
        time.sleep(settle_s)
        cpu_before_s, bytes_before, start_s = cpu_s(program.process_id), written(program.process_id), time.perf_counter()
        latencies_ms, seen = _append(log, lines, rate, visible)
        elapsed_s = time.perf_counter() - start_s
        used_s, bytes_after = cpu_s(program.process_id) - cpu_before_s, written(program.process_id)
        resident = resident_bytes(program.process_id)
        program.send(signal.SIGTERM)
        program.wait(LIMIT_S)
    visible.look()
    if visible.records != 1 + len(lines):
        raise MeasurementError(f"{1 + len(lines)} events were appended, and {visible.records} arrived")
    return {
        "cpu_percent": used_s / elapsed_s * 100,
        "bytes_per_event": (bytes_after[0] - bytes_before[0]) / len(lines),
        "dirtied_per_event": (bytes_after[1] - bytes_before[1]) / len(lines),
        "commits_per_s": seen / elapsed_s,
        "median_ms": median(latencies_ms),
        "p99_ms": sorted(latencies_ms)[int(len(latencies_ms) * 0.99)],
        "resident_bytes": resident,
    }


def _stages(folder: Path, load: tuple[int, float], extra: str, settle_s: float) -> Json:
    """A paced writer, and where the CPU of each commit went. `load`: events a second, and for how many seconds."""
    rate, duration_s = load
    log = folder / "log.jsonl"
    pipeline = Pipeline(folder, log, extra)
    write_log(log, SHAPE, 0, 1)
    lines = b"".join(blocks(SHAPE, 1, 1 + round(rate * duration_s))).splitlines(keepends=True)
    figures = folder / "figures.json"
    with Running((*COMMAND, str(figures), "--config", str(pipeline.configuration), "run")) as daemon:
        commits = Commits(pipeline.checkpoint)
        commits.wait_for(1, LIMIT_S)
        time.sleep(settle_s)
        _append(log, lines, rate, commits)
        daemon.send(signal.SIGTERM)
        daemon.wait(LIMIT_S)
    return figures_in(figures)


def _append(log: Path, lines: Sequence[bytes], rate: int, visible: Visible) -> tuple[list[float], int]:
    """Appends each line when it is due. Milliseconds for each until it is seen, and how often more were seen."""
    before, seen = visible.records, 0
    appended_s: list[float] = []
    latencies_ms: list[float] = []
    descriptor = os.open(log, os.O_WRONLY | os.O_APPEND)
    start_s = time.perf_counter()
    try:
        while len(latencies_ms) < len(lines) and (now_s := time.perf_counter()) < start_s + len(lines) / rate + LIMIT_S:
            while len(appended_s) < len(lines) and now_s >= start_s + len(appended_s) / rate:
                appended_s.append(time.perf_counter())
                os.write(descriptor, lines[len(appended_s) - 1])
            if visible.look():
                seen, seen_s = seen + 1, time.perf_counter()
                latencies_ms += [(seen_s - each_s) * 1e3 for each_s in appended_s[len(latencies_ms) : visible.records - before]]
            else:
                time.sleep(LOOK_S)
    finally:
        os.close(descriptor)
    visible.wait_for(before + len(lines), 0.0)
    return latencies_ms, seen


def _at_rest(folder: Path, plan: QuietPlan) -> Json:
    """A daemon at rest: single events, its memory; and what starting a command takes."""
    log = folder / "log.jsonl"
    pipeline = Pipeline(folder, log)
    write_log(log, SHAPE, 0, 1)
    singles_ms: list[float] = []
    fsyncs_ms: list[float] = []
    with Running(pipeline.command()) as daemon:
        commits = Commits(pipeline.checkpoint)
        commits.wait_for(1, LIMIT_S)
        for number in range(plan.singles):
            time.sleep(SILENCE_S)
            line = b"".join(blocks(SHAPE, 1 + number, 2 + number))
            singles_ms += _append(log, [line], 1, commits)[0]
            fsyncs_ms += fsync_times_ms(folder, FSYNCS)
        resident = resident_bytes(daemon.process_id)
        starts = {}
        for command in COMMANDS:
            options = ("--config", str(pipeline.configuration)) if command == "status" else ()
            starts[command] = median(run((*PROGRAM, command, *options))[0].cpu_s for _ in range(plan.starts))
        daemon.send(signal.SIGTERM)
        daemon.wait(LIMIT_S)
    fsync_ms = median(fsyncs_ms)
    return {"single_median_ms": median(singles_ms), "single_p90_ms": sorted(singles_ms)[int(len(singles_ms) * 0.9)],
            "fsync_median_ms": fsync_ms, "single_ratio": median(singles_ms) / (fsync_ms + FSYNC_ALLOWANCE_MS),
            "resident_bytes": resident, "starts_cpu_s": starts}  # fmt: skip
