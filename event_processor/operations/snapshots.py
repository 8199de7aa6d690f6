"""The snapshots of a pipeline as operators see them: what a table is as of, and how far that is behind.

Owns: `snapshot_reports`, `drop_snapshot`, and the reasons why one needs an operator.
Always: what is shown needs no daemon and no connection: without a daemon, it is what the last one reported.
Never: changes a table.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Final

import msgspec
from msgspec.structs import replace

from event_processor.assembly import Environment, snapshot_sinks
from event_processor.configuration.configuration import Configuration
from event_processor.engine.checkpoint_document import Checkpoint
from event_processor.engine.delivery.orders import is_paused
from event_processor.engine.delivery.reports import FIGURES_NAME, PublishedLanes, SnapshotReport
from event_processor.model.errors import StorageError
from event_processor.operations.state_access import owned_state
from event_processor.storage.durable import read_file

__all__ = ["drop_snapshot", "snapshot_reports", "snapshot_shortfalls"]

_PUBLISHED: Final = msgspec.json.Decoder(PublishedLanes)


def snapshot_reports(
    configuration: Configuration, environment: Environment, checkpoint: Checkpoint | None, owner: str | None
) -> list[SnapshotReport]:
    """Looks once. `owner`: the present owner of the lock. Without one, the state is "offline"; if it has reported nothing, "starting"."""
    published = _published(environment, str(configuration.state.dir))
    if owner and published is not None and published.owner == owner:
        return list(published.snapshots)
    known = {each.sink: each for each in published.snapshots} if published else {}
    committed = checkpoint.state.counts.read if checkpoint else 0
    found = []
    for name, options in snapshot_sinks(configuration).items():
        last = known.get(name)
        is_same = last is not None and last.input == options.input
        state, words, remedy = ("starting", "", "") if owner else ("offline", "", "start the daemon: event-processor run")
        with suppress(StorageError):
            if is_paused(environment.fs, str(configuration.state.dir), name):
                state, remedy = "paused", f"event-processor sinks resume {name}"
        report = SnapshotReport(
            name, options.input, state, words, "", 0, remedy, last.as_of if last and is_same else None, committed
        )
        found.append(replace(report, left_out=last.left_out) if last and is_same else report)
    return found


def drop_snapshot(configuration: Configuration, environment: Environment, name: str) -> bool:
    """Lets the next start write the table of a snapshot anew, whatever state it is of now. Returns whether it was of one.

    Raises `LockedError` if a daemon runs, `ConfigurationError`, `NotAnsweredError` if the database may work later.
    """
    # Imported only here: every other command starts faster without the delivery.
    from event_processor.assembly.snapshots import drop_snapshot as drop  # noqa: PLC0415

    with owned_state(configuration, environment):
        return drop(configuration, environment, name)


def _published(environment: Environment, directory: str) -> PublishedLanes | None:
    """What a daemon published last; None if there is nothing that can be read."""
    try:
        content = read_file(environment.fs, os.path.join(directory, FIGURES_NAME))
        return None if content is None else _PUBLISHED.decode(content)
    except (StorageError, OSError, msgspec.DecodeError):
        return None


def snapshot_shortfalls(snapshots: Sequence[SnapshotReport]) -> Iterator[str]:
    """Yields the reasons why a snapshot needs an operator that are no condition, as text."""
    for each in snapshots:
        if each.state == "ahead" or (each.left_out and each.words):
            yield f"sink {each.sink}: {each.words}; {each.remedy}"
        elif each.left_out:
            yield f"sink {each.sink}: {each.left_out:,} rows do not fit its table and are left out; correct its columns"
