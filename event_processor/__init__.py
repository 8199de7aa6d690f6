"""Exactly-once aggregates from append-only logs. One process, one directory; no broker, no database.

    from event_processor import load, run
    state = run(load("event-processor.toml"))
    state.categories["order"].sum

`load`, `build`, `run` and `post` are the library; `Connector` and the contracts around it are what extensions implement.
"""

from __future__ import annotations

from importlib import import_module

__version__ = "0.1.0"

__all__ = [
    "Bad",
    "Chunk",
    "CommittedFile",
    "CommittedOutput",
    "ConfigurationError",
    "ConfiguredPath",
    "Connector",
    "Difference",
    "DiscardingSink",
    "Finding",
    "Format",
    "Guarantee",
    "Json",
    "LockedError",
    "Loss",
    "PastGeneration",
    "Piece",
    "Pipeline",
    "ProbeContext",
    "Released",
    "Sink",
    "SinkContext",
    "SinkOptions",
    "SinkVerification",
    "Source",
    "SourceContext",
    "SourceOptions",
    "StateError",
    "StorageError",
    "Wait",
    "World",
    "__version__",
    "build",
    "load",
    "post",
    "run",
]

_HOMES = {
    "Bad": "event_processor.model.delivery",
    "Chunk": "event_processor.model.event",
    "CommittedFile": "event_processor.model.connector",
    "CommittedOutput": "event_processor.model.connector",
    "ConfigurationError": "event_processor.model.errors",
    "ConfiguredPath": "event_processor.model.options",
    "Connector": "event_processor.model.connector",
    "Difference": "event_processor.model.connector",
    "DiscardingSink": "event_processor.model.discarding_sink",
    "Finding": "event_processor.model.probes",
    "Format": "event_processor.model.contracts",
    "Guarantee": "event_processor.model.connector",
    "Json": "event_processor.model.event",
    "LockedError": "event_processor.model.errors",
    "Loss": "event_processor.model.losses",
    "PastGeneration": "event_processor.model.connector",
    "Piece": "event_processor.model.connector",
    "Pipeline": "event_processor.assembly.library",
    "ProbeContext": "event_processor.model.probes",
    "Released": "event_processor.model.released",
    "Sink": "event_processor.model.contracts",
    "SinkContext": "event_processor.model.connector",
    "SinkOptions": "event_processor.model.options",
    "SinkVerification": "event_processor.model.connector",
    "Source": "event_processor.model.contracts",
    "SourceContext": "event_processor.model.connector",
    "SourceOptions": "event_processor.model.options",
    "StateError": "event_processor.model.errors",
    "StorageError": "event_processor.model.errors",
    "Wait": "event_processor.model.delivery",
    "World": "event_processor.model.world",
    "build": "event_processor.assembly.library",
    "load": "event_processor.assembly.library",
    "post": "event_processor.assembly.library",
    "run": "event_processor.assembly.library",
}


def __getattr__(name: str) -> object:
    """The public names, imported when they are first asked for: `event-processor version` needs none of them."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
