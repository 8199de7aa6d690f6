"""Columns of ids: the same answers in every form."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from event_processor.columns.ids import IntegerIds, PlainIds, TextIds
from event_processor.kernels.library import LIBRARY
from event_processor.model.columns import IdColumn
from event_processor.model.event import EventId

texts = st.one_of(
    st.text(max_size=12),
    st.text("AZ\0é𝄞", max_size=24),
    st.builds("order-{:012}".format, st.integers(0, 300)),
    st.builds("{0}{1}".format, st.sampled_from(["x" * 8, "x" * 64, "x" * 90]), st.text("ab\0", max_size=3)),
)
fixed = st.integers(1, 80).flatmap(lambda width: st.lists(st.text("ab", min_size=width, max_size=width), max_size=30))
many_texts = st.one_of(st.lists(texts, max_size=30), st.lists(texts, max_size=30).map(sorted), fixed, fixed.map(sorted))


def text_ids(ids: list[str], before: bytes = b"", between: bytes = b"") -> TextIds:
    """As they would stand in a chunk: with or without something around them."""
    content, begins, ends = bytearray(before), [], []
    for each in ids:
        begins.append(len(content))
        content += each.encode()
        ends.append(len(content))
        content += between
    return TextIds(bytes(content), np.array(begins, np.int64), np.array(ends, np.int64))


def forms(ids: list[EventId]) -> list[IdColumn]:
    columns: list[IdColumn] = [PlainIds(ids)]
    if all(isinstance(each, str) for each in ids):
        columns += [text_ids(list(map(str, ids))), text_ids(list(map(str, ids)), b'{"id":"', b'"}\n{"id":"')]
    if all(isinstance(each, int) for each in ids):
        columns.append(IntegerIds(np.array(ids, np.int64)))
    return columns


@given(st.one_of(many_texts, st.lists(st.integers(-(2**63), 2**63 - 1), max_size=30)), st.data())
def test_every_form_gives_the_same_ids(ids: list[EventId], data: st.DataObject) -> None:
    picked = data.draw(st.lists(st.integers(0, len(ids) - 1), max_size=10)) if ids else []
    for column in forms(ids):
        assert (len(column), column.to_list()) == (len(ids), ids)
        assert [column[place] for place in range(len(ids))] == ids
        assert column.picked(np.array(picked, np.int64)).to_list() == [ids[place] for place in picked]


@given(st.one_of(many_texts, st.lists(st.integers(-3, 3)), st.lists(st.integers(-(2**63), 2**63 - 1)).map(sorted)))
def test_ids_of_one_kind_are_ascending_where_none_is_below_the_one_before(ids: list[EventId]) -> None:
    points = [list(map(ord, each)) if isinstance(each, str) else each for each in ids]
    rising = all(one <= other for one, other in pairwise(points))  # type: ignore[operator]  # one kind
    assert [column.is_ascending() for column in forms(ids)] == [rising] * len(forms(ids))


@given(many_texts)
def test_words_are_in_the_order_of_the_texts(ids: list[str]) -> None:
    for column in (text_ids(ids), text_ids(ids, b"12", b"34"), text_ids(ids, b"1", b"2" * 100)):
        by_words = [column.words(number).tolist() for number in range(column.word_count)]
        keys = list(zip(*by_words, strict=True)) if by_words else [()] * len(ids)
        in_order = sorted(range(len(ids)), key=lambda place: ids[place])
        assert sorted(keys) == [keys[place] for place in in_order]
        assert len(set(keys)) == len(set(ids))
        places = np.arange(len(ids))[::-2]
        for number, words in enumerate(by_words):
            assert column.words(number, places).tolist() == words[::-2]


def test_a_text_stands_before_itself_and_a_nul() -> None:
    assert text_ids(["a", "a\0", "a\0\0"]).is_ascending()
    assert not text_ids(["a\0", "a"]).is_ascending()


@pytest.mark.parametrize("ids", [[("a", 1), ("b", 2)], [1, "a"], ["a", 1]])
def test_of_ids_of_several_kinds_nothing_is_said(ids: list[EventId]) -> None:
    assert PlainIds(ids).is_ascending() is False


def rising_but_for(odd: Mapping[int, str], count: int = 3000) -> TextIds:
    return text_ids([odd.get(number, f"{number:06}") for number in range(count)])


def test_peaks_are_above_all_before_them() -> None:
    peaks = rising_but_for({7: "000003", 8: "000006", 2000: "001999"}).peaks
    if LIBRARY is None:
        assert peaks is None
        return
    assert peaks is not None
    assert np.flatnonzero(~peaks).tolist() == [7, 8, 2000]


@pytest.mark.parametrize(
    "column",
    [
        text_ids([f"{number:06}" for number in range(3000, 0, -1)]),
        text_ids([f"{number:06}" for number in range(1000)] + ["1000000"]),
        rising_but_for({}, count=9),
    ],
    ids=["falling", "of two widths", "few"],
)
def test_there_are_no_peaks_where_they_would_be_of_no_use(column: TextIds) -> None:
    assert column.peaks is None
    assert column.picked(np.arange(3)).is_ascending() == (str(column[0]) < str(column[1]))


@pytest.mark.parametrize(
    ("places", "rises"),
    [
        ([0, 5, 2999], True),
        ([0, 7], True),
        ([5, 7, 9], False),
        ([9, 5], False),
        ([0, 2999, 5], False),
        ([5, 5], True),
        ([7, 8], True),
        ([8, 7], False),
    ],
)
def test_what_is_picked_of_peaks_rises_and_of_others_is_looked_at(places: list[int], rises: bool) -> None:
    column = rising_but_for({7: "000003", 8: "000006"})
    _ = column.peaks
    assert column.picked(np.array(places)).is_ascending() == rises
