"""What a lane waits for: by its state, and by what keeps its next request from starting."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from event_processor.engine.delivery.gate import OUTAGE_WAITS, Gate
from event_processor.engine.delivery.lane_waits import LaneWaits
from event_processor.engine.delivery.limiter import Limiter, Rate
from event_processor.model.answers import Answer, Verdict

WAIT = Answer(Verdict.WAIT, "refused")


def stage(gate: Gate, *, pending: int = 1, running: int = 0) -> Any:
    return SimpleNamespace(pending=pending, running=range(running), service=SimpleNamespace(gate=gate))


def gate(concurrency: int = 8, rate: Rate | None = None) -> Gate:
    return Gate(concurrency, Limiter(rate) if rate else None, lambda: 0.5)


def looked(*stages: Any, state: str = "sending", now_s: float = 0.0) -> LaneWaits:
    waits = LaneWaits()
    waits.look(state, stages, now_s)
    return waits


@pytest.mark.parametrize(
    ("state", "reason"),
    [("idle", "idle"), ("waiting", "outage"), ("paused", "stopped"), ("stopped", "stopped"), ("failed", "stopped")],
)
def test_a_state_that_sends_nothing_is_the_reason(state: str, reason: str) -> None:
    assert looked(stage(gate()), state=state).shares() == {reason: 1.0}


def test_a_full_limit_is_the_reason_with_its_words() -> None:
    limited = gate(rate=Rate(1, 2))
    ticket = limited.acquire(0.0)
    assert ticket is not None
    limited.release(ticket, 0.5, Answer(Verdict.DELIVERED, ""))
    found = looked(stage(limited), now_s=1.0)
    assert (found.shares(), found.limit) == ({"limit": 1.0}, "1 request in 2 s")


def test_as_many_requests_as_may_run_wait_for_answers() -> None:
    busy = gate(concurrency=1)
    assert busy.acquire(0.0) is not None
    assert looked(stage(busy, running=1), now_s=1.0).shares() == {"answers": 1.0}
    in_flight = gate(rate=Rate(1))
    assert in_flight.acquire(0.0) is not None
    assert looked(stage(in_flight, running=1), now_s=1.0).shares() == {"answers": 1.0}, "its only slot waits for its response"


def test_requests_that_run_are_waited_for_and_without_any_it_sends() -> None:
    assert looked(stage(gate(), running=2)).shares() == {"answers": 1.0}
    assert looked(stage(gate())).shares() == {"sending": 1.0}


def test_a_service_that_asked_for_a_wait_or_takes_nothing_is_the_reason() -> None:
    held = gate()
    ticket = held.acquire(0.0)
    assert ticket is not None
    held.release(ticket, 0.0, Answer(Verdict.WAIT, "busy", wait_s=20.0))
    assert looked(stage(held), now_s=1.0).shares() == {"held": 1.0}
    out = gate()
    for _ in range(OUTAGE_WAITS):
        ticket = out.acquire(0.0)
        assert ticket is not None
        out.release(ticket, 0.0, WAIT)
    assert looked(stage(out), now_s=1.0).shares() == {"outage": 1.0}


def test_of_several_stages_the_one_with_records_counts_and_a_limit_before_answers() -> None:
    limited = gate(rate=Rate(15))
    assert limited.acquire(0.0) is not None
    assert looked(stage(limited, pending=0), stage(gate(), running=1)).shares() == {"answers": 1.0}
    found = looked(stage(limited, running=1), stage(gate(), running=1), now_s=0.01)
    assert (found.shares(), found.limit) == ({"limit": 1.0}, "15 requests a second")


def test_shares_are_of_the_last_sixty_looks() -> None:
    waits = LaneWaits()
    for state in ["paused"] * 100 + ["idle"] * 45:
        waits.look(state, [], 0.0)
    assert waits.shares() == {"idle": 0.75, "stopped": 0.25}
    assert LaneWaits().shares() == {}
