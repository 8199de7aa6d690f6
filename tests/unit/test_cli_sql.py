"""Commands over a pipeline with a database: the real command line in this process, and real SQLite."""

from __future__ import annotations

import json
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from support.command_line import Shell, shell_in

CONFIGURATION = """
[sources.events]
path = "events.jsonl"
[order]
buffer_events = 0
[sinks.rows]
type = "sql"
url = "sqlite:///out/results.db"
table = "results"
columns = {columns}
{more}
"""
COLUMNS = '{ id = "integer", amount = "double" }'


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Shell:
    made = shell_in(tmp_path, monkeypatch, capsys)
    configure(made)
    return made


def configure(shell: Shell, columns: str = COLUMNS, more: str = "") -> None:
    text = CONFIGURATION.format(columns=columns, more=more)
    shell.path("event-processor.toml").write_text(text)


def write(shell: Shell, first: int, last: int) -> None:
    with shell.path("events.jsonl").open("a") as log:
        for number in range(first, last + 1):
            amount = '"x"' if number == 7 else str(number / 4)
            log.write(f'{{"id": {number}, "category": "a", "value": 1, "amount": {amount}}}\n')


def query(shell: Shell, statement: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(shell.path("out", "results.db"))) as connection, connection:
        return connection.execute(statement).fetchall()


def ids(shell: Shell) -> list[int]:
    return [each for (each,) in query(shell, "SELECT id FROM results ORDER BY _sequence")]


def without(last: int, first: int = 1) -> list[int]:
    return [each for each in range(first, last + 1) if each != 7]


def test_a_run_writes_rows_and_a_rerun_changes_nothing(shell: Shell) -> None:
    write(shell, 1, 20)
    for _ in range(2):
        assert shell.call("run", "--once") == 0, shell.err
        assert "sink rows: 19 delivered, 1 failed, 0 skipped, 0 pending" in shell.out
        assert ids(shell) == without(20)
    assert query(shell, "SELECT file, line FROM event_processor_whence WHERE id = '9'") == [("events.jsonl", 9)]
    assert query(shell, "SELECT reason FROM event_processor_failed") == [('"amount" is not a number',)]
    assert shell.call("dead-letters", "list", "--sink", "rows") == 0
    assert "is not a number" in shell.out
    assert shell.call("validate") == 0
    assert "sink rows: exactly once: its rows, its failed rows and its cursor are one transaction" in shell.out
    assert shell.call("verify") == 0


def test_a_repaired_record_becomes_a_row(shell: Shell) -> None:
    write(shell, 1, 20)
    assert shell.call("run", "--once") == 0
    assert shell.call("dead-letters", "export", "--sink", "rows", "--output", "failed.jsonl") == 0
    text = shell.path("failed.jsonl").read_text().replace('"x"', "1.75")
    shell.path("failed.jsonl").write_text(text)
    assert shell.call("dead-letters", "retry", "failed.jsonl", "--sink", "rows") == 0
    assert shell.call("run", "--once") == 0, shell.err
    assert query(shell, "SELECT id, amount, _sink, _line FROM results WHERE id = 7") == [(7, 1.75, "rows.retry", 7)]


def test_a_new_column_is_planned_and_applied(shell: Shell) -> None:
    write(shell, 1, 5)
    assert shell.call("sql", "plan") == 78
    assert 'CREATE TABLE "results"' in shell.out
    assert not shell.path("out").exists()
    assert shell.call("run", "--once") == 0
    assert shell.call("sql", "plan") == 0
    assert shell.out == "rows: table results: as the sink needs it\n"
    configure(shell, '{ id = "integer", amount = "double", value = "integer" }')
    write(shell, 6, 9)
    assert shell.call("sql", "plan", "rows", "--json") == 78
    (planned,) = json.loads(shell.out)["sinks"]
    assert planned == {
        "sink": "rows",
        "table": "results",
        "statements": ['ALTER TABLE "results" ADD COLUMN "value" INTEGER'],
        "conflicts": [],
        "applied": False,
    }
    assert ids(shell) == [1, 2, 3, 4, 5]
    assert shell.call("sql", "apply") == 0
    assert shell.call("run", "--once") == 0
    assert ids(shell) == without(9)


