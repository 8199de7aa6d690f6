"""Aggregates without a window against a model of fractions; and what of an event can be measured, whichever way it is read."""

from __future__ import annotations

import json
from fractions import Fraction
from itertools import pairwise
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from event_processor.aggregation.groups import GroupTotals, GroupTotalsDocument
from event_processor.aggregation.left_out import FirstLeftOut, LeftOut
from event_processor.aggregation.measures import EventMeasurer
from event_processor.columns.event_slices import EventSlice, KnownColumns
from event_processor.configuration.aggregates import AggregateOptions
from event_processor.configuration.configuration import EventOptions
from event_processor.model.columns import CategoryColumn

EVENT = EventOptions(value="v", category="c")
MEASURES = {
    "events": "count",
    "values": "count(v)",
    "sum": "sum(v)",
    "mean": "mean(v)",
    "least": "min(v)",
    "greatest": "max(v)",
    "first": "first(w)",
    "last": "last(w)",
}
scalars = st.one_of(
    st.none(), st.booleans(), st.integers(-3, 3), st.sampled_from([1.0, 1.5, -0.0]), st.sampled_from(["1", "x", "é"])
)
numbers = st.one_of(
    st.none(), st.integers(-5, 5), st.sampled_from([0.1, 1e250, -1e250, -0.0]), st.just("7"), st.just(True), st.just(1e300)
)
events = st.lists(
    st.fixed_dictionaries(
        {}, optional={"v": numbers, "w": scalars, "g": scalars, "h": st.sampled_from([{"x": 1}, {"x": "a"}, 5])}
    ),
    max_size=30,
)


def slice_of(part: list[dict[str, Any]], begin: int = 0) -> EventSlice:
    content = b"".join(json.dumps(each).encode() + b"\n" for each in part)
    return EventSlice(len(part), lambda: content, None, place_at=lambda index: ("s", 1, 0, begin + index + 1))


def group_of(event: dict[str, Any]) -> tuple[Any, Any]:
    """The group's values: what is missing is null, whole numbers are integers."""
    inside = event.get("h")
    values = [inside.get("x") if isinstance(inside, dict) else None, event.get("g")]
    return tuple(int(each) if isinstance(each, float) and each.is_integer() else each for each in values)  # type: ignore[return-value]


def is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 2**960


def by_hand(everything: list[dict[str, Any]], groups_max: int) -> tuple[list[Any], list[int], list[int]]:
    """The rows by group, the numbers of the unfit events, and of those of a group too many; numbers from 1."""
    groups: dict[str, tuple[tuple[Any, Any], list[dict[str, Any]]]] = {}
    unfit: list[int] = []
    over_limit: list[int] = []
    for number, event in enumerate(everything, start=1):
        if event.get("v") is not None and not is_number(event["v"]):
            unfit.append(number)
        key = json.dumps(group_of(event), separators=(",", ":"), ensure_ascii=False)
        if key not in groups and len(groups) >= groups_max:
            over_limit.append(number)
            continue
        groups.setdefault(key, (group_of(event), []))[1].append(event)
    rows = []
    for _, (group, inside) in sorted(groups.items()):
        values = [float(event["v"]) + 0.0 for event in inside if is_number(event.get("v"))]
        there = sum(event.get("v") is not None for event in inside)
        total = sum(map(Fraction, values), Fraction(0))
        kept = [event["w"] for event in inside if event.get("w") is not None]
        rows.append(
            {
                "h.x": group[0],
                "g": group[1],
                "events": len(inside),
                "values": there,
                "sum": None if there and not values else float(total),
                "mean": float(total / len(values)) if values else None,
                "least": min(values, default=None),
                "greatest": max(values, default=None),
                "first": kept[0] if kept else None,
                "last": kept[-1] if kept else None,
            }
        )
    return rows, unfit, over_limit


