"""When earlier files of the intake are removed: after `intake.keep_days`, if nothing needs them to go on.

Owns: `IntakeFiles`.
Always: a file is removed only if its records are counted, and after a commit since which neither checkpoint on disk needs it: a start
that falls back to the predecessor finds everything from its positions on. Looks at most once a minute, between two rounds of the loop.
Never: removes a file whose place in the order is not known; ends the pipeline if a file cannot be removed (it is tried again).
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from typing import Final, TypeAlias

from event_processor.assembly import Environment
from event_processor.configuration.configuration import RESERVED_SOURCE_NAME
from event_processor.engine.state import State
from event_processor.model.clock import SystemClock
from event_processor.model.contracts import Clock
from event_processor.model.errors import StorageError
from event_processor.model.file_system import FileSystem
from event_processor.model.messages import in_one_line
from event_processor.model.telemetry import Telemetry
from event_processor.storage.durable import remove_files, storage_call
from event_processor.storage.earlier_files import earlier_files

__all__ = ["IntakeFiles"]

LOOK_S: Final = 60.0
DAY_NS: Final = 86_400 * 10**9
COMMITS: Final = 3
"""The checkpoint, its predecessor, and one more: a commit since which none of the two names the file."""
_File: TypeAlias = tuple[int, int]


class IntakeFiles(Telemetry):
    """The remover of one daemon over all its reloads. Used by the loop's thread. Until `follow`, it does nothing."""

    def __init__(self) -> None:
        self._path = ""
        self._keep_days = 0
        self._clock: Clock = SystemClock()
        self._fs: FileSystem | None = None
        self._state: Callable[[], State] | None = None
        self._telemetry = Telemetry()
        self._needed: deque[_File | None] = deque(maxlen=COMMITS)
        """The oldest open file of the intake after each of the last commits; None: not known."""
        self._next_look_s = -math.inf

    def follow(self, environment: Environment, path: str, *, keep_days: int, state: Callable[[], State]) -> None:
        """A pipeline was opened whose intake is at `path`. `state`: the committed one. `keep_days`: 0 keeps all files."""
        self._path, self._keep_days, self._state = path, keep_days, state
        self._fs, self._clock, self._telemetry = environment.fs, environment.clock, environment.telemetry
        self._needed.clear()

    def leave(self) -> None:
        """The pipeline has ended: does nothing until `follow`."""
        self._state = None

    def batch_committed(self, **_facts: object) -> None:
        """See `Telemetry`."""
        if self._state is not None and self._keep_days:
            self._needed.append(_oldest_open(self._state()))

    def progressed(self) -> None:
        """See `Telemetry`."""
        if not self._keep_days or self._state is None or self._fs is None or len(self._needed) < COMMITS:
            return
        if (now_s := self._clock.monotonic_s()) >= self._next_look_s:
            self._next_look_s = now_s + LOOK_S
            try:
                self._look(self._fs)
            except StorageError as error:
                # The next commit meets a failing disk by itself.
                self._telemetry.intake_files_kept(path=self._path, reason=in_one_line(str(error)))

    def _look(self, fs: FileSystem) -> None:
        with storage_call("stat", self._path):
            found = [(path, fs.status(path)) for path in (*earlier_files(fs, self._path), self._path)]
        order = [(path, status) for path, status in found if status is not None]
        places = {(status.device, status.inode): place for place, (_, status) in reversed([*enumerate(order)])}
        needed = [places.get(each) if each else None for each in self._needed]
        known = [place for place in needed if place is not None]
        if len(known) < len(needed):
            return
        before_ns = self._clock.wall_ns() - self._keep_days * DAY_NS
        old = [path for path, status in order[: min(known)] if status.modified_ns < before_ns]
        if old:
            # If we die within, the next process removes the others.
            remove_files(fs, old)
            self._telemetry.intake_files_removed(count=len(old), first=old[0], last=old[-1], keep_days=self._keep_days)


def _oldest_open(state: State) -> _File | None:
    """Device and inode of the file from which the intake resumes; None if it has none yet."""
    opened = state.source(RESERVED_SOURCE_NAME).generations
    if not opened:
        return None
    position = opened[0].position
    return int(position["device"]), int(position["inode"])
