"""A lane against an API with a limit, on bad days: how much of the limit it uses, and whether it ever sends more.

Owns: the rows with a limit. `deliver_unlimited.py` has those without one, and what a lane costs a commit.
Always: the API of `examples/001-streams` measures the arrivals. Each row has its own API and daemon; all rows run at the same time, since
each needs a few percent of a core. A row counts only if every record arrived.
Never: counts the time after a kill in which nothing may be sent yet.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from signal import SIGKILL, SIGTERM
from typing import Any, Final

from benchmarks.deliver_unlimited import measure_commit_cost, measure_unlimited
from benchmarks.measure import ROOT, MeasurementError, Running
from benchmarks.progress import Progress
from benchmarks.results import Json
from benchmarks.subjects import PROGRAM
from benchmarks.watch import peak_bytes

__all__ = ["DeliverPlan", "measure_deliver"]

LIMIT: Final = 15
API: Final = ROOT / "examples" / "001-streams" / "downstream_api.py"
LOOK_S: Final = 0.1
DRAIN_S_MAX: Final = 600.0
SETTLED_S: Final = 2.0
"""The first seconds are not counted: the first commit, and the connections."""
CONFIGURATION: Final = """\
[sources.user_events]
path = "events.jsonl"
[order]
buffer_events = 0
[event]
id = "number"
category = "source"
value = ""
[services.api]
base_url = "{url}"
requests_per_s = {limit}
timeout_s = 5
[sinks.downstream]
type = "http"
service = "api"
path = "/records"
[sinks.downstream.fields]
source = "source"
timestamp = "timestamp"
priority = "priority"
processed_at = "@now_s"
processing_time_ms = "@elapsed_ms"
transformed_data = "data"
"""


@dataclass(frozen=True, slots=True)
class DeliverPlan:
    """How long the load lasts in seconds, how many records a run without a limit sends, and how many events a commit's cost is taken of."""

    load_s: float = 60.0
    unlimited_records: tuple[int, int] = (2_000, 8_000)
    commit_records: tuple[int, int] = (50_000, 250_000)


@dataclass(frozen=True, slots=True)
class Row:
    """One day of an API: `settings` of it from the start, its time without answers as shares of the load, and how often we are killed."""

    name: str
    settings: Json
    down: tuple[float, float] | None = None
    kills: int = 0


class Peaks:
    """The most that the daemon needed: resident memory, bytes of its outbox on disk, records that waited. One daemon follows another."""

    def __init__(self, own: Path, daemons: Sequence[Running]) -> None:
        """`own`: the folder of the configuration. The last of `daemons` runs."""
        self._state: Final = own / "state"
        self._daemons: Final = daemons
        self._peaks: Final = {"peak_bytes": 0, "outbox_bytes_max": 0, "backlog_max": 0}

    def look(self) -> None:
        """Call it often: the outbox and the backlog are seen at these moments only."""
        self._note("peak_bytes", peak_bytes(self._daemons[-1].process_id))
        self._note("outbox_bytes_max", sum(path.stat().st_size for path in (self._state / "outbox").glob("*")))
        with suppress(FileNotFoundError, IndexError):
            self._note("backlog_max", _lane(self._state)["pending"])

    def to_json(self) -> Json:
        """As it stands in the results: bytes and records."""
        return dict(self._peaks)

    def _note(self, name: str, value: int) -> None:
        self._peaks[name] = max(value, self._peaks[name])


CALM: Final[Json] = {"fail": 0.0}
ROWS: Final = (
    Row("every answer is good", CALM),
    Row("15 % of requests fail", {"fail": 0.15}),
    Row("down for a sixth of the time", CALM, down=(0.5, 0.5 + 1 / 6)),
    Row("30 % of answers are 2 s late", CALM | {"slow_share": 0.3, "slow_s": 2.0}),
    Row("60 % of requests fail", {"fail": 0.6}),
    Row("killed three times", CALM, kills=3),
)


def measure_deliver(folder: Path, plan: DeliverPlan, turns: int, progress: Progress) -> Json:
    """All rows: with a limit, without one, and the cost of a commit."""
    progress.say("the rows with a limit, all at once")
    with ThreadPoolExecutor(len(ROWS)) as pool:
        limited = dict(zip((row.name for row in ROWS), pool.map(lambda row: _row(folder, row, plan.load_s), ROWS), strict=True))
    return {
        "limited": limited,
        "unlimited": measure_unlimited(folder, plan.unlimited_records, turns, progress),
        "commit": measure_commit_cost(folder, plan.commit_records, turns, progress),
    }


def _row(folder: Path, row: Row, load_s: float) -> Json:
    own = folder / f"limited-{ROWS.index(row)}"
    own.mkdir()
    with _api(row.settings) as url:
        (own / "pipeline.toml").write_text(CONFIGURATION.format(url=url, limit=LIMIT), encoding="utf-8")
        (own / "events.jsonl").touch()
        try:
            return _loaded(own, row, load_s, url)
        except MeasurementError as error:
            return {"failed": str(error)}


