"""A lane without a limit beside a loop written by hand, and what lanes cost a commit.

Owns: the contestants of both.
Always: the loop uses the same client with the same connections, requests and bodies, and keeps nothing: no log is counted, no answer is
remembered. The receiver is a process of its own, so its CPU time is in no figure.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from shutil import rmtree
from statistics import median
from typing import Final

from benchmarks.generate import LogShape
from benchmarks.measure import ROOT, Contestant, MeasurementError, Running, Usage, slopes
from benchmarks.progress import Progress
from benchmarks.results import Json
from benchmarks.subjects import PROGRAM, Logs

__all__ = ["measure_commit_cost", "measure_unlimited"]

PEER: Final = ROOT / "benchmarks" / "peers" / "http_loop.py"
SHAPE: Final = LogShape(duplicate_share=0.0)
LANE, LOOP = "a lane", "a loop written by hand"
NO_LANE, LIVE, DEAD = "without a lane", "a lane to a live service", "a lane to a dead service"
CONFIGURATION: Final = """\
[sources.events]
path = "{log}"
[state]
dir = "{state}"
[order]
buffer_events = 0
[engine]
workers = 1
"""
SINK: Final = """\
[services.api]
base_url = "{url}"
[sinks.remote]
type = "http"
service = "api"
path = "/records"
[outbox]
once_wait_s = {wait_s}
"""
STILL_WAITING: Final = 69


@contextmanager
def _receiver() -> Iterator[str]:
    """A receiver that answers 200 to everything, in a process of its own: its address."""
    with subprocess.Popen([sys.executable, str(PEER), "serve"], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield process.stdout.readline().strip()
        finally:
            process.kill()


def measure_unlimited(folder: Path, sizes: tuple[int, int], turns: int, progress: Progress) -> Json:
    """Requests a second, and CPU per request, of both."""
    logs = Logs(folder)
    with _receiver() as url:
        contestants = [
            Contestant(LANE, sizes, lambda records: _daemon(folder, logs.log(SHAPE, records), SINK.format(url=url, wait_s=600))),
            Contestant(
                LOOP, sizes, lambda records: _finished([sys.executable, str(PEER), "send", url, str(logs.log(SHAPE, records))])
            ),
        ]
        found, failures = slopes(contestants, turns, progress)
    results: Json = {name: each.to_json() for name, each in found.items()} | {
        name: {"failed": why} for name, why in failures.items()
    }
    if not failures:
        results[LANE]["share_of_loop"] = round(1 / median(found[LANE].ratios(found[LOOP])), 3)
    return results


def measure_commit_cost(folder: Path, sizes: tuple[int, int], turns: int, progress: Progress) -> Json:
    """The wall clock and the CPU of an event that is committed: without a lane, with a live service, and with a dead one."""
    logs = Logs(folder)
    with _receiver() as url:
        sinks = {NO_LANE: "", LIVE: SINK.format(url=url, wait_s=0), DEAD: SINK.format(url="http://127.0.0.1:9", wait_s=0)}
        contestants = [
            Contestant(name, sizes, lambda records, sink=sink: _daemon(folder, logs.log(SHAPE, records), sink))  # type: ignore[misc]
            for name, sink in sinks.items()
        ]
        found, failures = slopes(contestants, turns, progress)
    results: Json = {name: each.to_json() for name, each in found.items()} | {
        name: {"failed": why} for name, why in failures.items()
    }
    if LIVE in found and DEAD in found:
        results[DEAD]["times_live"] = round(found[DEAD].ratio(found[LIVE]), 3)
    return results


def _daemon(folder: Path, log: Path, sink: str) -> Usage:
    """`run --once` from nothing."""
    state, configuration = folder / "unlimited-state", folder / "unlimited.toml"
    rmtree(state, ignore_errors=True)
    configuration.write_text(CONFIGURATION.format(log=log, state=state) + sink, encoding="utf-8")
    # Without a wait, records are pending at the end, which is no failure here.
    usage = _finished([*PROGRAM, "--config", str(configuration), "run", "--once"])
    counts = json.loads((state / "checkpoint.json").read_bytes())["state"]["counts"]
    if not counts["accepted"]:
        raise MeasurementError("nothing was committed")
    return usage


WAITING_IS_FINE: Final = (
    f"import subprocess, sys; code = subprocess.call(sys.argv[1:]); sys.exit(0 if code == {STILL_WAITING} else code)"
)


def _finished(command: list[str]) -> Usage:
    with Running([sys.executable, "-I", "-S", "-c", WAITING_IS_FINE, *command]) as running:
        return running.wait()
