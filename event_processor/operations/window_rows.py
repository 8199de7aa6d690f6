"""The newest rows of an aggregate's windows, from the file of a sink that reads it.

Owns: which sink's file is read, and how far back.
Always: read up to the committed length, so a row that is shown is committed. At most `TAIL_BYTES` are read, however long the file is.
Never: reads a remote sink.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Final

import orjson

from event_processor.assembly import Environment, sink_path_of
from event_processor.configuration.configuration import Configuration
from event_processor.engine.checkpoint_document import Checkpoint
from event_processor.storage.append_file import committed_lines

__all__ = ["WindowRows", "newest_rows"]

TAIL_BYTES: Final = 1_048_576


@dataclass(frozen=True, slots=True)
class WindowRows:
    """Rows of closed windows, the oldest first. `sink`: where all of them are; empty if no sink has them in a file of JSON lines.

    `ends`: the columns with the start and the end of a window; either may be empty.
    """

    sink: str
    ends: tuple[str, str]
    group_by: Sequence[str]
    measures: Sequence[str]
    rows: Sequence[dict[str, object]]


def newest_rows(
    configuration: Configuration, environment: Environment, checkpoint: Checkpoint, aggregate: str, limit: int
) -> WindowRows | None:
    """The newest `limit` rows; None if the configuration has no windows with this name. Raises `StateError`, `StorageError`."""
    options = configuration.aggregates.get(aggregate)
    if options is None or options.window is None:
        return None
    ends = (options.window.start_as, options.window.end_as)
    for sink, path, length_bytes in _files(configuration, checkpoint, f"aggregates.{aggregate}"):
        start_bytes = max(0, length_bytes - TAIL_BYTES)
        lines = list(chain.from_iterable(committed_lines(environment.fs, path, length_bytes, start_bytes)))
        # A tail begins somewhere in a line.
        rows = _objects(lines[1 if start_bytes else 0 :][-limit:])
        if rows is not None:
            return WindowRows(sink, ends, options.group_by, list(options.measures), rows)
    return WindowRows("", ends, options.group_by, list(options.measures), [])


def _files(configuration: Configuration, checkpoint: Checkpoint, wanted: str) -> Iterator[tuple[str, str, int]]:
    """Name, path and committed length of each sink's file that reads `wanted`."""
    path_of = sink_path_of(configuration)
    for name, options in configuration.sinks.items():
        if options.input != wanted:
            continue
        for key, length_bytes in checkpoint.state.appended.items():
            path = path_of(key) if key.startswith(f"sinks.{name}:") else None
            if path is not None:
                yield name, path, length_bytes


def _objects(lines: Iterable[bytes]) -> list[dict[str, object]] | None:
    """The lines as JSON objects; None if they are written in another format."""
    try:
        rows = [orjson.loads(line) for line in lines]
    except orjson.JSONDecodeError:
        return None
    return rows if all(isinstance(row, dict) for row in rows) else None
