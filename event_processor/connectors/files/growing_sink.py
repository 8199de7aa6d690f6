"""The growing file: released lines, appended to one file.

Owns: the file, its header, and `SinkIdentity`, the names of a sink's files in `appended`.
Always: exactly once for a reader that stops at the committed length, which the checkpoint holds. Bytes after it were never
committed; the next start cuts them off.
Never: appends to a file that this state did not write.
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
    """The owner of the files: the sink's name, its input and its path."""

    name: str
    input: str
    path: ConfiguredPath

    @property
    def key_prefix(self) -> str:
        """The prefix of its files' names in a checkpoint's `appended`."""
        return f"sinks.{self.name}:"

    @property
    def key(self) -> str:
        """The name of the file at `path`, as written in the configuration, so that the configuration's folder may be moved."""
        return self.key_prefix + self.path.written


class GrowingSink:
    """Appends to one file."""

    has_open_part: Final = False

    def __init__(self, identity: SinkIdentity, output: LineOutput, *, fs: FileSystem, committed: Mapping[str, int]) -> None:
        """Opens the file at its committed length, which is in `committed` (the checkpoint's `appended`).

        Raises `ConfigurationError` if no checkpoint knows the file and it is not empty, or if it starts with another header.
        """
        self.name: Final = identity.name
        self.input: Final = identity.input
        self._key: Final = identity.key
        self._output: Final = output
        path = str(identity.path)
        status = fs.status(path)
        if self._key not in committed and status is not None and status.is_regular and status.size_bytes:
            raise ConfigurationError(
                f"{path}: sink {self.name!r} would append to this file, but this state did not write its {status.size_bytes} bytes",
                hint="move the file aside, name another path, or restore the state that wrote it",
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

    def require_presence(self) -> None:
        """See `NoticesRemoval.require_presence`."""
        self._file.require_presence()

    def finish(self) -> None:
        """Does nothing: what was written is whole."""

    def sync(self) -> None:
        # If we die here, the old committed length is still the valid one, and the events are released and written again.
        self._file.sync()

    def appended(self) -> Mapping[str, int]:
        return {self._key: self._file.length_bytes}

    def publish(self) -> None:
        """Does nothing: the committed length tells readers how far they may read."""

    def close(self) -> None:
        self._output.close()
        self._file.close()

    def _require_header(self, fs: FileSystem) -> None:
        """Raises `ConfigurationError` if the file was started with other columns."""
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
                f"{path}: sink {self.name!r} would append to this file, but its header line does not match the sink's columns",
                hint="undo the change of the sink's options, or name another path",
            )
