"""The checkpoint: the one file that says how far everything is. Loaded, verified and saved here.

Owns: `checkpoint.json` and its predecessor; which of our files a checkpoint names, and when a file that no checkpoint names may be
deleted.
Always: `checkpoint.json` on disk is whole, or it is missing and its predecessor is whole. Only a checkpoint that passed its
checksum replaces the predecessor. A file is unlinked only after a commit since which neither of the two names it.
Never: resets or resumes a state that cannot be trusted. `checkpoint_document.py` has the form and the checksum.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from msgspec.structs import replace

from event_processor.engine import migration
from event_processor.engine.checkpoint_document import (
    OWNED_FOLDERS,
    REPLAY_HINT,
    Checkpoint,
    CheckpointEncoder,
    StateDocument,
    decode_checkpoint,
)
from event_processor.model.contracts import SinkPath
from event_processor.model.errors import StateError
from event_processor.model.telemetry import Telemetry
from event_processor.storage.durable import FileSystem, create_file, read_file, remove_files, storage_call

__all__ = ["CHECKPOINT_NAME", "PREDECESSOR_NAME", "CheckpointStore"]

CHECKPOINT_NAME: Final = "checkpoint.json"
PREDECESSOR_NAME: Final = "checkpoint.previous.json"
SPARE_SAVES: Final = 2
"""The first save of a process may find what one that died left. If the two checkpoints were one file, it leaves a spare name to the second."""


@dataclass(frozen=True, slots=True)
class _Broken:
    """The reason why a file is not a valid checkpoint."""

    reason: str


class CheckpointStore:
    """The two checkpoints of a state directory. Only the owner of the directory's lock uses it; any process may call `peek`."""

    def __init__(self, fs: FileSystem, directory: str, telemetry: Telemetry) -> None:
        self._fs: Final = fs
        self._directory: Final = directory
        self._telemetry: Final = telemetry
        self._encoder: Final = CheckpointEncoder()
        self._current_names: frozenset[str] | None = None
        self._predecessor_names: frozenset[str] = frozenset()
        self._is_version_1 = False
        """The checkpoint on disk is of version 1, so it is kept when it is replaced."""
        self._spare_saves = SPARE_SAVES
        """How many of the next saves may find a temporary file."""

    @property
    def has_current(self) -> bool:
        """Whether `checkpoint.json` is valid and has this version. False after a fallback, or if there was none yet."""
        return self._current_names is not None and not self._is_version_1

    def names_spare_files(self, folder: str) -> bool:
        """Whether only the predecessor names a file in this folder. The next checkpoint frees it."""
        spare = self._predecessor_names - (self._current_names or self._predecessor_names)
        return any(name.startswith(f"{folder}/") for name in spare)

    def peek(self) -> Checkpoint | None:
        """The committed checkpoint; None if there is no state. Changes nothing. Raises `StateError`."""
        found = self._read(CHECKPOINT_NAME)
        if isinstance(found, Checkpoint):
            return found
        predecessor = self._read(PREDECESSOR_NAME)
        if isinstance(predecessor, Checkpoint):
            return predecessor
        if found is None and predecessor is None:
            return None
        raise self._unusable(found, predecessor)

    def load(self, sink_path: SinkPath) -> Checkpoint | None:
        """The checkpoint to resume from; None if the directory never held a state.

        Falls back to the predecessor if the file is missing or its checksum is wrong, and if every file that the predecessor
        needs still exists. Then it renames the broken file aside. If the predecessor has lanes, its `follows_journal` is true.
        `sink_path` gives the path of a `sinks.…` entry of `appended`,
        or None if no sink has it. Raises `StateError` if neither checkpoint can be used, and resets nothing.
        """
        found = self._read(CHECKPOINT_NAME)
        predecessor = self._read(PREDECESSOR_NAME)
        if isinstance(predecessor, Checkpoint):
            self._predecessor_names = predecessor.state.named_files()
        if isinstance(found, Checkpoint):
            self._current_names = found.state.named_files()
            self._is_version_1 = found.version == migration.VERSION
            self._finish_swap(found, sink_path)
            return found
        if found is None and predecessor is None:
            self._require_no_traces()
            return None
        if not isinstance(predecessor, Checkpoint):
            raise self._unusable(found, predecessor)
        self._roll_forward(predecessor.state, sink_path)
        self._require_files(predecessor.state, sink_path)
        self._fall_back(found)
        # Lanes may have sent what the lost checkpoint released. If we die before the first commit, the next start falls back again.
        state = replace(predecessor.state, follows_journal=bool(predecessor.state.lanes))
        return Checkpoint(state, predecessor.meta, predecessor.version)

    def save(self, checkpoint: Checkpoint) -> int:
        """Makes `checkpoint` the one on disk, and the old one its predecessor. Returns its size in bytes.

        Raises `StorageError`: then the old one is still the committed one.
        """
        path, predecessor = self._path(CHECKPOINT_NAME), self._path(PREDECESSOR_NAME)
        temporary, second_name = path + ".tmp", predecessor + ".tmp"
        if self._spare_saves:
            remove_files(self._fs, [temporary, second_name])
            self._spare_saves -= 1
        content = self._encoder.encode(checkpoint)
        create_file(self._fs, temporary, [content])
        if self._is_version_1:
            self._keep_version_1(checkpoint.state)
        if self._current_names is not None:
            # If we die before the second rename, the present checkpoint is its own predecessor: nothing is lost. The link first
            # gets a name of its own, because a link never replaces an existing name. If both names are one file already, the
            # rename does nothing, and the next save removes the spare name.
            with storage_call("link", predecessor):
                self._fs.link(path, second_name)
            with storage_call("rename", predecessor):
                self._fs.rename(second_name, predecessor)
            self._predecessor_names = self._predecessor_names | self._current_names
        with storage_call("rename", path):
            # If we die before this, the old checkpoint is the committed one, and the next start cuts off what was appended since.
            self._fs.rename(temporary, path)
        with storage_call("fsync", self._directory):
            # If we die before this, a power cut may leave either checkpoint. Both are whole, and the files of both exist.
            self._fs.sync_directory(self._directory)
        self._forget(checkpoint.state.named_files())
        return len(content)

    def _keep_version_1(self, state: StateDocument) -> None:
        """Gives the checkpoint on disk a second name. If we die here or later, the next start repeats it, or finds it done."""
        path, kept_as = self._path(CHECKPOINT_NAME), self._path(migration.KEPT_NAME)
        if self._fs.status(kept_as) is None:
            with storage_call("link", kept_as):
                self._fs.link(path, kept_as)
        self._is_version_1 = False
        unknown = "; ".join(migration.unknown_parts(state.categories, state.aggregates, state.order))
        self._telemetry.state_migrated(path=path, kept_as=kept_as, unknown=unknown)

    def sync_names(self) -> None:
        """Makes the name of the present checkpoint durable: a process may have died right after its rename.

        Raises `StorageError`.
        """
        with storage_call("fsync", self._directory):
            self._fs.sync_directory(self._directory)

    def swap_in(self, checkpoint: Checkpoint, staged: Mapping[str, str], sink_path: SinkPath) -> None:
        """Makes another state the present one, with one rename: a replayed state, or one with an emptied file.

        Its own files in the owned folders already have their names. Files with a fixed name wait elsewhere: `staged` maps an
        entry of `appended` to the path of the file that will take its place. Raises `StorageError`.
        """
        if self._current_names is None and self._fs.status(self._path(CHECKPOINT_NAME)) is not None:
            self._put_aside()
        swapping = Checkpoint(replace(checkpoint.state, staged=dict(staged)), checkpoint.meta)
        # If we die before the rename in `save`, the old state is the committed one. If we die after it, the new state is, and the
        # next start continues from here.
        self.save(swapping)
        self._finish_swap(swapping, sink_path)

    def _finish_swap(self, checkpoint: Checkpoint, sink_path: SinkPath) -> None:
        """Renames staged files into place. Saves once more first, because the predecessor must not name a file to be replaced."""
        if checkpoint.state.staged:
            self.save(checkpoint)
            self._roll_forward(checkpoint.state, sink_path)

    def _roll_forward(self, state: StateDocument, sink_path: SinkPath) -> None:
        """Renames staged files into place. If we die between two of them, the next start renames the rest."""
        for name, staged in state.staged.items():
            path = self._path_of(name, sink_path)
            if path is None or self._fs.status(staged) is None:
                continue
            with storage_call("rename", path):
                self._fs.rename(staged, path)
            for folder in {os.path.dirname(staged), os.path.dirname(path)}:
                with storage_call("fsync", folder):
                    self._fs.sync_directory(folder)

    def remove_orphans(self) -> None:
        """Unlinks files that neither checkpoint names: a crash left them half made. Raises `StorageError`."""
        named = (self._current_names or frozenset()) | self._predecessor_names
        for folder in OWNED_FOLDERS:
            for name in self._fs.names(self._path(folder)):
                if f"{folder}/{name}" not in named:
                    remove_files(self._fs, [self._path(folder, name)])
                    self._telemetry.orphan_removed(path=self._path(folder, name))

    def _forget(self, names: frozenset[str]) -> None:
        """Unlinks files that neither checkpoint names any more. If we die here, the next start removes them."""
        kept = names | (self._current_names or self._predecessor_names)
        remove_files(self._fs, [self._path(name) for name in sorted(self._predecessor_names - kept)])
        if self._current_names is not None:
            self._predecessor_names = self._current_names
        self._current_names = names

    def _read(self, name: str) -> Checkpoint | _Broken | None:
        content = read_file(self._fs, self._path(name))
        if content is None:
            return None
        decoded = decode_checkpoint(content, self._path(name))
        return _Broken(decoded) if isinstance(decoded, str) else decoded

    def _fall_back(self, found: Checkpoint | _Broken | None) -> None:
        """Moves a broken checkpoint aside and reports it. If we die before or after, the next start falls back again."""
        path, kept_as, reason = self._path(CHECKPOINT_NAME), "", "missing"
        if isinstance(found, _Broken):
            kept_as, reason = self._put_aside(), found.reason
        self._telemetry.checkpoint_recovered(path=path, reason=reason, kept_as=kept_as)

    def _put_aside(self) -> str:
        """Renames a checkpoint that cannot be used, so that it can be examined. Returns its new path."""
        path, taken = self._path(CHECKPOINT_NAME), set(self._fs.names(self._directory))
        number = next(n for n in range(1, len(taken) + 2) if f"checkpoint.corrupt-{n}.json" not in taken)
        kept_as = self._path(f"checkpoint.corrupt-{number}.json")
        with storage_call("rename", path):
            self._fs.rename(path, kept_as)
        with storage_call("fsync", self._directory):
            self._fs.sync_directory(self._directory)
        return kept_as

    def _require_files(self, state: StateDocument, sink_path: SinkPath) -> None:
        """Raises `StateError` unless every file that the predecessor needs exists and is long enough."""
        for name, size_bytes in {**state.appended, **state.segment_sizes()}.items():
            path = self._path_of(name, sink_path)
            if path is None:
                continue
            status = self._fs.status(path)
            if size_bytes and (status is None or status.size_bytes < size_bytes):
                raise StateError(
                    f"{self._path(PREDECESSOR_NAME)}: cannot resume: {path} is missing or shorter than {size_bytes} bytes",
                    hint=REPLAY_HINT,
                )

    def _require_no_traces(self) -> None:
        """Raises `StateError` if a directory without a checkpoint holds a file of ours: then its checkpoint was lost."""
        traces = [self._path("journal.jsonl"), self._path("dead_letters.jsonl")]
        traces += [self._path(folder, name) for folder in OWNED_FOLDERS for name in self._fs.names(self._path(folder))]
        for trace in traces:
            status = self._fs.status(trace)
            if status is not None and status.size_bytes:
                raise StateError(
                    f"{self._path(CHECKPOINT_NAME)}: missing, and so is its predecessor, but {trace} shows that a state was here",
                    hint="restore the checkpoint from a backup, or " + REPLAY_HINT,
                )

    def _unusable(self, found: Checkpoint | _Broken | None, predecessor: Checkpoint | _Broken | None) -> StateError:
        def why(each: Checkpoint | _Broken | None) -> str:
            return each.reason if isinstance(each, _Broken) else "missing"

        return StateError(
            f"{self._path(CHECKPOINT_NAME)}: {why(found)}; {PREDECESSOR_NAME}: {why(predecessor)}; the state cannot be resumed",
            hint=f"restore one of the two files from a backup, or {REPLAY_HINT}",
        )

    def _path_of(self, name: str, sink_path: SinkPath) -> str | None:
        """The path of an entry of `appended` or `staged`; None if its sink is no longer configured."""
        return sink_path(name) if name.startswith("sinks.") else self._path(name)

    def _path(self, *names: str) -> str:
        return os.path.join(self._directory, *names)
