"""Totals against a plain model, under any batching, whatever form the ids come in."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from event_processor.aggregation.categories.first_and_last import order_words
from event_processor.aggregation.categories.totals import AcceptedEvents, CategoryTotal, Totals, add_batch, merge
from event_processor.columns.ids import IntegerIds, PlainIds, TextIds
from event_processor.model.columns import CategoryColumn, IdColumn, IntArray, TimestampColumn
from event_processor.model.event import EventId

Row = tuple[EventId, str, float, bool]
texts = st.one_of(
    st.text("AB1", min_size=1, max_size=2),
    st.text("AZ\0é\uffff𝄞", min_size=1, max_size=20),
    st.builds("order-{:012}".format, st.integers(0, 300)),
    st.builds("{0}{1}".format, st.sampled_from(["x" * 8, "x" * 63, "x" * 80]), st.text("ab", max_size=3)),
)
integers = st.one_of(st.integers(-5, 5), st.integers(-(2**63), 2**63 - 1), st.sampled_from([-(2**63), 2**63 - 1]))
ids_of_a_kind: dict[str, st.SearchStrategy[EventId]] = {
    "texts": texts,
    "integers": integers,
    "texts or integers": st.one_of(texts, integers),
    "alike fields": st.tuples(st.sampled_from(["a", "b"]), st.integers(-3, 3)),
    "any": st.one_of(texts, integers, st.lists(st.one_of(texts, integers), max_size=3).map(tuple)),
}
values = st.one_of(
    st.floats(-1e20, 1e20), st.sampled_from([1e16, 0.1, 1.0, 2.0**-53, 5e-324, 2.0**959, -(2.0**959), -1.0, -(2.0**-53)])
).map(lambda value: value + 0.0)


def as_they_stand(column: TimestampColumn) -> list[str | None]:
    return [str(each) for each in column.to_list()]


def logs(ids: st.SearchStrategy[EventId]) -> st.SearchStrategy[list[Row]]:
    names = st.sampled_from([*"abc", *(f"name {number}" for number in range(50))])
    rows = st.tuples(ids, st.one_of(st.sampled_from("abc"), names), values, st.booleans())
    by_key: Callable[[list[Row]], list[Row]] = lambda log: sorted(log, key=lambda row: order(row[0]))  # noqa: E731
    return st.one_of(st.lists(rows, max_size=60), st.lists(rows, max_size=60).map(by_key))


def id_column(ids: list[EventId]) -> IdColumn:
    """In the form that a format would give."""
    if ids and set(map(type, ids)) == {int}:
        return IntegerIds(np.array(ids, np.int64))
    if ids and set(map(type, ids)) == {str}:
        encoded = [str(each).encode() for each in ids]
        ends = np.cumsum([len(each) + 2 for each in encoded]) - 1
        return TextIds(b"".join(b'"' + each + b'"' for each in encoded), ends - [len(each) for each in encoded], ends)
    return PlainIds(ids)


@dataclass
class Timestamps:
    texts: list[str]

    def picked(self, places: IntArray) -> Timestamps:
        return Timestamps([self.texts[place] for place in places.tolist()])

    def to_list(self) -> list[str]:
        return self.texts

    def spans(self) -> None:
        """They are values."""


def columns(part: list[Row], *, count_only: bool, plain: bool = False) -> AcceptedEvents:
    names = ["borne by none", *dict.fromkeys(row[1] for row in part)]
    ids = [row[0] for row in part]
    return AcceptedEvents(
        ids=PlainIds(ids) if plain else id_column(ids),
        categories=CategoryColumn(np.array([names.index(row[1]) for row in part], np.int64), names),
        values=np.array([row[2] if row[3] or not count_only else 0.0 for row in part], dtype=np.float64),
        has_value=np.array([row[3] for row in part], dtype=np.bool_) if count_only else None,
        timestamps=Timestamps([str(each) for each in ids]),
    )


def order(event_id: EventId) -> tuple[object, ...]:
    """Integers before strings by code point, before several fields, one after the other."""
    if isinstance(event_id, tuple):
        return 2, [order(part) for part in event_id]
    return (1, list(map(ord, event_id))) if isinstance(event_id, str) else (0, event_id)


def expansion(total: Fraction) -> tuple[float, ...]:
    parts = []
    while total:
        parts.append(float(total))
        total -= Fraction(parts[-1])
    return tuple(parts)


def model(log: list[Row], *, count_only: bool) -> dict[str, CategoryTotal]:
    found: dict[str, CategoryTotal] = {}
    for category in {row[1] for row in log}:
        mine = [row for row in log if row[1] == category]
        numbers = [row[2] for row in mine if row[3] or not count_only]
        parts = expansion(sum(map(Fraction, numbers), Fraction(0)))
        exact = sum(map(Fraction, numbers), Fraction(0))
        last = max(mine, key=lambda row: order(row[0]))[0]
        found[category] = CategoryTotal(
            count=len(mine),
            sum=parts[0] if parts else 0.0,
            sum_parts=parts,
            min=min(numbers, default=None),
            max=max(numbers, default=None),
            mean=float(exact / len(numbers)) if numbers else None,
            first_id=min(mine, key=lambda row: order(row[0]))[0],
            last_id=last,
            last_timestamp=str(last),
            values=len(numbers),
        )
    return found


@pytest.mark.parametrize("kind", ids_of_a_kind)
@given(st.data(), st.lists(st.integers(0, 20), max_size=6), st.booleans(), st.booleans())
def test_totals_equal_the_model_whatever_the_batches(
    kind: str, data: st.DataObject, cuts: list[int], count_only: bool, plain: bool
) -> None:
    log = data.draw(logs(ids_of_a_kind[kind]))
    totals, start = Totals.of({}), 0
    for cut in [*cuts, len(log)]:
        part = log[start : start + cut]
        if part:
            totals = add_batch(totals, columns(part, count_only=count_only, plain=plain), as_they_stand)
        start += cut
    assert totals == model(log, count_only=count_only)


@pytest.mark.parametrize("kind", ids_of_a_kind)
@given(st.data())
def test_of_two_ids_the_one_with_the_smaller_word_is_the_smaller(kind: str, data: st.DataObject) -> None:
    ids = sorted(data.draw(st.lists(ids_of_a_kind[kind], max_size=20)), key=order)
    for column in (id_column(ids), PlainIds(ids)):
        words = order_words(column).tolist()
        assert words == sorted(words)


@given(logs(ids_of_a_kind["any"]), st.integers(0, 40), st.booleans())
def test_totals_go_on_from_what_was_loaded_and_what_was_before_stays(log: list[Row], cut: int, count_only: bool) -> None:
    before = model(log[:cut], count_only=count_only)
    loaded = Totals.of(before)
    rest = columns(log[cut:], count_only=count_only)
    assert add_batch(loaded, rest, as_they_stand) == model(log, count_only=count_only)
    assert loaded == before


@given(logs(ids_of_a_kind["any"]), st.integers(0, 40), st.booleans())
def test_totals_of_two_halves_merge_to_the_total_of_the_whole(log: list[Row], cut: int, count_only: bool) -> None:
    one, other = model(log[:cut], count_only=count_only), model(log[cut:], count_only=count_only)
    merged = {name: merge(one[name], other[name]) for name in one.keys() & other.keys()}
    assert {**one, **other, **merged} == model(log, count_only=count_only)
