"""Health and status: is the process alive, does it keep up, and what does it say about itself.

Owns: `/healthz`, `/readyz` and `/v1/state`.
Always: `/healthz` reads nothing, so it answers whatever the state is. The others say what `status` says.
Never: decides what a shortfall is (`operations/status.py` does).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response

from event_processor.operations.status import StatusLimits
from event_processor.operations.status_document import status_document
from event_processor.service.web.answers import json_answer
from event_processor.service.web.site import Site

__all__ = ["Health"]

NO_LIMITS: Final = StatusLimits()

Query = Mapping[str, Any]


class Health:
    """The answers about the process as a whole."""

    def __init__(self, site: Site) -> None:
        self._site = site

    async def alive(self, _request: Request, _query: Query) -> Response:
        """The process answers."""
        return json_answer({"alive": True})

    async def ready(self, _request: Request, _query: Query) -> Response:
        """200 if `status` would exit with 0, or else 503 with the reasons."""
        status = await self._site.status()
        shortfalls = status.shortfalls(NO_LIMITS)
        content = {"ready": not shortfalls, "shortfalls": shortfalls, "conditions": status.conditions}
        return json_answer(content, 503 if shortfalls else 200)

    async def state(self, _request: Request, _query: Query) -> Response:
        """The same as `status --json`."""
        status = await self._site.status()
        return json_answer(status_document(status, status.shortfalls(NO_LIMITS)))
