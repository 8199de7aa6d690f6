"""The application: which path answers what.

Owns: the routes, and what a path or a method that is not known becomes.
Always: everything is behind the guard.
Never: answers (the modules of the endpoints do).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from starlette.exceptions import HTTPException
from starlette.routing import Route, Router
from starlette.types import ASGIApp, Receive, Scope, Send

from event_processor.service.web.answers import ProblemError
from event_processor.service.web.figures import Figures
from event_processor.service.web.guard import BodyLimits, Guard
from event_processor.service.web.health import Health
from event_processor.service.web.sessions import Sessions
from event_processor.service.web.site import Site

__all__ = ["application"]

REFUSALS: Final = {404: "no such path", 405: "this path does not have that method"}


def application(site: Site) -> ASGIApp:
    """The guarded application."""
    options = site.options
    limits = BodyLimits(options.body_bytes_max, options.stall_timeout_s, options.body_rate_min)
    return Guard(_Routed(_routes(site)), site.gate, limits, site.report)


def _routes(site: Site) -> Sequence[Route]:
    health = Health(site)
    return [
        Route("/healthz", health.alive),
        Route("/metrics", Figures(site).metrics),
        Route("/readyz", health.ready),
        Route("/session", Sessions(site.gate).answer, methods=["POST", "DELETE"]),
        Route("/v1/state", health.state),
    ]


class _Routed:
    """Calls the endpoint of a path. Raises `ProblemError` for a path that is not known, or that does not have the method."""

    def __init__(self, routes: Sequence[Route]) -> None:
        self._router: Final = Router(routes, redirect_slashes=False)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        # With an application in the scope, the router raises instead of answering in a form of its own.
        scope["app"] = self
        try:
            await self._router(scope, receive, send)
        except HTTPException as error:
            words = REFUSALS.get(error.status_code, error.detail)
            raise ProblemError(error.status_code, words, hint="see /openapi.json", headers=error.headers) from error
