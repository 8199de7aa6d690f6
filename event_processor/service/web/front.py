"""The page for people, at `/`.

Owns: the answer with the page.
Always: the page has no data. It asks for it like any client, so it needs no token, and its reader does.
Never: reads the state.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from event_processor.service.web.page import live_page

__all__ = ["front"]


async def front(_request: Request, _query: Mapping[str, Any]) -> Response:
    """The page."""
    content, policy = live_page()
    return HTMLResponse(content, headers={"content-security-policy": policy})
