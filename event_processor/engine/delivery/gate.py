"""When the next request to a service may start: its rate, how many run at once, what it asked for, and whether it is in outage.

Owns: `Gate`, shared by all lanes and enrichers of a service. It outlives reloads and the delivery loop.
Always: after `OUTAGE_WAITS` answers of *wait* in a row the service is in outage: then one request at a time is a probe, and probes are
apart. The first other answer ends the outage. A probe comes at most a twentieth of the outage's length late, so that a short outage
costs little, and a long one few requests.
Never: sleeps, or decides about a record (`stage.py` does).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from event_processor.engine.delivery.concurrency import AdaptiveConcurrency
from event_processor.engine.delivery.limiter import Limiter, Permit
from event_processor.model.answers import Answer, Verdict

__all__ = ["ANSWERS", "HELD", "LIMIT", "OUTAGE", "OUTAGE_WAITS", "Gate", "Ticket"]

LIMIT: Final = "limit"
HELD: Final = "held"
OUTAGE: Final = "outage"
ANSWERS: Final = "answers"

OUTAGE_WAITS: Final = 10
PROBE_SHARE: Final = 0.05
PROBE_S_MIN: Final = 0.05
PROBE_S_MAX: Final = 30.0
LONG_S: Final = 60.0
"""A service that asks for a longer wait is shown as one in outage."""


@dataclass(frozen=True, slots=True)
class Ticket:
    """One request may start. Give it back with `release` and the answer."""

    permit: Permit | None
    limiter: Limiter | None
    started_s: float = 0.0


class Gate:
    """The gate of one service. Used by one thread. Times are seconds of one monotonic clock."""

    def __init__(
        self, concurrency: int | None, limiter: Limiter | None, random: Callable[[], float], *, timeout_s: float = 10.0
    ) -> None:
        """`concurrency`: None if the service's answers decide. `limiter`: None without a limit.

        `random`: numbers from 0 to 1, to spread probes. `timeout_s`: of a request.
        """
        self._concurrency = concurrency
        self._adaptive = AdaptiveConcurrency()
        self.timeout_s = timeout_s
        self.limiter = limiter
        self._random: Final = random
        self._running = 0
        self._waits_in_a_row = 0
        self._outage_since_s: float | None = None
        self._next_probe_s = -math.inf
        self._held_until_s = -math.inf

    @property
    def concurrency(self) -> int:
        """How many requests may run at once now."""
        return self._adaptive.limit if self._concurrency is None else self._concurrency

    @property
    def running(self) -> int:
        """The number of requests without an answer."""
        return self._running

    @property
    def outage_since_s(self) -> float | None:
        """When the outage began; None if there is none."""
        return self._outage_since_s

    def is_held_long(self, now_s: float) -> bool:
        """Whether the service asked for a wait of which a person should know."""
        return self._held_until_s - now_s > LONG_S

    def wait_s(self, now_s: float) -> float | None:
        """The seconds until a request may start; 0 if it may start now; None while only an answer can change that."""
        if self._running >= (self.concurrency if self._outage_since_s is None else 1):
            return None
        limited_s = 0.0 if self.limiter is None else self.limiter.wait_s(now_s)
        if limited_s is None:
            return None
        probe_s = self._next_probe_s if self._outage_since_s is not None else -math.inf
        return max(0.0, limited_s, probe_s - now_s, self._held_until_s - now_s)

    def obstacle(self, now_s: float) -> str:
        """What keeps a request from starting now; "" if nothing does.

        `OUTAGE`; `HELD`: the service asked for a wait; `ANSWERS`: as many requests run as may; `LIMIT`: the rate.
        """
        if self._outage_since_s is not None:
            return OUTAGE
        if self._held_until_s > now_s:
            return HELD
        limited_s = 0.0 if self.limiter is None else self.limiter.wait_s(now_s)
        if self._running >= self.concurrency or limited_s is None:
            return ANSWERS
        return LIMIT if limited_s else ""

    def acquire(self, now_s: float) -> Ticket | None:
        """Lets one request start now; None if none may."""
        if self.wait_s(now_s) != 0.0:
            return None
        permit = None if self.limiter is None else self.limiter.acquire(now_s)
        self._running += 1
        self._adaptive.started(self._running)
        return Ticket(permit, self.limiter, now_s)

    def release(self, ticket: Ticket, now_s: float, answer: Answer | None) -> None:
        """The request was answered, or it timed out (a *wait*); None: it was never sent."""
        self._running -= 1
        if ticket.permit is not None and ticket.limiter is not None:
            ticket.limiter.release(ticket.permit, now_s)
        if answer is None:
            return
        self._adaptive.answered(now_s, now_s - ticket.started_s, is_wait=answer.verdict is Verdict.WAIT)
        if answer.wait_s:
            self._held_until_s = max(self._held_until_s, now_s + answer.wait_s)
        if answer.verdict is not Verdict.WAIT:
            self._waits_in_a_row = 0
            self._outage_since_s = None
            return
        self._waits_in_a_row += 1
        if self._waits_in_a_row < OUTAGE_WAITS:
            return
        if self._outage_since_s is None:
            self._outage_since_s = now_s
        most_s = min(PROBE_S_MAX, max(PROBE_S_MIN, PROBE_SHARE * (now_s - self._outage_since_s)))
        self._next_probe_s = now_s + most_s * (0.5 + 0.5 * self._random())

    def give_up(self, ticket: Ticket, now_s: float) -> None:
        """The request was given up. The service may read it as late as if it had timed out."""
        self.release(ticket, now_s + self.timeout_s, None)

    def change(self, concurrency: int | None, limiter: Limiter | None, timeout_s: float) -> None:
        """The configuration was reloaded. Tickets that were given out stay valid. A new limiter must start blocked."""
        self.timeout_s = timeout_s
        # An operator may know better than what the service asked for once.
        self._held_until_s = -math.inf
        self._concurrency = concurrency
        self.limiter = limiter
