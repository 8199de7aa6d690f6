"""What became of posted events: `GET /v1/receipts/{position}`, and waiting until they are counted.

Owns: what a position says, by the committed checkpoint; the preference of a client that waits (RFC 7240).
Always: `counted` means that a durable checkpoint counts the record; only then its outcome is told. A wait ends at its deadline, and
raises nothing because the checkpoint cannot be read. All that wait share one look at it.
Never: searches the log (`explain` does, also for records whose outcome is no longer kept).
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final, Literal

from msgspec import Struct
from starlette.requests import Request
from starlette.responses import Response

from event_processor.configuration.configuration import RESERVED_SOURCE_NAME
from event_processor.engine.checkpoint_document import Checkpoint
from event_processor.engine.outcomes import Outcome, Outcomes
from event_processor.engine.state import SourceState
from event_processor.model.errors import EventProcessorError, InputGoneError
from event_processor.operations.lane_history import LaneHistory
from event_processor.operations.receipts import Position, begins_record, lanes_of_record
from event_processor.service.web.answers import ProblemError, json_answer
from event_processor.service.web.site import Site

__all__ = ["Receipt", "Receipts", "wait_of"]

LOOK_S: Final = 0.05
FORGOTTEN: Final = "the outcomes of the last million records are kept: GET /v1/records?id=… searches the log for it"
OPENING: Final = "the pipeline is being opened: ask again"
_POSITION: Final = re.compile(r"(\d{1,9}):(\d{1,15})")
_WAIT: Final = re.compile(r"(?:^|[,;])\s*wait\s*=\s*\"?(counted|\d{1,6})\"?\s*(?=$|[,;])", re.IGNORECASE)


def wait_of(prefer: str, wait_s_max: int) -> float | None:
    """How long a client wants to wait until its events are counted, in seconds; None if it does not. The first `wait` decides."""
    found = _WAIT.search(prefer)
    if found is None:
        return None
    return float(wait_s_max if found[1].lower() == "counted" else min(int(found[1]), wait_s_max))


class Receipt(Struct, frozen=True, omit_defaults=True):
    """What a position says. `outcome` and `lanes` are those of a counted record; `reason`: why it was rejected, or why no outcome is known."""

    position: str
    status: Literal["appended", "counted"]
    outcome: Outcome | Literal["unknown", ""] = ""
    reason: str = ""
    lanes: Sequence[LaneHistory] = ()


class Receipts:
    """Compares positions with the checkpoint. Used by the loop of the server."""

    def __init__(self, site: Site) -> None:
        self._site: Final = site
        self._look: asyncio.Future[Checkpoint] | None = None
        """The look at the checkpoint that is going on for all that wait; None if there is none."""

    async def receipt(self, request: Request, _query: Mapping[str, Any]) -> Response:
        """Whether the record at a position is counted, what it counted as, and what remote sinks did with it."""
        found = _POSITION.fullmatch(request.path_params["position"])
        if found is None:
            raise ProblemError(404, "no such position", hint='it is "generation:offset", as POST /v1/events answered it')
        generation, offset = int(found[1]), int(found[2])
        if await self._is_counted(generation, offset + 1):
            return json_answer(await self._counted(found[0], (generation, offset)))
        intake = self._site.intake
        opened = intake.opened if intake is not None else None
        if (
            intake is None
            or opened is None
            or not await self._site.threads.call(lambda: intake.holds(generation, offset, opened))
        ):
            raise ProblemError(404, "nothing was appended at this position", hint="send the event again: it counts once")
        return json_answer(Receipt(found[0], "appended"))

    async def _counted(self, text: str, position: Position) -> Receipt:
        """The receipt of a position that a checkpoint counts. Raises `ProblemError` (404) if no record begins there."""
        readings, threads = self._site.readings, self._site.threads
        around = readings.configuration, readings.environment
        (outcome,) = self.outcomes(position[0], [position[1]])
        if outcome is None:
            if self._reaches(position) or await threads.call(lambda: self._begins(position)) is False:
                raise ProblemError(404, "no record begins at this position", hint="use a position as POST /v1/events answered it")
            return Receipt(text, "counted", "unknown", OPENING if self._kept() is None else FORGOTTEN)
        if outcome == "rejected":
            because = await self.reasons([position])
            return Receipt(text, "counted", outcome, because[position])
        if outcome == "accepted":
            lanes = await threads.call(lambda: lanes_of_record(*around, readings.checkpoint(), position))
            return Receipt(text, "counted", outcome, lanes=lanes)
        return Receipt(text, "counted", outcome)

    def outcomes(self, generation: int, offsets: Sequence[int]) -> Sequence[Outcome | None]:
        """What the counted records at these offsets counted as; None for those whose outcome is not known."""
        kept = self._kept()
        return kept.of(generation, offsets) if kept is not None else [None] * len(offsets)

    async def reasons(self, positions: Collection[Position]) -> Mapping[Position, str]:
        """Why these records were rejected; or, for each without a dead letter, why that is not known."""
        if not positions:
            return {}
        return await self._site.threads.call(lambda: self._site.readings.rejected_because(positions))

    def _kept(self) -> Outcomes | None:
        intake = self._site.intake
        return intake.opened.outcomes if intake is not None and intake.opened is not None else None

    def _reaches(self, position: Position) -> bool:
        kept = self._kept()
        return kept is not None and kept.reaches(*position)

    def _begins(self, position: Position) -> bool | None:
        """Whether a record begins there; None if that cannot be told. For a reading thread."""
        readings = self._site.readings
        source = readings.checkpoint().state.sources.get(RESERVED_SOURCE_NAME) or SourceState()
        opened = source.open_generation(position[0])
        if opened is None:
            return None
        return begins_record(readings.configuration, readings.environment, opened.position, position[1])

    async def wait(self, generation: int, end: int, wait_s: float) -> bool:
        """Waits until everything before the offset `end` is counted. Returns False at the deadline."""
        clock = self._site.readings
        deadline_s = clock.now_s() + wait_s
        while not await self._is_seen_counted(generation, end):
            if clock.now_s() >= deadline_s:
                return False
            await asyncio.sleep(LOOK_S)
        return True

    async def _is_seen_counted(self, generation: int, end: int) -> bool:
        """As `_is_counted`, by the look of all that wait. It may have started before the append: then the next one tells."""
        if self._look is None:
            self._look = asyncio.ensure_future(self._site.threads.call(self._site.readings.checkpoint))
            self._look.add_done_callback(self._looked)
        try:
            # If one client leaves, the others still wait for it.
            return _counts(await asyncio.shield(self._look), generation, end)
        except (ProblemError, EventProcessorError, OSError):
            # It cannot be told now. The events are durable all the same, so this is no refusal.
            return False

    def _looked(self, look: asyncio.Future[Checkpoint]) -> None:
        self._look = None
        if not look.cancelled():
            look.exception()  # if all clients have left, nothing else takes it

    async def _is_counted(self, generation: int, end: int) -> bool:
        try:
            checkpoint = await self._site.threads.call(self._site.readings.checkpoint)
        except InputGoneError:  # nothing is committed yet
            return False
        return _counts(checkpoint, generation, end)


def _counts(checkpoint: Checkpoint, generation: int, end: int) -> bool:
    """Whether everything before the offset `end` is counted."""
    source = checkpoint.state.sources.get(RESERVED_SOURCE_NAME) or SourceState()
    known = source.open_generation(generation)
    if known is None:
        return generation < source.next_generation()
    return int(known.position.get("offset", 0)) >= end
