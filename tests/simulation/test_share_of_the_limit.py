"""How much of a service's limit a lane uses on good and bad days, in virtual time, where no other process disturbs it."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

import pytest

from event_processor.model.answers import Answer
from event_processor.model.delivery import Request
from support.lanes import DELIVERED, WAIT, Bench, MemoryOutbox, ScriptedReceiver, records
from support.virtual_time import run_in_virtual_time

LIMIT = 15
LOAD_S = 60.0


class Day(ScriptedReceiver):
    """Answers after 10 to 50 ms: a share of requests fails, a share is 2 s late, and for some time every request fails at once."""

    def __init__(self, seed: int, fail: float, late: float, down_s: tuple[float, float]) -> None:
        super().__init__(lambda _: DELIVERED)
        self._numbers = random.Random(seed)
        self._shares = (fail, late)
        self._down_s = down_s
        self._begun_s = asyncio.get_running_loop().time()
        self.took_s: list[float] = []

    def is_counted(self, moment_s: float) -> bool:
        return moment_s < self._begun_s + LOAD_S and not self._is_down(moment_s)

    def _is_down(self, moment_s: float) -> bool:
        return self._down_s[0] <= moment_s - self._begun_s < self._down_s[1]

    async def deliver(self, request: Request) -> Answer:
        now_s = asyncio.get_running_loop().time()
        self.arrivals_s.append(now_s)
        if self._is_down(now_s):
            return WAIT
        fails, is_late = (self._numbers.random() < share for share in self._shares)
        self.took_s.append(self._numbers.uniform(0.01, 0.05) + 2.0 * is_late)
        await asyncio.sleep(self.took_s[-1])
        return WAIT if fails else DELIVERED


@pytest.mark.parametrize(
    ("fail", "late", "down_s"),
    [(0.0, 0.0, (0, 0)), (0.15, 0.0, (0, 0)), (0.6, 0.0, (0, 0)), (0.0, 0.3, (0, 0)), (0.6, 0.3, (0, 0)), (0.15, 0.0, (30, 40))],
)
def test_at_least_95_percent_of_what_the_limiter_can_use_is_used(
    tmp_path: Path, fail: float, late: float, down_s: tuple[float, float]
) -> None:
    async def share(seed: int) -> float:
        day = Day(seed, fail, late, down_s)
        outbox = MemoryOutbox(records(int(2 * LIMIT * LOAD_S)))
        bench = Bench(str(tmp_path / str(seed)), outbox, day, rate=LIMIT, concurrency=LIMIT, seed=seed)
        await asyncio.sleep(LOAD_S)
        assert bench.lane.report().failed == 0
        await bench.kill()
        length_s = LOAD_S - (down_s[1] - down_s[0])
        mean_s = sum(day.took_s) / len(day.took_s)
        return len(list(filter(day.is_counted, day.arrivals_s))) / (length_s * LIMIT / (1 + mean_s))

    shares = [run_in_virtual_time(share(seed)) for seed in range(8)]
    assert min(shares) >= 0.95, shares
    assert max(shares) <= 1.01, shares
