"""Exactly-once aggregates from append-only logs. One process, one directory; no broker, no database.

    from event_processor import load, run
    state = run(load("event-processor.toml"))
    state.categories["order"].sum

`load`, `build` and `run` are the library; the contracts (`Source`, `Format`, `Sink`) are what extensions implement.
"""

from __future__ import annotations

from importlib import import_module

__version__ = "0.1.0"

__all__ = ["Format", "Sink", "Source", "__version__", "build", "load", "run"]

_HOMES = {
    "Format": "event_processor.model.contracts",
    "Sink": "event_processor.model.contracts",
    "Source": "event_processor.model.contracts",
    "build": "event_processor.assembly.library",
    "load": "event_processor.assembly.library",
    "run": "event_processor.assembly.library",
}


def __getattr__(name: str) -> object:
    """The public names, imported when they are first asked for: `event-processor version` needs none of them."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
