"""How many requests to a service run at once, found by what the service shows: `concurrency = "auto"`.

Owns: `AdaptiveConcurrency`: additive increase, multiplicative decrease, by the time of answers and by answers of *wait*.
Always: between 1 and `CONCURRENCY_MAX`. It changes at most once in the time that an answer takes, and grows only if the limit held
something back. The time of answers is compared with the best that was usual, not with the last: while requests queue up at the
service, every last time is a little later than the one before, and the limit would follow.
Never: sends, or reads a clock.
"""

from __future__ import annotations

from math import inf
from typing import Final

__all__ = ["CONCURRENCY_MAX", "AdaptiveConcurrency"]

CONCURRENCY_MAX: Final = 200
DECREASE: Final = 0.9
NEWEST_SHARE: Final = 0.1
"""How much the time of one answer counts in the usual time."""
LATE: Final = 2.0
"""Answers that take so many times the best usual time show that as many requests wait at the service as it works on."""
FRESH_CHANGES: Final = 100
"""After so many changes the best time is measured anew, at half the limit: then hardly a request waits at the service. So a service
may become slower for good."""


class AdaptiveConcurrency:
    """The limit of one service. Used by one thread. Times are seconds of one monotonic clock."""

    def __init__(self) -> None:
        self.limit = 1
        self._usual_s = 0.0
        """The mean time of answers, the newest counting most; 0 before the first."""
        self._best_s = inf
        self._changes = 0
        self._next_s = -inf
        self._was_full = False
        self._was_refused = False

    def started(self, running: int) -> None:
        """A request has started; now so many run."""
        self._was_full |= running >= self.limit

    def answered(self, now_s: float, took_s: float, *, is_wait: bool) -> None:
        """A request was answered after `took_s` seconds. `is_wait`: the service could not take it now."""
        if is_wait:
            # How long a refusal takes says nothing about the service's work.
            self._was_refused = True
        else:
            self._usual_s += (NEWEST_SHARE if self._usual_s else 1.0) * (took_s - self._usual_s)
        if now_s >= self._next_s:
            self._change(now_s)

    def _change(self, now_s: float) -> None:
        self._changes += 1
        if self._usual_s:
            self._best_s = min(self._best_s, self._usual_s)
        if self._changes % FRESH_CHANGES == 0:
            self.limit, self._best_s = max(1, self.limit // 2), inf
        elif self._was_refused or self._usual_s >= LATE * self._best_s:
            self.limit = max(1, int(self.limit * DECREASE))
        elif self._was_full:
            self.limit = min(CONCURRENCY_MAX, self.limit + 1)
        self._next_s = now_s + self._usual_s
        self._was_full = self._was_refused = False
