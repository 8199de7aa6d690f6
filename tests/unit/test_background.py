"""Jobs in the background: of those that take turns the least goes on."""

from __future__ import annotations

from threading import Event as Flag
from threading import Thread

from event_processor.deduplication.merge import Turns


def test_a_job_goes_on_as_soon_as_none_of_a_lesser_rank_is_under_way() -> None:
    turns = Turns()
    with turns.under_way(2):
        assert turns.may_go_on(2)
        with turns.under_way(1), turns.under_way(3):
            assert [turns.may_go_on(rank) for rank in (1, 2, 3)] == [True, False, False]
        assert turns.may_go_on(2)
        with turns.under_way(2):
            turns.wait(2)
    with turns.under_way(5):
        turns.wait(5)


def test_one_that_waits_is_woken_by_the_end_of_the_other() -> None:
    # Who waits not at all is found out within these rounds, though not in each.
    for _ in range(200):
        turns, entered, order = Turns(), Flag(), list[str]()

        def great(turns: Turns = turns, entered: Flag = entered, order: list[str] = order) -> None:
            with turns.under_way(1):
                entered.set()
                turns.wait(1)
                order.append("great")

        thread = Thread(target=great)
        with turns.under_way(0):
            thread.start()
            entered.wait()
            order.append("small")
        thread.join(10)
        assert order == ["small", "great"]
