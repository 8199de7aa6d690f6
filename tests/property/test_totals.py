"""Totals against a plain model, under any batching."""

from fractions import Fraction

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from event_processor.aggregation.totals import AcceptedEvents, CategoryTotal, add_batch

Row = tuple[object, str, float, bool]
rows = st.lists(
    st.tuples(
        st.one_of(st.integers(-5, 5), st.text("AB1", min_size=1, max_size=2)),
        st.sampled_from(["a", "b", "c"]),
        st.floats(-1e20, 1e20).map(lambda value: value + 0.0),
        st.booleans(),
    ),
    max_size=40,
)


def columns(part: list[Row], *, count_only: bool) -> AcceptedEvents:
    return AcceptedEvents(
        ids=[row[0] for row in part],  # type: ignore[misc]
        categories=[row[1] for row in part],
        values=np.array([row[2] if row[3] or not count_only else 0.0 for row in part], dtype=np.float64),
        has_value=np.array([row[3] for row in part], dtype=np.bool_) if count_only else None,
        timestamps=[f"t{number}" for number, _ in enumerate(part)],
    )


def order(event_id: object) -> tuple[bool, object]:
    return isinstance(event_id, str), event_id


def model(log: list[Row], *, count_only: bool) -> dict[str, tuple[object, ...]]:
    found: dict[str, tuple[object, ...]] = {}
    for category in {row[1] for row in log}:
        mine = [row for row in log if row[1] == category]
        values = [row[2] for row in mine if row[3] or not count_only]
        total = float(sum(map(Fraction, values), Fraction(0)))
        first = min(mine, key=lambda row: order(row[0]))[0]
        last = max(mine, key=lambda row: order(row[0]))[0]
        found[category] = (len(mine), total, min(values, default=None), max(values, default=None), total / len(mine), first, last)
    return found


def shown(total: CategoryTotal) -> tuple[object, ...]:
    return total.count, total.sum, total.min, total.max, total.mean, total.first_id, total.last_id


@given(rows, st.lists(st.integers(0, 10), max_size=10), st.booleans())
def test_totals_equal_the_model_whatever_the_batches(log: list[Row], cuts: list[int], count_only: bool) -> None:
    totals: dict[str, CategoryTotal] = {}
    start = 0
    for cut in [*cuts, len(log)]:
        totals = add_batch(totals, columns(log[start : start + cut], count_only=count_only), str)
        start += cut
    assert {name: shown(total) for name, total in totals.items()} == model(log, count_only=count_only)


def test_the_last_timestamp_is_that_of_the_event_last_by_id() -> None:
    events = AcceptedEvents([3, 9, 1], ["a"] * 3, np.ones(3), None, ["three", "nine", "one"])
    assert add_batch({}, events, str)["a"].last_timestamp == "nine"


def test_one_total_stands_where_there_is_no_category() -> None:
    events = AcceptedEvents(["x"], None, None, None, None)
    total = add_batch({}, events, str)[""]
    assert (total.count, total.sum, total.min, total.max) == (1, 0.0, None, None)
