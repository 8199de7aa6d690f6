"""Aggregates in the daemon: killed in the middle or not, the rows are those of the definition, and `verify` agrees."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

from support.processes import Pipeline, kill_on_the_way
from support.window_model import NS, Occurrence, WindowModel

EVENTS = 6_000
BATCH_BYTES = 16_384
AGGREGATES = """
[aggregates.sliding]
group_by = ["category"]
measures = { events = "count", total = "sum(value)", last = "last(note)" }
[aggregates.sliding.window]
size_s = 300
every_s = 60
closed = "right"
start_as = ""
timestamp_format = "epoch_s"
[aggregates.everything]
group_by = ["note"]
measures = { events = "count", greatest = "max(value)" }
[sinks.rows]
input = "aggregates.sliding"
path = "out/rows.jsonl"
"""


def occurrences() -> list[Occurrence]:
    """Some 40 minutes, mostly in order; every 300th event comes too late for the order stage, and a gap of a day in the middle."""
    chance = random.Random(7)
    found = []
    for number in range(EVENTS):
        ns = number * 400_000_000 + chance.randrange(0, 3 * NS) + (86_400 * NS if number > EVENTS // 2 else 0)
        if number % 300 == 299:
            ns -= chance.randrange(0, 400) * NS
        found.append(Occurrence(ns, f"c{number % 5}", number % 97 / 4))
    return found


def line(number: int, event: Occurrence) -> bytes:
    timestamp = event.ns // 1000 / 1e6
    record = {"id": number, "category": event.group, "value": event.value, "timestamp": timestamp, "note": f"n{number % 3}"}
    return json.dumps(record).encode() + b"\n"


def pipeline(folder: Path, *, workers: int = 1) -> Pipeline:
    made = Pipeline(folder, folder, batch_bytes_max=BATCH_BYTES)
    made.prepare(b"".join(line(number, event) for number, event in enumerate(occurrences())))
    path = folder / "pipeline.toml"
    text = path.read_text()
    assert "[order]\n" in text
    text = text.replace("[order]\n", '[order]\nby = "timestamp"\nbuffer_events = 16\n', 1)
    kept = [each for each in text.split("\n") if not each.startswith("buffer_events") or each == "buffer_events = 16"]
    path.write_text("\n".join(kept) + AGGREGATES + f"\n[engine]\nworkers = {workers}\n")
    return made


def rows(made: Pipeline) -> list[dict[str, Any]]:
    """What the sink holds, as far as it is committed."""
    appended = json.loads(made.checkpoint.read_bytes())["state"]["appended"]
    length_bytes = next(length for name, length in appended.items() if name.startswith("sinks.rows:"))
    return [json.loads(each) for each in (made.durable / "out" / "rows.jsonl").read_bytes()[:length_bytes].splitlines()]


def released() -> list[Occurrence]:
    """The events as an order stage of sixteen lets them go, by the definition; with the note in the place of the value of `last`."""
    held: list[tuple[int, int]] = []
    out: list[int] = []
    last: tuple[int, int] | None = None
    events = occurrences()
    for number, event in enumerate(events):
        key = event.ns // 1000 * 1000, number
        if last is not None and key < last:
            out.append(number)
            continue
        held = sorted([*held, key])
        if len(held) > 16:
            last = held.pop(0)
            out.append(last[1])
    out += [number for _, number in held]
    return [Occurrence(events[number].ns // 1000 * 1000, events[number].group, events[number].value) for number in out]


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[dict[str, Any]], Any]:
    made = pipeline(tmp_path_factory.mktemp("whole"))
    finished = made.run()
    assert finished.exit_code == 0, finished.stderr
    assert made.verify().exit_code == 0
    committed = made.committed()
    assert committed is not None
    return rows(made), committed.state["aggregates"]


def test_the_rows_are_those_of_the_definition(uninterrupted: tuple[list[dict[str, Any]], Any]) -> None:
    model = WindowModel(300, 60, "right")
    for event in released():
        model.add(event)
    model.finish()
    expected = [(row[0] * 60, row[1], row[2], row[4]) for row in model.rows]
    found = [(row["window_end"], row["category"], row["events"], row["total"]) for row in uninterrupted[0]]
    assert found == expected
    counts = uninterrupted[1]["sliding"]["counts"]
    assert (counts["events"], counts["late_window"]) == (EVENTS, model.late_window)
    assert model.late_window > 0, "some came too late, or this shows nothing"


def test_totals_without_a_window_hold_every_event(uninterrupted: tuple[list[dict[str, Any]], Any]) -> None:
    groups = uninterrupted[1]["everything"]["groups"]
    assert [(each["group"], each["measures"]) for each in groups] == [
        ({"note": f"n{note}"}, {"events": EVENTS // 3, "greatest": 24.0}) for note in range(3)
    ]


@pytest.mark.parametrize("workers", [1, 2])
def test_killed_in_the_middle_the_rows_are_the_same(
    workers: int, uninterrupted: tuple[list[dict[str, Any]], Any], tmp_path: Path
) -> None:
    made = pipeline(tmp_path, workers=workers)
    kill_on_the_way(made, made.log.stat().st_size, kills=4)
    assert made.run().exit_code == 0
    committed = made.committed()
    assert committed is not None
    assert (rows(made), committed.state["aggregates"]) == uninterrupted
    assert made.verify().exit_code == 0


def test_a_window_file_that_lost_a_line_stops_the_start_and_says_what_to_do(tmp_path: Path) -> None:
    made = pipeline(tmp_path)
    assert made.run("--once").exit_code == 0
    (held,) = (tmp_path / "state" / "windows").iterdir()
    *lines, last = held.read_bytes().splitlines(keepends=True)
    assert b'"n2"' in last or b'"n1"' in last or b'"n0"' in last
    held.write_bytes(b"".join(lines) + last.replace(b'"n', b'"m'))
    finished = made.run("--once")
    assert finished.exit_code == 65
    assert "state/windows: does not hold the windows of aggregate 'sliding' that are in the checkpoint" in finished.stderr
    assert "event-processor replay" in finished.stderr
