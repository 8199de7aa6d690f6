"""Sorted runs: stable order, exact search, whatever ties."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TypeAlias

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from event_processor.deduplication.fingerprints import RowArray
from event_processor.deduplication.generations import Generation
from event_processor.deduplication.runs import EMPTY_RUN, Run, join_runs, sort_rows

Pair: TypeAlias = tuple[int, int]

words = st.one_of(st.integers(0, 5), st.integers(2**64 - 3, 2**64 - 1), st.integers(0, 2**64 - 1))
pairs = st.tuples(words, words)


def array_of(rows: Sequence[Pair]) -> RowArray:
    return np.array(rows, dtype=np.uint64).reshape(-1, 2)


def run_of(rows: Iterable[Pair]) -> Run:
    run, _ = sort_rows(array_of(sorted(set(rows))))
    return run


@given(st.lists(pairs, max_size=80))
def test_rows_are_sorted_and_equal_ones_keep_their_order(rows: list[Pair]) -> None:
    run, places = sort_rows(array_of(rows))
    expected = sorted(range(len(rows)), key=lambda place: (rows[place], place))
    assert places.tolist() == expected
    assert list(zip(run.hi.tolist(), run.lo.tolist(), strict=True)) == [rows[place] for place in expected]


@given(st.lists(pairs, max_size=60), st.lists(pairs, max_size=60))
def test_a_search_finds_exactly_what_is_there(held: list[Pair], sought: list[Pair]) -> None:
    batch, places = sort_rows(array_of(sought))
    expected = [sought[place] in set(held) for place in places]
    assert run_of(held).contains(batch).tolist() == expected


@given(st.lists(pairs, max_size=60), pairs)
def test_the_count_through_a_bound_is_exact(held: list[Pair], bound: Pair) -> None:
    count = run_of(held).count_through(np.uint64(bound[0]), np.uint64(bound[1]))
    assert count == sum(row <= bound for row in set(held))


@given(st.lists(st.lists(pairs, min_size=1, max_size=9), max_size=40), st.lists(pairs, max_size=30))
def test_a_generation_holds_its_ids_in_few_runs(batches: list[list[Pair]], questions: list[Pair]) -> None:
    generation, held = Generation(ids_max=64), set[Pair]()
    for batch in batches:
        fresh = set(batch) - held
        generation.add(run_of(fresh))
        held |= fresh
    asked, places = sort_rows(array_of(questions))
    new = np.ones(len(questions), dtype=np.bool_)
    generation.search(asked, new)
    assert new.tolist() == [questions[place] not in held for place in places]
    assert generation.ids == len(held)
    assert len(generation.runs) <= 24
    unwritten = generation.take_unwritten()
    assert {pair for run in unwritten for pair in zip(run.hi.tolist(), run.lo.tolist(), strict=True)} == held


def test_no_runs_join_to_an_empty_one() -> None:
    assert len(join_runs([])) == len(EMPTY_RUN) == 0
