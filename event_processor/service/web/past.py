"""What the daemon did in the last minutes, hours and days, and what limits it now.

Owns: `/v1/history` and `/v1/bottleneck`.
Always: null where no daemon ran; every step is over.
Never: counts anything.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from event_processor.operations.bottleneck import SPAN_S
from event_processor.operations.history import SPAN_S_MAX
from event_processor.service.web.answers import json_answer
from event_processor.service.web.operation import integer_of
from event_processor.service.web.site import Site

__all__ = ["SPAN", "Past"]

SPAN: Final = (
    integer_of("span_s", "How many seconds of the past.", default=3600, least=60, most=SPAN_S_MAX),
    integer_of("points", "The maximum number of steps.", default=300, least=10, most=1000),
)


class Past:
    """The answers about the past."""

    def __init__(self, site: Site) -> None:
        self._site: Final = site

    async def history(self, _request: Request, query: Mapping[str, Any]) -> Response:
        """Counters and gauges in steps of equal length."""
        readings = self._site.readings
        checkpoint, found = await self._site.threads.call(
            lambda: readings.history(span_s=query["span_s"], points=query["points"])
        )
        content = {
            "state_id": checkpoint.state.state_id if checkpoint else None,
            "written_at": checkpoint.meta.get("written_at") if checkpoint else None,
            "from": found.begin_s,
            "step_s": found.step_s,
            "columns": found.columns,
        }
        return json_answer(content)

    async def bottleneck(self, _request: Request, _query: Mapping[str, Any]) -> Response:
        """Why it is not faster."""
        seen, found = await self._site.threads.call(self._site.readings.bottleneck)
        state_id = seen.checkpoint.state.state_id if seen.checkpoint else None
        return json_answer({"state_id": state_id, "span_s": SPAN_S, **msgspec.to_builtins(found)})
