"""When posted events are refused for a while: before the disk is full, and while the outbox is.

Owns: `Pressure`, and how long a client is asked to wait.
Always: a client that is refused is told a time that follows from how fast the outbox empties or the disk gets room, within limits.
Never: refuses what fits; waits.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final

from event_processor.configuration.configuration import Configuration
from event_processor.model.contracts import Clock
from event_processor.service.web.answers import ProblemError
from event_processor.service.web.intake_writer import OpenIntake
from event_processor.storage.probes import free_bytes

__all__ = ["Pressure"]

LOOK_S: Final = 0.25
"""The outbox and the disk are looked at this often."""
WAIT_S_MIN: Final = 1
WAIT_S_MAX: Final = 300
ROOM_SHARE: Final = 0.05
"""A client comes again when this share of the outbox is free."""


class Shortage:
    """How long something will be short, from looks at how much is missing."""

    def __init__(self) -> None:
        self._worst: tuple[float, float] | None = None
        """When the most was missing, and how much."""

    def end(self) -> None:
        """Nothing is missing any more."""
        self._worst = None

    def wait_s(self, now_s: float, missing_bytes: float) -> int:
        """The seconds until nothing is missing, if it goes on as since the most was missing. From `WAIT_S_MIN` to `WAIT_S_MAX`."""
        if self._worst is None or missing_bytes > self._worst[1]:
            self._worst = now_s, missing_bytes
        since_s, most_bytes = self._worst
        gained_bytes, passed_s = most_bytes - missing_bytes, now_s - since_s
        # If nothing was gained since then: the longer it lasts, the longer it is likely to last.
        wait_s = passed_s if gained_bytes <= 0 or passed_s <= 0 else missing_bytes * passed_s / gained_bytes
        return max(WAIT_S_MIN, min(WAIT_S_MAX, math.ceil(wait_s)))


class Pressure:
    """Looks at the outbox and the disk. Used by the loop of the server."""

    def __init__(self, configuration: Configuration, clock: Clock, free: Callable[[str], int] = free_bytes) -> None:
        """`free`: the free bytes on the disk of a folder."""
        self._clock: Final = clock
        self._free: Final = free
        self._directory: Final = str(configuration.state.dir)
        self._free_bytes_min: Final = configuration.intake.free_bytes_min
        outbox = configuration.outbox
        self._outbox_bytes_max: Final = outbox.bytes_max if outbox.when_full == "pause" else None
        self._next_look_s = -math.inf
        self._disk: Final = Shortage()
        self._outbox: Final = Shortage()
        self._refusal: tuple[str, str, int] | None = None

    def require_room(self, opened: OpenIntake) -> None:
        """Raises `ProblemError` (503) while nothing more should come."""
        now_s = self._clock.monotonic_s()
        if now_s >= self._next_look_s:
            self._next_look_s = now_s + LOOK_S
            self._refusal = self._look(opened, now_s)
        if self._refusal is not None:
            detail, hint, wait_s = self._refusal
            raise ProblemError(503, detail, hint=hint, headers={"Retry-After": str(wait_s)})

    def _look(self, opened: OpenIntake, now_s: float) -> tuple[str, str, int] | None:
        if self._free_bytes_min:
            missing_bytes = self._free_bytes_min - self._free(self._directory)
            if missing_bytes > 0:
                detail = f"the disk of the state has less than {self._free_bytes_min} free bytes (intake.free_bytes_min)"
                return detail, "free some space", self._disk.wait_s(now_s, missing_bytes)
            self._disk.end()
        undelivered_bytes = opened.undelivered_bytes()
        if self._outbox_bytes_max is None or undelivered_bytes < self._outbox_bytes_max:
            self._outbox.end()
            return None
        wait_s = self._outbox.wait_s(now_s, undelivered_bytes - (1 - ROOM_SHARE) * self._outbox_bytes_max)
        return "the outbox is full: remote sinks are slower than the input", "send it again then; see GET /v1/sinks", wait_s
