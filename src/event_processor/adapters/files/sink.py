"""The JSON Lines file sink: released events, one a line, in the order of their release.

Always: exactly once for a reader that stops at the committed length, which the checkpoint holds; what lies beyond it was
never committed and is cut off at the next start.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Final

from event_processor.contracts import Released
from event_processor.durable import AppendFile, FileSystem, prepare_directory
from event_processor.errors import ConfigurationError

__all__ = ["JsonLinesSink"]


class JsonLinesSink:
    """Appends to one file."""

    def __init__(
        self, name: str, key: str, path: str, *, fs: FileSystem, committed: Mapping[str, int], input_name: str = "events"
    ) -> None:
        """Opens the file at its committed length. `key` is the sink's name in `committed` (the checkpoint's `appended`).

        Raises `ConfigurationError` where no checkpoint knows the file and it holds something already.
        """
        self.name: Final = name
        self.input: Final = input_name
        self._key: Final = key
        status = fs.status(path)
        if key not in committed and status is not None and status.size_bytes:
            raise ConfigurationError(
                f"{path}: sink {name!r} would append to this file, but it holds {status.size_bytes} bytes that this state did not write",
                hint="move the file aside, name another path, or put back the state that wrote it",
            )
        prepare_directory(fs, os.path.dirname(path) or ".")
        self._file: Final = AppendFile(fs, path, committed.get(key, 0))

    def write(self, released: Released) -> None:
        for piece in released.pieces:
            self._file.append(piece)

    def sync(self) -> None:
        # If we die here, the old committed length stands, and the events are released and written again.
        self._file.sync()

    def appended(self) -> Mapping[str, int]:
        return {self._key: self._file.length_bytes}

    def close(self) -> None:
        self._file.close()
