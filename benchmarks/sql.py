"""A sink in a database beside a loop written by hand: `executemany` into SQLite, `COPY` into PostgreSQL.

Owns: the contestants: the loop, `run --once` over the same log, and the lane alone, from a full outbox into an empty database.
Always: the same columns, lineage and transactions of 5,000 rows, a cursor in each, and commits as durable. The daemon's time is from its
start to the database that holds everything. A run counts only if the table holds each record once, with its place in the log.
Never: the loop finds no duplicates, orders nothing, keeps no totals, outbox, dead letters or refused rows, and stops at a bad line.
"""

from __future__ import annotations

import shutil
import sqlite3
import sys
from collections.abc import Callable, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, Final, TypeAlias

from benchmarks.generate import LogShape
from benchmarks.measure import ROOT, Contestant, MeasurementError, Slope, Usage, run, slopes
from benchmarks.postgres import Postgres, postgres
from benchmarks.progress import Progress
from benchmarks.results import Json
from benchmarks.subjects import PROGRAM, Logs

__all__ = [
    "CONTESTANTS",
    "SINK",
    "Database",
    "measure_database",
    "measure_sql",
    "postgres_database",
    "run_checked",
    "sqlite_database",
]

PEER: Final = ROOT / "benchmarks" / "peers" / "sql_loop.py"
SHAPE: Final = LogShape(duplicate_share=0.0)
DAEMON, LANE, LOOP = "event-processor", "its lane alone", "a loop written by hand"
SINK: Final = """\
[sinks.rows]
type = "sql"
url = "{url}"
table = "events"
columns = {{ id = "text", category = "text", value = "double", timestamp = "timestamp" }}
[outbox]
once_wait_s = 3600
bytes_max = 8_589_934_592
"""
"""The sections of a sink that has a row for each event. It waits as long as it takes."""
CONFIGURATION: Final = f"""\
[sources.events]
path = "events.jsonl"
[order]
buffer_events = 0
{SINK}"""
CHECK: Final = (
    "SELECT count(*), count(DISTINCT id), count(DISTINCT _generation || ':' || _offset), min(_sequence), max(_sequence), "
    "(SELECT sum(line) FROM (SELECT max(_line) AS line FROM events GROUP BY _generation) AS lines), count(timestamp) FROM events"
)


Once: TypeAlias = Callable[[Logs, str, int], Usage]
"""Writes the first so many records of the log to the address, in a new process."""


@dataclass(frozen=True, slots=True)
class Database:
    """A kind of database. `new` gives the address of an empty one; `asked` runs a query there; `drop` removes it; `cpu_s` is its server's."""

    name: str
    new: Callable[[], str]
    asked: Callable[[str, str], tuple[Any, ...]]
    drop: Callable[[str], None]
    cpu_s: Callable[[], float] = lambda: 0.0


def measure_sql(folder: Path, sizes: tuple[int, int], turns: int, progress: Progress) -> Json:
    """Both databases, one after the other: the loop, the daemon, and the lane alone in turns."""
    logs = Logs(folder)
    results: Json = {"SQLite": measure_database(logs, sqlite_database(folder), sizes, turns, progress)}
    try:
        with postgres() as server:
            results["PostgreSQL"] = measure_database(logs, postgres_database(server), sizes, turns, progress)
    except (MeasurementError, ImportError) as error:
        results["PostgreSQL"] = {DAEMON: {"failed": str(error)}}
    return results


def sqlite_database(folder: Path) -> Database:
    """A file in this folder."""
    path = folder / "rows.db"

    def drop(_: str) -> None:
        for each in folder.glob(f"{path.name}*"):
            each.unlink()

    def asked(_: str, query: str) -> tuple[Any, ...]:
        with closing(sqlite3.connect(path)) as connection:
            found: tuple[Any, ...] = connection.execute(query).fetchone()
            return found

    return Database("SQLite", lambda: f"sqlite:///{path}", asked, drop)


def postgres_database(server: Postgres) -> Database:
    """Databases of this server."""

    def name(url: str) -> str:
        return url.rpartition("/")[2]

    return Database(
        "PostgreSQL",
        lambda: server.url(server.new_database()),
        lambda url, query: server.execute(query, name(url))[0],
        lambda url: server.drop(name(url)),
        server.cpu_s,
    )


