"""Rebuilds the state from the log beside the present one, compares the two, and swaps the new one in by one rename.

Owns: the replay's folder, and the order of the steps of the swap.
Always: the caller holds the lock. Until `swap_in` the present state is not changed. A crash at any point leaves the old or the
new state, whole. If the journal can be read, its order is followed, so the new state is the function of the log that the present
state should be. The rest of the log is read as a run would read it. Nothing is swapped in while a remote sink is undecided.
Never: needs the present state: it may be broken, of another version, or made by another configuration.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import chain, islice
from typing import Final

from event_processor.aggregation.categories.totals import CategoryTotal
from event_processor.assembly import (
    Environment,
    Mode,
    Replica,
    all_sources,
    fresh_sink_paths,
    open_replica,
    sink_files,
    sink_path_of,
)
from event_processor.assembly.several_telemetries import SeveralTelemetry
from event_processor.configuration.configuration import Configuration
from event_processor.engine.checkpoint import CheckpointStore
from event_processor.engine.checkpoint_document import Checkpoint
from event_processor.engine.dead_letters import DEAD_LETTERS_NAME
from event_processor.engine.journal import JOURNAL_NAME, LossFound, OrderEnded, OrderStarted
from event_processor.engine.lane_changes import LaneChange, finish_lane_change, start_lane_change
from event_processor.engine.loop import Processor
from event_processor.engine.losses import Losses
from event_processor.engine.state import Counts
from event_processor.model.errors import ConfigurationError, StateError
from event_processor.model.event import Json
from event_processor.model.losses import Loss
from event_processor.model.messages import readable_path
from event_processor.model.telemetry import Telemetry
from event_processor.operations.comparison import compare_aggregates
from event_processor.operations.last_verification import VERIFICATION_NAME
from event_processor.operations.log_reader import LogReader, Progress, read_by_lost_state, watched_script
from event_processor.operations.replayed_lanes import Choice, LanePlan, ReplayedLane, ReplayedLanes
from event_processor.operations.state_access import peek
from event_processor.storage.durable import prepare_directory, remove_files, remove_tree, storage_boundary, storage_call

__all__ = ["AggregateChange", "CategoryChange", "Replay", "ReplayedFile", "ReplayedState"]

REPLAY_INFIX: Final = "replay-"
AGGREGATE_CHANGES_MAX: Final = 100
"""The maximum number of changes of aggregates in a list."""


@dataclass(frozen=True, slots=True)
class CategoryChange:
    """A category that differs between the two states. `before` or `after` is None if that state does not have it."""

    category: str
    before: CategoryTotal | None
    after: CategoryTotal | None


@dataclass(frozen=True, slots=True)
class ReplayedFile:
    """A file of a source, and whether the new state has read it. `reason`: why it was not read."""

    source: str
    path: str
    read: bool
    reason: str = ""


class _Files(Telemetry):
    """Collects the files that a replay reads and leaves out."""

    def __init__(self) -> None:
        self.found: Final[dict[tuple[str, str], ReplayedFile]] = {}

    def _add(self, file: ReplayedFile) -> None:
        # A name that is not UTF-8 is escaped, for the terminal and for JSON.
        self.found[file.source, file.path] = replace(file, path=readable_path(file.path))

    def file_opened(self, *, source: str, path: str, **_: object) -> None:
        self._add(ReplayedFile(source, path, read=True))

    def file_left_out(self, *, source: str, path: str, **_: object) -> None:
        self._add(ReplayedFile(source, path, read=False, reason="it was rotated before the start; --start oldest reads it"))

    def file_lost(self, *, source: str, path: str, **_: object) -> None:
        if (source, path) not in self.found:
            self._add(ReplayedFile(source, path, read=False, reason="it is gone, or bytes of it are"))

    def file_missing(self, *, source: str, path: str) -> None:
        self._add(ReplayedFile(source, path, read=False, reason="not found"))

    def file_unreadable(self, *, source: str, path: str, reason: str) -> None:
        self._add(ReplayedFile(source, path, read=False, reason=reason))


@dataclass(frozen=True, slots=True)
class AggregateChange:
    """A value of an aggregate that differs, by its dotted path in the checkpoint. A value is None if that state has none."""

    path: str
    before: Json
    after: Json


@dataclass(frozen=True, slots=True)
class ReplayedState:
    """What a swap would change. `counts_before` is None if there is no readable present state. `aggregates`: at most 100 changes.

    `unread_reason` says why the reading journal could not be followed; then the sources were read as at a first start. It is
    empty if the journal was followed, or if there was no state. `lost`: the losses in the new state that nothing could read. `files`:
    every file that was read or left out. `lanes`: what each remote sink gets. `keeps_state_id`: they go on where they were, under the
    same keys.
    """

    counts_before: Counts | None
    counts_after: Counts
    categories: tuple[CategoryChange, ...]
    aggregates: tuple[AggregateChange, ...]
    unread_reason: str
    lost: int
    files: tuple[ReplayedFile, ...] = ()
    lanes: tuple[ReplayedLane, ...] = ()
    keeps_state_id: bool = False

    @property
    def changes(self) -> bool:
        """Whether the numbers change."""
        return self.counts_before != self.counts_after or bool(self.categories) or bool(self.aggregates)

    def require_decisions(self) -> None:
        """Raises `ConfigurationError` if a remote sink needs a decision before the swap."""
        if names := [each.sink for each in self.lanes if each.result == "undecided"]:
            choices = " ".join(f"--lane {name}=again|skip" for name in names)
            raise ConfigurationError(
                f"the new state cannot go on sending where the present one is ({', '.join(names)}): its records or its configuration "
                "are not the same, so they get other keys",
                hint=f"decide for each sink whether it gets everything again, or only what comes from now on: {choices}",
            )


class Replay:
    """One replay: `prepare`, then `swap_in` or `discard`. The caller holds the lock all the time."""

    def __init__(
        self,
        configuration: Configuration,
        environment: Environment,
        *,
        start: str = "",
        choices: Mapping[str, Choice] | None = None,
    ) -> None:
        """`start`: how the sources start, instead of as configured. Then the reading journal is not followed.

        `choices`: by remote sink, what it gets if the new state cannot keep the keys.
        """
        self._configuration: Final = configuration
        self._choices: Final = choices or {}
        self._files: Final = _Files()
        self._start: Final = start
        telemetry = SeveralTelemetry([environment.telemetry, self._files])
        self._environment: Final = replace(environment, telemetry=telemetry)
        self._fs: Final = environment.fs
        self._directory: Final = str(configuration.state.dir)
        self._token: Final = environment.new_token()
        self._own_sinks: frozenset[str] = frozenset()
        self._replica = Replica(
            os.path.join(self._directory, f"{REPLAY_INFIX}{self._token}"),
            lambda _name, path: f"{path}.{REPLAY_INFIX}{self._token}" if path else "",
        )
        self._plan = LanePlan(configuration, keeps=False)
        self._fresh: Checkpoint | None = None
        self._is_undecided = False
        self._replaced: tuple[str, ...] = ()

    def prepare(self, progress: Progress) -> ReplayedState:
        """Builds the new state beside the present one. Returns what a swap would change.

        Raises `InputGoneError` if bytes that the journal names are gone, `StorageError`, and as `ReplayedLanes` does. The present
        state is not changed. If a remote sink is undecided, the new state cannot be swapped in.
        """
        present, unread_reason = self._present()
        self._own_sinks = frozenset(present.state.appended) if present else frozenset()
        lanes = ReplayedLanes(self._configuration, self._environment, present, self._choices)
        keeping = lanes.keeping()
        plan = keeping or lanes.deciding()
        reason = self._build(plan, present, unread_reason, progress)
        if keeping is not None and not keeping.holds and not lanes.undecided:
            # The chains differ, and the operator has decided: the series are made as decided.
            plan = lanes.deciding()
            reason = self._build(plan, present, unread_reason, progress)
        elif keeping is not None and not keeping.holds:
            plan = replace(keeping, keeps=False)
        self._plan = plan
        if not plan.keeps:
            self._replaced = lanes.replaced
        self._fresh = lanes.completed(plan, self._checkpoint())
        replayed = _replayed(present, self._fresh, reason, self._shown_files())
        reported = lanes.reported(plan, self._fresh)
        self._is_undecided = any(each.result == "undecided" for each in reported)
        return replace(replayed, lanes=reported, keeps_state_id=plan.keeps)

    def _build(self, plan: LanePlan, present: Checkpoint | None, unread_reason: str, progress: Progress) -> str:
        """Builds the new state by a plan. Returns why the reading journal was not followed, or ""."""
        self._plan = plan
        self._replica = replace(self._replica, outbox=plan.rebuilt)
        with storage_boundary(self._directory):
            self._remove_leftovers()
        prepare_directory(self._fs, self._replica.directory)
        if self._start:
            unread_reason = f"--start {self._start}"
        elif present is not None:
            unread_reason = self._feed(present, progress)
        is_lost = not self._start and (present is None or bool(unread_reason))
        read_before = read_by_lost_state(self._fs, self._directory) if is_lost else {}
        with closing(self._open(reading=True, read_before=read_before)) as processor:
            if present is not None and unread_reason:
                # The journal would have said it. Nothing shows that this reading finds what was lost before.
                processor.feed(_carried(present.state.lost))
            processor.run()
        return unread_reason

    def _shown_files(self) -> tuple[ReplayedFile, ...]:
        """The files of the configured sources, by source and path. A file that does not exist yet is none of them."""
        names = self._configuration.sources.keys()
        return tuple(file for _, file in sorted(self._files.found.items()) if file.source in names)

    def swap_in(self) -> None:
        """Makes the new state the present one. Call it after `require_decisions`.

        Raises `StorageError`; then the old or the new state is in place, whole.
        """
        assert self._fresh is not None, "it was prepared"
        assert not self._is_undecided, "a remote sink would not know what it gets"
        with storage_boundary(self._directory):
            self._swap_in(self._fresh)
            self._remove_leftovers()
            # If we die before this, the result of an earlier `verify` may still be shown, until the next one.
            remove_files(self._fs, [os.path.join(self._directory, VERIFICATION_NAME)])

    def _swap_in(self, fresh: Checkpoint) -> None:
        self._move_named_files(self._checkpoint())
        if self._replaced:
            aside = f"aside-{self._token}"
            change = LaneChange(fresh.state.state_id, aside=aside, replaced=self._replaced)
            # If we die before the swap, the next start finds another state, and forgets this. If we die after it, the next start
            # moves the cursors aside, before it opens a lane.
            start_lane_change(self._fs, self._directory, change, self._token)
        store = CheckpointStore(self._fs, self._directory, self._environment.telemetry)
        paths, path_of = _fresh_paths(self._configuration), sink_path_of(self._configuration)
        try:
            store.load(path_of)
        except StateError:
            # A replay is for such a state. Its checkpoint is kept, renamed aside.
            store = CheckpointStore(self._fs, self._directory, self._environment.telemetry)
        self._move_aside(self._foreign_sinks(paths))
        # If we die after this, the present state is still valid: it does not look for parts, since consumers may take them.
        self._move_aside(self._parts(paths))
        staged = {name: os.path.join(self._replica.directory, name) for name in (JOURNAL_NAME, DEAD_LETTERS_NAME)}
        staged |= {key: self._staged_sink(path) for key, path in paths.items()}
        store.swap_in(fresh, staged, path_of)
        finish_lane_change(self._fs, self._directory, store, fresh)

    def discard(self) -> None:
        """Removes the new state. If we die during this, the next replay removes the rest."""
        with storage_boundary(self._directory):
            self._remove_leftovers()

    def _present(self) -> tuple[Checkpoint | None, str]:
        """The present checkpoint, or why it cannot be read."""
        try:
            return peek(self._configuration, self._environment), ""
        except StateError as error:
            return None, error.message

    def _feed(self, present: Checkpoint, progress: Progress) -> str:
        """Feeds what the present state covers, in the order of its journal. Returns why the journal cannot be followed, or ""."""
        configuration = self._plan.configuration
        sources = all_sources(configuration, self._directory)
        try:
            reader = LogReader(configuration, self._environment, present, sources=sources.keys())
        except StateError as error:
            return error.message
        with closing(reader), closing(self._open(reading=False)) as processor:
            script = watched_script(reader, progress)
            if not self._plan.keeps:
                # The new state uses the order stage from the start if the configuration needs it, so its sinks get all events.
                # With lanes that go on it cannot: their sequences would shift.
                script = (each for each in script if not isinstance(each, OrderStarted | OrderEnded))
            processor.feed(script)
            for (source, _), path in reader.names.items():
                self._files.file_opened(source=source, path=path)
        return ""

    def _open(self, *, reading: bool, read_before: Mapping[str, Sequence[Mapping[str, Json]]] | None = None) -> Processor:
        mode = Mode(
            once=True,
            follows_journal=self._plan.keeps and not reading,
            start=self._start,
            read_before=read_before or {},
        )
        return open_replica(self._plan.configuration, self._environment, self._replica, reading=reading, mode=mode).processor

    def _checkpoint(self) -> Checkpoint:
        found = CheckpointStore(self._fs, self._replica.directory, self._environment.telemetry).peek()
        assert found is not None, "opening a state commits it"
        return found

    def _staged_sink(self, path: str) -> str:
        return self._replica.sink_path("", path)

    def _move_named_files(self, fresh: Checkpoint) -> None:
        """Moves the named files into the present state's folders, where no checkpoint names them yet.

        If we die during this or before the swap, the next start removes them as orphans.
        """
        names = sorted(fresh.state.named_files())
        for folder in sorted({os.path.dirname(name) for name in names}):
            prepare_directory(self._fs, os.path.join(self._directory, folder))
        for name in names:
            path = os.path.join(self._directory, name)
            with storage_call("rename", path):
                self._fs.rename(os.path.join(self._replica.directory, name), path)
        for folder in sorted({os.path.dirname(name) for name in names}):
            path = os.path.join(self._directory, folder)
            with storage_call("fsync", path):
                self._fs.sync_directory(path)

    def _foreign_sinks(self, paths: Mapping[str, str]) -> Iterator[str]:
        """Yields the files at sinks' paths that, by its own account, the present state did not write."""
        for key, path in paths.items():
            status = self._fs.status(path)
            if key not in self._own_sinks and status is not None and status.size_bytes:
                yield path

    def _parts(self, paths: Mapping[str, str]) -> Iterator[str]:
        """Yields the parts with their final names. The new state writes all parts again, from number 1."""
        for path in chain.from_iterable(sink_files(self._configuration, self._environment).values()):
            if path not in paths.values() and not os.path.basename(path).startswith("."):
                yield path

    def _move_aside(self, paths: Iterable[str]) -> None:
        """Renames these files, and keeps them. If we die after this, they are beside their old names."""
        for path in paths:
            with storage_call("rename", path):
                self._fs.rename(path, f"{path}.aside-{self._token}")
            with storage_call("fsync", os.path.dirname(path) or "."):
                self._fs.sync_directory(os.path.dirname(path) or ".")

    def _remove_leftovers(self) -> None:
        """Removes what this and earlier replays made and did not swap in."""
        for name in self._fs.names(self._directory):
            if name.startswith(REPLAY_INFIX):
                remove_tree(self._fs, os.path.join(self._directory, name))
        for path in _fresh_paths(self._configuration).values():
            folder = os.path.dirname(path) or "."
            prefix = f"{os.path.basename(path)}.{REPLAY_INFIX}"
            remove_files(self._fs, [os.path.join(folder, name) for name in self._fs.names(folder) if name.startswith(prefix)])


