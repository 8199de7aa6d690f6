"""A column of objects made late: the same as one that is made at once, whoever looks, and when."""

from __future__ import annotations

import weakref
from functools import partial
from threading import Thread

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from event_processor.aggregation.categories.lazy_objects import LateObjects
from event_processor.model.columns import IntArray

writes = st.lists(st.tuples(st.sets(st.integers(0, 9), max_size=6), st.booleans()), max_size=40)


@given(writes)
def test_it_equals_a_list_that_is_written_at_once(log: list[tuple[set[int], bool]]) -> None:
    plain: list[object] = ["first"]
    late = LateObjects(plain)
    seen = []
    for number, (rows, is_looked_at) in enumerate(log):
        count = max([len(plain), *(row + 1 for row in rows)])
        plain = [*plain, *[None] * (count - len(plain))]
        ascending = sorted(rows)
        for row in ascending:
            plain[row] = (number, row)
        texts = [(number, row) for row in ascending]

        def make(places: IntArray, texts: list[tuple[int, int]] = texts) -> list[object]:
            return [texts[place] for place in places.tolist()]

        late = late.written(np.array(ascending, np.int64), make, count)
        seen.append((late, list(plain)))
        if is_looked_at:
            assert late.resolved().tolist() == plain
    # Whatever was derived from it, an earlier value stays what it was.
    for each, expected in reversed(seen):
        assert each.resolved().tolist() == expected
        assert len(each) == len(expected)


def test_two_threads_that_look_at_once_see_the_same() -> None:
    late = LateObjects(["x"] * 100)
    for number in range(10):
        late = late.written(np.arange(0, 100, number + 1), lambda places, n=number: [n] * len(places), 100)  # type: ignore[misc]
    found: list[list[object]] = []
    threads = [Thread(target=lambda: found.append(late.resolved().tolist())) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [[max(n for n in range(10) if row % (n + 1) == 0) for row in range(100)]] * 8


class Texts(list[str]):
    """What one batch writes is made of; it can be asked whether it is still held."""


def test_what_no_row_shows_any_more_is_let_go() -> None:
    late, held = LateObjects(["x"] * 10), []
    for number in range(1, 8):
        texts = Texts([f"{number}"] * (10 - number))
        held.append(weakref.ref(texts))
        # Each leaves one row more of the one before it.
        make = partial(_picked, texts)
        late = late.written(np.arange(10 - number), make, 10)
        late = late.written(np.arange(10 - number), make, 10)
        del texts, make
    assert all(each() is not None for each in held), "each has a row still"
    for _ in range(4):
        late = late.written(np.arange(10), lambda places: ["y"] * len(places), 10)
    assert not any(each() is not None for each in held)
    assert late.resolved().tolist() == ["y"] * 10


def test_each_object_is_made_once_however_many_columns_show_it() -> None:
    made: list[int] = []

    def make(places: IntArray) -> list[str]:
        made.extend(places.tolist())
        return [f"{place}" for place in places.tolist()]

    first = LateObjects(["x"] * 6).written(np.arange(6), make, 6)
    second = first.written(np.array([1]), lambda places: ["y"] * len(places), 6)
    assert second.resolved().tolist() == ["0", "y", "2", "3", "4", "5"]
    assert first.resolved().tolist() == ["0", "1", "2", "3", "4", "5"]
    assert second.written(np.array([0]), lambda places: ["z"] * len(places), 6).resolved()[5] == "5"
    assert sorted(made) == [0, 1, 2, 3, 4, 5]


def _picked(texts: list[str], places: IntArray) -> list[str]:
    return [texts[place] for place in places.tolist()]
