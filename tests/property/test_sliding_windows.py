"""Windows against a model that computes every row from every event; cut into batches anywhere, written and read back anywhere."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from event_processor.aggregation.left_out import FirstLeftOut, LeftOut
from event_processor.aggregation.measures import EventMeasurer
from event_processor.aggregation.windows.rows import RowForm, RowPieces, WindowRun
from event_processor.aggregation.windows.windows import SlidingWindows, WindowSummary
from event_processor.columns.event_slices import EventSlice
from event_processor.configuration.aggregates import AggregateOptions
from event_processor.configuration.configuration import EventOptions
from support.window_model import NS, Occurrence, WindowModel

MEASURES = {
    "events": "count",
    "values": "count(v)",
    "sum": "sum(v)",
    "least": "min(v)",
    "greatest": "max(v)",
    "first": "first(v)",
    "last": "last(v)",
    "mean": "mean(v)",
}
halves = st.integers(-6, 400).map(lambda each: each * NS // 2)
seconds = st.integers(0, 40).map(lambda each: each * NS)
numbers = st.one_of(st.none(), st.just("x"), st.integers(-5, 5).map(float), st.sampled_from([1e250, -1e250, 0.1, 1e-300]))
events = st.lists(st.builds(Occurrence, halves | seconds, st.sampled_from(["a", "b", "c"]), numbers), max_size=40)
crowded = st.lists(st.builds(Occurrence, seconds, st.sampled_from(["a", "b", "c"]), numbers), max_size=40)


@st.composite
def grids(draw: st.DrawFn) -> dict[str, Any]:
    window: dict[str, Any] = {"size_s": draw(st.integers(1, 40)), "every_s": draw(st.integers(1, 12))}
    window["closed"] = draw(st.sampled_from(["left", "right", "both", "none"]))
    return window


def windows(options: AggregateOptions, summary: WindowSummary) -> SlidingWindows:
    measurer = EventMeasurer(options, EventOptions(value="", category=""))
    return SlidingWindows("a", options, measurer, RowForm(options, "UTC"), summary)


def part(occurrences: list[Occurrence], begin: int = 0) -> tuple[EventSlice, np.ndarray[Any, np.dtype[np.int64]]]:
    lines = [json.dumps({"v": each.value, "g": each.group}).encode() + b"\n" for each in occurrences]
    events = EventSlice(len(lines), lambda: b"".join(lines), None, place_at=lambda index: ("s", 1, 0, begin + index + 1))
    return events, np.array([each.ns for each in occurrences], np.int64)


def cut(items: list[Occurrence], places: list[int]) -> list[list[Occurrence]]:
    bounds = sorted({0, len(items), *(place for place in places if place < len(items))})
    return [items[begin:end] for begin, end in pairwise(bounds)]


def told(form: RowForm, runs: list[WindowRun]) -> list[dict[str, Any]]:
    return [json.loads(line) for piece in RowPieces(form, runs) for line in piece.splitlines()]


def as_row(options: AggregateOptions, row: tuple[Any, ...]) -> dict[str, Any]:
    assert options.window is not None
    end_s = row[0] * options.window.step_s
    ends = {"window_start": end_s - options.window.size_s, "window_end": end_s}
    if row[1] is None:
        return {**ends, **{name: 0 if name in ("events", "values") else options.window.empty for name in MEASURES}}
    group = {"g": row[1]} if options.group_by else {}
    return {**ends, **group, **dict(zip(MEASURES, row[2:], strict=True))}


def with_empties(options: AggregateOptions, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """A measure of which there is nothing says what an empty window would."""
    assert options.window is not None
    empty = options.window.empty
    return [{name: empty if value is None and name in MEASURES else value for name, value in row.items()} for row in rows]


@settings(max_examples=400, deadline=None)
@given(
    events,
    grids(),
    st.booleans(),
    st.booleans(),
    st.integers(1, 3),
    st.lists(st.integers(1, 40)),
    st.lists(st.integers(1, 40)),
    st.sampled_from([-1, -1, 0, 1]),
)
def test_rows_are_those_of_the_definition_however_events_are_cut_and_restored(
    occurrences: list[Occurrence],
    window: dict[str, Any],
    grouped: bool,
    rising: bool,
    groups_max: int,
    cuts: list[int],
    restarts: list[int],
    finished: int,
) -> None:
    """`finished`: behind the part of this number the input is taken for finished, and goes on all the same."""
    if rising:
        occurrences = sorted(occurrences, key=lambda each: each.ns)
    shows_empty = not grouped and groups_max > 1
    window = {**window, "timestamp_format": "epoch_s", "empty": 0 if shows_empty else None}
    options = AggregateOptions.model_validate(
        {"group_by": ("g",) if grouped else (), "measures": MEASURES, "window": window, "groups_max": groups_max}
    )
    model = WindowModel(window["size_s"], window["every_s"], window["closed"], groups_max, shows_empty)
    engine = windows(options, WindowSummary(left_out=LeftOut()))
    form = RowForm(options, "UTC")
    disk: list[bytes] = []
    rows: list[dict[str, Any]] = []
    for number, occurrences_of in enumerate(cut(occurrences, cuts)):
        begin = model.added
        for each in occurrences_of:
            model.add(each if grouped else Occurrence(each.ns, "", each.value))
        rows += told(form, engine.add(*part(occurrences_of, begin)))
        if number == finished:
            model.finish()
            rows += told(form, engine.finish())
            assert engine.is_finished
        disk += engine.take_changes()
        if number in restarts:
            summary = msgspec.convert(msgspec.to_builtins(engine.summary()), WindowSummary)
            engine = windows(options, summary)
            engine.restore(disk)
            assert engine.summary() == summary
            disk = engine.lines() if number % 2 else disk
    unfit = [number for number, each in enumerate(occurrences, start=1) if isinstance(each.value, str)]
    expected_counts = (len(occurrences), model.late_window, len(unfit), model.over_limit)
    first_unfit = FirstLeftOut("v", "s", 1, unfit[0], 0) if unfit else None
    first_over_limit = FirstLeftOut("", "s", 1, model.first_over_limit, 0) if model.first_over_limit else None
    assert engine.summary().left_out == LeftOut((), first_unfit, first_over_limit)
    assert msgspec.structs.astuple(engine.summary().counts) == expected_counts
    rows += told(form, engine.finish())
    model.finish()
    assert rows == with_empties(options, [as_row(options, row) for row in model.rows])


@settings(max_examples=300, deadline=None)
@given(events | crowded, grids(), st.lists(st.integers(1, 40)), st.integers(1, 3))
def test_what_is_held_does_not_depend_on_how_events_were_cut(
    occurrences: list[Occurrence], window: dict[str, Any], cuts: list[int], groups_max: int
) -> None:
    options = AggregateOptions.model_validate(
        {"group_by": ("g",), "measures": MEASURES, "window": window, "groups_max": groups_max}
    )
    whole, pieces = windows(options, WindowSummary()), windows(options, WindowSummary())
    if occurrences:
        whole.add(*part(occurrences))
    for piece in cut(occurrences, cuts):
        pieces.add(*part(piece))
    assert whole.summary() == pieces.summary()
    assert sorted(whole.lines()) == sorted(pieces.lines())


@pytest.mark.parametrize("first_ns", [-(2**63) + 1, -NS, 0, 2**63 - 1])
@pytest.mark.parametrize("form", ["rfc3339", "datetime", "epoch_s"])
@pytest.mark.parametrize(
    ("size_s", "every_s"), [(9_000_000_000, 9_000_000_000), (9_000_000_000, 1_000_000_000), (1, 9_000_000_000)]
)
def test_the_longest_windows_hold_the_first_and_the_last_of_all_instants(
    first_ns: int, form: str, size_s: int, every_s: int
) -> None:
    window = {"size_s": size_s, "every_s": every_s, "timestamp_format": form}
    options = AggregateOptions.model_validate({"measures": {"n": "count"}, "window": window})
    occurrences = [Occurrence(first_ns, "", 1.0), Occurrence(2**63 - 1, "", 1.0)]
    model = WindowModel(size_s, every_s, "left")
    for each in occurrences:
        model.add(each)
    model.finish()
    engine = windows(options, WindowSummary())
    rows = told(RowForm(options, "Europe/Lisbon"), [*engine.add(*part(occurrences)), *engine.finish()])
    assert [row["n"] for row in rows] == [row[2] for row in model.rows]
    if form == "epoch_s":
        assert [row["window_end"] for row in rows] == [row[0] * every_s for row in model.rows]


def test_events_behind_a_later_cell_of_the_same_step_are_held_apart_however_they_were_cut() -> None:
    options = AggregateOptions.model_validate({"measures": {"n": "count"}, "window": {"size_s": 25, "every_s": 10}})
    occurrences = [Occurrence(3 * NS, "a", 1.0), Occurrence(7 * NS, "a", 1.0), Occurrence(3 * NS, "a", 1.0)]
    whole, pieces = windows(options, WindowSummary()), windows(options, WindowSummary())
    whole.add(*part(occurrences))
    for each in occurrences:
        pieces.add(*part([each]))
    assert whole.summary() == pieces.summary()
    assert whole.summary().held == 3


def test_of_two_groups_the_one_that_came_first_has_the_room_whatever_its_times() -> None:
    options = AggregateOptions.model_validate(
        {"group_by": ("g",), "measures": {"n": "count", "first": "first(v)"}, "window": {"size_s": 60}, "groups_max": 1}
    )
    engine = windows(options, WindowSummary())
    occurrences = [Occurrence(20 * NS, "a", 1.0), Occurrence(15 * NS, "b", 2.0), Occurrence(10 * NS, "a", 3.0)]
    rows = told(RowForm(options, "UTC"), [*engine.add(*part(occurrences)), *engine.finish()])
    assert [(row["g"], row["n"], row["first"]) for row in rows] == [("a", 2, 3.0)]
    assert engine.summary().counts.over_limit == 1
