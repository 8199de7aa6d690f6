"""The order stage against its definition, event by event."""

import bisect
import weakref
from itertools import accumulate

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from event_processor.columns.event_slices import Arrivals, HeldEvent, LateEvents, Origin
from event_processor.columns.ids import IntegerIds, PlainIds, id_key
from event_processor.engine.order import OrderStage
from event_processor.model.columns import Columns

ids = st.one_of(
    st.integers(-50, 50), st.text(alphabet="AB1", max_size=3), st.tuples(st.integers(0, 3), st.text("xy", max_size=1))
)


def numbered(event_ids: list[object], gap: bytes = b"\n") -> list[HeldEvent]:
    """Consecutive events of one file, 100 bytes and 7 records after its start."""
    events: list[HeldEvent] = []
    offset = 100
    for sequence, event_id in enumerate(event_ids):
        record = f"{event_id!r}".encode()
        events.append((*id_key(event_id), sequence, record, ("events", 3, offset, sequence + 8)))  # type: ignore[arg-type]
        offset += len(record) + len(gap)
    return events


def arrivals(
    events: list[HeldEvent],
    event_ids: list[object],
    *,
    gap: bytes = b"\n",
    plain: bool = True,
    by_timestamp: bool = False,
) -> Arrivals:
    """Consecutive events of `numbered` as they come out of a chunk, `gap` between the records. `by_timestamp`: the ids are instants."""
    records = [event[3] for event in events]
    ends = np.array(list(accumulate((len(record) for record in records), lambda end, size: end + len(gap) + size)), np.int64)
    everything = np.arange(len(records))
    ids = PlainIds(event_ids) if plain else IntegerIds(np.array(event_ids, np.int64))  # type: ignore[arg-type]
    columns = Columns(
        content=gap.join(records) + gap,
        record_count=len(records),
        blank_count=0,
        starts=ends - np.array([len(record) for record in records], np.int64),
        ends=ends,
        rows=everything,
        ids=ids,
        categories=None,
        values=None,
        has_value=None,
        timestamps=None,
        timestamps_ns=np.array(event_ids, np.int64) if by_timestamp else None,
        rejections=[],
    )
    source, generation, offset, line = events[0][4] if events else ("events", 3, 0, 1)
    origin = Origin(source, generation, offset, line - 1, events[0][2] if events else 0)
    return Arrivals(columns, np.ones(len(records), np.bool_), ids, origin, by_timestamp=by_timestamp)


def by_definition(events: list[HeldEvent], size: int) -> tuple[list[bytes], int, list[HeldEvent]]:
    """What is released, how many were late, and what is still held."""
    if size == 0:
        return [event[3] for event in events], 0, []
    held: list[HeldEvent] = []
    released: list[bytes] = []
    last: HeldEvent | None = None
    late = 0
    for event in events:
        if last is not None and event < last:
            late += 1
            released.append(event[3])
            continue
        bisect.insort(held, event)
        if len(held) > size:
            last = held.pop(0)
            released.append(last[3])
    return released, late, held


def mostly_rising(numbers: list[int], swaps: list[int]) -> list[object]:
    """Rising numbers, some neighbours swapped."""
    rising = sorted(numbers)
    for place in swaps:
        one, other = place % len(rising), (place + 1) % len(rising)
        rising[one], rising[other] = rising[other], rising[one]
    return list(rising)


rising_ids = st.builds(
    mostly_rising, st.lists(st.integers(0, 1000), unique=True, min_size=1, max_size=60), st.lists(st.integers(0, 60), max_size=3)
)


@given(
    st.lists(ids, max_size=60) | rising_ids,
    st.integers(0, 8),
    st.lists(st.integers(0, 12), max_size=20),
    st.sampled_from([b"\n", b"\r\n"]),
    st.booleans(),
)
def test_release_is_a_function_of_the_events_and_not_of_the_batches(
    event_ids: list[object], size: int, cuts: list[int], gap: bytes, looked_at: bool
) -> None:
    events = numbered(event_ids, gap)
    plain = not all(type(event_id) is int for event_id in event_ids)
    stage, late, start = OrderStage(size), 0, 0
    released: list[bytes] = []
    for cut in [*cuts, len(events)]:
        ordered = stage.push(arrivals(events[start : start + cut], event_ids[start : start + cut], gap=gap, plain=plain))
        stage, released, late = ordered.stage, [*released, *ordered.released.records()], late + ordered.late
        assert ordered.released.count == len(ordered.released.records())
        if looked_at:
            assert len(list(stage.held)) == len(stage.held)
        start += cut
    assert (released, late, list(stage.held)) == by_definition(events, size)
    assert stage.released_count == len(released)