@settings(max_examples=300, deadline=None)
@given(events, st.integers(1, 6), st.lists(st.integers(1, 30)), st.booleans())
def test_groups_are_those_of_the_model_however_events_are_cut_and_restored(
    everything: list[dict[str, Any]], groups_max: int, cuts: list[int], restarts: bool
) -> None:
    options = AggregateOptions.model_validate({"group_by": ("h.x", "g"), "measures": MEASURES, "groups_max": groups_max})
    measurer = EventMeasurer(options, EVENT)
    names = ("h.x", "g", "v", "w")
    totals = GroupTotals(options, measurer, GroupTotalsDocument(left_out=LeftOut(names)))
    bounds = sorted({0, len(everything), *(cut for cut in cuts if cut < len(everything))})
    for begin, end in pairwise(bounds):
        totals.add(slice_of(everything[begin:end], begin))
        if restarts:
            written = json.loads(json.dumps(msgspec.to_builtins(totals.document()), sort_keys=True))
            totals = GroupTotals(options, measurer, msgspec.convert(written, GroupTotalsDocument))
    document = totals.document()
    rows, unfit, over_limit = by_hand(everything, groups_max)
    assert [{**each.group, **each.measures} for each in document.groups] == rows
    assert msgspec.structs.astuple(document.counts) == (len(everything), len(unfit), len(over_limit))
    absent = tuple(name for name in names if not any(has(event, name) for event in everything))
    assert document.left_out == LeftOut(absent, first_of(unfit, "v"), first_of(over_limit, ""))


def has(event: dict[str, Any], name: str) -> bool:
    """Whether the event has the field, be it null."""
    inside = event.get("h")
    return (isinstance(inside, dict) and "x" in inside) if name == "h.x" else name in event


def first_of(numbers: list[int], field: str) -> FirstLeftOut | None:
    return FirstLeftOut(field, "s", 1, numbers[0], 0) if numbers else None


ODD = ["A", "B", 7, None, [1], {"x": 1}, True]


@pytest.mark.parametrize(
    ("neighbours", "measured", "unfit"),
    [
        ({}, {}, 0),
        ({"f": "first(v)", "l": "last(v)"}, {"f": "A", "l": True}, 2),
        ({"s": "sum(v)", "m": "mean(v)", "g": "max(v)"}, {"s": 7.0, "m": 7.0, "g": 7.0}, 5),
        ({"s": "sum(v)", "f": "first(v)"}, {"s": 7.0, "f": "A"}, 5),
    ],
)
def test_each_measure_judges_for_itself_which_values_fit(
    neighbours: dict[str, str], measured: dict[str, Any], unfit: int
) -> None:
    options = AggregateOptions.model_validate({"measures": {"n": "count(v)", **neighbours}})
    totals = GroupTotals(options, EventMeasurer(options, EVENT), GroupTotalsDocument())
    for value in ODD:  # one batch each: the entries are merged
        totals.add(slice_of([{} if value is None else {"v": value}]))
    at_once = GroupTotals(options, EventMeasurer(options, EVENT), GroupTotalsDocument())
    at_once.add(slice_of([{} if value is None else {"v": value} for value in ODD]))
    assert totals.document() == at_once.document()
    assert totals.document().groups[0].measures == {"n": 6, **measured}
    assert totals.document().counts.unfit == unfit


def test_count_of_everything_is_the_number_of_events_as_in_sql() -> None:
    options = AggregateOptions.model_validate({"measures": {"all": "count(*)", "too": "count( * )", "n": "count(v)"}})
    totals = GroupTotals(options, EventMeasurer(options, EVENT), GroupTotalsDocument())
    totals.add(slice_of([{"v": 1}, {}, {"v": None}]))
    assert totals.document().groups[0].measures == {"all": 3, "too": 3, "n": 1}


@pytest.mark.parametrize(
    ("values", "mean"), [([0.1, 0.2, 0.3], 0.2), ([0.1, 0.1, 0.1], 0.1), ([10, None], 10.0), ([None], None), (["x"], None)]
)
def test_a_mean_is_over_the_events_with_a_number_and_is_rounded_once(values: list[Any], mean: float | None) -> None:
    options = AggregateOptions.model_validate({"measures": {"mean": "mean(v)"}})
    totals = GroupTotals(options, EventMeasurer(options, EVENT), GroupTotalsDocument())
    totals.add(slice_of([{"v": value} for value in values]))
    assert totals.document().groups[0].measures == {"mean": mean}


def test_a_sum_of_text_is_no_sum_and_a_sum_of_nothing_is_zero() -> None:
    options = AggregateOptions.model_validate({"measures": {"s": "sum(v)"}, "group_by": ("g",)})
    totals = GroupTotals(options, EventMeasurer(options, EVENT), GroupTotalsDocument())
    totals.add(slice_of([{"g": "text", "v": "5"}, {"g": "nothing"}, {"g": "both", "v": "5"}, {"g": "both", "v": 2}]))
    found = {each.group["g"]: each.measures["s"] for each in totals.document().groups}
    assert found == {"text": None, "nothing": 0.0, "both": 2.0}
    assert totals.document().counts.unfit == 2


columns = st.lists(st.tuples(st.sampled_from(["a", "b", ""]), st.one_of(st.none(), st.integers(-4, 4))), min_size=1, max_size=20)


