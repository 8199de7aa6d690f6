"""The adaptive limit against services of a known size: it finds the size, and follows it."""

from __future__ import annotations

from collections.abc import Callable
from heapq import heappop, heappush
from random import Random

import pytest

from event_processor.engine.delivery.concurrency import CONCURRENCY_MAX, AdaptiveConcurrency
from event_processor.engine.delivery.gate import Gate
from event_processor.model.answers import Answer, Verdict

WORK_S = 0.1


class Workers:
    """A service of `size` workers. Each request takes `WORK_S` of one; requests beyond that wait in line, or are refused."""

    def __init__(self, size: int, *, refuses: bool, seed: int) -> None:
        self.size = size
        self._refuses = refuses
        self._chance = Random(seed)
        self._free_at: list[float] = []

    def take(self, now_s: float, running: int) -> tuple[float, bool]:
        """When the answer comes, and whether it is a refusal."""
        if self._refuses and running > self.size:
            return now_s + 0.005, True
        work_s = WORK_S * self._chance.uniform(0.9, 1.1)
        while len(self._free_at) > self.size or (self._free_at and self._free_at[0] <= now_s):
            heappop(self._free_at)
        start_s = now_s if len(self._free_at) < self.size else heappop(self._free_at)
        heappush(self._free_at, start_s + work_s)
        return start_s + work_s, False


def run(
    gate: Gate, workers: Workers, until_s: float, now_s: float = 0.0, change: Callable[[float], None] = lambda _: None
) -> list[tuple[float, int, bool]]:
    """As many requests as the gate lets through. Returns the time of each answer, how many ran, and whether it was refused."""
    running: list[tuple[float, int, bool, object]] = []
    found, number = [], 0
    while now_s < until_s:
        change(now_s)
        while (ticket := gate.acquire(now_s)) is not None:
            number += 1
            end_s, is_refused = workers.take(now_s, gate.running)
            heappush(running, (end_s, number, is_refused, ticket))
        if not running:
            now_s += gate.wait_s(now_s) or 0.001
            continue
        now_s, _, is_refused, done = heappop(running)
        found.append((now_s, gate.running, is_refused))
        gate.release(done, now_s, Answer(Verdict.WAIT if is_refused else Verdict.DELIVERED))  # type: ignore[arg-type]  # a ticket
    return found


@pytest.mark.parametrize("size", [1, 8, 40])
@pytest.mark.parametrize("refuses", [False, True])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_it_finds_the_size_of_a_service(size: int, *, refuses: bool, seed: int) -> None:
    gate = Gate(None, None, Random(seed).random)
    found = run(gate, Workers(size, refuses=refuses, seed=seed), 60.0)
    late = [each for each in found if each[0] > 30.0]
    passed = sum(not refused for *_, refused in late)
    assert passed >= 0.8 * 30.0 * size / WORK_S
    assert max(running for _, running, _ in late) <= 3 * size + 4


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_it_follows_a_service_that_becomes_smaller_and_larger(seed: int) -> None:
    gate, workers = Gate(None, None, Random(seed).random), Workers(30, refuses=True, seed=seed)

    def change(now_s: float) -> None:
        workers.size = 6 if 30.0 < now_s < 60.0 else 30

    found = run(gate, workers, 120.0, change=change)

    def most(after_s: float, before_s: float) -> int:
        return max(running for now_s, running, _ in found if after_s < now_s < before_s)

    assert (most(20.0, 30.0) > 24, most(45.0, 60.0) <= 12, most(110.0, 120.0) > 24) == (True, True, True)


def test_it_does_not_grow_while_nothing_is_held_back() -> None:
    adaptive = AdaptiveConcurrency()
    for n in range(100):
        adaptive.answered(float(n), 0.1, is_wait=False)
    assert adaptive.limit == 1
    limits = []
    for n in range(100, 2000):
        adaptive.started(adaptive.limit)
        adaptive.answered(float(n), 0.1, is_wait=False)
        limits.append(adaptive.limit)
    assert 190 < max(limits) <= CONCURRENCY_MAX
    for n in range(2000, 3000):
        adaptive.started(adaptive.limit)
        adaptive.answered(float(n), 0.1, is_wait=True)
    assert adaptive.limit == 1


def test_a_configured_number_is_not_changed_by_answers() -> None:
    gate = Gate(4, None, Random(1).random)
    run(gate, Workers(2, refuses=True, seed=1), 20.0)
    assert gate.concurrency == 4
    gate.change(None, None, 10.0)
    assert gate.concurrency < 4
