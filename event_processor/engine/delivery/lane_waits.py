"""What a lane waits for: looked at once a second, and told as shares of the last minute.

Owns: `LaneWaits`, and the names of what a lane can wait for.
Always: one look costs a few comparisons. The shares add up to 1.
Never: decides anything about a request.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Sequence
from typing import Final

from event_processor.engine.delivery.gate import ANSWERS, HELD, LIMIT, OUTAGE
from event_processor.engine.delivery.limiter import Rate
from event_processor.engine.delivery.stage import AnyStage

__all__ = ["IDLE", "SENDING", "STOPPED", "LaneWaits"]

IDLE: Final = "idle"
"""Nothing waits for the sink."""
STOPPED: Final = "stopped"
"""An operator must do something first: the lane is paused, stopped or failed."""
SENDING: Final = "sending"
"""Nothing keeps it: it prepares requests as fast as it can."""
LOOKS: Final = 60
_STATES: Final = {"idle": IDLE, "waiting": OUTAGE, "paused": STOPPED, "stopped": STOPPED, "failed": STOPPED}
_FIRST: Final = (LIMIT, HELD, OUTAGE, ANSWERS)
"""If its stages wait for several things, the first of these counts."""


class LaneWaits:
    """The looks at one lane. Used by one thread."""

    def __init__(self) -> None:
        self._recent: Final[deque[str]] = deque(maxlen=LOOKS)
        self.limit = ""
        """The limit that it waited for last, in words; empty if it never did."""

    def look(self, state: str, stages: Sequence[AnyStage], now_s: float) -> None:
        """Call it about once a second. `state`: as in `LaneReport`."""
        reason = _STATES.get(state)
        if reason is None:
            busy = [stage for stage in stages if stage.pending]
            gates = [stage.service.gate for stage in busy]
            reason = _reason([gate.obstacle(now_s) for gate in gates], is_running=any(stage.running for stage in busy))
            if reason == LIMIT:
                self.limit = next(_words(each.limiter.rate) for each in gates if each.limiter and each.obstacle(now_s) == LIMIT)
        self._recent.append(reason)

    def shares(self) -> dict[str, float]:
        """The share of each reason in the last minute, the largest first; empty before the first look."""
        found = Counter(self._recent)
        return {reason: round(count / len(self._recent), 3) for reason, count in found.most_common()}


def _reason(obstacles: Iterable[str], *, is_running: bool) -> str:
    found = set(obstacles)
    return next((each for each in _FIRST if each in found), ANSWERS if is_running else SENDING)


def _words(rate: Rate) -> str:
    plural = "s" if rate.requests > 1 else ""
    return (
        f"{rate.requests:,} request{plural} a second"
        if rate.per_s == 1
        else f"{rate.requests:,} request{plural} in {rate.per_s:,} s"
    )
