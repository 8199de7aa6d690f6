"""How long a record waits before it is tried again: exponential, with full jitter.

Owns: `Backoff`. Source: Brooker, "Exponential Backoff And Jitter" (2015): full jitter spreads the tries of many senders best.
Always: between 0 and the cap. What the receiver asked for is a lower bound, and is not shortened.
Never: gives a number of tries (the lane does).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

__all__ = ["Backoff"]


@dataclass(frozen=True, slots=True)
class Backoff:
    """The first wait is at most `first_s`; each further one at most twice the one before, up to `cap_s`."""

    random: Callable[[], float]
    first_s: float = 0.2
    cap_s: float = 30.0

    def wait_s(self, tries: int, asked_s: float = 0.0) -> float:
        """The wait after `tries` failed tries (from 1); at least `asked_s`."""
        # 2^60 times any first wait is beyond every cap, and cannot overflow.
        most_s = min(self.cap_s, self.first_s * 2.0 ** min(tries - 1, 60))
        return max(asked_s, self.random() * most_s)
