"""A lane's cursor against a set of answered sequences."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from event_processor.engine.delivery.cursor import Cursor


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
        assert cursor.ahead == (max(answered) - prefix if answered else 0)
        assert all(number - prefix <= ahead_max for number in range(1, 25) if cursor.may_send(number))
        if step in restarts:
            # The records are read again from the prefix on; some of them only after further answers.
            cursor = Cursor(cursor.sequence, cursor.chain, cursor.answered, ahead_max=ahead_max)
            for number in range(cursor.sequence + 1, 25):
                cursor.read(number, chain_of(number))
        step += 1
    assert (cursor.sequence, cursor.answered) == (24, ())


def test_after_a_restart_it_goes_no_further_than_the_records_were_read_again() -> None:
    cursor = Cursor(3, "chain 3", ((5, 8), (10, 10)))
    cursor.read(4, "chain 4")
    cursor.answer(4)
    assert (cursor.sequence, cursor.chain, cursor.answered) == (4, "chain 4", ((5, 8), (10, 10)))
    for sequence in range(5, 8):
        cursor.read(sequence, chain_of(sequence))
    assert (cursor.sequence, cursor.chain, cursor.answered) == (7, "chain 7", ((8, 8), (10, 10)))
    assert [sequence for sequence in range(4, 12) if not cursor.is_answered(sequence)] == [9, 11]
