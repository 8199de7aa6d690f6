"""The real program and a real database: what is there after twenty kills is what an independent reading of the log says."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from random import Random
from typing import Any

from support.crash_trial import MAIN_PROGRAM
from support.processes import Pipeline, wait_until

KILLS = 20
EVENTS = 6000
CONFIGURATION = """
[sources.events]
path = "events.jsonl"
[order]
buffer_events = 0
[batch]
bytes_max = 16384
[state]
dir = "durable/state"
[sinks.rows]
type = "sql"
url = "sqlite:///durable/results.db"
table = "results"
columns = { id = "integer", amount = "double", kind = { type = "text", field = "more.kind" } }
request_events_max = 40
[sinks.latest]
type = "sql"
url = "sqlite:///durable/results.db"
table = "latest"
columns = { category = "text", id = "integer" }
upsert = ["category"]
request_events_max = 90
"""


def log_of(seed: int) -> bytes:
    """Events, with duplicates, lines that are no events, and amounts that do not fit their column."""
    numbers, lines = Random(seed), []
    for number in range(EVENTS):
        chance = numbers.random()
        id_ = number if chance > 0.05 else numbers.randrange(max(1, number))
        amount: Any = number / 4 if numbers.random() > 0.01 else "much"
        event = {"id": id_, "category": f"c{number % 7}", "value": 1, "amount": amount, "more": {"kind": f"k{number % 3}"}}
        lines.append(json.dumps(event) if numbers.random() > 0.01 else "no event")
    return ("\n".join(lines) + "\n").encode()


def rows_of(log: bytes) -> tuple[list[tuple[Any, ...]], list[int], dict[str, int]]:
    """What the tables must hold: rows with line and offset, the lines of failed records, and the last id of each category."""
    rows, failed, latest, seen, offset = [], [], {}, set(), 0
    for number, line in enumerate(log.splitlines(keepends=True), start=1):
        place, offset = offset, offset + len(line)
        try:
            event = json.loads(line)
        except ValueError:
            continue
        if event["id"] in seen:
            continue
        seen.add(event["id"])
        latest[event["category"]] = event["id"]
        if isinstance(event["amount"], str):
            failed.append(number)
        else:
            rows.append((event["id"], event["amount"], event["more"]["kind"], number, place))
    return rows, failed, latest


def query(path: Path, statement: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(path, timeout=30)) as connection:
        return connection.execute(statement).fetchall()


def written(path: Path) -> int:
    """How many rows there are; 0 before there is a table."""
    try:
        return int(query(path, "SELECT count(*) FROM results")[0][0])
    except sqlite3.OperationalError:
        return 0


def test_after_twenty_kills_each_record_is_a_row_once(tmp_path: Path) -> None:
    log = log_of(7)
    pipeline = Pipeline(tmp_path, tmp_path / "durable", MAIN_PROGRAM.disturbed)
    pipeline.prepare(b"")
    (tmp_path / "pipeline.toml").write_text(CONFIGURATION)
    database = tmp_path / "durable" / "results.db"
    rows, failed, latest = rows_of(log)
    lines = log.splitlines(keepends=True)
    share = len(lines) // KILLS
    for part in range(KILLS):
        with pipeline.log.open("ab") as appended:
            appended.write(b"".join(lines[part * share : (part + 1) * share]))
        daemon = pipeline.start()
        wanted = sum(line <= part * share + share // 2 for *_, line, _ in rows)
        wait_until(lambda daemon=daemon, wanted=wanted: written(database) >= wanted or not daemon.alive, "rows")  # type: ignore[misc]
        assert daemon.kill().exit_code < 0, "it runs until it is killed"
    finished = pipeline.run("--once")
    assert finished.exit_code == 0, finished
    assert "Traceback" not in finished.stderr
    assert query(database, "SELECT id, amount, kind, _line, _offset FROM results ORDER BY _sequence") == rows
    assert dict(query(database, "SELECT category, id FROM latest")) == latest
    places = query(database, "SELECT place FROM event_processor_failed WHERE sink = 'rows' ORDER BY sequence")
    assert [json.loads(place)["line"] for (place,) in places] == failed
    mirror = json.loads((tmp_path / "durable" / "state" / "delivery" / "rows.json").read_text())
    assert mirror["counts"] == {"delivered": len(rows), "failed": len(failed), "skipped": 0}
    mirrored = (tmp_path / "durable" / "state" / "delivery" / "rows.failed.jsonl").read_text().splitlines()
    assert [json.loads(line)["place"]["line"] for line in mirrored] == failed
    cursors = query(database, "SELECT sink, sequence, delivered, failed FROM event_processor_cursor ORDER BY sink")
    total = len(rows) + len(failed)
    assert cursors == [("latest", total, total, 0), ("rows", total, len(rows), len(failed))]
