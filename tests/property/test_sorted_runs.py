"""Runs on disk against a sorted list: keys of each kind, any batches, a restart anywhere, and every column with its event."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from event_processor.columns.event_slices import KnownColumns, SortKey
from event_processor.columns.event_tables import EventTable, Keys, NumberKeys, ObjectKeys, TextKeys
from event_processor.columns.ids import OrderKey, id_key, text_ids
from event_processor.engine.sorting import blocks, runs
from event_processor.engine.sorting.runs import SortedRuns
from event_processor.model.columns import CategoryColumn, EventLines
from event_processor.model.errors import StateError, StorageError
from support.simulated_fs import SimulatedFileSystem


@pytest.fixture(autouse=True, scope="module")
def small_runs() -> object:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blocks, "BLOCK_BYTES", 200)
        patch.setattr(runs, "RUNS_MAX", 3)
        yield


def keys_of(values: Sequence[object], first: int) -> Keys:
    sequences = np.arange(first, first + len(values))
    if all(type(value) is int for value in values):
        return NumberKeys(np.array(values, np.int64), sequences)
    if all(type(value) is str for value in values):
        return TextKeys(text_ids(values), sequences)  # type: ignore[arg-type]  # texts
    return ObjectKeys([(*key_of(value), first + place) for place, value in enumerate(values)])


def key_of(value: object) -> OrderKey:
    return id_key(value)  # type: ignore[arg-type]  # an id


def table_of(values: Sequence[object], first: int, *, lines: bool) -> EventTable:
    """Events whose columns and lines are told by their sequence."""
    sequences = np.arange(first, first + len(values))
    # As JSON objects they have at least two bytes: a gap of one byte between two records is then a line end, never a record.
    texts = [b"{%d}" % sequence for sequence in sequences.tolist()]
    ends = np.cumsum([len(text) + 2 for text in texts]) - 2
    names = [f"c{number % 5}" for number in sequences.tolist()]
    distinct = sorted(set(names), reverse=bool(first % 2))
    known = KnownColumns(
        timestamps_ns=sequences * 3,
        values=sequences / 2,
        has_value=None if first % 3 else sequences % 2 == 0,
        categories=CategoryColumn(np.array([distinct.index(name) for name in names]), distinct),
    )
    spans = EventLines(b"\r\n".join(texts), ends - np.array([len(text) for text in texts]), ends)
    return EventTable(keys_of(values, first), known, spans if lines else None)


values = st.one_of(
    st.integers(-3, 9), st.text("aAé\U0001f600\0", max_size=3), st.tuples(st.integers(0, 1), st.text("ab", max_size=1))
)
batches = st.lists(
    st.lists(st.integers(-3, 9), min_size=1, max_size=12)
    | st.lists(st.text("aAé\U0001f600\0", max_size=3), min_size=1, max_size=12)
    | st.lists(values, min_size=1, max_size=12),
    min_size=1,
    max_size=12,
)


@given(batches, st.booleans(), st.integers(0, 150))
def test_runs_give_the_sorted_events_from_any_place_on(of: list[list[object]], lines: bool, released: int) -> None:
    fs, names = SimulatedFileSystem(0), count()
    fs.make_directory("/d")
    kept = SortedRuns(fs, "/d", {}, lambda kind: f"{kind}-{next(names)}")
    expected: list[tuple[SortKey, bool]] = []
    for batch in of:
        first = len(expected)
        table = table_of(batch, first, lines=lines)
        expected += [
            ((*key_of(value), first + place), bool(first % 3) or (first + place) % 2 == 0) for place, value in enumerate(batch)
        ]
        kept.add([table])
    committed = dict(kept.appended())
    kept.close()
    expected.sort()
    after = expected[released - 1][0] if 0 < released <= len(expected) else None
    left = expected[released:] if after else expected
    again = SortedRuns(fs, "/d", committed, lambda kind: f"{kind}-{next(names)}")
    found = list(again.merged(after, len(left)))
    assert [table.keys.at(place) for table in found for place in range(len(table))] == [key for key, _ in left]
    sequences = [key[2] for key, _ in left]
    parts = [table.known for table in found]
    assert [each for part in parts for each in part.timestamps_ns.tolist()] == [3 * sequence for sequence in sequences]  # type: ignore[union-attr]
    assert [each for part in parts for each in part.values.tolist()] == [sequence / 2 for sequence in sequences]  # type: ignore[union-attr]
    categories = [part.categories.names[code] for part in parts for code in part.categories.codes.tolist()]  # type: ignore[union-attr]
    assert categories == [f"c{sequence % 5}" for sequence in sequences]
    present = [
        True if part.has_value is None else bool(part.has_value[place])
        for part, table in zip(parts, found, strict=True)
        for place in range(len(table))
    ]
    assert present == [is_there for _, is_there in left]
    if lines:
        assert b"".join(table.slice().lines for table in found) == b"".join(b"{%d}\n" % sequence for sequence in sequences)


def test_a_changed_byte_of_a_run_is_an_error_and_so_are_missing_events() -> None:
    fs = SimulatedFileSystem(0)
    fs.make_directory("/d")
    kept = SortedRuns(fs, "/d", {}, lambda kind: f"{kind}-x")
    kept.add([table_of([3, 1, 2], 0, lines=True)])
    ((name, length_bytes),) = kept.appended().items()
    kept.close()
    with pytest.raises(StateError, match="does not hold the events"):
        list(SortedRuns(fs, "/d", {name: length_bytes}, str).merged(None, 4))
    content = fs.content(f"/d/{name}") or b""
    for place in (0, 7, 9, 20, length_bytes - 1):
        broken = SimulatedFileSystem(0)
        broken.plant(f"/d/{name}", content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
        with pytest.raises(StorageError, match="does not hold what was written"):
            list(SortedRuns(broken, "/d", {name: length_bytes}, str).merged(None, 3))
