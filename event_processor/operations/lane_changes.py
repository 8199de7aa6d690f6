"""Drops a lane, or gives it another name. The daemon is stopped: this process holds the lock.

Owns: what is refused, and with which words.
Always: the change is done whole, by this process or by the next start.
Never: sends; changes the configuration. `engine/lane_changes.py` has the steps.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from event_processor.assembly import Environment, remote_sinks, sink_path_of
from event_processor.configuration.configuration import NAME_PATTERN, Configuration
from event_processor.engine.checkpoint import CheckpointStore
from event_processor.engine.checkpoint_document import Checkpoint
from event_processor.engine.delivery.cursor_file import DELIVERY_FOLDER, cursor_path
from event_processor.engine.lane_changes import LaneChange, finish_lane_change, lane_files, start_lane_change
from event_processor.model.errors import UsageError
from event_processor.operations.sinks import SinkLane, known_sinks, list_sinks
from event_processor.operations.state_access import owned_state, require_checkpoint
from event_processor.storage.durable import storage_boundary

__all__ = ["Dropped", "LaneChanges", "aside_name", "changeable_state", "lane_changes", "unknown_lane"]

DROPPED: Final = "dropped-%Y%m%dT%H%M%SZ"


@dataclass(frozen=True, slots=True)
class Dropped:
    """What a drop gives up: the pending records, retried ones included. `kept_as`: where the cursor is afterwards.

    `skipped`: the records that were not for the lane because it was detached.

    `starts_anew`: the sink is configured, and starts after everything that is released by then; `needs_start`: but its `start`
    must be changed first.
    """

    pending: int
    kept_as: str
    starts_anew: bool
    needs_start: bool
    skipped: int = 0


def changeable_state(configuration: Configuration, environment: Environment) -> tuple[CheckpointStore, Checkpoint]:
    """The state whose lanes are to be changed, after a change that was left half done is finished. The caller holds the lock.

    Raises `InputGoneError` if there is no state, `StateError`, `StorageError`.
    """
    directory = str(configuration.state.dir)
    require_checkpoint(configuration, environment)
    store = CheckpointStore(environment.fs, directory, environment.telemetry)
    with storage_boundary(directory):
        checkpoint = store.load(sink_path_of(configuration))
        assert checkpoint is not None, "it existed a moment ago, and we hold the lock"
        return store, finish_lane_change(environment.fs, directory, store, checkpoint)


def aside_name(environment: Environment, directory: str, form: str) -> str:
    """Part of the names of files that are moved aside now, made by `form` for `strftime`; not in use yet."""
    stamp = datetime.fromtimestamp(environment.clock.wall_ns() // 10**9, UTC).strftime(form)
    with storage_boundary(directory):
        names = environment.fs.names(os.path.join(directory, DELIVERY_FOLDER))
    numbered = (f"{stamp}-{number}" for number in range(2, len(names) + 3))
    return next(each for each in (stamp, *numbered) if not any(f".{each}." in name for name in names))


def unknown_lane(configuration: Configuration, checkpoint: Checkpoint, name: str) -> UsageError:
    """The error for a name that no lane has."""
    known = known_sinks(configuration, checkpoint)
    names = f"the remote sinks are: {', '.join(known)}" if known else "no sink here is remote"
    return UsageError(f"{name}: this sink has no lane", hint=names)


class LaneChanges:
    """Changes of lanes, one after the other. The caller holds the lock (`lane_changes`)."""

    def __init__(self, configuration: Configuration, environment: Environment) -> None:
        """First finishes a change that was left half done. Raises as `changeable_state` does."""
        self._configuration: Final = configuration
        self._environment: Final = environment
        self._directory: Final = str(configuration.state.dir)
        self._store, self._checkpoint = changeable_state(configuration, environment)

    def dropped(self, name: str) -> Dropped:
        """What `drop` would give up. Raises `UsageError` if there is no such lane."""
        has_cursor = self._environment.fs.status(cursor_path(self._directory, name)) is not None
        if name not in self._checkpoint.state.lanes and not has_cursor:
            raise self._unknown(name)
        lane = next((each for each in list_sinks(self._configuration, self._environment) if each.sink == name), None)
        options = remote_sinks(self._configuration).get(name)
        kept_as = os.path.join(self._directory, DELIVERY_FOLDER, f"{name}.{self._aside()}.json") if has_cursor else ""
        needs_start = options is not None and options.start == "beginning"
        is_detached = lane is not None and lane.detached_after is not None
        skipped = max(0, lane.released - (lane.detached_after or 0)) if lane and is_detached else 0
        return Dropped(_pending(lane), kept_as, starts_anew=options is not None, needs_start=needs_start, skipped=skipped)

    def drop(self, name: str) -> None:
        """Gives up the lane. Raises `StorageError`; then it is still there, or the next start drops it."""
        self._change(LaneChange(self._checkpoint.state.state_id, name, aside=self._aside()))

    def rename(self, old: str, new: str) -> None:
        """Gives the lane `old` the name `new`. Keys of records that are released already keep the old name.

        Raises `UsageError` if there is no lane `old`, or if something has the name `new`; `StorageError`, as `drop`.
        """
        lanes = self._checkpoint.state.lanes
        if old not in lanes:
            raise self._unknown(old)
        if not re.fullmatch(NAME_PATTERN, new):
            raise UsageError(f"{new}: not a name for a sink", hint="1 to 64 letters, digits, _ and -")
        if new in lanes:
            raise UsageError(f"{new}: this sink has a lane already", hint=f"choose another name, or drop it: sinks drop {new}")
        folder = os.path.join(self._directory, DELIVERY_FOLDER)
        with storage_boundary(folder):
            taken = sorted(set(lane_files(new)) & set(self._environment.fs.names(folder)))
        if taken:
            raise UsageError(
                f"{os.path.join(folder, taken[0])}: is there from an earlier sink of the name {new}",
                hint="move it aside, or choose another name",
            )
        through = self._checkpoint.state.outbox[lanes[old].input].sequence
        self._change(LaneChange(self._checkpoint.state.state_id, old, new, through))

    def _change(self, change: LaneChange) -> None:
        with storage_boundary(self._directory):
            start_lane_change(self._environment.fs, self._directory, change, self._environment.new_token())
            # If we die after this, the next start does the rest.
            self._checkpoint = self._finished(self._checkpoint)

    def _finished(self, checkpoint: Checkpoint) -> Checkpoint:
        return finish_lane_change(self._environment.fs, self._directory, self._store, checkpoint)

    def _aside(self) -> str:
        return aside_name(self._environment, self._directory, DROPPED)

    def _unknown(self, name: str) -> UsageError:
        return unknown_lane(self._configuration, self._checkpoint, name)


def _pending(lane: SinkLane | None) -> int:
    return 0 if lane is None else lane.pending + (lane.retried.pending if lane.retried else 0)


@contextmanager
def lane_changes(configuration: Configuration, environment: Environment) -> Iterator[LaneChanges]:
    """Holds the lock of the state for changes of its lanes. Raises `LockedError` if a daemon runs, and as `LaneChanges` does."""
    with owned_state(configuration, environment):
        yield LaneChanges(configuration, environment)