@settings(max_examples=200, deadline=None)
@given(columns, st.sampled_from([(), ("c",)]), st.sampled_from([{}, {"c": "a"}, {"c": ("b", "")}]))
def test_what_the_columns_know_is_what_the_lines_say(
    pairs: list[tuple[str, int | None]], group_by: tuple[str, ...], where: dict[str, Any]
) -> None:
    """An aggregate over the event's own value and category needs no line; it measures the same."""
    options = AggregateOptions.model_validate({"group_by": group_by, "measures": {"s": "sum(v)"}, "where": where})
    measurer = EventMeasurer(options, EVENT)
    names = ["", "a", "b", "unused"]
    known = KnownColumns(
        timestamps_ns=None,
        values=np.array([value or 0 for _, value in pairs], np.float64),
        has_value=np.array([value is not None for _, value in pairs], np.bool_),
        categories=CategoryColumn(np.array([names.index(name) for name, _ in pairs], np.int64), names),
    )
    read, content = [], slice_of([{"c": name, "v": value} for name, value in pairs]).lines

    def make_lines() -> bytes:
        read.append(True)
        return content

    found = []
    for events_of in (EventSlice(len(pairs), make_lines, known), EventSlice(len(pairs), lambda: content, None)):
        totals = GroupTotals(options, measurer, GroupTotalsDocument())
        totals.add(events_of)
        found.append(totals.document())
    assert found[0] == found[1]
    assert not read


@pytest.mark.parametrize("odd", [{"g": []}, {"g": {"a": 1}}, {"g": "x" * 1025}, {"g": 2**63}])
def test_an_event_whose_group_cannot_be_named_is_unfit_and_in_no_group(odd: dict[str, Any]) -> None:
    options = AggregateOptions.model_validate({"group_by": ("g",), "measures": {"n": "count"}})
    totals = GroupTotals(options, EventMeasurer(options, EVENT), GroupTotalsDocument())
    totals.add(slice_of([odd, {"g": "x" * 1024}]))
    document = totals.document()
    assert (document.counts.events, document.counts.unfit) == (1, 1)
    assert [each.group for each in document.groups] == [{"g": "x" * 1024}]


def test_true_is_no_one_and_a_filtered_event_is_not_unfit() -> None:
    options = AggregateOptions.model_validate({"measures": {"s": "sum(v)"}, "where": {"k": (1, "y")}})
    totals = GroupTotals(options, EventMeasurer(options, EVENT), GroupTotalsDocument())
    totals.add(
        slice_of(
            [{"k": 1, "v": 2}, {"k": True, "v": 4}, {"k": "y", "v": 8}, {"v": "bad"}, {"k": [], "v": 16}, {"k": 1, "v": "bad"}]
        )
    )
    document = totals.document()
    assert (document.counts.events, document.counts.unfit) == (3, 1)
    assert document.groups[0].measures == {"s": 10.0}


WIDE = b'{"g": "a", "v": 1, "w": %s}'


@pytest.mark.parametrize("number", [b"1e999", b"-1e400", b"1" * 5000, b"[1e999]"])
def test_a_number_that_no_double_holds_is_unfit_and_takes_no_other_event_with_it(number: bytes) -> None:
    measures = {"n": "count", "sum": "sum(v)", "wide": "sum(w)", "last": "last(w)"}
    options = AggregateOptions.model_validate({"group_by": ("g",), "measures": measures})
    lines = b"".join(WIDE % each + b"\n" for each in [b"2", number, b"4", number, b"8"])
    totals = GroupTotals(options, EventMeasurer(options, EVENT), GroupTotalsDocument())
    totals.add(EventSlice(5, lambda: lines, None))
    document = totals.document()
    assert (document.counts.events, document.counts.unfit) == (5, 2)
    assert [(each.group, each.measures) for each in document.groups] == [
        ({"g": "a"}, {"n": 5, "sum": 5.0, "wide": 14.0, "last": 8})
    ]


def test_a_number_that_no_double_holds_names_no_group() -> None:
    options = AggregateOptions.model_validate({"group_by": ("w",), "measures": {"n": "count"}})
    lines = b"".join(WIDE % each + b"\n" for each in [b"1e999", b"1e300"])
    totals = GroupTotals(options, EventMeasurer(options, EVENT), GroupTotalsDocument())
    totals.add(EventSlice(2, lambda: lines, None))
    document = totals.document()
    assert (document.counts.events, document.counts.unfit) == (1, 1)
    assert [each.group for each in document.groups] == [{"w": 1e300}]
