"""What is called above every id so far, against the greatest of each kind as Python finds it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from event_processor.columns import ids as columns_of_ids
from event_processor.columns.ids import IntegerIds, PlainIds, TextIds
from event_processor.deduplication import high_water
from event_processor.deduplication.high_water import WIDTH_MAX, HighWaterMarks
from event_processor.model.columns import Ids
from event_processor.model.event import EventId

letters = st.text(alphabet="09Zaé𝄞\0\ud800", min_size=1, max_size=4)
long_texts = st.builds(lambda text, count: text * count, st.sampled_from(["ab", "b", "é", "evt-0"]), st.integers(1, 70))
words = st.lists(st.sampled_from(["aaaaaaaa", "bbbbbbbb"]), min_size=1, max_size=3).map("".join)
"""Some tie in their first eight bytes and some do not, and likewise in the next."""
numbers = st.one_of(st.integers(-3, 3), st.integers(-(2**63), 2**63 - 1))
texts = st.one_of(letters, long_texts, words)
any_ids: st.SearchStrategy[EventId] = st.one_of(numbers, texts, st.tuples(st.integers(0, 2), letters))
batches: st.SearchStrategy[Sequence[EventId]] = st.one_of(
    st.lists(numbers, max_size=20), st.lists(texts, max_size=20), st.lists(words, max_size=20), st.lists(any_ids, max_size=20)
)


def kind_of(event_id: EventId) -> object:
    """Ids of one kind can be compared; None where an id is of none."""
    if isinstance(event_id, int):
        return int
    if isinstance(event_id, tuple):
        return None
    try:
        width = len(event_id.encode())
    except UnicodeEncodeError:
        return None
    return width if width <= WIDTH_MAX else None


def expected(batch: Sequence[EventId], greatest: dict[object, EventId]) -> list[bool]:
    """For each id, whether its kind has none as great; then `greatest` is that of the batch too."""
    before = dict(greatest)
    for event_id in batch:
        kind = kind_of(event_id)
        if kind is not None and (kind not in greatest or event_id > greatest[kind]):  # type: ignore[operator]
            greatest[kind] = event_id
    return [
        (kind := kind_of(each)) is not None and (kind not in before or each > before[kind])  # type: ignore[operator]
        for each in batch
    ]


def as_column(batch: Sequence[EventId]) -> Ids:
    """In the form in which a fast reader gives them, where it could: texts lie within a chunk, with other things around them."""
    if batch and all(isinstance(each, int) for each in batch):
        return IntegerIds(np.array(batch, np.int64))
    try:
        encoded = [each.encode() for each in batch if isinstance(each, str)]
    except UnicodeEncodeError:
        return PlainIds(batch)
    if not batch or len(encoded) < len(batch):
        return PlainIds(batch)
    ends = np.cumsum([len(text) + 3 for text in encoded])
    return TextIds(b"".join(b"ab" + text + b"c" for text in encoded), ends - [len(text) + 1 for text in encoded], ends - 1)


@pytest.fixture(params=[0, 1000], ids=["by the column", "one by one"], autouse=True, scope="module")
def column_min(request: pytest.FixtureRequest) -> Iterator[None]:
    """Both ways, and with the peaks of texts, whatever the number of ids."""
    with patch.object(high_water, "COLUMN_MIN", request.param), patch.object(columns_of_ids, "PEAKS_FROM", 1):
        yield


@settings(max_examples=400, deadline=None)
@given(stream=st.lists(batches, max_size=6), by_column=st.booleans(), restarts=st.lists(st.booleans(), min_size=6, max_size=6))
def test_an_id_is_above_where_none_of_its_kind_was_as_great(
    stream: list[Sequence[EventId]], by_column: bool, restarts: list[bool]
) -> None:
    marks, greatest = HighWaterMarks([]), dict[object, EventId]()
    for batch, restarts_here in zip(stream, restarts, strict=False):
        answer = marks.pass_over(as_column(batch) if by_column else batch).tolist()
        assert answer == expected(batch, greatest)
        assert sorted(map(repr, marks.to_list() or [])) == sorted(map(repr, greatest.values()))
        if restarts_here:
            marks = HighWaterMarks(marks.to_list())


@given(stream=st.lists(batches, max_size=4))
def test_where_the_greatest_ids_are_not_known_nothing_is_above(stream: list[Sequence[EventId]]) -> None:
    marks = HighWaterMarks(None)
    for batch in stream:
        assert not marks.pass_over(as_column(batch)).any()
        assert marks.to_list() is None


@pytest.mark.parametrize("rising", [True, False])
def test_many_rising_texts_are_above_but_for_those_that_came_before(rising: bool) -> None:
    """Long enough for every word to tie in most texts, and for the last to tell."""
    texts = [f"a-prefix-of-more-than-a-word-{number:011}" for number in range(1000)]
    marks = HighWaterMarks([texts[499]])
    batch = texts if rising else texts[::-1]
    answer = marks.pass_over(as_column(batch)).tolist()
    assert answer == [text > texts[499] for text in batch]
    assert marks.to_list() == [texts[999]]


def test_the_marks_are_bounded_whatever_the_ids_are() -> None:
    """A NUL is the dearest character there is: six bytes in JSON."""
    marks = HighWaterMarks([])
    marks.pass_over(["\0" * width for width in range(1, 200)])
    assert len(marks.to_list() or []) == WIDTH_MAX
    assert len(json.dumps(marks.to_list())) < 13_000


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.lists(st.integers(-3, 9), min_size=64, max_size=150), st.sampled_from([8, 12, 64, 65])), max_size=4),
    st.booleans(),
)
def test_long_columns_of_one_width_that_rise_but_for_some(stream: list[tuple[list[int], int]], is_asked_first: bool) -> None:
    """Numbers as text, each so much above the one before, or below: whatever rises most of the time goes a shorter way."""
    marks, greatest, number = HighWaterMarks([]), dict[object, EventId](), 500
    for steps, width in stream:
        numbers = [number := max(0, number + step) for step in steps]
        batch = [f"{each:0{width}}" for each in numbers]
        column = as_column(batch)
        assert isinstance(column, TextIds)
        if is_asked_first:  # as who decodes does
            assert column.peaks is None or column.peaks.tolist() == [
                text > max(batch[:at], default="") for at, text in enumerate(batch)
            ]
        assert marks.pass_over(column).tolist() == expected(batch, greatest)
        assert sorted(map(repr, marks.to_list() or [])) == sorted(map(repr, greatest.values()))
