"""The values that the loop works with: its options, and the reasons for an end.

Owns: these, the state that a start continues from, and a commit in the background.
Always: frozen.
Never: decides anything.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from enum import Enum
from typing import Final

from event_processor.engine.batch import Batch
from event_processor.engine.journal import JournalEntry
from event_processor.engine.source_turns import always
from event_processor.engine.stages import TimedCommit
from event_processor.engine.state import State

__all__ = ["WAIT_S_MAX", "InFlight", "LoopOptions", "StartedState", "StopReason"]

WAIT_S_MAX: Final = 1.0
"""The loop reports that it is alive at least this often, however long there is nothing to do."""


class StopReason(Enum):
    """The reason why the loop ended; it always ends after a commit."""

    END = "end of input"
    SIGNAL = "signal"
    RELOAD = "reload"
    LATE = "an event came too late for the order buffer"
    """Only if `LoopOptions.ends_if_late`. The batch of that event is not committed."""


@dataclass(frozen=True, slots=True)
class LoopOptions:
    """Limits and times. `once`: end when all sources are at their end. `drain`: flush the order buffer at the end.

    `pace_s`: the distance between two commits of a live log; None: what a commit takes decides. `ends_if_late`: end at an event that sorts before one that was released, since the input must be sorted then. While `may_read` is
    false, the sources are paused.
    """

    batch_bytes_max: int
    pace_s: float | None
    poll_interval_s: float
    idle_release_s: float
    once: bool = False
    drain: bool = False
    ends_if_late: bool = False
    may_read: Callable[[], bool] = always


@dataclass(frozen=True, slots=True)
class StartedState:
    """The state from which a start continues, if it is not the committed one, and the entries of the reading journal for it."""

    state: State
    entries: Sequence[JournalEntry]


@dataclass(frozen=True, slots=True)
class InFlight:
    """The commit in the background. Its future returns the checkpoint's size in bytes, or raises the failure."""

    batch: Batch
    commit: TimedCommit
    checkpoint_bytes: Future[int]