def _fresh_paths(configuration: Configuration) -> dict[str, str]:
    """The entries of `appended` that the new state has for sinks, with the path of each file."""
    return {key: path for files in fresh_sink_paths(configuration).values() for key, path in files.items()}


def _aggregate_changes(present: Checkpoint | None, fresh: Checkpoint) -> Iterator[AggregateChange]:
    if present is not None:
        for each in compare_aggregates(present.state, fresh.state):
            yield AggregateChange(each.path, each.committed, each.recomputed)


def _carried(lost: Losses) -> Iterator[LossFound]:
    """Yields the losses of the present state as news for the new one."""
    yield from map(LossFound, lost.entries)
    if lost.unlisted:
        yield LossFound(Loss("", 0, "", 0, reason=f"{lost.unlisted} losses that the replaced state had only counted"))


def _replayed(
    present: Checkpoint | None, fresh: Checkpoint, unread_reason: str, files: tuple[ReplayedFile, ...]
) -> ReplayedState:
    before: Mapping[str, CategoryTotal] = present.state.categories if present else {}
    after = fresh.state.categories
    changed = [name for name in sorted(before.keys() | after.keys()) if before.get(name) != after.get(name)]
    return ReplayedState(
        counts_before=present.state.counts if present else None,
        counts_after=fresh.state.counts,
        categories=tuple(CategoryChange(name, before.get(name), after.get(name)) for name in changed),
        aggregates=tuple(islice(_aggregate_changes(present, fresh), AGGREGATE_CHANGES_MAX)),
        unread_reason=unread_reason,
        lost=fresh.state.lost.count,
        files=files,
    )
