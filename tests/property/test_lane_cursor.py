"""A lane's cursor against a set of answered sequences."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from event_processor.engine.delivery.cursor import Cursor
from event_processor.model.errors import StateError


def chain_of(sequence: int) -> str:
    return f"chain {sequence}" if sequence else ""


@settings(max_examples=400, deadline=None)
@given(st.permutations(range(1, 25)), st.integers(1, 30), st.sets(st.integers(0, 24)))
def test_it_moves_over_the_contiguous_prefix_however_answers_come_and_wherever_it_restarts(
    order: list[int], ahead_max: int, restarts: set[int]
) -> None:
    cursor = Cursor(0, "", ahead_max=ahead_max)
    for sequence in range(1, 25):
        cursor.read(sequence, chain_of(sequence))
    answered: set[int] = set()
    waiting = list(order)
    step = 0
    while waiting:
        sequence = next(each for each in waiting if cursor.may_send(each))
        waiting.remove(sequence)
        cursor.answer(sequence)
        answered.add(sequence)
        prefix = next(number for number in range(25) if number + 1 not in answered)
        assert (cursor.sequence, cursor.chain) == (prefix, chain_of(prefix))
        assert [number for number in range(1, 25) if cursor.is_answered(number)] == sorted(answered)
        assert all(chain == chain_of(last) for _, last, chain in cursor.answered)
        assert cursor.last_answered == max(answered)
        assert all(cursor.answered_after(each) == sum(number > each for number in answered) for each in range(prefix, 25))
        assert cursor.ahead == (max(answered) - prefix if answered else 0)
        assert all(number - prefix <= ahead_max for number in range(1, 25) if cursor.may_send(number))
        if step in restarts:
            # The records are read again from the prefix on; some of them only after further answers.
            cursor = Cursor(cursor.sequence, cursor.chain, cursor.answered, ahead_max=ahead_max)
            for number in range(cursor.sequence + 1, 25):
                cursor.read(number, chain_of(number))
        step += 1
    assert (cursor.sequence, cursor.answered) == (24, ())


def test_after_a_restart_it_moves_over_a_range_only_when_its_last_record_was_read_again() -> None:
    cursor = Cursor(3, "chain 3", ((5, 8, "chain 8"), (10, 10, "chain 10")))
    cursor.read(4, "chain 4")
    cursor.answer(4)
    assert cursor.sequence == 3
    for sequence in range(5, 8):
        cursor.read(sequence, chain_of(sequence))
    assert (cursor.sequence, cursor.chain, cursor.answered) == (3, "chain 3", ((4, 8, "chain 8"), (10, 10, "chain 10")))
    assert [sequence for sequence in range(4, 12) if not cursor.is_answered(sequence)] == [9, 11]
    cursor.read(8, "chain 8")
    assert (cursor.sequence, cursor.chain, cursor.answered) == (8, "chain 8", ((10, 10, "chain 10"),))


@pytest.mark.parametrize("sequence", [3, 8, 10])
def test_an_outbox_with_another_record_at_a_sequence_that_was_answered_stops_it(sequence: int) -> None:
    cursor = Cursor(3, "chain 3", ((5, 8, "chain 8"), (10, 10, "chain 10")))
    for each in range(1, sequence):
        cursor.read(each, chain_of(each))
    with pytest.raises(StateError, match=f"another record at sequence {sequence}"):
        cursor.read(sequence, "another")
    assert cursor.sequence == 3


def test_an_outbox_that_fell_behind_the_cursor_is_passed_over_until_it_reaches_it() -> None:
    cursor = Cursor(3, "chain 3")
    cursor.read(2, "whatever")
    cursor.read(3, "chain 3")
    cursor.read(4, "chain 4")
    cursor.answer(4)
    assert (cursor.sequence, cursor.chain) == (4, "chain 4")
