"""The package as a library: a configuration, a pipeline for it, and a run to the end of its log.

Owns: `load`, `build`, `run`. The commands that do more are in `cli/` and `operations/`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from event_processor.assembly import CONNECTOR_OPTIONS, Environment, Mode, lock_state, open_pipeline
from event_processor.configuration import ConfigurationRequest, load_configuration
from event_processor.configuration.configuration import Configuration
from event_processor.engine.loop import Processor
from event_processor.engine.state import State

__all__ = ["build", "load", "run"]


def load(*paths: str, overrides: Mapping[str, str] | None = None) -> Configuration:
    """The effective configuration from these files; a later file overrides. Without files, from the usual places.

    `overrides` are values by dotted key (`{"state.dir": "…"}`); they override every file. Raises `ConfigurationError` with every
    fault.
    """
    given = {key: (value, "argument") for key, value in (overrides or {}).items()}
    request = ConfigurationRequest(
        working_directory=os.getcwd(), environment=os.environ, config_paths=tuple(paths), overrides=given
    )
    return load_configuration(request, CONNECTOR_OPTIONS).configuration


@contextmanager
def build(
    configuration: Configuration, *, once: bool = True, drain: bool = False, environment: Environment | None = None
) -> Iterator[Processor]:
    """A processor for the configuration. It owns the state directory until the block ends.

    `once`: its `run` ends at the end of the log. Otherwise it follows the log until another thread calls `stop`. `drain`: the log
    is finished. Raises `LockedError`, `StateError`, `ConfigurationError`, `StorageError`.
    """
    surroundings = environment or Environment()
    lock = lock_state(configuration, surroundings)
    try:
        processor = open_pipeline(configuration, surroundings, Mode(once=once, drain=drain)).processor
        try:
            yield processor
        finally:
            processor.close()
    finally:
        lock.release()


def run(configuration: Configuration, *, drain: bool = False) -> State:
    """Reads to the end of the log, commits, and returns the committed state. Raises as `build` does."""
    with build(configuration, drain=drain) as processor:
        processor.run()
        return processor.state
