"""The intake beside a bare application on the same server: 32 clients that post events, in batches of 100 and one by one.

Owns: the contestants, and what counts as a run.
Always: both make every event durable before they answer, in groups. They take turns, each with a new file; the ratio is taken within a turn.
A run counts only if the file holds every event.
Never: the bare application judges, answers line by line, checks who asks, or counts; the daemon does all of it meanwhile.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from shutil import rmtree
from statistics import median
from typing import Final

from benchmarks.measure import ROOT, MeasurementError
from benchmarks.progress import Progress
from benchmarks.results import Json
from benchmarks.subjects import PROGRAM

__all__ = ["measure_intake", "started_daemon"]

PEER: Final = ROOT / "benchmarks" / "peers" / "bare_intake.py"
CONNECTIONS: Final = 32
SHAPES: Final = {"batches of 100": 100, "one by one": 1}
DAEMON, BARE = "event-processor", "a bare application"
START_S_MAX: Final = 60.0
CONFIGURATION: Final = """\
[sources.events]
path = "events.jsonl"
[http]
listen = "127.0.0.1:0"
[intake]
enabled = true
[log]
format = "json"
"""


def measure_intake(folder: Path, requests: int, turns: int, progress: Progress) -> Json:
    """Events a second of both, in both shapes, and the share of the bare application that the daemon reaches in each turn.

    `requests`: of one run.
    """
    contestants: dict[str, Callable[[Path], Iterator[tuple[int, Path]]]] = {DAEMON: _daemon, BARE: _bare}
    results: Json = {}
    for shape, batch in SHAPES.items():
        rates: dict[str, list[float]] = {name: [] for name in contestants}
        for turn in range(turns):
            for name, started in contestants.items():
                progress.say(f"intake, {shape}, turn {turn + 1}: {name}")
                rates[name].append(_rate(contextmanager(started), folder / "run", requests, batch))
        ratios = [ours / bare for ours, bare in zip(rates[DAEMON], rates[BARE], strict=True)]
        results[shape] = {
            "events_per_s": {name: round(median(each)) for name, each in rates.items()},
            "shares_of_bare": [round(each, 3) for each in ratios],
            "share_of_bare": round(median(ratios), 3),
        }
    return results


def _rate(started: Callable[[Path], AbstractContextManager[tuple[int, Path]]], folder: Path, requests: int, batch: int) -> float:
    """Events a second of one run in a new folder."""
    rmtree(folder, ignore_errors=True)
    folder.mkdir()
    with started(folder) as (port, path):
        command = [sys.executable, str(PEER), "send", *map(str, (port, CONNECTIONS, requests, batch))]
        seconds = float(_said(command))
        events = path.read_bytes().count(b"\n")
    if events != requests * batch:
        raise MeasurementError(f"{requests * batch} events were acknowledged, and {events} are there")
    return events / seconds


def _said(command: Sequence[str]) -> str:
    finished = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600, cwd=ROOT)
    if finished.returncode:
        raise MeasurementError(f"{' '.join(command)}\n{finished.stderr}")
    return finished.stdout


def _bare(folder: Path) -> Iterator[tuple[int, Path]]:
    path = folder / "intake.jsonl"
    with subprocess.Popen(
        [sys.executable, str(PEER), "serve", str(path)], stdout=subprocess.PIPE, text=True, cwd=ROOT
    ) as process:
        try:
            assert process.stdout is not None
            yield int(process.stdout.readline()), path
        finally:
            process.kill()


def _daemon(folder: Path) -> Iterator[tuple[int, Path]]:
    return started_daemon(folder, CONFIGURATION)


def started_daemon(folder: Path, keys: str) -> Iterator[tuple[int, Path]]:
    """Yields the port and the intake of a daemon with this configuration, which logs as JSON. It ends afterwards."""
    configuration, log = folder / "event-processor.toml", folder / "said.log"
    configuration.write_text(keys, encoding="utf-8")
    (folder / "events.jsonl").touch()
    with (
        log.open("wb") as said,
        subprocess.Popen([*PROGRAM, "--config", str(configuration), "run"], stderr=said, stdout=said) as process,
    ):
        try:
            yield _port(log, process), folder / "state" / "intake.jsonl"
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(60)


def _port(log: Path, process: subprocess.Popen[bytes]) -> int:
    """The port of the daemon, when its pipeline is open."""
    deadline_s = time.monotonic() + START_S_MAX
    while time.monotonic() < deadline_s and process.poll() is None:
        events = {each["event"]: each for each in map(json.loads, log.read_text(encoding="utf-8").splitlines())}
        if "started" in events and "http_listening" in events:
            url = events["http_listening"]["address"]
            with urllib.request.urlopen(f"{url}healthz", timeout=30):
                return int(url.rstrip("/").rpartition(":")[2])
        time.sleep(0.05)
    raise MeasurementError(f"the daemon did not start: {log.read_text(encoding='utf-8')}")
