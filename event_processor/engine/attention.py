"""How the loop waits: for input by notices while the log is quiet, by polling while it is busy; and until a commit is due.

Owns: the choice between notices and polling. A notice costs work in three threads, and each of them interrupts the loop at any
time. A busy log needs no notices: after a commit, or when the next one is due, the loop polls and finds more. So notices pause
while the log is busy.
Always: input that comes while notices pause is found as soon as with notices, or sooner. While a commit is held, notices are of no
use: at most one comes through.
Never: needs notices; without them the loop only polls.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from event_processor.model.contracts import Clock, Notices, Source, Wakeup

__all__ = ["Attention", "holds_unread_bytes"]

QUIET_S: Final = 0.004
"""The log is not busy if the loop waited longer than this between two commits."""
BUSY_S: Final = 0.1
"""Notices pause after the log was busy for this long. To stop and start notices costs about a millisecond per folder."""
LOOK_AGAIN_S: Final = 0.001
"""While notices pause, the loop polls after this time."""


def holds_unread_bytes(sources: Sequence[Source]) -> bool:
    """Whether a source knows bytes that it reads only after a deadline, as after a rotated file that may still grow.

    Then the log is not idle: if the order buffer were flushed now, these bytes would come too late for the order.
    """
    return any(source.wait_s() is not None and source.lag_bytes() > 0 for source in sources)


class Attention:
    """Waits for the loop. Used by its thread."""

    def __init__(self, clock: Clock, wakeup: Wakeup) -> None:
        self._clock: Final = clock
        self._wakeup: Final = wakeup
        self._notices: Notices | None = None
        self._are_resting = False
        self._waited_s = 0.0
        self._busy_since_s = clock.monotonic_s()

    def rely_on(self, notices: Notices) -> None:
        """From now on `notices` set the wakeup, and can be paused."""
        self._notices, self._are_resting = notices, False

    def found(self) -> None:
        """Reports that input was found and committed."""
        now_s = self._clock.monotonic_s()
        if self._waited_s > QUIET_S:
            self._busy_since_s = now_s
        self._waited_s = 0.0
        if self._notices and not self._are_resting and now_s - self._busy_since_s >= BUSY_S:
            self._notices.rest()
            self._are_resting = True

    def hold(self, timeout_s: float, is_stopped: Callable[[], bool]) -> None:
        """Waits for `timeout_s`, whatever is appended, or until stopped. The first notice in that time pauses the notices."""
        began_s = now_s = self._clock.monotonic_s()
        while not is_stopped() and now_s < began_s + timeout_s:
            self._clock.wait(self._wakeup, began_s + timeout_s - now_s)
            # If a stop comes between these two lines, `is_stopped` says so.
            self._wakeup.clear()
            now_s = self._clock.monotonic_s()
            if self._notices and not self._are_resting and now_s < began_s + timeout_s:
                self._notices.rest()
                self._are_resting = True
        self._waited_s += now_s - began_s

    def wait(self, timeout_s: float) -> None:
        """Waits for input, at most `timeout_s`. Call it if nothing was found."""
        if self._are_resting and self._notices and self._waited_s > QUIET_S:
            # Input that came during the pause left no notice, so the loop polls once more before it waits.
            self._notices.attend()
            self._are_resting = False
            return
        began_s = self._clock.monotonic_s()
        self._clock.wait(self._wakeup, min(timeout_s, LOOK_AGAIN_S) if self._are_resting else timeout_s)
        self._waited_s += self._clock.monotonic_s() - began_s
