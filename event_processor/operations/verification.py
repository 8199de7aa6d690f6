"""Recomputes everything from the log, and says whether what is committed is what the log gives.

Always: works beside a running daemon: it reads one checkpoint, and of the log and our own files only what that covers. All is
recomputed in a temporary folder by the pipeline itself, fed in the order of the reading journal.
Never: nothing is changed, nothing is mended.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from itertools import chain, islice
from typing import Final

from event_processor.assembly import (
    CommittedParts,
    Environment,
    Mode,
    Replica,
    check_config,
    committed_parts,
    fresh_sink_paths,
    open_replica,
    sink_header_bytes,
)
from event_processor.configuration.configuration import Configuration
from event_processor.engine.checkpoint import Checkpoint, CheckpointStore
from event_processor.engine.dead_letters import DEAD_LETTERS_NAME
from event_processor.engine.state import Counts
from event_processor.model.telemetry import Telemetry
from event_processor.operations.comparison import (
    CommittedFile,
    Difference,
    compare_dead_letters,
    compare_sinks,
    compare_states,
    conservation_faults,
)
from event_processor.operations.log_reader import LogReader, Progress, watched_script
from event_processor.operations.part_comparison import ComparedParts, compare_parts
from event_processor.operations.state_access import UnsyncedFileSystem, committed_length, require_checkpoint, scratch_directory
from event_processor.storage.durable import FileSystem, storage_call

__all__ = ["DIFFERENCES_MAX", "SinkVerification", "Verification", "verify"]

DIFFERENCES_MAX: Final = 100
"""More than these are not listed: whoever sees a hundred needs no more to know that the state is wrong."""
FOLLOWING: Final = Mode(once=True, follows_journal=True)
LOOKS_MAX: Final = 100
"""How often a checkpoint and the files it names are looked for, while a daemon goes from one to the next."""


@dataclass(frozen=True, slots=True)
class SinkVerification:
    """One sink's file: its committed bytes, and how many bytes were released before those that it holds.

    `skipped_bytes` is above 0 only for a sink that was added when the state was there already. Of a sink that writes parts it is
    the file of the open one; `parts` were compared too, and `parts_gone` were not: they, or parts behind them, were taken away.
    """

    name: str
    path: str
    size_bytes: int
    skipped_bytes: int = 0
    parts: int = 0
    parts_gone: int = 0


@dataclass(frozen=True, slots=True)
class Verification:
    """What was compared, and where it differs: `differences` is empty where all is right."""

    counts: Counts
    size_bytes: int
    dead_letters: int
    dead_letters_purged: int
    sinks: tuple[SinkVerification, ...]
    differences: tuple[Difference, ...]

    @property
    def is_ok(self) -> bool:
        """Whether the committed state is what the log gives."""
        return not self.differences


def verify(configuration: Configuration, environment: Environment, *, progress: Progress) -> Verification:
    """Recomputes and compares. Needs room in $TMPDIR for the ids, the dead letters and what the sinks hold.

    Raises `InputGoneError` where bytes of the log are gone so that it cannot tell, `ConfigurationError` where the state was
    made by another configuration, `StateError` where state or journal cannot be read, `StorageError`.
    """
    with ExitStack() as opened:
        checkpoint, parts = _committed(configuration, environment, opened)
        check_config(configuration, checkpoint)
        folder = opened.enter_context(scratch_directory())
        recomputation = _Recomputation(configuration, environment, folder)
        size_bytes = recomputation.run(checkpoint, progress)
        return _Comparison(configuration, environment.fs, checkpoint, parts, recomputation).verification(size_bytes)


def _committed(
    configuration: Configuration, environment: Environment, opened: ExitStack
) -> tuple[Checkpoint, dict[str, CommittedParts]]:
    """The checkpoint, and the parts of which it says which is open: their pending files are held open from here on.

    A daemon may have gone on, and removed them, between the look at the one and at the others: then there is another checkpoint.
    """
    for _ in range(LOOKS_MAX):
        checkpoint = require_checkpoint(configuration, environment)
        with ExitStack() as found:
            parts = committed_parts(configuration, environment.fs, checkpoint.state.appended)
            for each in parts.values():
                found.callback(each.close)
            is_whole = all(each.pending_bytes_there == each.pending_bytes for each in parts.values())
            if is_whole or require_checkpoint(configuration, environment) == checkpoint:
                opened.push(found.pop_all())
                break
    return checkpoint, parts


class _Recomputation:
    """The same pipeline over an empty folder."""

    def __init__(self, configuration: Configuration, environment: Environment, folder: str) -> None:
        self.fs: Final = UnsyncedFileSystem()
        self.folder: Final = os.path.join(folder, "state")
        self._configuration: Final = configuration
        self._environment: Final = environment
        self._sink_folder: Final = os.path.join(folder, "sinks")

    def run(self, checkpoint: Checkpoint, progress: Progress) -> int:
        """Feeds it all that the checkpoint covers; how many bytes that was."""
        with storage_call("mkdir", self.folder):
            self.fs.make_directory(self.folder)
        quiet = replace(self._environment, fs=self.fs, telemetry=Telemetry())
        replica = Replica(self.folder, lambda name, _path: os.path.join(self._sink_folder, name))
        with (
            closing(LogReader(self._configuration, self._environment, checkpoint)) as reader,
            closing(open_replica(self._configuration, quiet, replica, reading=False, mode=FOLLOWING).processor) as processor,
        ):
            processor.feed(watched_script(reader, progress))
            return reader.size_bytes

    def checkpoint(self) -> Checkpoint:
        """What came out."""
        found = CheckpointStore(self.fs, self.folder, Telemetry()).peek()
        assert found is not None, "to open a state is to commit it"
        return found

    def own_file(self, name: str, checkpoint: Checkpoint) -> CommittedFile:
        """One of the state's append files."""
        return CommittedFile(self.fs, os.path.join(self.folder, name), committed_length(checkpoint, name))

    def sink_file(self, name: str, length_bytes: int) -> CommittedFile:
        """What a sink wrote."""
        return CommittedFile(self.fs, os.path.join(self._sink_folder, name), length_bytes)


