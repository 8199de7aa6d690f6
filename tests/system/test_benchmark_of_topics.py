"""The benchmark of topics: all contestants read the same records, both writers write the same table, and a short read is no measurement."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.kafka import LOOP, Topics, kafka_broker, reading, writing
from benchmarks.measure import MeasurementError
from benchmarks.postgres import postgres
from benchmarks.report import table_of
from benchmarks.results import load_results, machine, save_results
from benchmarks.sql import CHECK, postgres_database, run_checked
from benchmarks.subjects import Logs
from support.kafka_programs import why_no_kafka
from support.postgres_server import why_no_postgres

REASON = why_no_kafka() or why_no_postgres()
LINEAGE = "SELECT id, category, value, timestamp, _generation, _offset, _line FROM events ORDER BY id"
RECORDS = 1_500


@pytest.fixture(scope="module")
def topics(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Topics]:
    if REASON and os.environ.get("CI") != "true":
        pytest.skip(REASON)
    with kafka_broker() as broker:
        yield Topics(broker, Logs(tmp_path_factory.mktemp("logs")))


def test_each_contestant_reads_the_whole_topic_and_a_longer_one_is_no_measurement(topics: Topics) -> None:
    for once in reading().values():
        once(topics, RECORDS)
    topics.broker.produce(topics.of(RECORDS), [b'{"id":"more","category":"c","value":1,"timestamp":"2026-01-01T00:00:00Z"}'])
    with pytest.raises(MeasurementError, match=str(RECORDS + 1)):
        reading()["a bare consumer that decodes"](topics, RECORDS)


def test_the_consumer_by_hand_and_the_daemon_write_the_same_rows(topics: Topics) -> None:
    contents, records = [], RECORDS + 10
    with postgres() as server:
        database = postgres_database(server)
        for once in writing().values():

            def written(_: Logs, url: str, count: int) -> object:
                usage = once(topics, url, count)  # noqa: B023 - called at once
                contents.append(server.execute(LINEAGE, url.rpartition("/")[2]))
                return usage

            run_checked(written, topics.logs, database, records)  # type: ignore[arg-type]  # it returns the cost
        assert contents[0] == contents[1]
        # It goes on at its offsets.
        url = database.new()
        command = [sys.executable, str(LOOP), topics.brokers, topics.of(records), url]
        for more in (0, 5):
            topics.broker.produce(
                topics.of(records),
                [f'{{"id":"{n}","category":"c","value":1,"timestamp":"2026-01-01T00:00:00Z"}}'.encode() for n in range(more)],
            )
            subprocess.run(
                command, check=True, capture_output=True, env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
            )
        assert database.asked(url, CHECK)[:3] == (records + 5, records + 5, records + 5)


def test_the_rows_of_the_page_show_the_rate_beside_what(tmp_path: Path) -> None:
    figures = {"wall_ns": 4_000.0, "cpu_ns": 3_000.0, "startup_s": 0.75, "peak_bytes": 99_000_000}
    shares = {
        "beside": "B",
        "share_of_loop": 0.712,
        "share_least": 0.7,
        "share_most": 0.8,
        "cpu_share_of_loop": 0.5,
        "server_cpu_ns": 500.0,
    }
    save_results("kafka", {"A": figures | shares, "B": figures, "C": {"failed": "no broker"}}, machine(tmp_path), tmp_path)
    assert table_of(load_results(tmp_path)["kafka"]).splitlines()[2:5] == [
        "| A | 250,000 | 4.0 | 3.0 | 0.5 | 0.71 (0.70–0.80) of B | 0.50 | 0.8 | 99 |",
        "| B | 250,000 | 4.0 | 3.0 | – | – | – | 0.8 | 99 |",
        "| C | no broker | – | – | – | – | – | – | – |",
    ]
