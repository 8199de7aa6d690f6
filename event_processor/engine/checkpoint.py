"""The checkpoint: the one file that says how far everything is. Loaded, verified and saved here.

Owns: `checkpoint.json`, its predecessor, their form and checksum; which of our files a checkpoint names, and when a file that
none names may go.
Always: `checkpoint.json` on disk is whole, or absent while its predecessor is whole. The predecessor is replaced only by a
checkpoint that passed its checksum. A file is unlinked only after a commit since which neither of the two names it.
Never: a state that cannot be trusted is not reset here, nor resumed.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

import msgspec
import orjson
from msgspec import Struct
from msgspec.structs import replace

from event_processor.aggregation.aggregates import AggregateDocument
from event_processor.aggregation.categories.shown import ShownTotals
from event_processor.aggregation.categories.totals import CategoryTotal, Totals
from event_processor.engine import migration
from event_processor.engine.journal import JournalRun
from event_processor.engine.order import OrderStage
from event_processor.engine.state import Counts, OrderSummary, SourceState, State, summarise_order
from event_processor.model.contracts import SinkPath
from event_processor.model.errors import StateError
from event_processor.model.event import Json
from event_processor.model.telemetry import Telemetry
from event_processor.storage.durable import FileSystem, create_file, read_file, remove_files, storage_call

__all__ = [
    "CHECKPOINT_NAME",
    "PREDECESSOR_NAME",
    "VERSION",
    "Checkpoint",
    "CheckpointStore",
    "StateDocument",
    "decode_checkpoint",
]

VERSION: Final = 2
CHECKPOINT_NAME: Final = "checkpoint.json"
PREDECESSOR_NAME: Final = "checkpoint.previous.json"
CATEGORIES_DEPTH: Final = 2
"""So many objects stand around the totals of the categories: that of `state`, and the whole."""
OWNED_FOLDERS: Final = ("ids", "held", "windows", "outbox")
"""Folders of the state directory in which every file is named by a checkpoint or is nobody's."""
REPLAY_HINT: Final = (
    "make the state anew from the log with 'event-processor replay', or move it aside with 'event-processor reset'"
)


class StateDocument(Struct, frozen=True, omit_defaults=True):
    """`state` as it stands in the file.

    `appended` holds the committed length in bytes of every file that we append to, by its path below the state directory,
    or `sinks.NAME:PATH`; `ids` is the manifest of the index of seen ids. `staged` names, for files of `appended`, a file that
    is to be renamed into its place (see `CheckpointStore.swap_in`); it is absent but in the checkpoint that swaps. `lanes` and `lost` have no
    entries yet.
    """

    state_id: str
    config_hash: str
    sources: dict[str, SourceState]
    counts: Counts
    categories: Mapping[str, CategoryTotal]
    aggregates: Mapping[str, AggregateDocument]
    order: OrderSummary
    journal: JournalRun | None
    appended: dict[str, int]
    ids: dict[str, Any]
    staged: dict[str, str] = {}
    lanes: dict[str, Any] = {}
    lost: dict[str, Any] = {}

    @classmethod
    def of(
        cls,
        state: State,
        *,
        state_id: str,
        config_hash: str,
        appended: Mapping[str, int],
        ids: Mapping[str, Json],
        aggregates: Mapping[str, AggregateDocument],
    ) -> StateDocument:
        """The form of `state`, with the names and lengths of our own files."""
        return cls(
            state_id=state_id,
            config_hash=config_hash,
            sources=dict(state.sources),
            counts=state.counts,
            categories=state.categories,
            aggregates=dict(aggregates),
            order=summarise_order(state.order, active=state.ordered),
            journal=state.journal,
            appended=dict(appended),
            ids=dict(ids),
        )

    def to_state(self, order: OrderStage) -> State:
        """The state, with the order stage as its own files gave it back."""
        categories = Totals.of(self.categories)
        return State(
            sources=self.sources,
            counts=self.counts,
            categories=categories,
            order=order,
            ordered=self.order.active,
            journal=self.journal,
        )

    def named_files(self) -> frozenset[str]:
        """Our own files that this checkpoint needs, by their path below the state directory."""
        appended = {name for name in self.appended if name.split("/")[0] in OWNED_FOLDERS}
        return frozenset(appended | self.segment_sizes().keys())

    def segment_sizes(self) -> dict[str, int]:
        """The immutable files of the index and their sizes in bytes."""
        return {f"ids/{segment['file']}": segment["size_bytes"] for segment in self.ids.get("segments", ())}


