"""The pace of the commits while hostile clients come, beside that without them: one daemon, one log that grows evenly, in turns.

Owns: what a turn is, and what is compared.
Always: the log grows by the same lines at the same pace in both halves of a turn, and every line is counted at the end. The ratio is taken within a
turn.
Never: the clients run in the process that appends or measures.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Final

from benchmarks.intake import started_daemon
from benchmarks.measure import ROOT, MeasurementError
from benchmarks.progress import Progress
from benchmarks.results import Json

__all__ = ["BESIEGED", "QUIET", "measure_siege"]

PEER: Final = ROOT / "benchmarks" / "peers" / "hostile_clients.py"
TOKEN: Final = "a-token-of-some-length"
QUIET, BESIEGED = "without them", "with them"
EVENTS_PER_S: Final = 1_000
STEP_S: Final = 0.01
COUNTED_S_MAX: Final = 60.0
COMMITS: Final = "event_processor_commit_duration_seconds_count"
CONFIGURATION: Final = """\
[sources.events]
path = "events.jsonl"
[http]
listen = "127.0.0.1:0"
token_file = "token"
body_bytes_max = 1_000_000
[intake]
enabled = true
[log]
format = "json"
"""


def measure_siege(folder: Path, half_s: float, turns: int, progress: Progress) -> Json:
    """Commits a second in both halves of each turn, their ratio, and how often each kind of client came. `half_s`: of half a turn."""
    (folder / "token").write_text(TOKEN, encoding="utf-8")
    rates: dict[str, list[float]] = {QUIET: [], BESIEGED: []}
    came: dict[str, int] = {}
    with contextmanager(started_daemon)(folder, CONFIGURATION) as (port, _):
        log = _Log(folder / "events.jsonl", port)
        for turn in range(turns):
            progress.say(f"siege, turn {turn + 1}: {QUIET}")
            rates[QUIET].append(log.grow(half_s))
            progress.say(f"siege, turn {turn + 1}: {BESIEGED}")
            with _besieged(port, came):
                rates[BESIEGED].append(log.grow(half_s))
        log.wait_until_counted()
    ratios = [besieged / quiet for besieged, quiet in zip(rates[BESIEGED], rates[QUIET], strict=True)]
    return {
        "commits_per_s": {name: round(median(each), 1) for name, each in rates.items()},
        "ratios": [round(each, 3) for each in ratios],
        "ratio": round(median(ratios), 3),
        "events": log.events,
        "came": came,
    }


class _Log:
    """A log that grows, and the daemon that follows it."""

    def __init__(self, path: Path, port: int) -> None:
        self._path: Final = path
        self._url: Final = f"http://127.0.0.1:{port}"
        self.events = 0

    def grow(self, seconds: float) -> float:
        """Grows for so long. Returns how many commits there were a second."""
        step_events = round(EVENTS_PER_S * STEP_S)
        begin_s, before = time.monotonic(), self._commits()
        steps = 0
        with self._path.open("ab", buffering=0) as file:
            while (passed_s := time.monotonic() - begin_s) < seconds:
                # A step that is late is made up for, so that both halves append the same.
                while steps * STEP_S <= passed_s:
                    numbers = range(self.events, self.events + step_events)
                    file.write(b"".join(b'{"id": %d, "category": "a", "value": 1}\n' % each for each in numbers))
                    self.events += step_events
                    steps += 1
                time.sleep(STEP_S)
        return (self._commits() - before) / (time.monotonic() - begin_s)

    def wait_until_counted(self) -> None:
        """Raises `MeasurementError` if not every line is counted."""
        deadline_s = time.monotonic() + COUNTED_S_MAX
        accepted = -1
        while accepted != self.events and time.monotonic() < deadline_s:
            time.sleep(0.1)
            accepted = json.loads(self._asked("/v1/state"))["committed"]["counts"]["accepted"]
        if accepted != self.events:
            raise MeasurementError(f"{self.events} events were appended, and {accepted} are counted")

    def _commits(self) -> int:
        line = next(each for each in self._asked("/metrics").splitlines() if each.startswith(COMMITS))
        return int(float(line.split()[-1]))

    def _asked(self, path: str) -> str:
        request = urllib.request.Request(f"{self._url}{path}", headers={"Authorization": f"Bearer {TOKEN}"})
        with urllib.request.urlopen(request, timeout=60) as answer:
            return str(answer.read().decode())


@contextmanager
def _besieged(port: int, came: dict[str, int]) -> Iterator[None]:
    """Inside, the clients come. Adds how often each kind did."""
    command = [sys.executable, str(PEER), str(port), TOKEN]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        try:
            assert process.stdin is not None
            assert process.stdout is not None
            if process.stdout.readline().strip() != "ready":
                raise MeasurementError("the hostile clients did not come")
            yield
            process.stdin.close()
            for name, count in json.loads(process.stdout.readline()).items():
                came[name] = came.get(name, 0) + count
        finally:
            process.kill()