def test_what_cannot_be_added_is_a_conflict_and_nothing_is_changed(shell: Shell) -> None:
    write(shell, 1, 5)
    assert shell.call("run", "--once") == 0
    before = query(shell, "SELECT sql FROM sqlite_master")
    configure(shell, '{ id = "text", amount = "double", more = "text" }')
    assert shell.call("sql", "apply") == 78
    assert shell.out == (
        "rows: conflict: results: id is INTEGER, but the sink writes TEXT (text)\n"
        "rows: nothing is changed: change the table by hand, or name another table\n"
    )
    assert query(shell, "SELECT sql FROM sqlite_master") == before
    assert shell.call("doctor") == 78
    assert "wrong: sinks.rows: results: id is INTEGER" in shell.out


def test_a_name_that_has_no_tables_is_a_usage_error(shell: Shell) -> None:
    assert shell.call("sql", "plan", "other") == 64
    assert "the sinks are: rows" in shell.err
    configure(shell, more='[sinks.file]\npath = "out/file.jsonl"')
    assert shell.call("sql", "plan", "file") == 64
    assert "this sink has no tables" in shell.err


def test_doctor_looks_at_the_database(shell: Shell) -> None:
    shell.path("events.jsonl").write_text("")
    shell.call("doctor")
    assert "ok: sinks.rows: the database does not exist yet; the first start makes it" in shell.out
    assert not shell.path("out").exists()
    assert shell.call("sql", "apply") == 0
    shell.call("doctor")
    assert "ok: sinks.rows: the table results can be opened, and is as the sink needs it" in shell.out
    shell.path("out", "results.db").write_bytes(b"no database" * 1000)
    assert shell.call("doctor") == 78
    assert "wrong: sinks.rows: file is not a database" in shell.out
    assert shell.call("sql", "plan") == 78
    assert "restore the database" in shell.err


