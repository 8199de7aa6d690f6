"""What operators see of a table of the totals, and do to it."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from support.command_line import Shell, shell_in

SINK = """
[state]
name = "shop"
[sinks.totals]
type = "sql"
input = "totals"
url = "sqlite:///out/results.db"
table = "totals"
columns = { category = "text", count = "integer", sum = "double" }
"""
KEYS = [
    "sink", "input", "state", "words", "since", "exit_code", "remedy", "as_of", "committed", "rows", "left_out", "snapshots", "behind",
    "guarantee",
]  # fmt: skip


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Shell:
    made = shell_in(tmp_path, monkeypatch, capsys)
    configure(made, SINK)
    return made


def configure(shell: Shell, sink: str) -> None:
    configuration = shell.folder / "event-processor.toml"
    configuration.write_text(configuration.read_text().partition("[state]")[0] + sink)


def query(shell: Shell, statement: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(shell.folder / "out" / "results.db")) as connection, connection:
        return connection.execute(statement).fetchall()


def run_once(shell: Shell) -> int:
    return shell.call("run", "--once")


def test_a_run_to_the_end_writes_the_table_and_says_what_it_is_as_of(shell: Shell) -> None:
    assert run_once(shell) == 0
    assert "sink totals: as of record 5, 2 rows, 0 records behind" in shell.out
    assert query(shell, "SELECT category, count, sum, as_of FROM totals ORDER BY category") == [
        ("a", 2, 1.5, 5),
        ("b", 1, 2.0, 5),
    ]
    (found,) = shell.json("sinks", "list")["snapshots"]
    assert list(found) == KEYS
    assert (found["state"], found["as_of"], found["committed"], found["behind"]) == ("offline", 5, 5, 0)
    assert shell.call("status") == 69
    assert "sink totals   offline: as of record 5, 0 records behind" in shell.out


def test_before_the_first_run_nothing_is_known(shell: Shell) -> None:
    configuration = shell.folder / "event-processor.toml"
    configuration.write_text(configuration.read_text().replace("[state]", '[state]\ndir = "other"'))
    (found,) = shell.json("sinks", "list")["snapshots"]
    assert (found["state"], found["as_of"], found["committed"]) == ("offline", None, 0)
    assert shell.call("sql", "plan") == 78
    assert 'CREATE TABLE "totals"' in shell.out
    assert "event_processor_whence" not in shell.out
    assert shell.call("sql", "apply") == 0
    assert shell.call("sql", "plan") == 0
    assert shell.call("doctor") == 0
    assert "ok: sinks.totals: the table totals can be opened, and is as the sink needs it" in shell.out


def test_validate_says_what_is_guaranteed(shell: Shell) -> None:
    assert shell.call("validate") == 0
    assert "sink totals: a snapshot, true as of a checkpoint: its rows and its as_of are one transaction" in shell.out


def test_it_is_paused_and_resumed_and_has_nothing_to_skip(shell: Shell) -> None:
    assert run_once(shell) == 0
    assert shell.call("sinks", "pause", "totals") == 0
    with (shell.folder / "log.jsonl").open("ab") as log:
        log.write(b'{"id": 7, "category": "c", "value": 1}\n')
    assert run_once(shell) == 69
    assert query(shell, "SELECT sequence FROM event_processor_cursor WHERE sink = 'totals'") == [(5,)]
    assert shell.json("sinks", "list")["snapshots"][0]["state"] == "paused"
    for arguments in (
        ("skip", "totals", "--first"),
        ("rename", "totals", "other"),
        ("attach", "totals"),
    ):
        assert shell.call("sinks", *arguments) == 64, arguments
    assert shell.call("sinks", "resume", "totals") == 0
    assert run_once(shell) == 0
    assert query(shell, "SELECT sequence FROM event_processor_cursor WHERE sink = 'totals'") == [(6,)]


def test_rows_that_are_left_out_end_a_run_with_69(shell: Shell) -> None:
    configure(shell, SINK.replace('"double"', '"numeric(2,1)"').replace('"integer"', '"numeric(1,0)"'))
    with (shell.folder / "log.jsonl").open("ab") as log:
        log.write(b'{"id": 7, "category": "c", "value": 99}\n')
    assert run_once(shell) == 69
    assert '1 rows do not fit and are left out, such as c: "sum" has more than 1 digits before the point' in shell.out
    assert query(shell, "SELECT category FROM totals ORDER BY category") == [("a",), ("b",)]


def test_a_database_of_another_state_ends_a_run_with_65(shell: Shell) -> None:
    assert run_once(shell) == 0
    assert shell.call("reset", "--yes") == 0
    assert run_once(shell) == 65
    assert "its database belongs to another state of the pipeline shop" in shell.out
    assert "or let this one take the table over: event-processor sinks drop totals" in shell.out
    with shell.daemon():
        assert shell.call("sinks", "drop", "totals", "--yes") == 75
    assert shell.call("sinks", "drop", "totals", "--yes") == 0
    assert shell.out == "totals: dropped; the next start writes its table anew\n"
    query(shell, "UPDATE totals SET category = 'stale', _key = 'stale' WHERE category = 'b'")
    assert run_once(shell) == 0
    assert query(shell, "SELECT category FROM totals ORDER BY category") == [("a",), ("b",)]
    assert shell.call("sinks", "drop", "totals", "--yes") == 0
    assert shell.call("sinks", "drop", "totals", "--yes") == 0
    assert shell.out == "totals: its database has no place of it; the next start writes its table anew\n"


def test_a_database_that_is_held_by_another_program_holds_up_no_commit(shell: Shell) -> None:
    assert run_once(shell) == 0
    configure(
        shell,
        SINK.replace("table =", 'service = "db"\ntable =') + "[services.db]\ntimeout_s = 1\n[outbox]\nonce_wait_s = 1\n",
    )
    with (shell.folder / "log.jsonl").open("ab") as log:
        log.write(b'{"id": 7, "category": "c", "value": 1}\n')
    with closing(sqlite3.connect(shell.folder / "out" / "results.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        assert run_once(shell) == 69
        assert shell.json("inspect")["counts"]["records"] == 6
        other.execute("ROLLBACK")
    assert query(shell, "SELECT sequence FROM event_processor_cursor WHERE sink = 'totals'") == [(5,)]
    assert run_once(shell) == 0
    assert query(shell, "SELECT sequence FROM event_processor_cursor WHERE sink = 'totals'") == [(6,)]


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('"totals"\nurl', '"aggregates.none"\nurl', '"events", "dead_letters", "totals": an aggregate by its name'),
        ('type = "sql"', 'type = "file"', "sinks.totals"),
        ("sum =", "total =", 'it has no "total"'),
        ("sum =", "as_of =", 'another name than "as_of"'),
        (
            "columns =",
            'upsert = ["count"]\ncolumns =',
            "the columns of what identifies a row (category), or no upsert: there is _key",
        ),
        ("columns =", 'enrich = ["ml"]\ncolumns =', "no enricher: what it would be asked about is no record"),
    ],
)
def test_a_fault_says_what_is_wanted(shell: Shell, old: str, new: str, words: str) -> None:
    assert old in SINK
    configure(shell, SINK.replace(old, new))
    assert shell.call("validate") == 78
    assert words in shell.err


def test_a_snapshot_has_its_table_alone(shell: Shell) -> None:
    second = SINK.partition("[sinks")[2].replace(".totals]", ".more]")
    configure(shell, f"{SINK}[sinks{second}")
    assert shell.call("validate") == 78
    assert "another table: sinks.totals writes there too, and one replaces rows" in shell.err


def test_process_refuses_to_leave_it_behind(shell: Shell) -> None:
    assert shell.call("process", "log.jsonl") == 78
    assert "sinks.totals: this command cannot send to a remote sink" in shell.err
