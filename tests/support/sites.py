"""The application over a state of this process, without a socket."""

from __future__ import annotations

from starlette.types import ASGIApp

from event_processor.assembly import Environment
from event_processor.cli.context import Invocation, load
from event_processor.service.web.service import WebService

__all__ = ["application_here"]


def application_here() -> ASGIApp:
    """The application of the configuration in the working directory. It asks for no token."""
    configuration = load(Invocation()).configuration
    return WebService({}).prepare(configuration, Environment()).app