def test_the_address_may_be_a_secret(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    write(shell, 1, 5)
    text = shell.path("event-processor.toml").read_text()
    shell.path("event-processor.toml").write_text(text.replace('url = "sqlite:///out/results.db"', 'url_env = "DATABASE"'))
    assert shell.call("sql", "plan") == 78
    assert "$DATABASE: has no address" in shell.err
    monkeypatch.setenv("DATABASE", f"sqlite:///{shell.path('out', 'results.db')}")
    assert shell.call("run", "--once") == 0
    assert ids(shell) == [1, 2, 3, 4, 5]
    shell.path("event-processor.toml").write_text(text.replace('url = "sqlite:///out/results.db"', 'url_file = "secret"'))
    shell.path("secret").write_text(f"sqlite:///{shell.path('out', 'results.db')}\n")
    write(shell, 6, 6)
    assert shell.call("run", "--once") == 0, shell.err
    assert ids(shell) == [1, 2, 3, 4, 5, 6]


def test_without_a_daemon_the_next_run_skips(shell: Shell) -> None:
    write(shell, 1, 5)
    assert shell.call("run", "--once") == 0
    write(shell, 6, 10)
    assert shell.call("sinks", "pause", "rows") == 0
    assert shell.call("run", "--once") == 69
    assert shell.call("sinks", "skip", "rows", "8") == 0
    assert "rows: record 8: will be skipped by the next run" in shell.out
    assert shell.call("sinks", "resume", "rows") == 0
    assert shell.call("run", "--once") == 0
    assert "8 delivered, 1 failed, 1 skipped, 0 pending" in shell.out
    assert ids(shell) == [1, 2, 3, 4, 5, 6, 9, 10]


def test_a_lost_database_and_the_ways_out(shell: Shell) -> None:
    write(shell, 1, 10)
    assert shell.call("run", "--once") == 0
    shutil.copytree(shell.path("out"), shell.path("backup"))
    write(shell, 11, 20)
    assert shell.call("run", "--once") == 0
    shutil.rmtree(shell.path("out"))
    write(shell, 21, 25)
    assert shell.call("run", "--once") == 65
    assert "its database does not know this pipeline, but 20 records were answered" in shell.out
    assert not shell.path("out").exists()
    # A backup is filled again.
    shutil.copytree(shell.path("backup"), shell.path("out"))
    assert shell.call("run", "--once") == 0, shell.err
    assert "lane_rewound" in shell.err
    assert ids(shell) == without(25)
    # Without one, the lane is dropped, and begins after what was released.
    shutil.rmtree(shell.path("out"))
    assert shell.call("sinks", "drop", "rows", "--yes") == 0
    write(shell, 26, 30)
    assert shell.call("run", "--once") == 0, shell.err
    assert ids(shell) == [26, 27, 28, 29, 30]
    # Or everything is written anew from the log.
    shutil.rmtree(shell.path("out"))
    assert shell.call("reset", "--yes") == 0
    assert shell.call("run", "--once") == 0
    assert ids(shell) == without(30)


def test_a_backup_that_is_older_than_the_outbox_is_filled_from_the_log(shell: Shell) -> None:
    configure(shell, more="[outbox]\nkeep_s = 0")
    write(shell, 1, 10)
    assert shell.call("run", "--once") == 0
    shutil.copytree(shell.path("out"), shell.path("backup"))
    for first in range(11, 31, 5):
        # What was delivered leaves the outbox with a later commit.
        write(shell, first, first + 4)
        assert shell.call("run", "--once") == 0
    shutil.rmtree(shell.path("out"))
    shutil.copytree(shell.path("backup"), shell.path("out"))
    assert shell.call("run", "--once") == 65
    assert "records 11 to" in shell.out
    assert "event-processor deliver --from 11 --sink" in shell.out
    assert shell.call("deliver", "--from", "11", "--sink", "rows", "--yes") == 0, shell.err
    assert "rows: what waits from record 11 on is in the outbox again" in shell.out
    assert shell.call("run", "--once") == 0, shell.err
    assert ids(shell) == without(30)
    # It has everything: nothing is written twice, also if the mirror of its cursor goes back.
    assert shell.call("deliver", "--from", "3", "--sink", "rows", "--yes") == 0, shell.err
    assert "its receiver holds the cursor, and gets what it does not have" in shell.out
    assert shell.call("run", "--once") == 0, shell.err
    assert "29 delivered, 1 failed, 0 skipped, 0 pending" in shell.out
    assert ids(shell) == without(30)
    assert shell.json("dead-letters", "list", "--sink", "rows")["count"] == 1


def test_a_lost_state_and_the_ways_out(shell: Shell) -> None:
    write(shell, 1, 10)
    assert shell.call("run", "--once") == 0
    shell.path("state").rename(shell.path("lost"))
    assert shell.call("run", "--once") == 65
    assert "its database belongs to another state of the pipeline event-processor" in shell.out
    assert ids(shell) == without(10)
    # Another name begins anew.
    configure(shell, more='[state]\nname = "again"')
    shutil.rmtree(shell.path("state"))
    assert shell.call("run", "--once") == 0, shell.err
    assert query(shell, "SELECT _pipeline, count(*) FROM results GROUP BY 1 ORDER BY 1") == [("again", 9), ("event-processor", 9)]
    # The old state goes on where it was.
    configure(shell)
    shutil.rmtree(shell.path("state"))
    shell.path("lost").rename(shell.path("state"))
    write(shell, 11, 12)
    assert shell.call("run", "--once") == 0
    assert query(shell, "SELECT count(*) FROM results WHERE _pipeline = 'event-processor'") == [(11,)]


def test_windows_and_rejected_records_are_rows_too(shell: Shell) -> None:
    more = """
[event]
timestamp = "at"
[aggregates.hourly]
group_by = ["category"]
measures = { n = "count" }
window = { size_s = 3600 }
[sinks.hours]
type = "sql"
input = "aggregates.hourly"
url = "sqlite:///out/results.db"
table = "hours"
columns = { category = "text", n = "integer" }
[sinks.rejected]
type = "sql"
input = "dead_letters"
url = "sqlite:///out/results.db"
table = "rejected"
columns = { reason = "text", line = "integer" }
"""
    configure(shell, more=more)
    lines = [
        f'{{"id": {n}, "category": "a", "value": {n}, "amount": {n}, "at": "2026-01-01T0{n}:00:00Z"}}\n' for n in range(1, 6)
    ]
    shell.path("events.jsonl").write_text("".join([*lines[:3], "not json\n", *lines[3:]]))
    assert shell.call("run", "--once", "--drain") == 0, shell.err
    assert query(shell, "SELECT line FROM rejected") == [(4,)]
    assert query(shell, "SELECT _source, _line FROM rejected") == [("events", 4)]
    hours = query(shell, "SELECT category, n, _source FROM hours ORDER BY _sequence")
    assert set(hours) == {("a", 1, "hourly")}
    assert len(hours) >= 4
