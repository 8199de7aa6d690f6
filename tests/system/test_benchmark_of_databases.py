"""The benchmark of databases: the loop, the daemon and the lane write the same table, and a wrong one is no measurement."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import sql
from benchmarks.generate import LogShape, write_log
from benchmarks.postgres import postgres
from benchmarks.progress import Progress
from benchmarks.report import table_of
from benchmarks.results import load_results, machine, save_results
from benchmarks.sql import CHECK, CONTESTANTS, LOOP, Database, measure_database, postgres_database, run_checked, sqlite_database
from benchmarks.subjects import Logs
from support.postgres_server import why_no_postgres

PEER = Path(__file__).parents[2] / "benchmarks" / "peers" / "sql_loop.py"
LINEAGE = "SELECT group_concat(id || value || timestamp || _source || _generation || _offset || _line || _sequence) FROM events"
QUIET = Progress(quiet=True)
RECORDS = 1_500


def test_the_loop_the_daemon_and_the_lane_write_the_same_table(tmp_path: Path) -> None:
    found, logs = sqlite_database(tmp_path), Logs(tmp_path)
    contents: list[tuple[object, ...]] = []

    def asked(url: str, query: str) -> tuple[object, ...]:
        contents.append(found.asked(url, LINEAGE))
        return found.asked(url, query)

    database = Database(found.name, found.new, asked, found.drop)
    for once in CONTESTANTS.values():
        run_checked(once, logs, database, RECORDS)
    assert contents == [contents[0]] * 3


def test_a_table_that_lacks_a_record_is_no_measurement(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = sqlite_database(tmp_path)
    short = Database(found.name, found.new, lambda url, query: (1, *found.asked(url, query)[1:]), found.drop)
    monkeypatch.setattr(sql, "CONTESTANTS", {LOOP: CONTESTANTS[LOOP]})
    rows = measure_database(Logs(tmp_path), short, (10, 20), 1, QUIET)
    assert "the table holds (1, 10," in rows[LOOP]["failed"]


def test_the_rows_of_the_page_show_shares_and_why_there_is_none(tmp_path: Path) -> None:
    figures = {"wall_ns": 4_000.0, "cpu_ns": 3_000.0, "server_cpu_ns": 500.0, "startup_s": 0.75, "peak_bytes": 99_000_000}
    shares = {"share_of_loop": 0.712, "cpu_share_of_loop": 0.8}
    results = {"A": {"ours": figures | shares, "loop": figures}, "B": {"ours": {"failed": "not installed"}}}
    save_results("sql", results, machine(tmp_path), tmp_path)
    assert table_of(load_results(tmp_path)["sql"]).splitlines()[2:5] == [
        "| A | ours | 250,000 | 4.0 | 3.0 | 0.5 | 0.71 | 0.80 | 0.8 | 99 |",
        "| A | loop | 250,000 | 4.0 | 3.0 | 0.5 | – | – | 0.8 | 99 |",
        "| B | ours | not installed | – | – | – | – | – | – | – |",
    ]


@pytest.mark.skipif(bool(why_no_postgres()) and os.environ.get("CI") != "true", reason=why_no_postgres())
def test_the_loop_goes_on_at_its_cursor_and_the_servers_time_is_counted(tmp_path: Path) -> None:
    shape = LogShape(duplicate_share=0.0)
    log = tmp_path / "log.jsonl"
    with postgres() as server:
        database = postgres_database(server)
        url = database.new()
        for begin, end in ((0, 1_200), (1_200, 2_500)):
            write_log(log, shape, begin, end)
            subprocess.run([sys.executable, str(PEER), url, str(log)], check=True)
            assert database.asked(url, CHECK) == (end, end, end, 1, end, end, end)
        assert database.cpu_s() > 0
        database.drop(url)
