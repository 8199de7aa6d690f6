"""Names that a shell completes as words of a command: what the configuration has.

Owns: `sink_names` and `source_names`.
Always: a configuration that cannot be read has no names, and nothing is said about it: a person is typing.
Never: reads a state.
"""

from __future__ import annotations

import os
from contextlib import suppress

import typer

from event_processor.assembly import CONNECTOR_OPTIONS
from event_processor.cli.invocation import Invocation
from event_processor.configuration import ConfigurationRequest, load_configuration
from event_processor.configuration.configuration import Configuration
from event_processor.model.errors import EventProcessorError
from event_processor.model.remote import RemoteSinkOptions

__all__ = ["remote_sink_names", "sink_names", "source_names"]


def sink_names(context: typer.Context, incomplete: str) -> list[str]:
    """The names of the sinks."""
    configuration = _configuration(context)
    return [name for name in configuration.sinks if name.startswith(incomplete)] if configuration else []


def remote_sink_names(context: typer.Context, incomplete: str) -> list[str]:
    """The names of the sinks that have a lane."""
    configuration = _configuration(context)
    sinks = configuration.sinks if configuration else {}
    return [name for name, sink in sinks.items() if name.startswith(incomplete) and isinstance(sink, RemoteSinkOptions)]


def source_names(context: typer.Context, incomplete: str) -> list[str]:
    """The names of the sources."""
    configuration = _configuration(context)
    return [name for name in configuration.sources if name.startswith(incomplete)] if configuration else []


def _configuration(context: typer.Context) -> Configuration | None:
    """The configuration that the words before the cursor select. While a shell asks, the program's own function does not run."""
    given = context.find_root().params
    options = Invocation(tuple(given.get("config") or ()), tuple(given.get("set_") or ()), given.get("state"))
    with suppress(EventProcessorError, OSError):
        request = ConfigurationRequest(
            working_directory=os.getcwd(),
            environment=os.environ,
            config_paths=options.config_paths,
            overrides=options.overrides(),
        )
        return load_configuration(request, CONNECTOR_OPTIONS).configuration
    return None