class CheckpointDocument(Struct, frozen=True):
    """The whole file. `checksum` is `sha256:` and the hash of the canonical bytes of `version` and `state`.

    `meta` holds what depends on the clock, the host or the process. No total depends on it: `written_at` tells, where a log was
    lost, which rotated files are newer, and `config` names what a changed configuration changed.
    """

    version: Literal[2]
    checksum: str
    state: StateDocument
    meta: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """One checkpoint: what P2 speaks of, and what depends on the clock, the host or the process (`meta`). `version`: as it was written."""

    state: StateDocument
    meta: Mapping[str, Json]
    version: int = VERSION


@dataclass(frozen=True, slots=True)
class _Broken:
    """Why a file is no checkpoint."""

    reason: str


def encode_checkpoint(checkpoint: Checkpoint, shown: ShownTotals | None = None) -> bytes:
    """The file's bytes: indented, sorted keys, a line feed at the end. `shown` serves one checkpoint after the other."""
    totals = checkpoint.state.categories
    # Totals as they were read, not as they are kept, are written as they were read.
    if isinstance(totals, Totals):
        compact, indented = (shown or ShownTotals(CATEGORIES_DEPTH)).both_forms(totals)
    else:
        compact = indented = msgspec.to_builtins(totals)
    state = msgspec.to_builtins(replace(checkpoint.state, categories={}))
    checksum = _checksum(VERSION, {**state, "categories": compact})
    document = {
        "version": VERSION,
        "state": {**state, "categories": indented},
        "checksum": checksum,
        "meta": dict(checkpoint.meta),
    }
    return orjson.dumps(document, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS | orjson.OPT_APPEND_NEWLINE)


def decode_checkpoint(content: bytes, path: str) -> Checkpoint | str:
    """The checkpoint in `content`, or the reason why its checksum cannot hold.

    Raises `StateError` for one that is whole but not ours to read: another version, or another shape.
    """
    try:
        document = orjson.loads(content)
    except orjson.JSONDecodeError as error:
        return f"not JSON ({error})" if content else "empty"
    if not isinstance(document, dict) or not {"version", "state", "checksum"} <= document.keys():
        return "not a checkpoint: version, state or checksum is missing"
    if document["checksum"] != _checksum(document["version"], document["state"]):
        return "the checksum does not match the content"
    version = document["version"]
    if version not in (migration.VERSION, VERSION):
        raise StateError(
            f"{path}: written in version {version} of the state, and this program reads versions {migration.VERSION} and {VERSION}",
            hint="run the program that wrote it, or " + REPLAY_HINT,
        )
    meta = document["meta"] if isinstance(document.get("meta"), dict) else {}
    try:
        state = migration.to_version_2(document["state"], meta) if version == migration.VERSION else document["state"]
        return Checkpoint(msgspec.convert(state, StateDocument), meta, version)
    except (msgspec.ValidationError, KeyError, TypeError, AttributeError) as error:
        raise StateError(f"{path}: the state has another shape than this program knows: {error}", hint=REPLAY_HINT) from error


def checkpoint_schema() -> dict[str, Any]:
    """The JSON Schema of the file, as it is published."""
    schema = msgspec.json.schema(CheckpointDocument)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "event-processor checkpoint", **schema}


def _checksum(version: Json, state: object) -> str:
    """Of the canonical bytes: version and state as compact JSON with sorted keys."""
    canonical = orjson.dumps({"state": state, "version": version}, option=orjson.OPT_SORT_KEYS)
    return f"sha256:{hashlib.sha256(canonical).hexdigest()}"


