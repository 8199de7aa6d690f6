"""A pipeline with tables in SQLite, called by the real command line in this process, and what `verify --sink` says of it."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from typing import Any

from support.command_line import Shell

__all__ = ["BAD", "EVENTS", "differences", "line", "make_tables", "query", "write"]

CONFIGURATION = """
[sources.events]
path = "events.jsonl"
[order]
buffer_events = 0
[sinks.rows]
type = "sql"
url = "sqlite:///out/results.db"
table = "results"
columns = { id = "integer", amount = "double", at = "timestamp", more = "json" }
[sinks.latest]
type = "sql"
url = "sqlite:///out/results.db"
table = "latest"
columns = { category = "text", id = "integer" }
upsert = ["category"]
[sinks.copy]
path = "out/copy.jsonl"
"""
EVENTS = 20
BAD = 7
"""The amount of this event does not fit its column."""


def line(number: int) -> str:
    amount = '"much"' if number == BAD else str(number / 4)
    fields = f'"at": "2026-01-01T00:{number // 60:02}:{number % 60:02}+01:00", "more": {{"n": [{number}, 1.50]}}'
    return f'{{"id": {number}, "category": "c{number % 3}", "value": 1, "amount": {amount}, {fields}}}\n'


def make_tables(shell: Shell) -> None:
    """The first events are in the tables."""
    shell.path("event-processor.toml").write_text(CONFIGURATION)
    write(shell, 1, EVENTS)
    assert shell.call("run", "--once") == 0, shell.err


def write(shell: Shell, first: int, last: int) -> None:
    with shell.path("events.jsonl").open("a") as log:
        log.write("".join(map(line, range(first, last + 1))))


def query(shell: Shell, statement: str, *values: Any) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(shell.path("out", "results.db"))) as connection, connection:
        return connection.execute(statement, values).fetchall()


def differences(shell: Shell, sink: str = "rows") -> list[dict[str, Any]]:
    assert shell.call("verify", "--sink", sink, "--json") == 65, shell.out + shell.err
    document = json.loads(shell.out)
    assert document["ok"] is False
    assert document["differing"] == document["tables"][0]["differing"] == len(document["differences"])
    return list(document["differences"])
