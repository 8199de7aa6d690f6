"""How the loop waits for more: by notices while the log is quiet, by looking again and again while it is busy.

A notice costs three threads' work, and each of them takes the interpreter from the loop at a time of its own. A busy log needs none: who
has just committed looks again at once, and finds something. So notices rest while the log is busy.

Always: what comes while they rest is found as soon as if they did not, or sooner. Never: without notices it is as if there were none.
"""

from __future__ import annotations

from typing import Final

from event_processor.model.contracts import Clock, Notices, Wakeup

__all__ = ["Attention"]

QUIET_S: Final = 0.004
"""Where so much of waiting lies between two commits, the log is not busy."""
BUSY_S: Final = 0.1
"""So long it has to be busy before notices rest: to stop and to begin them takes about a millisecond for each folder."""
LOOK_AGAIN_S: Final = 0.001
"""While they rest, whoever waits looks again after this."""


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
        """From here on `notices` set the wakeup, and may be told to rest."""
        self._notices, self._are_resting = notices, False

    def found(self) -> None:
        """Something was there, and is committed."""
        now_s = self._clock.monotonic_s()
        if self._waited_s > QUIET_S:
            self._busy_since_s = now_s
        self._waited_s = 0.0
        if self._notices and not self._are_resting and now_s - self._busy_since_s >= BUSY_S:
            self._notices.rest()
            self._are_resting = True

    def wait(self, timeout_s: float) -> None:
        """Nothing is there: waits until there may be, `timeout_s` at the most."""
        if self._are_resting and self._notices and self._waited_s > QUIET_S:
            # What came while they rested left no notice: the loop looks once more before it waits.
            self._notices.attend()
            self._are_resting = False
            return
        began_s = self._clock.monotonic_s()
        self._clock.wait(self._wakeup, min(timeout_s, LOOK_AGAIN_S) if self._are_resting else timeout_s)
        self._waited_s += self._clock.monotonic_s() - began_s