class CheckpointStore:
    """The two checkpoints of a state directory. Used by the owner of its lock; `peek` by anybody."""

    def __init__(self, fs: FileSystem, directory: str, telemetry: Telemetry) -> None:
        self._fs: Final = fs
        self._directory: Final = directory
        self._telemetry: Final = telemetry
        self._shown: Final = ShownTotals(CATEGORIES_DEPTH)
        self._current_names: frozenset[str] | None = None
        self._predecessor_names: frozenset[str] = frozenset()
        self._is_version_1 = False
        """The checkpoint on disk is of version 1, and is to be kept when it is replaced."""

    @property
    def has_current(self) -> bool:
        """Whether `checkpoint.json` is there, good and of this version: not if there was none yet, or `load` fell back."""
        return self._current_names is not None and not self._is_version_1

    def peek(self) -> Checkpoint | None:
        """What is committed, without changing anything; None where there is no state. Raises `StateError`."""
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
        """The checkpoint to resume from; None for a directory in which no state ever was.

        Falls back to the predecessor where the file is missing or its checksum does not hold, and every file that the
        predecessor needs is still there; the broken one is renamed aside. `sink_path`: where a `sinks.…` entry of
        `appended` lies, None for that of no sink. Raises `StateError` where neither can be used, and resets nothing.
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
        return predecessor

    def save(self, checkpoint: Checkpoint) -> int:
        """Makes `checkpoint` the one on disk, and what was there its predecessor; its size in bytes.

        Raises `StorageError`: the old one then stands.
        """
        path, predecessor = self._path(CHECKPOINT_NAME), self._path(PREDECESSOR_NAME)
        temporary, second_name = path + ".tmp", predecessor + ".tmp"
        remove_files(self._fs, [temporary, second_name])
        content = encode_checkpoint(checkpoint, self._shown)
        create_file(self._fs, temporary, [content])
        if self._is_version_1:
            self._keep_version_1(checkpoint.state)
        if self._current_names is not None:
            # If we die before the second rename, the present checkpoint is its own predecessor: nothing is lost.
            # The link is made under a name of its own first, since a link never replaces a name that is there; and
            # where both are one file already, the rename does nothing and the spare name goes with the next save.
            with storage_call("link", predecessor):
                self._fs.link(path, second_name)
            with storage_call("rename", predecessor):
                self._fs.rename(second_name, predecessor)
            self._predecessor_names = self._predecessor_names | self._current_names
        with storage_call("rename", path):
            # If we die before this, the old state stands and what was appended since is cut off at the next start.
            self._fs.rename(temporary, path)
        with storage_call("fsync", self._directory):
            # If we die before this, either state may stand after a power cut; both are whole, and the files of both are there.
            self._fs.sync_directory(self._directory)
        self._forget(checkpoint.state.named_files())
        return len(content)

    def _keep_version_1(self, state: StateDocument) -> None:
        """Gives the checkpoint on disk a second name. If we die here or later, the next start does it again, or finds it done."""
        path, kept_as = self._path(CHECKPOINT_NAME), self._path(migration.KEPT_NAME)
        if self._fs.status(kept_as) is None:
            with storage_call("link", kept_as):
                self._fs.link(path, kept_as)
        self._is_version_1 = False
        unknown = "; ".join(migration.unknown_parts(state.categories, state.aggregates, state.order))
        self._telemetry.state_migrated(path=path, kept_as=kept_as, unknown=unknown)

    def sync_names(self) -> None:
        """Makes the present checkpoint durable under its name: a process that died may have renamed it and done no more. Raises `StorageError`."""
        with storage_call("fsync", self._directory):
            self._fs.sync_directory(self._directory)

    def swap_in(self, checkpoint: Checkpoint, staged: Mapping[str, str], sink_path: SinkPath) -> None:
        """Makes another state the present one, with one rename: a replayed one, or one with an emptied file.

        Its own files in the owned folders are there under their names. Files with a fixed name wait elsewhere: `staged`
        gives, for an entry of `appended`, the path of the file that is to take its place. Raises `StorageError`.
        """
        if self._current_names is None and self._fs.status(self._path(CHECKPOINT_NAME)) is not None:
            self._put_aside()
        swapping = Checkpoint(replace(checkpoint.state, staged=dict(staged)), checkpoint.meta)
        # If we die before the rename in `save`, the old state stands; after it, the new one, and the next start goes on here.
        self.save(swapping)
        self._finish_swap(swapping, sink_path)

    def _finish_swap(self, checkpoint: Checkpoint, sink_path: SinkPath) -> None:
        """Puts what is staged into its place. A second save comes first: the predecessor must not name what is replaced."""
        if checkpoint.state.staged:
            self.save(checkpoint)
            self._roll_forward(checkpoint.state, sink_path)

    def _roll_forward(self, state: StateDocument, sink_path: SinkPath) -> None:
        """Renames what is staged into its place. If we die between two of them, the next start does the rest."""
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
        """Unlinks files that neither checkpoint names: what a crash left half made. Raises `StorageError`."""
        named = (self._current_names or frozenset()) | self._predecessor_names
        for folder in OWNED_FOLDERS:
            for name in self._fs.names(self._path(folder)):
                if f"{folder}/{name}" not in named:
                    remove_files(self._fs, [self._path(folder, name)])
                    self._telemetry.orphan_removed(path=self._path(folder, name))

    def _forget(self, names: frozenset[str]) -> None:
        """Unlinks what the new checkpoint and its predecessor no longer name. If we die here, the next start removes it."""
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
        """Puts a broken checkpoint aside and says so. If we die before or after, the next start falls back as this one did."""
        path, kept_as, reason = self._path(CHECKPOINT_NAME), "", "missing"
        if isinstance(found, _Broken):
            kept_as, reason = self._put_aside(), found.reason
        self._telemetry.checkpoint_recovered(path=path, reason=reason, kept_as=kept_as)

    def _put_aside(self) -> str:
        """Renames a checkpoint that cannot be used, for somebody to look at; its new path."""
        path, taken = self._path(CHECKPOINT_NAME), set(self._fs.names(self._directory))
        number = next(n for n in range(1, len(taken) + 2) if f"checkpoint.corrupt-{n}.json" not in taken)
        kept_as = self._path(f"checkpoint.corrupt-{number}.json")
        with storage_call("rename", path):
            self._fs.rename(path, kept_as)
        with storage_call("fsync", self._directory):
            self._fs.sync_directory(self._directory)
        return kept_as

    def _require_files(self, state: StateDocument, sink_path: SinkPath) -> None:
        """Every file the predecessor needs is there and long enough, or `StateError`."""
        for name, size_bytes in {**state.appended, **state.segment_sizes()}.items():
            path = self._path_of(name, sink_path)
            if path is None:
                continue
            status = self._fs.status(path)
            if size_bytes and (status is None or status.size_bytes < size_bytes):
                raise StateError(
                    f"{self._path(PREDECESSOR_NAME)}: cannot be resumed from: {path} is gone or shorter than {size_bytes} bytes",
                    hint=REPLAY_HINT,
                )

    def _require_no_traces(self) -> None:
        """A directory without a checkpoint holds nothing of ours either, or `StateError`: its checkpoint was lost."""
        for name in ("journal.jsonl", "dead_letters.jsonl"):
            status = self._fs.status(self._path(name))
            if status is not None and status.size_bytes:
                raise self._lost(self._path(name))
        for folder in OWNED_FOLDERS:
            for name in self._fs.names(self._path(folder)):
                status = self._fs.status(self._path(folder, name))
                if status is not None and status.size_bytes:
                    raise self._lost(self._path(folder, name))

    def _lost(self, trace: str) -> StateError:
        return StateError(
            f"{self._path(CHECKPOINT_NAME)}: missing, and so is its predecessor, but {trace} shows that a state was here",
            hint="put the checkpoint back, or " + REPLAY_HINT,
        )

    def _unusable(self, found: Checkpoint | _Broken | None, predecessor: Checkpoint | _Broken | None) -> StateError:
        def words(each: Checkpoint | _Broken | None) -> str:
            return each.reason if isinstance(each, _Broken) else "missing"

        return StateError(
            f"{self._path(CHECKPOINT_NAME)}: {words(found)}; {PREDECESSOR_NAME}: {words(predecessor)}; the state cannot be resumed",
            hint=f"put one of the two files back from a backup, or {REPLAY_HINT}",
        )

    def _path_of(self, name: str, sink_path: SinkPath) -> str | None:
        """Where the file of an entry of `appended` or `staged` lies; None where it was that of a sink that is not configured any more."""
        return sink_path(name) if name.startswith("sinks.") else self._path(name)

    def _path(self, *names: str) -> str:
        return os.path.join(self._directory, *names)
