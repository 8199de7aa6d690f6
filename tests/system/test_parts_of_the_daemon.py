"""The daemon writing parts, killed on the way or not: every event in exactly one of them, in order, and no part before its commit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pyarrow import parquet

from support.processes import Pipeline, kill_on_the_way, wait_until

EVENTS = 20_000
PART_EVENTS = 987
SINKS = f"""
[sinks.results]
type = "file"
path = "out/results_batch_{{n}}.json"
format = "json"
part_events = {PART_EVENTS}

[sinks.table]
type = "file"
path = "out/table-{{n}}.parquet"
format = "parquet"
part_events = 5000
columns = ["id", "at"]
column_types = {{ id = "integer", at = "timestamp" }}
"""


def line(number: int) -> bytes:
    """Every seventh twice, every tenth a little late, some no events."""
    event_id = number - 3 if number % 10 == 9 else number
    if number % 501 == 3:
        return b"no event\n"
    event = b'{"id": %d, "category": "c%d", "value": 1, "at": %d}\n' % (event_id, number % 9, event_id)
    return event * (2 if number % 7 == 0 else 1)


LOG = b"".join(map(line, range(EVENTS)))


def pipeline(folder: Path) -> Pipeline:
    made = Pipeline(folder, folder, batch_bytes_max=65_536)
    made.prepare(LOG)
    path = folder / "pipeline.toml"
    path.write_text(path.read_text() + SINKS)
    return made


def parts(folder: Path) -> dict[int, list[dict[str, Any]]]:
    found = {int(path.stem.rpartition("_")[2]): json.loads(path.read_bytes()) for path in folder.glob("out/results_batch_*.json")}
    return dict(sorted(found.items()))


def ordered(made: Pipeline) -> list[dict[str, Any]]:
    committed = made.committed()
    assert committed is not None
    return [json.loads(each) for each in committed.sink.splitlines()]


@pytest.mark.parametrize("kills", [0, 4])
def test_each_event_stands_in_one_part_in_order_and_the_last_part_is_what_is_left(kills: int, tmp_path: Path) -> None:
    made = pipeline(tmp_path)
    if kills:
        kill_on_the_way(made, len(LOG), kills=kills)
    assert made.run().exit_code == 0
    found, expected = parts(tmp_path), ordered(made)
    assert len(expected) > 15 * PART_EVENTS
    assert [event for part in found.values() for event in part] == expected
    whole, rest = divmod(len(expected), PART_EVENTS)
    assert [len(part) for part in found.values()] == [PART_EVENTS] * whole + [rest] * (rest > 0)
    tables = [
        parquet.read_table(tmp_path / "out" / f"table-{number}.parquet") for number in range(1, 1 + -(-len(expected) // 5000))
    ]
    assert [row["id"] for table in tables for row in table.to_pylist()] == [event["id"] for event in expected]
    assert [table.num_rows for table in tables[:-1]] == [5000] * (len(tables) - 1)
    verified = made.verify()
    assert verified.exit_code == 0, verified.stderr


def test_a_live_daemon_leaves_the_last_part_open_and_a_consumer_may_take_parts_at_once(tmp_path: Path) -> None:
    made = pipeline(tmp_path)
    taken: dict[int, list[dict[str, Any]]] = {}

    def take() -> None:
        for number, events in parts(tmp_path).items():
            assert number not in taken
            taken[number] = events
            (tmp_path / "out" / f"results_batch_{number}.json").unlink()

    daemon = made.start()
    wait_until(lambda: take() or made.progress() == len(LOG) or not daemon.alive, "all of the log is committed")  # type: ignore[func-returns-value]
    daemon.kill()
    whole = len(ordered(made)) // PART_EVENTS
    assert made.run().exit_code == 0
    take()
    assert [len(events) for events in taken.values()][:whole] == [PART_EVENTS] * whole
    assert [event for _, events in sorted(taken.items()) for event in events] == ordered(made)
