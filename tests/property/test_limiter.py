"""The limiter against a network that delays as it likes: at the service, never more than R requests in any P seconds."""

from __future__ import annotations

import math
from bisect import bisect_left
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from event_processor.engine.delivery.limiter import Limiter, Permit, Rate

TIMEOUT_S = 2.0
delays = st.floats(0.0, TIMEOUT_S, exclude_max=True)
requests = st.lists(st.tuples(delays, delays, st.floats(0.0, 0.5)), min_size=1, max_size=60)
"""For each request: when it reaches the service after its start, when the response comes after that, and how long the caller idles
before it asks for the next."""


def run(limiter: Limiter, plan: list[tuple[float, float, float]], begin_s: float = 0.0) -> tuple[list[float], list[float], float]:
    """Starts and arrivals of all requests, asked for as early as may be, and the time of the last response."""
    now_s = begin_s
    flying: list[tuple[float, Permit]] = []
    starts: list[float] = []
    arrivals: list[float] = []
    end_s = begin_s
    for there_s, back_s, idle_s in plan:
        now_s += idle_s
        while True:
            for response_s, permit in sorted(flying, key=lambda each: each[0]):
                if response_s <= now_s:
                    limiter.release(permit, response_s)
                    flying.remove((response_s, permit))
            if (permit_now := limiter.acquire(now_s)) is not None:
                break
            wait_s = limiter.wait_s(now_s)
            responses = [response_s - now_s for response_s, _ in flying]
            now_s += max(min([*responses, *([] if wait_s is None else [wait_s])]), 1e-9)
        response_s = now_s + min(there_s + back_s, TIMEOUT_S)
        starts.append(now_s)
        arrivals.append(now_s + min(there_s, response_s - now_s))
        flying.append((response_s, permit_now))
        end_s = max(end_s, response_s)
    return starts, arrivals, end_s


def most_within(times: list[float], per_s: float) -> int:
    """The most of them in any half-open window of this length."""
    ordered = sorted(times)
    return max(bisect_left(ordered, time + per_s - 1e-6) - place for place, time in enumerate(ordered))


@settings(max_examples=400, deadline=None)
@given(requests, st.integers(1, 6), st.integers(1, 3))
def test_the_service_never_gets_more_than_its_rate_whatever_the_network_delays(
    plan: list[tuple[float, float, float]], most: int, per_s: int
) -> None:
    rate = Rate(most, per_s)
    starts, arrivals, _ = run(Limiter(rate), plan)
    assert most_within(arrivals, per_s) <= most
    assert all(later - earlier > rate.distance_s - 1e-6 for earlier, later in pairwise(starts))


@settings(max_examples=200, deadline=None)
@given(requests, requests, st.integers(1, 4), st.integers(1, 4), st.floats(0.0, 3.0))
def test_a_new_limiter_that_is_blocked_long_enough_keeps_the_lower_of_two_rates(
    before: list[tuple[float, float, float]], after: list[tuple[float, float, float]], most: int, later_most: int, cut_s: float
) -> None:
    """After an unclean end nothing is known; the timeout and the period pass before the first start."""
    starts, arrivals, _ = run(Limiter(Rate(most)), before)
    sent = [arrival for start, arrival in zip(starts, arrivals, strict=True) if start <= cut_s]
    _, later, _ = run(Limiter(Rate(later_most), cut_s + TIMEOUT_S + 1), after, cut_s)
    assert most_within([*sent, *later], 1) <= max(most, later_most)
    assert most_within([arrival for arrival in (*sent, *later) if arrival > cut_s + TIMEOUT_S], 1) <= later_most


def test_a_busy_caller_uses_what_the_proof_allows() -> None:
    """R / (P + T) requests a second, with T the round trip."""
    starts, _, _ = run(Limiter(Rate(15)), [(0.015, 0.015, 0.0)] * 600)
    used = (len(starts) - 1) / (starts[-1] - starts[0])
    assert used == pytest.approx(15 / 1.03, rel=0.01)


def test_a_slot_is_held_until_the_response_and_the_period_are_over() -> None:
    limiter = Limiter(Rate(1, 2))
    permit = limiter.acquire(10.0)
    assert permit is not None
    assert (limiter.acquire(50.0), limiter.wait_s(50.0), limiter.in_flight) == (None, None, 1)
    limiter.release(permit, 60.0)
    assert limiter.wait_s(61.0) == 1.0
    assert limiter.acquire(62.0) is not None


def test_what_the_service_asks_for_holds_every_start() -> None:
    limiter = Limiter(Rate(5))
    limiter.hold(3.0)
    assert limiter.wait_s(1.0) == 2.0
    limiter.hold(2.0)
    assert limiter.wait_s(1.0) == 2.0
    assert limiter.acquire(3.0) is not None


def test_a_limiter_says_from_when_another_may_start() -> None:
    limiter = Limiter(Rate(2))
    assert limiter.busy_until_s(5.0, 10.0) == 5.0
    permit = limiter.acquire(5.0)
    assert permit is not None
    assert limiter.busy_until_s(5.0, 10.0) == 16.0
    limiter.release(permit, 7.0)
    assert limiter.busy_until_s(7.0, 10.0) == 8.0


@pytest.mark.parametrize(
    ("number", "rate"),
    [(15, Rate(15)), (1, Rate(1)), (0.5, Rate(1, 2)), (2.5, Rate(5, 2)), (1 / 3, Rate(1, 3)), (1 / 3600, Rate(1, 3600))],
)
def test_a_rate_is_read_as_its_simplest_fraction(number: float, rate: Rate) -> None:
    assert Rate.of(number) == rate


@pytest.mark.parametrize("number", [0, -1, math.nan, math.inf, 1 / 7200, 0.12345678901])
def test_what_is_no_rate_is_refused(number: float) -> None:
    with pytest.raises(ValueError, match="a number"):
        Rate.of(number)