@contextmanager
def _api(settings: Json) -> Iterator[str]:
    """An API in a process of its own: its address."""
    command = [sys.executable, str(API), "--port", "0", "--requests-per-s", str(LIMIT)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            url = process.stdout.readline().strip()
            _asked(f"{url}/control", settings)
            yield url
        finally:
            process.send_signal(SIGTERM)
            process.wait()


def _asked(url: str, body: object = None) -> Any:
    data = None if body is None else json.dumps(body).encode()
    with urllib.request.urlopen(urllib.request.Request(url, data), timeout=30) as answer:
        return json.load(answer)


def _loaded(own: Path, row: Row, load_s: float, url: str) -> Json:
    """Runs the daemon under the load and until everything arrived."""
    command = [*PROGRAM, "--config", str(own / "pipeline.toml"), "run"]
    begun_s = time.monotonic()
    gaps: list[tuple[float, float]] = []
    steps: list[tuple[float, Callable[[], None]]] = []
    daemons = [Running(command)]
    try:
        kill_s: list[float] = []

        def kill() -> None:
            daemons[-1].send(SIGKILL)
            kill_s.append(time.monotonic())
            daemons.append(Running(command))

        steps += [(load_s * (number + 1) / (row.kills + 1), kill) for number in range(row.kills)]
        if row.down is not None:
            first_s, last_s = (load_s * share for share in row.down)
            steps += [(first_s, lambda: _asked(f"{url}/control", {"down": True}))]
            steps += [(last_s, lambda: _asked(f"{url}/control", {"down": False}))]
            gaps.append((begun_s + first_s, begun_s + last_s))
        peaks = Peaks(own, daemons)
        written = _write(own / "events.jsonl", begun_s, load_s, steps, peaks)
        end_s = time.monotonic()
        # As the lane sees it, while there is load.
        rtt_s = _lane(own / "state")["mean_request_ms"] / 1000
        figures = _drained(own, url, written, peaks)
        arrivals_s = [each / 1e9 for each in _asked(f"{url}/arrivals")]
    finally:
        for daemon in daemons:
            daemon.__exit__()
    gaps += [(each, next(arrival for arrival in arrivals_s if arrival > each + 1)) for each in kill_s]
    under_load_s = [each for each in arrivals_s if each < end_s]
    share = _share(under_load_s, gaps, end_s, rtt_s)
    shown = {name: figures[name] for name in ("worst_window", "limited_429", "repeats")}
    counts = {"requests": len(under_load_s), "written": written, "failed": _lane(own / "state")["failed"]}
    return {"share": round(share, 3), "rtt_ms": round(rtt_s * 1000, 1), **shown, **counts, **peaks.to_json()}


def _write(log: Path, begun_s: float, load_s: float, steps: Sequence[tuple[float, Callable[[], None]]], peaks: Peaks) -> int:
    """Appends records at twice the limit, and does each of the steps at its time. Returns how many records."""
    due = sorted(steps, key=lambda step: step[0], reverse=True)
    written = 0
    with log.open("a", encoding="utf-8") as file:
        while (passed_s := time.monotonic() - begun_s) < load_s:
            while due and passed_s >= due[-1][0]:
                due.pop()[1]()
            while written < passed_s * 2 * LIMIT:
                written += 1
                record = {
                    "number": written,
                    "source": "user_events",
                    "timestamp": time.time(),
                    "priority": 1,
                    "data": {"n": written},
                }
                file.write(json.dumps(record) + "\n")
            file.flush()
            peaks.look()
            time.sleep(LOOK_S)
    return written


def _drained(own: Path, url: str, written: int, peaks: Peaks) -> Json:
    """Waits until every record arrived, and gives the API's figures. Raises `MeasurementError`."""
    deadline_s = time.monotonic() + DRAIN_S_MAX
    _asked(f"{url}/control", {"fail": 0.0, "slow_share": 0.0})
    while (figures := _asked(f"{url}/figures"))["distinct_keys"] < written:
        if time.monotonic() > deadline_s:
            raise MeasurementError(f"{own}: {figures['distinct_keys']} of {written} records arrived")
        peaks.look()
        time.sleep(1.0)
    found: Json = figures
    return found


def _share(arrivals_s: Sequence[float], gaps: Sequence[tuple[float, float]], end_s: float, rtt_s: float) -> float:
    """How much of the most that a limiter can use was used. The time of `gaps` does not count."""
    begun_s = arrivals_s[0] + SETTLED_S
    counted = [each for each in arrivals_s if each >= begun_s and not any(first <= each < last for first, last in gaps)]
    length_s = end_s - begun_s - sum(min(last, end_s) - first for first, last in gaps)
    return len(counted) / (length_s * LIMIT / (1 + rtt_s))


def _lane(state: Path) -> Json:
    """The lane's figures, as it publishes them in the state directory."""
    found: Json = json.loads((state / "history" / "lanes.json").read_bytes())["lanes"][0]
    return found
