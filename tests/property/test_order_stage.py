"""The order stage against its definition, event by event."""

import bisect

from hypothesis import given
from hypothesis import strategies as st

from event_processor.id_order import id_key
from event_processor.ordering import HeldEvent, OrderStage

ids = st.one_of(
    st.integers(-50, 50), st.text(alphabet="AB1", max_size=3), st.tuples(st.integers(0, 3), st.text("xy", max_size=1))
)


def numbered(event_ids: list[object]) -> list[HeldEvent]:
    return [(*id_key(event_id), sequence, f"{event_id!r}".encode()) for sequence, event_id in enumerate(event_ids)]  # type: ignore[arg-type]


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


@given(st.lists(ids, max_size=60), st.integers(0, 8), st.lists(st.integers(0, 12), max_size=20))
def test_release_is_a_function_of_the_events_and_not_of_the_batches(event_ids: list[object], size: int, cuts: list[int]) -> None:
    events = numbered(event_ids)
    stage, late, start = OrderStage(size), 0, 0
    released: list[bytes] = []
    for cut in [*cuts, len(events)]:
        ordered = stage.push(events[start : start + cut])
        stage, released, late = ordered.stage, [*released, *ordered.released], late + ordered.late
        start += cut
    assert (released, late, list(stage.held)) == by_definition(events, size)
    assert stage.released_count == len(released)


@given(st.lists(st.integers(0, 1000), unique=True, max_size=60).map(sorted), st.integers(1, 8))
def test_an_ascending_log_comes_out_as_it_went_in(event_ids: list[int], size: int) -> None:
    events = numbered(list(event_ids))
    ordered = OrderStage(size).push(events)
    assert [*ordered.released, *ordered.stage.release_all().released] == [event[3] for event in events]
    assert ordered.late == 0


def test_strings_are_ordered_by_code_point_and_integers_by_value_before_them() -> None:
    ordered = OrderStage(10).push(numbered(["A10", "A2", 10, "A1", 9, "é", "z"])).stage.release_all()
    assert ordered.released == [b"9", b"10", b"'A1'", b"'A10'", b"'A2'", b"'z'", "'é'".encode()]


def test_an_event_behind_a_released_one_is_late_and_passed_on_at_once() -> None:
    ordered = OrderStage(1).push(numbered([5, 6, 7, 1, 8]))
    assert ordered.released == [b"5", b"6", b"1", b"7"]
    assert ordered.late == 1
