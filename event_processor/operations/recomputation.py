"""The same pipeline, started on an empty folder and fed with what a checkpoint covers.

Owns: `Recomputation`, and where the recomputed files are.
Always: the log is read in the order of the reading journal, and only as far as the checkpoint says.
Never: compares; changes anything but its own folder.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import closing
from dataclasses import replace
from typing import Final

from event_processor.assembly import Environment, Mode, Replica, open_replica
from event_processor.configuration.configuration import Configuration
from event_processor.engine.checkpoint import CheckpointStore
from event_processor.engine.checkpoint_document import Checkpoint
from event_processor.model.connector import CommittedFile
from event_processor.model.telemetry import Telemetry
from event_processor.operations.log_reader import LogReader, Progress, watched_script
from event_processor.operations.state_access import UnsyncedFileSystem, committed_length
from event_processor.storage.durable import storage_call
from event_processor.storage.rebuilt_outbox import Rebuilding

__all__ = ["Recomputation"]

FOLLOWING: Final = Mode(once=True, follows_journal=True)


class Recomputation:
    """One recomputation. `names` is filled while it runs: the path of each generation (source, number) that was read."""

    def __init__(self, configuration: Configuration, environment: Environment, folder: str) -> None:
        """`configuration`: one that made the state (`check_config`); it may have fewer sinks. `folder`: an empty one."""
        self.fs: Final = UnsyncedFileSystem()
        self.folder: Final = os.path.join(folder, "state")
        self.names: Mapping[tuple[str, int], str] = {}
        self._configuration: Final = configuration
        self._environment: Final = environment
        self._sink_folder: Final = os.path.join(folder, "sinks")

    def run(self, checkpoint: Checkpoint, series: Mapping[str, Rebuilding], progress: Progress) -> int:
        """Feeds everything that the checkpoint covers. `series`: of the outbox, by input. Returns the number of bytes.

        Raises `InputGoneError` if bytes of the log are gone, `StateError`, `StorageError`, and what a `Rebuilding.watch` raises.
        """
        with storage_call("mkdir", self.folder):
            self.fs.make_directory(self.folder)
        quiet = replace(self._environment, fs=self.fs, telemetry=Telemetry())
        replica = Replica(self.folder, lambda name, _path: os.path.join(self._sink_folder, name), series)
        with (
            closing(LogReader(self._configuration, self._environment, checkpoint)) as reader,
            closing(open_replica(self._configuration, quiet, replica, reading=False, mode=FOLLOWING).processor) as processor,
        ):
            self.names = reader.names
            processor.feed(watched_script(reader, progress))
            return reader.read_bytes

    def checkpoint(self) -> Checkpoint:
        """The recomputed checkpoint."""
        found = CheckpointStore(self.fs, self.folder, Telemetry()).peek()
        assert found is not None, "opening a state commits it"
        return found

    def own_file(self, name: str, checkpoint: Checkpoint) -> CommittedFile:
        """One of the append files of the recomputed state."""
        return CommittedFile(self.fs, os.path.join(self.folder, name), committed_length(checkpoint, name))

    def released(self, name: str) -> CommittedFile:
        """The output of the replica of a sink."""
        entries = self.checkpoint().state.appended.items()
        length_bytes = sum(length for key, length in entries if key.startswith(f"sinks.{name}:"))
        return CommittedFile(self.fs, os.path.join(self._sink_folder, name), length_bytes)
