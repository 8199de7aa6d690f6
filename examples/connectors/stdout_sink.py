"""Example of your own connector: a sink that prints each event on standard output.

It writes no file, so it defines only its options and its sink. `verify` and `replay` recompute a state without printing anything.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Literal

from event_processor import Connector, Released, Sink, SinkContext, SinkOptions, StorageError


class StdoutOptions(SinkOptions):
    """Prints its input, one line per event."""

    type: Literal["stdout"] = "stdout"
    prefix: str = ""
    """The text to print before each line."""


class StdoutSink:
    """Prints during the commit. If the process dies before the checkpoint, the same lines are printed again."""

    has_open_part = False

    def __init__(self, name: str, options: StdoutOptions) -> None:
        self.name = name
        self.input = options.input
        self._prefix = options.prefix

    def write(self, released: Released) -> None:
        try:
            for record in released.records():
                sys.stdout.write(f"{self._prefix}{record.decode()}\n")
        except OSError as error:
            raise StorageError.from_os("write", "standard output", error) from error

    def finish(self) -> None:
        """Does nothing: nothing is buffered."""

    def sync(self) -> None:
        try:
            sys.stdout.flush()
        except OSError as error:
            raise StorageError.from_os("write", "standard output", error) from error

    def appended(self) -> Mapping[str, int]:
        return {}

    def publish(self) -> None:
        """Does nothing: nothing waits for the checkpoint."""

    def close(self) -> None:
        """Does nothing: standard output is not ours."""


class StdoutConnector(Connector):
    """`type = "stdout"`."""

    type_name = "stdout"
    sink_options = StdoutOptions

    def sink(self, options: StdoutOptions, context: SinkContext) -> Sink:
        return StdoutSink(context.name, options)
