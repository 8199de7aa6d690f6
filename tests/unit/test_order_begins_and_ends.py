"""The order stage begins with the first sink that reads events and ends with the last one: a reload, which the reading journal records."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from event_processor.operations.log_reader import nobody_watches
from event_processor.operations.replay import Replay
from event_processor.operations.verification import verify
from support.operated import Place, lines


@pytest.fixture
def place(tmp_path: Path) -> Place:
    place = Place.real(tmp_path, buffer_events=2, sink=False)
    place.append(lines([3, 1, 2, 3]))
    place.run()
    return place


def with_sink(place: Place, *, sink: bool) -> Place:
    return place.configured(buffer_events=2, sink=sink)


def journal(place: Place) -> list[tuple[str, int]]:
    entries = [json.loads(line) for line in place.read("state", "journal.jsonl").splitlines()]
    return [(entry["what"], entry["records"]) for entry in entries if entry["what"].startswith("order_")]


def ids_in_sink(place: Place) -> list[int]:
    return [json.loads(line)["id"] for line in place.read("out", "ordered.jsonl").splitlines()]


def assert_right(place: Place) -> None:
    verification = verify(place.settings, place.environment, progress=nobody_watches)
    assert verification.is_ok, verification.differences


def test_a_first_sink_gets_the_events_from_where_it_was_added(place: Place) -> None:
    assert (journal(place), place.state()["order"]["active"]) == ([], False)
    later = with_sink(place, sink=True)
    later.append(lines([9, 8, 7, 6]))
    later.run()
    assert journal(later) == [("order_started", 4)]
    assert (ids_in_sink(later), later.state()["order"]["held"]) == ([7, 6], 2)
    assert_right(later)


def test_a_start_without_new_events_changes_nothing_and_the_next_one_begins(place: Place) -> None:
    later = with_sink(place, sink=True)
    later.run()
    assert (journal(later), later.state()["order"]["active"]) == ([], False)
    assert_right(later)
    later.append(lines([5]))
    later.run()
    assert journal(later) == [("order_started", 4)]
    assert_right(later)


def test_without_the_last_sink_what_is_held_goes_to_no_reader_and_a_later_sink_begins_anew(place: Place) -> None:
    held = with_sink(place, sink=True)
    held.append(lines([9, 8, 7]))
    held.run()
    ended = with_sink(held, sink=False)
    ended.append(lines([10]))
    ended.run()
    assert journal(ended) == [("order_started", 4), ("order_ended", 7)]
    order = ended.state()["order"]
    assert (order["active"], order["held"], order["released"], ended.state()["counts"]["accepted"]) == (False, 0, 3, 7)
    assert_right(ended)
    ended.path("out", "ordered.jsonl").rename(ended.path("out", "before.jsonl"))
    again = with_sink(ended, sink=True)
    again.append(lines([12, 11]))
    again.run(drain=True)
    assert journal(again)[2:] == [("order_started", 8)]
    assert_right(again)


def test_a_replay_gives_the_first_sink_everything(place: Place) -> None:
    later = with_sink(place, sink=True)
    later.append(lines([9]))
    later.run()
    replay = Replay(later.settings, later.environment)
    replay.prepare(nobody_watches)
    replay.swap_in()
    later.run(drain=True)
    assert (journal(later), sorted(ids_in_sink(later))) == ([("order_started", 0)], [1, 2, 3, 9])
    assert_right(later)
