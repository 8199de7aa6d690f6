"""The real program and tables of totals and groups: whenever it is killed, they are what an independent reading of the log says."""

from __future__ import annotations

import json
import signal
import sqlite3
from contextlib import closing
from pathlib import Path
from random import Random
from typing import Any

from support.crash_trial import MAIN_PROGRAM
from support.processes import Pipeline, wait_until

KILLS = 6
EVENTS = 3000
CONFIGURATION = """
[sources.events]
path = "events.jsonl"
[batch]
bytes_max = 8192
[state]
dir = "durable/state"
[aggregates.kinds]
group_by = ["kind"]
measures = { events = "count", whole = "sum(value)" }
[sinks.totals]
type = "sql"
input = "totals"
url = "sqlite:///durable/results.db"
table = "totals"
columns = { category = "text", count = "integer", sum = "numeric(12,2)", last_id = "integer" }
interval_ms = 20
[sinks.groups]
type = "sql"
input = "aggregates.kinds"
url = "sqlite:///durable/results.db"
table = "groups"
columns = { kind = "text", events = "integer", whole = "double" }
interval_ms = 35
"""


def log_of(seed: int) -> list[bytes]:
    """Events, with duplicates, and lines that are no events."""
    numbers, lines = Random(seed), []
    for number in range(EVENTS):
        id_ = number if numbers.random() > 0.05 else numbers.randrange(max(1, number))
        event: dict[str, Any] = {"id": id_, "category": f"c{numbers.randrange(40)}", "value": numbers.randrange(1000) / 4}
        if numbers.random() > 0.1:
            event["kind"] = f"k{numbers.randrange(5)}"
        lines.append((json.dumps(event) if numbers.random() > 0.01 else "no event").encode() + b"\n")
    return lines


def expected(lines: list[bytes]) -> tuple[dict[str, tuple[int, str, int]], dict[str | None, tuple[int, float]]]:
    """The rows after these lines: by category, and by kind."""
    totals: dict[str, tuple[int, float, int]] = {}
    groups: dict[str | None, tuple[int, float]] = {}
    seen = set()
    for line in lines:
        try:
            event = json.loads(line)
        except ValueError:
            continue
        if event["id"] in seen:
            continue
        seen.add(event["id"])
        count, total, last = totals.get(event["category"], (0, 0.0, -1))
        totals[event["category"]] = (count + 1, total + event["value"], max(last, event["id"]))
        count, whole = groups.get(event.get("kind"), (0, 0.0))
        groups[event.get("kind")] = (count + 1, whole + event["value"])
    # Quarters are exact in a double, and in two digits after the point.
    return {name: (count, f"{total:.2f}", last) for name, (count, total, last) in totals.items()}, groups


def rows(path: Path, sink: str, columns: str) -> tuple[int, dict[Any, tuple[Any, ...]]]:
    """What a table is as of, and its rows, in one look; as of nothing before there is a table."""
    statement = (
        f"SELECT c.sequence, t.* FROM event_processor_cursor c LEFT JOIN (SELECT {columns} FROM {sink}) t WHERE c.sink = '{sink}'"
    )
    try:
        with closing(sqlite3.connect(path, timeout=30)) as connection:
            found = connection.execute(statement).fetchall()
    except sqlite3.OperationalError:
        return 0, {}
    kept = [row for row in found if row[2] is not None]
    return (found[0][0] if found else 0), {row[1]: row[2:] for row in kept}


def require_true(path: Path, lines: list[bytes]) -> tuple[int, int]:
    """Each table is what the lines say that it covers. Returns how many those are."""
    totals_as_of, totals = rows(path, "totals", "category, count, sum, last_id")
    groups_as_of, groups = rows(path, "groups", "kind, events, whole")
    assert totals == expected(lines[:totals_as_of])[0]
    assert groups == expected(lines[:groups_as_of])[1]
    return totals_as_of, groups_as_of


def test_whenever_it_is_killed_the_tables_are_what_the_lines_say_that_they_cover(tmp_path: Path) -> None:
    lines = log_of(3)
    pipeline = Pipeline(tmp_path, tmp_path / "durable", MAIN_PROGRAM.disturbed)
    pipeline.prepare(b"")
    (tmp_path / "pipeline.toml").write_text(CONFIGURATION)
    database = tmp_path / "durable" / "results.db"
    share = len(lines) // KILLS
    for part in range(KILLS):
        with pipeline.log.open("ab") as appended:
            appended.write(b"".join(lines[part * share : (part + 1) * share]))
        daemon = pipeline.start()
        wanted = part * share + share // 2
        wait_until(lambda daemon=daemon, wanted=wanted: require_true(database, lines)[0] >= wanted or not daemon.alive, "rows")  # type: ignore[misc]
        assert daemon.kill().exit_code < 0, "it runs until it is killed"
        require_true(database, lines)
    finished = pipeline.run("--once")
    assert finished.exit_code == 0, finished
    assert "Traceback" not in finished.stderr
    assert require_true(database, lines) == (EVENTS, EVENTS)
    assert f"sink totals: as of record {EVENTS:,}, 40 rows, 0 records behind" in finished.stderr

    # An operator pauses one of them while nothing runs, and resumes it under the daemon.
    assert pipeline.command_of("sinks", "pause", "totals").exit_code == 0
    with pipeline.log.open("ab") as appended:
        appended.write(b'{"id": 9999, "category": "new", "value": 0.25}\n')
    daemon = pipeline.start()
    wait_until(lambda: rows(database, "groups", "kind, events, whole")[0] == EVENTS + 1, "the other table")
    assert rows(database, "totals", "category, count, sum, last_id")[0] == EVENTS
    assert pipeline.command_of("sinks", "resume", "totals").exit_code == 0
    wait_until(lambda: rows(database, "totals", "category, count, sum, last_id")[1].get("new") == (1, "0.25", 9999), "the row")
    daemon.send(signal.SIGTERM)
    assert daemon.wait().exit_code == 0
