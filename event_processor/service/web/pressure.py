"""When posted events are refused for a while: before the disk is full, and while the outbox is.

Owns: `Pressure`, and how long a client is asked to wait.
Always: a client that is refused is told a time that follows from how fast the outbox empties, within limits.
Never: refuses what fits; waits.
"""

from __future__ import annotations

import math
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
DISK_WAIT_S: Final = 30
"""How fast an operator frees a disk cannot be measured."""
ROOM_SHARE: Final = 0.05
"""A client comes again when this share of the outbox is free."""


class Pressure:
    """Looks at the outbox and the disk. Used by the loop of the server."""

    def __init__(self, configuration: Configuration, clock: Clock) -> None:
        self._clock: Final = clock
        self._directory: Final = str(configuration.state.dir)
        self._free_bytes_min: Final = configuration.intake.free_bytes_min
        outbox = configuration.outbox
        self._outbox_bytes_max: Final = outbox.bytes_max if outbox.when_full == "pause" else None
        self._next_look_s = -math.inf
        self._full: tuple[float, int] | None = None
        """When the outbox was found full, and with how many bytes."""
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
        if self._free_bytes_min and free_bytes(self._directory) < self._free_bytes_min:
            detail = f"the disk of the state has less than {self._free_bytes_min} free bytes (intake.free_bytes_min)"
            return detail, "free some space", DISK_WAIT_S
        undelivered_bytes = opened.undelivered_bytes()
        if self._outbox_bytes_max is None or undelivered_bytes < self._outbox_bytes_max:
            self._full = None
            return None
        if self._full is None or undelivered_bytes > self._full[1]:
            self._full = (now_s, undelivered_bytes)
        wait_s = self._wait_s(now_s, undelivered_bytes)
        return "the outbox is full: remote sinks are slower than the input", "send it again then; see GET /v1/sinks", wait_s

    def _wait_s(self, now_s: float, undelivered_bytes: int) -> int:
        """The seconds until there is room, if the outbox empties as fast as since it was full."""
        assert self._full is not None, "it is"
        assert self._outbox_bytes_max is not None, "it has a limit"
        since_s, full_bytes = self._full
        excess_bytes = undelivered_bytes - (1 - ROOM_SHARE) * self._outbox_bytes_max
        delivered_bytes, passed_s = full_bytes - undelivered_bytes, now_s - since_s
        if delivered_bytes <= 0 or passed_s <= 0:
            # Nothing was delivered since then: the longer it lasts, the longer it is likely to last.
            return max(WAIT_S_MIN, min(WAIT_S_MAX, math.ceil(passed_s)))
        return max(WAIT_S_MIN, min(WAIT_S_MAX, math.ceil(excess_bytes * passed_s / delivered_bytes)))
