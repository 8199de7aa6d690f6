"""What the loop is asked to do, and how it ends.

Owns: `LoopOptions`, `StartedState`, `StopReason`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from event_processor.engine.journal import JournalEntry
from event_processor.engine.state import State

__all__ = ["LoopOptions", "StartedState", "StopReason"]


class StopReason(Enum):
    """The reason why the loop ended; it always ends after a commit."""

    END = "end of input"
    SIGNAL = "signal"
    RELOAD = "reload"


@dataclass(frozen=True, slots=True)
class LoopOptions:
    """Limits and times. `once`: end when all sources are at their end. `drain`: flush the order buffer at the end."""

    batch_bytes_max: int
    linger_s: float
    poll_interval_s: float
    idle_release_s: float
    once: bool = False
    drain: bool = False


@dataclass(frozen=True, slots=True)
class StartedState:
    """The state from which a start continues, if it is not the committed one, and the entries of the reading journal for it."""

    state: State
    entries: Sequence[JournalEntry]
