"""The growing file: released lines, written one behind the other into one file.

Always: exactly once for a reader that stops at the committed length, which the checkpoint holds; what lies beyond it was
never committed and is cut off at the next start.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from event_processor.configuration.configuration import ConfiguredPath
from event_processor.model.contracts import Released
from event_processor.model.errors import ConfigurationError
from event_processor.records.writing.outputs import LineOutput
from event_processor.storage.append_file import AppendFile
from event_processor.storage.durable import FileSystem, prepare_directory, read_range, storage_call

__all__ = ["GrowingSink", "SinkIdentity"]


@dataclass(frozen=True, slots=True)
class SinkIdentity:
    """Whose files these are: the sink's name, what it writes and where."""

    name: str
    input: str
    path: ConfiguredPath

    @property
    def key_prefix(self) -> str:
        """What the names of its files in a checkpoint's `appended` begin with."""
        return f"sinks.{self.name}:"

    @property
    def key(self) -> str:
        """The name of the file at `path`: as it was written, so that the folder of a configuration may be moved."""
        return self.key_prefix + self.path.written


class GrowingSink:
    """Appends to one file."""

    has_open_part: Final = False

    def __init__(self, identity: SinkIdentity, output: LineOutput, *, fs: FileSystem, committed: Mapping[str, int]) -> None:
        """Opens the file at its committed length, which `committed` (the checkpoint's `appended`) gives.

        Raises `ConfigurationError` where no checkpoint knows the file and it holds something already, or where it begins with
        another header.
        """
        self.name: Final = identity.name
        self.input: Final = identity.input
        self._key: Final = identity.key
        self._output: Final = output
        path = str(identity.path)
        status = fs.status(path)
        if self._key not in committed and status is not None and status.size_bytes:
            raise ConfigurationError(
                f"{path}: sink {self.name!r} would append to this file, but it holds {status.size_bytes} bytes that this state did not write",
                hint="move the file aside, name another path, or put back the state that wrote it",
            )
        prepare_directory(fs, os.path.dirname(path) or ".")
        self._file: Final = AppendFile(fs, path, committed.get(self._key, 0))
        try:
            self._require_header(fs)
        except BaseException:
            self._file.close()
            raise

    def write(self, released: Released) -> None:
        for piece in released.pieces:
            if piece and not self._file.length_bytes:
                self._file.append(self._output.header)
            self._file.append(self._output.written(piece))
        self._file.begin_writing()

    def finish(self) -> None:
        """Nothing: what was written is whole."""

    def sync(self) -> None:
        # If we die here, the old committed length stands, and the events are released and written again.
        self._file.sync()

    def appended(self) -> Mapping[str, int]:
        return {self._key: self._file.length_bytes}

    def publish(self) -> None:
        """Nothing: the committed length tells readers how far they may go."""

    def close(self) -> None:
        self._file.close()

    def _require_header(self, fs: FileSystem) -> None:
        """A file that goes on does so under the columns that it began with."""
        header, path = self._output.header, self._file.path
        if not header or not self._file.length_bytes:
            return
        with storage_call("read", path):
            descriptor = fs.open(path, os.O_RDONLY)
            try:
                head = read_range(fs, descriptor, len(header), 0)
            finally:
                fs.close(descriptor)
        if head != header:
            raise ConfigurationError(
                f"{path}: sink {self.name!r} would append to this file, but it begins with another header line than its columns give",
                hint="undo the change of the sink's options, or name another path",
            )
