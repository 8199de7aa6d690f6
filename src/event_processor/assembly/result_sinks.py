"""Where a one-shot run keeps the rows of windows until its result is written: one sink more for each aggregate that has some.

Always: they lie in the state directory and are committed like any sink's, so that a run that was killed goes on with them. Their names are
none that a configuration can give.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Final

from event_processor.adapters.files.sink_options import FileSinkOptions
from event_processor.assembly.sinks import sink_path_of
from event_processor.config import AGGREGATES, Configuration, ConfiguredPath, SinkOptions

__all__ = ["result_file", "with_result_sinks"]

RESULTS_FOLDER: Final = "results"


def with_result_sinks(configuration: Configuration) -> Configuration:
    """The configuration, with a sink for the rows of each aggregate with a window."""
    sinks: dict[str, SinkOptions] = dict(configuration.sinks)
    for name, options in configuration.aggregates.items():
        if options.window is not None:
            written = f"{RESULTS_FOLDER}/{name}.jsonl"
            path = ConfiguredPath(os.path.join(str(configuration.state.dir), written), written)
            sinks[_sink_name(name)] = FileSinkOptions(input=f"{AGGREGATES}.{name}", path=path)
    return configuration.model_copy(update={"sinks": sinks})


def result_file(configuration: Configuration, aggregate: str, appended: Mapping[str, int]) -> tuple[str, int]:
    """Where the rows of an aggregate with a window lie, and how many bytes of them are committed; `appended` is the checkpoint's."""
    prefix = f"sinks.{_sink_name(aggregate)}:"
    key = next(name for name in appended if name.startswith(prefix))
    path = sink_path_of(configuration)(key)
    assert path is not None, "the sink is one of the configuration's"
    return path, appended[key]


def _sink_name(aggregate: str) -> str:
    return f"@{aggregate}"
