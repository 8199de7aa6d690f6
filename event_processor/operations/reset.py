"""Moves a state aside, so that the next start reads the log from its beginning. Deletes nothing.

Moves to `aside-<utc time>/` in the state directory: both checkpoints, kept corrupt ones, the journal, the dead letters, `ids`,
`held`, `windows`, `outbox`, the last result of `verify`. A sink's file that is not empty is renamed beside itself to `<path>.aside-<utc time>`, and so is each
of its parts. It may be on another disk, and if it stayed in place, the next start would refuse to append to it. The lock,
earlier `aside-…` folders, `intake.jsonl` and `intake/` stay: the intake is a log like any other, and the new state reads it again.

Owns: the list of these moves, and their order.
Always: the caller holds the lock. The predecessor is moved first, then the checkpoint, then the files that they name. So a crash
at any point leaves a state that resumes as before, or one that refuses to start and names `reset` as the way out.
Never: deletes a file.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import chain
from typing import Final

from event_processor.assembly import Environment, sink_files
from event_processor.configuration.configuration import Configuration
from event_processor.engine.checkpoint import CHECKPOINT_NAME, PREDECESSOR_NAME
from event_processor.engine.checkpoint_document import OWNED_FOLDERS
from event_processor.engine.dead_letters import DEAD_LETTERS_NAME
from event_processor.engine.delivery.cursor_file import DELIVERY_FOLDER
from event_processor.engine.journal import JOURNAL_NAME
from event_processor.operations.last_verification import VERIFICATION_NAME
from event_processor.storage.durable import prepare_directory, storage_boundary, storage_call

__all__ = ["Move", "Reset"]

CORRUPT_PREFIX: Final = "checkpoint.corrupt-"


@dataclass(frozen=True, slots=True)
class Move:
    """One rename, from `path` to `new_path`."""

    path: str
    new_path: str


class Reset:
    """One reset: `moves` lists the moves, `apply` makes them. The caller holds the lock for both."""

    def __init__(self, configuration: Configuration, environment: Environment) -> None:
        self._environment: Final = environment
        self._fs: Final = environment.fs
        self._directory: Final = str(configuration.state.dir)
        self._configuration: Final = configuration
        self._suffix: Final = self._free_suffix(environment.clock.wall_ns())
        self._aside: Final = os.path.join(self._directory, self._suffix)

    def moves(self) -> tuple[Move, ...]:
        """The moves in their order; empty if there is nothing to move. Raises `StorageError`."""
        with storage_boundary(self._directory):
            return (*self._checkpoints(), *self._sinks(), *self._own_files())

    def apply(self) -> tuple[Move, ...]:
        """Makes the moves, each durable before the next. Raises `StorageError`; then the next reset moves the rest."""
        moves = self.moves()
        if moves:
            prepare_directory(self._fs, self._aside)
        for move in moves:
            # If we die after the predecessor's move, the checkpoint can still resume. If we die after the checkpoint's move,
            # the files that it named show that a state was here, and the next start says so.
            with storage_call("rename", move.path):
                self._fs.rename(move.path, move.new_path)
            for folder in {os.path.dirname(move.path) or ".", os.path.dirname(move.new_path) or "."}:
                with storage_call("fsync", folder):
                    self._fs.sync_directory(folder)
        return moves

    def _checkpoints(self) -> Iterator[Move]:
        yield from self._own(PREDECESSOR_NAME)
        yield from self._own(CHECKPOINT_NAME)

    def _sinks(self) -> Iterator[Move]:
        for path in chain.from_iterable(sink_files(self._configuration, self._environment).values()):
            status = self._fs.status(path)
            if status is not None and status.size_bytes:
                yield Move(path, f"{path}.{self._suffix}")

    def _own_files(self) -> Iterator[Move]:
        for name in self._fs.names(self._directory):
            if name.startswith(CORRUPT_PREFIX):
                yield from self._own(name)
        for name in (*OWNED_FOLDERS, DELIVERY_FOLDER, JOURNAL_NAME, DEAD_LETTERS_NAME, VERIFICATION_NAME):
            yield from self._own(name)

    def _own(self, name: str) -> Iterator[Move]:
        path = os.path.join(self._directory, name)
        if self._fs.status(path) is not None:
            yield Move(path, os.path.join(self._aside, name))

    def _free_suffix(self, wall_ns: int) -> str:
        """A name with the time in it that is not in use yet."""
        stamp = datetime.fromtimestamp(wall_ns // 10**9, UTC).strftime("aside-%Y%m%dT%H%M%SZ")
        with storage_boundary(self._directory):
            taken = set(self._fs.names(self._directory))
        numbered = (f"{stamp}-{number}" for number in range(2, len(taken) + 3))
        return next(name for name in (stamp, *numbered) if name not in taken)