class _Comparison:
    """Of one checkpoint with what was recomputed."""

    def __init__(
        self,
        configuration: Configuration,
        fs: FileSystem,
        checkpoint: Checkpoint,
        parts: dict[str, CommittedParts],
        other: _Recomputation,
    ) -> None:
        self._fs: Final = fs
        self._sink_paths: Final = fresh_sink_paths(configuration)
        self._parts: Final = parts
        self._header_bytes: Final = sink_header_bytes(configuration)
        self._committed: Final = checkpoint
        self._recomputed: Final = other.checkpoint()
        self._other: Final = other
        letters_path = os.path.join(str(configuration.state.dir), DEAD_LETTERS_NAME)
        self._letters: Final = CommittedFile(fs, letters_path, committed_length(checkpoint, DEAD_LETTERS_NAME))
        self._recomputed_letters: Final = other.own_file(DEAD_LETTERS_NAME, self._recomputed)

    def verification(self, size_bytes: int) -> Verification:
        """All of it. The files that are too short to be compared are differences like any other."""
        parts = self._compared_parts()
        of_parts = [each.difference for each in parts.values() if each.difference]
        differences = list(islice(chain(self._differences(), of_parts), DIFFERENCES_MAX))
        letters = self._letters_there()
        return Verification(
            counts=self._committed.state.counts,
            size_bytes=size_bytes,
            dead_letters=letters,
            dead_letters_purged=max(0, self._recomputed_letters.line_count() - letters),
            sinks=(
                *(self._sink(key) for key in self._sink_keys()),
                *(self._part_sink(name, each) for name, each in parts.items()),
            ),
            differences=tuple(differences),
        )

    def _differences(self) -> Iterator[Difference]:
        yield from conservation_faults(self._committed.state)
        yield from compare_states(self._committed.state, self._recomputed.state)
        if missing := _missing(DEAD_LETTERS_NAME, self._letters):
            yield missing
        elif found := compare_dead_letters(self._letters, self._recomputed_letters):
            yield found
        for key in self._sink_keys():
            sink = self._sink(key)
            committed = CommittedFile(self._fs, sink.path, sink.size_bytes)
            recomputed = self._other.sink_file(sink.name, self._recomputed.state.appended[key])
            if missing := _missing(key, committed):
                yield missing
            elif found := compare_sinks(sink.name, committed, recomputed, header_bytes=self._header_bytes[sink.name]):
                yield found

    def _sink_keys(self) -> list[str]:
        """The growing files that were written under this checkpoint and are still configured."""
        keys = self._sink_paths.keys() & self._committed.state.appended.keys()
        return sorted(key for key in keys if _sink_name(key) not in self._parts)

    def _sink(self, key: str) -> SinkVerification:
        size_bytes = self._committed.state.appended[key]
        released_bytes = self._recomputed.state.appended[key]
        return SinkVerification(_sink_name(key), str(self._sink_paths[key]), size_bytes, max(0, released_bytes - size_bytes))

    def _compared_parts(self) -> dict[str, ComparedParts]:
        """Of each sink that writes parts."""
        released = {
            _sink_name(key): length for key, length in self._recomputed.state.appended.items() if key.startswith("sinks.")
        }
        return {
            name: compare_parts(name, parts, self._other.sink_file(name, released[name])) for name, parts in self._parts.items()
        }

    def _part_sink(self, name: str, compared: ComparedParts) -> SinkVerification:
        parts = self._parts[name]
        return SinkVerification(
            name, parts.pending_path, parts.pending_bytes, parts=compared.compared, parts_gone=compared.not_compared
        )

    def _letters_there(self) -> int:
        return 0 if _missing(DEAD_LETTERS_NAME, self._letters) else self._letters.line_count()


def _sink_name(key: str) -> str:
    """The sink whose entry of `appended` this is."""
    return key.removeprefix("sinks.").partition(":")[0]


def _missing(name: str, file: CommittedFile) -> Difference | None:
    """What of a file's committed bytes is not there, as a difference."""
    with storage_call("stat", file.path):
        status = file.fs.status(file.path)
    there_bytes = status.size_bytes if status else 0
    if there_bytes >= file.length_bytes:
        return None
    return Difference(f"{name} ({file.path}, bytes that are there)", there_bytes, file.length_bytes)
