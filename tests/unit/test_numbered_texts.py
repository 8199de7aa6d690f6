"""Texts by number: the same as a list of them, in another process too; and what a total remembers of numbers is its own."""

from __future__ import annotations

import pickle

import numpy as np

from event_processor.aggregation.categories.totals import TABLES_MAX, AcceptedEvents, Totals, add_batch
from event_processor.columns.ids import IntegerIds
from event_processor.columns.numbered_texts import NumberedTexts
from event_processor.model.columns import CategoryColumn

TABLE = np.array(["a", "b", "c", 0], object)


def names(*numbers: int) -> NumberedTexts:
    return NumberedTexts(TABLE, np.array(numbers))


def added(totals: Totals, *numbers: int) -> Totals:
    count = len(numbers)
    column = CategoryColumn(np.arange(count), names(*numbers))
    return add_batch(totals, AcceptedEvents(IntegerIds(np.arange(count)), column, np.ones(count), None, None), lambda _: [])


def test_they_are_what_stands_under_their_numbers_and_travel_as_a_list() -> None:
    texts = names(2, 0)
    assert (list(texts), texts[0], len(texts), list(texts.picked(np.array([1])))) == (["c", "a"], "c", 2, ["a"])
    assert pickle.loads(pickle.dumps(texts)) == ["c", "a"]


def test_a_total_that_went_another_way_is_not_told_of_rows_that_it_does_not_have() -> None:
    first = added(Totals.of({}), 0)
    one, other = added(first, 2, 1), added(first, 1, 0)
    assert {name: total.count for name, total in one.items()} == {"a": 1, "b": 1, "c": 1}
    assert {name: total.count for name, total in other.items()} == {"a": 2, "b": 1}
    assert {name: total.count for name, total in added(one, 0, 1, 2).items()} == {"a": 2, "b": 2, "c": 2}


def test_the_rows_of_several_tables_are_remembered_those_of_the_latest() -> None:
    tables = [np.array([chr(ord("a") + number), "z"], object) for number in range(TABLES_MAX + 2)]
    totals = Totals.of({})
    for table in [*tables, *tables]:
        column = CategoryColumn(np.arange(2), NumberedTexts(table, np.arange(2)))
        totals = add_batch(totals, AcceptedEvents(IntegerIds(np.arange(2)), column, np.ones(2), None, None), lambda _: [])
    assert [known.table for known in totals.known] == tables[:1:-1]
    assert all(known.rows.tolist() == [totals.index[name] for name in known.table] for known in totals.known)
    assert {name: total.count for name, total in totals.items()} == {
        **{table[0]: 2 for table in tables},
        "z": 2 * len(tables),
    }
