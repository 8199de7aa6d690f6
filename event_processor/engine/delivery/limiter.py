"""How many requests a service gets: never more than R in any P seconds, at the service.

Owns: `Rate`, and `Limiter`, which says when the next request may start.
Always: there are R slots, and each request holds one. A slot is free again P seconds after the response to its request was received
(after a timeout: P seconds after the timeout). A request reaches the service between its start and its response, so two requests
of one slot reach it more than P seconds apart. So in any P seconds the service gets at most R, whatever the network does. The one
exception is a request that timed out here and is read by the service later. Starts are at least P/R apart.
Never: sleeps, or uses another clock than the one it is given. A retry takes a slot like any other request.

With a mean round trip of T the limiter can use R / (P + T) requests a second.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from heapq import heappop, heappush
from typing import Final, Self

__all__ = ["Limiter", "Permit", "Rate"]


@dataclass(frozen=True, slots=True)
class Rate:
    """At most `requests` in any `per_s` seconds; both are whole numbers from 1 on."""

    requests: int
    per_s: int = 1

    @classmethod
    def of(cls, requests_per_s: float) -> Self:
        """The rate of a number of requests a second: 15, or 0.5 for one in two seconds.

        A number with a fraction is read as its simplest fraction. Raises `ValueError` if it is not above 0, or if its seconds
        exceed an hour.
        """
        if not 0 < requests_per_s < math.inf:
            raise ValueError("a number above 0")
        for per_s in range(1, 3601):
            requests = requests_per_s * per_s
            if requests >= 1 and abs(requests - round(requests)) < 1e-9 * requests:
                return cls(round(requests), per_s)
        raise ValueError("a number of requests in whole seconds, up to an hour")

    @property
    def distance_s(self) -> float:
        """The least time between two starts."""
        return self.per_s / self.requests


@dataclass(frozen=True, slots=True)
class Permit:
    """One request may start. Give it back with `release` when its response was received, or it timed out."""

    slot: int


class Limiter:
    """The slots of one service. All callers of the service share it; used by one thread.

    Times are seconds of one monotonic clock, and never go back.
    """

    def __init__(self, rate: Rate, blocked_until_s: float = -math.inf) -> None:
        """No request starts before `blocked_until_s`.

        After an unclean end, requests of the process before may still reach the service: block for the timeout and `per_s`.
        """
        self.rate: Final = rate
        self._free: Final = [(blocked_until_s, slot) for slot in range(rate.requests)]
        """When each idle slot is free, as a heap: the soonest first."""
        self._in_flight: Final[set[int]] = set()
        self._next_start_s = blocked_until_s

    @property
    def in_flight(self) -> int:
        """The number of requests without a response."""
        return len(self._in_flight)

    def wait_s(self, now_s: float) -> float | None:
        """The seconds until a request may start; 0 if it may start now; None while every slot waits for its response."""
        if not self._free:
            return None
        return max(0.0, self._next_start_s - now_s, self._free[0][0] - now_s)

    def acquire(self, now_s: float) -> Permit | None:
        """Takes a slot for a request that starts now; None if none may start."""
        if self.wait_s(now_s) != 0.0:
            return None
        _, slot = heappop(self._free)
        self._in_flight.add(slot)
        self._next_start_s = now_s + self.rate.distance_s
        return Permit(slot)

    def release(self, permit: Permit, now_s: float) -> None:
        """The response was received, or the request timed out, at `now_s`."""
        self._in_flight.remove(permit.slot)
        heappush(self._free, (now_s + self.rate.per_s, permit.slot))

    def hold(self, until_s: float) -> None:
        """No request starts before `until_s`: the service said so (`Retry-After`)."""
        self._next_start_s = max(self._next_start_s, until_s)

    def busy_until_s(self, now_s: float, timeout_s: float) -> float:
        """The time from which no earlier request can reach the service within `per_s` of a new one.

        Requests in flight are over after `timeout_s`. A limiter with another rate starts blocked until then.
        """
        free = [free_s for free_s, _ in self._free]
        in_flight = [now_s + timeout_s + self.rate.per_s] * len(self._in_flight)
        return max([now_s, *free, *in_flight])
