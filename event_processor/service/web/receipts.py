"""Whether posted events are counted: `GET /v1/receipts/{position}`, and waiting for it.

Owns: what a position says, by the committed checkpoint; the preference of a client that waits (RFC 7240).
Always: `counted` means that a durable checkpoint counts the record. A wait ends at its deadline.
Never: reads the log (`explain` does: it says what a record counted as).
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response

from event_processor.configuration.configuration import RESERVED_SOURCE_NAME
from event_processor.engine.state import SourceState
from event_processor.model.errors import InputGoneError
from event_processor.service.web.answers import ProblemError, json_answer
from event_processor.service.web.site import Site

__all__ = ["Receipts", "wait_of"]

LOOK_S: Final = 0.05
_POSITION: Final = re.compile(r"(\d{1,9}):(\d{1,15})")
_WAIT: Final = re.compile(r"(?:^|[,;])\s*wait\s*=\s*\"?(counted|\d{1,6})\"?\s*(?=$|[,;])", re.IGNORECASE)


def wait_of(prefer: str, wait_s_max: int) -> float | None:
    """How long a client wants to wait until its events are counted, in seconds; None if it does not. The first `wait` decides."""
    found = _WAIT.search(prefer)
    if found is None:
        return None
    return float(wait_s_max if found[1].lower() == "counted" else min(int(found[1]), wait_s_max))


class Receipts:
    """Compares positions with the checkpoint. Used by the loop of the server."""

    def __init__(self, site: Site) -> None:
        self._site: Final = site

    async def receipt(self, request: Request, _query: Mapping[str, Any]) -> Response:
        """Whether the record at a position is counted."""
        found = _POSITION.fullmatch(request.path_params["position"])
        if found is None:
            raise ProblemError(404, "no such position", hint='it is "generation:offset", as POST /v1/events answered it')
        generation, offset = int(found[1]), int(found[2])
        if await self._is_counted(generation, offset + 1):
            return json_answer({"position": found[0], "status": "counted"})
        intake = self._site.intake
        opened = intake.opened if intake is not None else None
        if intake is None or opened is None or generation != opened.generation() or offset >= intake.durable_bytes:
            raise ProblemError(404, "nothing was appended at this position", hint="send the event again: it counts once")
        return json_answer({"position": found[0], "status": "appended"})

    async def wait(self, generation: int, end: int, wait_s: float) -> bool:
        """Waits until everything before the offset `end` is counted. Returns False at the deadline."""
        clock = self._site.readings
        deadline_s = clock.now_s() + wait_s
        while not await self._is_counted(generation, end):
            if clock.now_s() >= deadline_s:
                return False
            await asyncio.sleep(LOOK_S)
        return True

    async def _is_counted(self, generation: int, end: int) -> bool:
        try:
            checkpoint = await self._site.threads.call(self._site.readings.checkpoint)
        except InputGoneError:  # nothing is committed yet
            return False
        source = checkpoint.state.sources.get(RESERVED_SOURCE_NAME) or SourceState()
        known = source.open_generation(generation)
        if known is None:
            return generation < source.next_generation()
        return int(known.position.get("offset", 0)) >= end
