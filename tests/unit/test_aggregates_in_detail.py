"""What broken aggregates would do unnoticed by the tests against a model: each found by breaking the code."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from event_processor.aggregation.aggregates import Aggregates
from event_processor.aggregation.windows import running
from event_processor.aggregation.windows.rows import RowForm, RowPieces, WindowRun
from event_processor.aggregation.windows.running import Best
from event_processor.columns.event_slices import EventSlice, KnownColumns
from event_processor.configuration.aggregates import AggregateOptions
from event_processor.configuration.configuration import EventOptions, OrderOptions
from event_processor.model.columns import CategoryColumn

EVENT = EventOptions(value="v", category="c")


def aggregates(**options: Any) -> Aggregates:
    return Aggregates({"a": AggregateOptions.model_validate(options)}, EVENT, OrderOptions(by="id"), {})


def held(*records: dict[str, Any]) -> EventSlice:
    """Events that waited in an order by id."""
    lines = b"".join(json.dumps(record).encode() + b"\n" for record in records)
    return EventSlice(len(records), lambda: lines, None, list(range(len(records))))


def test_events_that_waited_in_an_order_by_id_have_their_own_timestamps() -> None:
    into = aggregates(measures={"n": "count"}, window={"size_s": 60, "timestamp_format": "epoch_s"})
    runs = into.release([held({"timestamp": 61}, {"timestamp": 121})])["a"]
    assert b"".join(into.released("a", runs).pieces).splitlines() == [b'{"window_start": 60, "window_end": 120, "n": 1}']


def test_unfit_events_are_counted_over_all_batches() -> None:
    into = aggregates(measures={"s": "sum(w)"}, group_by=("g",), window={"size_s": 60})
    for _ in range(2):
        into.release(
            [held({"timestamp": 1, "w": "x", "g": 1}, {"timestamp": 1, "w": 1, "g": []}, {"timestamp": 1, "w": 1, "g": 1})]
        )
    counts = into.documents()["a"].counts
    assert (counts.events, counts.unfit) == (4, 4)


def test_an_empty_window_says_the_value_for_it_but_counts_nothing() -> None:
    measures = {"n": "count", "m": "count(w)", "s": "sum(w)", "mean": "mean(w)"}
    into = aggregates(measures=measures, window={"size_s": 60, "empty": 7, "start_as": "", "end_as": ""})
    runs = into.release([held({"timestamp": 1, "w": 1}, {"timestamp": 121, "w": 1})])["a"]
    lines = b"".join(into.released("a", runs).pieces).splitlines()
    assert json.loads(lines[-1]) == {"n": 0, "m": 0, "s": 7, "mean": 7}


def test_what_only_the_lines_know_is_read_from_them_though_there_are_columns() -> None:
    into = aggregates(measures={"s": "sum(v)"}, where={"k": 1})
    columns = KnownColumns(None, np.array([2.0, 4.0]), np.ones(2, np.bool_), CategoryColumn(np.zeros(2, np.int64), ["c"]))
    into.accept(EventSlice(2, lambda: b'{"c": "c", "v": 2, "k": 1}\n{"c": "c", "v": 4, "k": 2}\n', columns))
    assert into.documents()["a"].groups[0].measures == {"s": 2.0}  # type: ignore[union-attr]


def test_of_two_new_groups_the_one_that_came_first_has_the_room() -> None:
    into = aggregates(measures={"n": "count"}, group_by=("c",), groups_max=1)
    columns = KnownColumns(None, None, None, CategoryColumn(np.array([1, 0, 1], np.int64), ["a", "b"]))
    into.accept(EventSlice(3, lambda: b"", columns))
    assert [each.group for each in into.documents()["a"].groups] == [{"c": "b"}]  # type: ignore[union-attr]


def test_what_left_is_given_back_and_what_stays_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running, "COMPACT_FROM", 4)
    best = Best()
    for cell in range(100):
        best.add(cell, float(cell), cell)
        best.drop_before(cell - 2)
        assert best.value() == max(0, cell - 2)
    assert len(best._cells) < 20


@pytest.mark.parametrize(
    ("form", "zone", "said"),
    [
        ("rfc3339", "Europe/Berlin", ["2018-10-27T23:59:00Z", "2018-10-28T00:00:00Z", "2018-10-28T00:01:00Z"]),
        ("datetime", "UTC", ["2018-10-27 23:59:00", "2018-10-28 00:00:00", "2018-10-28 00:01:00"]),
        ("datetime", "Europe/Berlin", ["2018-10-28 01:59:00", "2018-10-28 02:00:00", "2018-10-28 02:01:00"]),
    ],
)
def test_ends_are_written_as_configured_over_midnight(form: str, zone: str, said: list[str]) -> None:
    window = {"size_s": 60, "start_as": "", "end_as": "at", "timestamp_format": form}
    options = AggregateOptions.model_validate({"measures": {"n": "count"}, "window": window})
    pieces = RowPieces(RowForm(options, zone), [WindowRun(25_678_079, 3, (b'"n": 0}\n',))])
    assert [json.loads(line)["at"] for line in b"".join(pieces).splitlines()] == said


@pytest.mark.parametrize(
    ("ends", "said"),
    [
        ([-1, 0], ["1969-12-31T23:59:59Z", "1970-01-01T00:00:00Z"]),
        ([-86_400, -86_401], ["1969-12-31T00:00:00Z", "1969-12-30T23:59:59Z"]),
        ([-1], ["1969-12-31T23:59:59Z"]),
    ],
)
def test_the_day_before_1970_is_a_day_like_any_other(ends: list[int], said: list[str]) -> None:
    options = AggregateOptions.model_validate(
        {"measures": {"n": "count"}, "window": {"size_s": 1, "start_as": "", "end_as": "at"}}
    )
    pieces = RowPieces(RowForm(options, "UTC"), [WindowRun(end, 1, (b'"n": 0}\n',)) for end in ends])
    assert [json.loads(line)["at"] for line in b"".join(pieces).splitlines()] == said
