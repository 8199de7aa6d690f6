"""Totals by hand: what the model of tests/property cannot see."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from event_processor.aggregation.categories.shown import timestamp_texts
from event_processor.aggregation.categories.totals import AcceptedEvents, CategoryTotal, Totals, add_batch
from event_processor.columns.ids import PlainIds, TextIds
from event_processor.columns.timestamps import TimestampReader, canonical
from event_processor.model.columns import CategoryColumn, IntArray, TimestampColumn
from event_processor.model.event import EventId
from event_processor.records.json_lines.kernel_reader import RawTimestamps


def as_they_stand(column: TimestampColumn) -> list[str | None]:
    return [str(each) for each in column.to_list()]


class Timestamps:
    """A column that keeps which of them were asked for as values."""

    def __init__(self, *texts: object, asked_for: list[object] | None = None) -> None:
        self.texts = texts
        self.asked_for: list[object] = [] if asked_for is None else asked_for

    def picked(self, places: IntArray) -> Timestamps:
        return Timestamps(*(self.texts[place] for place in places.tolist()), asked_for=self.asked_for)

    def to_list(self) -> list[object]:
        self.asked_for += self.texts
        return list(self.texts)

    def spans(self) -> None:
        """They are values."""


def events(ids: list[EventId], categories: str, *timestamps: str) -> AcceptedEvents:
    names = sorted(set(categories))
    codes = np.array([names.index(name) for name in categories], np.int64)
    stamps = Timestamps(*timestamps) if timestamps else None
    return AcceptedEvents(PlainIds(ids), CategoryColumn(codes, names), np.ones(len(ids)), None, stamps)


def total(**changed: object) -> CategoryTotal:
    plain = CategoryTotal(1, 1.0, (1.0,), 1.0, 1.0, 1.0, "a", "a", None, 1)
    return msgspec.structs.replace(plain, **changed)


def test_the_last_timestamp_is_that_of_the_event_last_by_id() -> None:
    batch = events([3, 9, 1], "aaa", "three", "nine", "one")
    assert add_batch(Totals.of({}), batch, as_they_stand)["a"].last_timestamp == "nine"


@pytest.mark.parametrize("ids", [[5, 5, 5], ["x", "x", "x"], ["x", "x", "w"], [("s", 1), ("s", 1), ("r", 2)]])
def test_of_equal_ids_the_latest_event_is_the_last(ids: list[EventId]) -> None:
    latest = max(place for place, event_id in enumerate(ids) if event_id == ids[0])
    batch = events(ids, "aaa", "0", "1", "2")
    once = add_batch(Totals.of({}), batch, as_they_stand)
    assert once["a"].last_timestamp == str(latest)
    again = add_batch(once, events([ids[0]], "a", "again"), as_they_stand)
    assert again["a"].last_timestamp == "again"


def test_an_id_that_comes_again_is_the_last_again_and_not_the_first() -> None:
    before = add_batch(Totals.of({}), events(["x", "z"], "aa", "tx", "tz"), as_they_stand)
    after = add_batch(before, events(["z", "x", "y"], "aaa", "again", "tx", "ty"), as_they_stand)
    assert (after["a"].first_id, after["a"].last_id, after["a"].last_timestamp) == ("x", "z", "again")


def test_a_text_stands_before_itself_and_a_nul() -> None:
    ids = ["x\0", "x", "x\0\0"]
    content = "".join(ids).encode()
    column = TextIds(content, np.array([0, 2, 3]), np.array([2, 3, 6]))
    found = add_batch(Totals.of({}), AcceptedEvents(column, None, None, None, None), as_they_stand)[""]
    assert (found.first_id, found.last_id) == ("x", "x\0\0")


def test_timestamps_are_asked_for_once_and_only_where_the_last_event_changes() -> None:
    before = add_batch(Totals.of({}), events([50, 60], "ab", "t50", "t60"), as_they_stand)
    batch = events([70, 10, 20, 30], "abba", "t70", "t10", "t20", "t30")
    after = add_batch(before, batch, as_they_stand)
    for _ in range(2):
        assert (after["a"].last_timestamp, after["b"].last_timestamp, after["b"].first_id) == ("t70", "t60", 10)
    assert isinstance(batch.timestamps, Timestamps)
    assert batch.timestamps.asked_for == ["t70"]
    nothing_last = events([1, 2], "ab", "t1", "t2")
    assert add_batch(after, nothing_last, as_they_stand)["a"].last_timestamp == "t70"
    assert isinstance(nothing_last.timestamps, Timestamps)
    assert nothing_last.timestamps.asked_for == []


def test_what_is_replaced_before_anybody_looks_is_never_made() -> None:
    batches = [events([10 * number, 10 * number + 1], "ab", f"a{number}", f"b{number}") for number in range(1, 5)]
    batches.append(events([100], "a", "a9"))
    totals = Totals.of({})
    for batch in batches:
        totals = add_batch(totals, batch, as_they_stand)
    assert (totals["b"].last_timestamp, totals["a"].last_timestamp) == ("b4", "a9")
    asked_for = [batch.timestamps.asked_for for batch in batches if isinstance(batch.timestamps, Timestamps)]
    assert asked_for == [[], [], [], ["b4"], ["a9"]]


def test_what_waits_to_be_made_is_bounded_where_nobody_looks() -> None:
    batches = [events([number], chr(number), f"t{number}") for number in range(1, 40)]
    totals = Totals.of({})
    for batch in batches:
        totals = add_batch(totals, batch, as_they_stand)
    made = [
        number for number, batch in enumerate(batches) if isinstance(batch.timestamps, Timestamps) and batch.timestamps.asked_for
    ]
    assert made == list(range(39 - 16))
    rewritten = [events([number], "a", f"t{number}") for number in range(1, 40)]
    for batch in rewritten:
        totals = add_batch(totals, batch, as_they_stand)
    assert totals["a"].last_timestamp == "t39"
    asked_for = [each for batch in rewritten if isinstance(batch.timestamps, Timestamps) for each in batch.timestamps.asked_for]
    assert asked_for == ["t39"]


def test_timestamps_are_read_all_at_once_where_somebody_can() -> None:
    batch = events([1, 2], "ab", "t1", "t2")
    after = add_batch(Totals.of({}), batch, lambda column: [f"<{each}>" for each in column.to_list()])
    assert [after[name].last_timestamp for name in "ab"] == ["<t1>", "<t2>"]


def test_one_total_stands_where_there_is_no_category() -> None:
    batch = AcceptedEvents(PlainIds(["x"]), None, None, None, None)
    only = add_batch(Totals.of({}), batch, as_they_stand)
    assert only == {"": total(sum=0.0, sum_parts=(), min=None, max=None, mean=None, first_id="x", last_id="x", values=0)}


def test_a_category_that_no_event_bears_opens_no_total() -> None:
    batch = AcceptedEvents(PlainIds([1]), CategoryColumn(np.array([1]), ["none", "some"]), None, None, None)
    assert list(add_batch(Totals.of({}), batch, as_they_stand)) == ["some"]


def test_no_events_leave_the_totals_as_they_are() -> None:
    before = Totals.of({"a": total()})
    assert add_batch(before, AcceptedEvents(PlainIds([]), None, None, None, None), as_they_stand) is before


def test_totals_are_a_mapping_and_equal_by_content() -> None:
    rows = {
        "b": total(sum=3.0, sum_parts=(3.0,), mean=3.0),
        "a": total(min=None, max=None, sum=0.0, sum_parts=(), mean=None, values=0),
    }
    totals = Totals.of(rows)
    assert totals == rows
    assert totals == Totals.of(dict(reversed(rows.items())))
    assert totals != Totals.of({"a": rows["a"]})
    assert ("a" in totals, "c" in totals, len(totals), totals.get("c"), Totals.of(totals) is totals) == (
        True,
        False,
        2,
        None,
        True,
    )
    assert totals.keys() == rows.keys()


READER = TimestampReader("UTC")


def shown_alone(raw: object) -> str | None:
    ns = READER.read(raw)
    return None if ns is None else canonical(ns)


instants = st.one_of(st.integers(-(2**63) + 1, 2**63 - 1), st.integers(-(2**33), 2**33).map(lambda s: s * 10**9))
precise = st.builds(lambda ns, digits: ns - ns % 10**digits, st.integers(-(2**62), 2**62), st.integers(0, 9))


@given(st.lists(st.one_of(instants, precise), min_size=1, max_size=80), st.lists(st.sampled_from([None, "no", 5, 0.5, "", []])))
def test_many_timestamps_are_shown_as_each_alone(numbers: list[int], odd: list[object]) -> None:
    raw: list[object] = [*map(canonical, numbers), *odd] * 65
    alone = [shown_alone(each) for each in raw]
    assert timestamp_texts(READER, Timestamps(*raw)) == alone
    assert timestamp_texts(READER, Timestamps(*raw[:64])) == alone[:64]


wholes = st.integers(-(2**33), 2**33).map(lambda seconds: canonical(seconds * 10**9))
of_one_width = st.one_of(
    wholes,
    st.builds(lambda whole, digits: f"{whole[:-1]}.{digits:03d}Z", wholes, st.integers(0, 999)),
    st.builds(lambda whole, digits: f"{whole[:-1]}.{digits:09d}Z", wholes, st.integers(0, 10**9 - 1)),
    st.builds(
        lambda whole, at, with_: whole[:at] + with_ + whole[at + 1 :], wholes, st.integers(0, 19), st.sampled_from("6tzZ 0é")
    ),
)


@given(st.lists(of_one_width, min_size=1, max_size=70), st.sampled_from([0, 20, 24, 30]))
@example(["2016-12-31T23:59:60Z"], 20)
@example(["2016-12-31t23:59:59Z"], 20)
@example(["2016-12-31T23:59:59z"], 20)
@example(["2016-12-31T23:59:59.120Z"], 24)
@example(["2016-12-31T23:59:59.12Z", "2016-12-31T23:59:59." + "1" * 60 + "Z"], 0)
def test_many_timestamps_are_shown_by_where_they_stand_as_each_alone(texts: list[str], width: int) -> None:
    texts = [text for text in texts if width in (0, len(text.encode()))] * 65
    pieces = [b'"', *(text.encode() + b'"' for text in texts)]
    ends = np.cumsum([len(piece) for piece in pieces])
    column = RawTimestamps(b"".join(pieces), ends[:-1], ends[1:] - 1, is_text=True)
    assert timestamp_texts(READER, column) == [shown_alone(each) for each in column.to_list()]