def measure_database(logs: Logs, database: Database, sizes: tuple[int, int], turns: int, progress: Progress) -> Json:
    """The loop, the daemon and the lane alone, in turns."""
    server_s: dict[str, float] = {}

    def contestant(name: str, once: Once) -> Contestant:
        def run_once(records: int) -> Usage:
            usage, server_s[name] = run_checked(once, logs, database, records)
            return usage

        return Contestant(f"{database.name}: {name}", sizes, run_once)

    contestants = [contestant(name, once) for name, once in CONTESTANTS.items()]
    found, failures = slopes(contestants, turns, progress)
    return _results({_short(name): each for name, each in found.items()}, server_s) | {
        _short(name): {"failed": why} for name, why in failures.items()
    }


def run_checked(once: Once, logs: Logs, database: Database, records: int) -> tuple[Usage, float]:
    """One run into an empty database: its cost, and the server's CPU time for each record. Raises `MeasurementError`."""
    url = database.new()
    before_s = database.cpu_s()
    try:
        usage = once(logs, url, records)
        server_s = (database.cpu_s() - before_s) / records
        _check(database.asked(url, CHECK), records)
    finally:
        database.drop(url)
    return usage, server_s


def _by_hand(logs: Logs, url: str, records: int) -> Usage:
    return run([sys.executable, str(PEER), url, str(logs.log(SHAPE, records))])[0]


def _daemon(logs: Logs, url: str, records: int) -> Usage:
    pipeline = _Pipeline(logs.folder / "daemon", url)
    pipeline.prepare(logs.log(SHAPE, records))
    return pipeline.run()


def _lane(logs: Logs, url: str, records: int) -> Usage:
    pipeline = _Pipeline(logs.folder / "lane", url)
    # The lane must be known before it can be paused, so it starts with an empty log.
    pipeline.prepare(None)
    pipeline.run()
    pipeline.command("sinks", "pause", "rows")
    pipeline.append(logs.log(SHAPE, records))
    with suppress(MeasurementError):  # it ends with a code that says that records wait
        pipeline.run()
    pipeline.command("sinks", "resume", "rows")
    return pipeline.run()


CONTESTANTS: Final[Mapping[str, Once]] = {LOOP: _by_hand, DAEMON: _daemon, LANE: _lane}


def _short(name: str) -> str:
    return name.partition(": ")[2]


def _results(found: Mapping[str, Slope], server_s: Mapping[str, float]) -> Json:
    results: Json = {}
    for name, slope in found.items():
        results[name] = slope.to_json() | {"server_cpu_ns": round(server_s[name] * 1e9, 1)}
        if name != LOOP and LOOP in found:
            of_cpu = [theirs / mine for mine, theirs in zip(slope.cpu_ns, found[LOOP].cpu_ns, strict=True)]
            results[name] |= {
                "share_of_loop": round(1 / slope.ratio(found[LOOP]), 3),
                "cpu_share_of_loop": round(median(of_cpu), 3),
            }
    return results


def _check(found: tuple[Any, ...], records: int) -> None:
    """Raises `MeasurementError` if the table is not what the log makes of it."""
    expected = (records, records, records, 1, records, records, records)
    if found != expected:
        raise MeasurementError(f"the table holds {found}, expected {expected}")


@dataclass(frozen=True, slots=True)
class _Pipeline:
    """The daemon in a folder of its own, with a sink that writes to `url`."""

    folder: Path
    url: str

    def prepare(self, log: Path | None) -> None:
        """As if it had never run; its log is `log`, or empty."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir()
        (self.folder / "pipeline.toml").write_text(CONFIGURATION.format(url=self.url), encoding="utf-8")
        if log is None:
            (self.folder / "events.jsonl").touch()
        else:
            (self.folder / "events.jsonl").hardlink_to(log)

    def append(self, log: Path) -> None:
        """Appends the records of `log`."""
        with log.open("rb") as source, (self.folder / "events.jsonl").open("ab") as target:
            shutil.copyfileobj(source, target)

    def command(self, *arguments: str) -> Usage:
        """Runs a command of the program. Raises `MeasurementError`."""
        return run([*PROGRAM, "--config", str(self.folder / "pipeline.toml"), *arguments])[0]

    def run(self) -> Usage:
        """Until the database holds what was released, or the sink is paused."""
        return self.command("run", "--once")