nearly_rising = st.lists(st.tuples(st.integers(0, 60), st.integers(0, 12)), max_size=60).map(
    lambda pairs: [place + shift for (place, shift) in sorted(pairs)]
)
"""Instants that come a little early or late, some of them equal."""


@given(
    st.lists(st.integers(-50, 50), max_size=60) | nearly_rising,
    st.integers(0, 16),
    st.lists(st.integers(0, 12), max_size=20),
)
def test_instants_are_released_as_the_definition_says_and_the_columns_with_them(
    instants: list[int], size: int, cuts: list[int]
) -> None:
    events = numbered(list(instants))
    stage, late, start = OrderStage(size), 0, 0
    released: list[bytes] = []
    for cut in [*cuts, len(events)]:
        part = slice(start, start + cut)
        ordered = stage.push(arrivals(events[part], list(instants[part]), by_timestamp=True))
        for each in ordered.slices:
            known = each.sort_values if each.columns is None or each.columns.timestamps_ns is None else each.columns.timestamps_ns
            assert known is not None
            assert [str(int(instant)).encode() for instant in known] == each.lines.split(b"\n")[:-1]  # type: ignore[arg-type]
        stage, released, late = ordered.stage, [*released, *ordered.released.records()], late + ordered.late
        start += cut
    assert (released, late, list(stage.held)) == by_definition(events, size)


@given(st.lists(st.integers(0, 1000), unique=True, max_size=60).map(sorted), st.integers(1, 8))
def test_an_ascending_log_comes_out_as_it_went_in(event_ids: list[int], size: int) -> None:
    events = numbered(list(event_ids))
    ordered = OrderStage(size).push(arrivals(events, list(event_ids), plain=False))
    assert [*ordered.released.records(), *ordered.stage.release_all().released.records()] == [event[3] for event in events]
    assert ordered.late == 0


def test_strings_are_ordered_by_code_point_and_integers_by_value_before_them() -> None:
    event_ids: list[object] = ["A10", "A2", 10, "A1", 9, "é", "z"]
    ordered = OrderStage(10).push(arrivals(numbered(event_ids), event_ids)).stage.release_all()
    assert ordered.released.records() == [b"9", b"10", b"'A1'", b"'A10'", b"'A2'", b"'z'", "'é'".encode()]


def test_an_event_behind_a_released_one_is_late_and_passed_on_at_once() -> None:
    event_ids: list[object] = [5, 6, 7, 1, 8]
    ordered = OrderStage(1).push(arrivals(numbered(event_ids), event_ids))
    assert ordered.released.records() == [b"5", b"6", b"1", b"7"]
    assert ordered.late == 1


@given(st.lists(st.lists(st.integers(0, 30), min_size=1, max_size=6).map(sorted), max_size=8), st.integers(1, 6))
def test_batches_that_rise_by_themselves_are_ordered_among_each_other(batches: list[list[int]], size: int) -> None:
    event_ids: list[object] = [event_id for batch in batches for event_id in batch]
    events = numbered(event_ids)
    stage, late, start = OrderStage(size), 0, 0
    released: list[bytes] = []
    for batch in batches:
        end = start + len(batch)
        ordered = stage.push(arrivals(events[start:end], event_ids[start:end], plain=False))
        stage, released, late = ordered.stage, [*released, *ordered.released.records()], late + ordered.late
        start = end
    assert (released, late, list(stage.held)) == by_definition(events, size)


def test_events_that_are_held_become_objects_once_and_let_their_chunk_go() -> None:
    events = numbered(list(range(10)))
    source = arrivals(events, list(range(10)), plain=False)
    chunk = weakref.ref(source)
    held = LateEvents(source, 4, 9)
    del source
    assert (len(held), held.last_key) == (5, events[8][:3])
    unseen = held.slice()
    assert chunk() is not None, "nobody looked yet"
    assert held[0] == events[4]
    assert (held[-1], held[1:3], list(held)) == (events[8], (events[5], events[6]), events[4:9])
    seen = held.slice()
    assert (unseen.lines, unseen.count) == (seen.lines, seen.count) == (b"4\n5\n6\n7\n8\n", 5)
    del unseen
    assert chunk() is None
