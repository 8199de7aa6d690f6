"""A topic as a source, beside a consumer written by hand: alone, into nothing but totals, and into PostgreSQL.

Owns: the contestants, the topics that they read, and the broker.
Always: the same records in three partitions, read to the end with `read_committed`. Reading: a bare consumer that decodes with msgspec;
the source alone, decoded the same way; and the daemon, which also finds duplicates, keeps totals and commits. To PostgreSQL: a consumer and
`COPY`, in transactions as large and as durable as the sink's; and the daemon, from its start to the database that holds everything. A run
counts only if every record was read, or is a row once.
Never: measures the broker: it is the same for all, and shares the processors with them.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any, Final

from benchmarks.generate import LogShape
from benchmarks.measure import ROOT, Contestant, MeasurementError, Slope, Usage, run, slopes
from benchmarks.postgres import Postgres, postgres
from benchmarks.progress import Progress
from benchmarks.results import Json
from benchmarks.sql import SINK, postgres_database, run_checked
from benchmarks.subjects import PROGRAM, Logs, committed_state

__all__ = ["BESIDE", "Topics", "kafka_broker", "measure_kafka", "reading", "shares_of", "writing"]

LOOP: Final = ROOT / "benchmarks" / "peers" / "kafka_loop.py"
SHAPE: Final = LogShape(duplicate_share=0.0)
PARTITIONS: Final = 3
BARE, ALONE, TOTALS = "a bare consumer that decodes", "the source alone, decoded", "event-processor, totals only"
COPY, ROWS = "a consumer and COPY, by hand", "event-processor, to PostgreSQL"
BESIDE: Final[Mapping[str, str]] = {ALONE: BARE, TOTALS: BARE, ROWS: COPY}
"""What each contestant is compared with."""
SOURCE: Final = """\
[sources.events]
type = "kafka"
brokers = "{brokers}"
topic = "{topic}"
[order]
buffer_events = 0
"""


@dataclass
class Topics:
    """Topics of the records of a log, each made when it is first asked for. `broker`: of the tests."""

    broker: Any
    logs: Logs
    _made: dict[int, str] = field(default_factory=dict)

    @property
    def brokers(self) -> str:
        """The address of the broker."""
        return str(self.broker.address)

    def of(self, records: int) -> str:
        """The name of a topic with so many records, in turn in its partitions."""
        if records not in self._made:
            lines = self.logs.log(SHAPE, records).read_bytes().splitlines()
            topic = self.broker.new_topic(PARTITIONS)
            for partition in range(PARTITIONS):
                self.broker.produce(topic, lines[partition::PARTITIONS], partition)
            self._made[records] = topic
        return self._made[records]


@contextmanager
def kafka_broker() -> Iterator[Any]:
    """A broker of our own, as the tests start it. Raises `MeasurementError` if Kafka cannot run here."""
    sys.path.append(str(ROOT / "tests"))
    from support.kafka_broker import KafkaBroker  # noqa: PLC0415 - the extra may be missing
    from support.kafka_programs import why_no_kafka  # noqa: PLC0415

    if why_no_kafka():
        raise MeasurementError(why_no_kafka())
    with tempfile.TemporaryDirectory(prefix="kafka-") as name, KafkaBroker(Path(name)) as broker:
        yield broker


def measure_kafka(folder: Path, sizes: tuple[int, int], turns: int, progress: Progress) -> Json:
    """All contestants, in turns."""
    try:
        with kafka_broker() as broker, postgres() as server:
            topics = Topics(broker, Logs(folder))
            for records in sizes:
                topics.of(records)
            contestants, server_s = _contestants(topics, sizes, server)
            found, failures = slopes(contestants, turns, progress)
    except (MeasurementError, ImportError) as error:
        return {TOTALS: {"failed": str(error)}}
    rows = {name: each.to_json() | shares_of(name, found, BESIDE) for name, each in found.items()}
    for name, each_s in server_s.items():
        if name in rows:
            rows[name]["server_cpu_ns"] = round(each_s * 1e9, 1)
    return {**rows, **{name: {"failed": why} for name, why in failures.items()}}


def _contestants(topics: Topics, sizes: tuple[int, int], server: Postgres) -> tuple[list[Contestant], dict[str, float]]:
    """The contestants, and the server's CPU time for each record of those that write, filled in as they run."""
    server_s: dict[str, float] = {}
    database = postgres_database(server)

    def written(name: str, once: Callable[[Topics, str, int], Usage]) -> Callable[[int], Usage]:
        def run_once(records: int) -> Usage:
            usage, server_s[name] = run_checked(lambda _, url, count: once(topics, url, count), topics.logs, database, records)
            return usage

        return run_once

    contestants = [Contestant(name, sizes, partial(once, topics)) for name, once in reading().items()]
    return [*contestants, *(Contestant(name, sizes, written(name, once)) for name, once in writing().items())], server_s


def reading() -> Mapping[str, Callable[[Topics, int], Usage]]:
    """What only reads: each reads a topic of so many records, and is checked."""
    return {BARE: _bare, ALONE: _alone, TOTALS: _totals}


def writing() -> Mapping[str, Callable[[Topics, str, int], Usage]]:
    """What writes to a database as well; the caller checks it."""
    return {COPY: _copy, ROWS: _rows}


def _bare(topics: Topics, records: int) -> Usage:
    return _counted([str(LOOP), topics.brokers, topics.of(records)], records)


def _alone(topics: Topics, records: int) -> Usage:
    return _counted(["-m", "benchmarks.topic_only", topics.brokers, topics.of(records), str(records)], records)


def _counted(arguments: list[str], records: int) -> Usage:
    usage, said = run([sys.executable, *arguments])
    if json.loads(said)["records"] != records:
        raise MeasurementError(f"read {said}, expected {records} records")
    return usage


def _totals(topics: Topics, records: int) -> Usage:
    usage = _daemon(topics, records, "")
    counts = committed_state(topics.logs.folder / "daemon" / "state" / "checkpoint.json")["counts"]
    if (counts["records"], counts["accepted"]) != (records, records):
        raise MeasurementError(f"counted {counts}, expected {records} events")
    return usage


def _copy(topics: Topics, url: str, records: int) -> Usage:
    return _counted([str(LOOP), topics.brokers, topics.of(records), url], records)


def _rows(topics: Topics, url: str, records: int) -> Usage:
    return _daemon(topics, records, SINK.format(url=url))


def _daemon(topics: Topics, records: int, sink: str) -> Usage:
    """`run --once` without a state."""
    folder = topics.logs.folder / "daemon"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    configuration = folder / "pipeline.toml"
    configuration.write_text(SOURCE.format(brokers=topics.brokers, topic=topics.of(records)) + sink, encoding="utf-8")
    return run([*PROGRAM, "--config", os.fspath(configuration), "run", "--once"])[0]


def shares_of(name: str, found: Mapping[str, Slope], beside: Mapping[str, str]) -> Json:
    """How fast a contestant is beside the one that `beside` names: by the wall clock, and by CPU time; empty without one."""
    loop = found.get(beside.get(name, ""))
    if loop is None:
        return {}
    mine = found[name]
    of_cpu = [theirs / ours for ours, theirs in zip(mine.cpu_ns, loop.cpu_ns, strict=True)]
    return {
        "beside": beside[name],
        "share_of_loop": round(1 / mine.ratio(loop), 3),
        "share_least": round(1 / max(mine.ratios(loop)), 3),
        "share_most": round(1 / min(mine.ratios(loop)), 3),
        "cpu_share_of_loop": round(median(of_cpu), 3),
    }
