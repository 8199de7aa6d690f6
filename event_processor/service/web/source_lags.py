"""How long the oldest unread byte of each source waits.

Owns: `SourceLags`: which number says how far a source is, in the unit of its lag.
Always: one clock for each source of the present configuration. What cannot be measured is None, and never a guess.
Never: survives a restart; nothing relies on it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from event_processor.engine.state import SourceState
from event_processor.model.connector import Lag
from event_processor.service.lag_clock import LagClock

__all__ = ["SourceLags"]


@dataclass(slots=True)
class _Source:
    """A clock, and how far its source was at the last look."""

    progress: int = 0
    clock: LagClock = field(default_factory=LagClock)


class SourceLags:
    """Looks at the lags of all sources again and again. Used by one thread at a time."""

    def __init__(self) -> None:
        self._sources: Final[dict[str, _Source]] = {}

    def look(self, now_s: float, lags: Mapping[str, Lag], states: Mapping[str, SourceState]) -> dict[str, float | None]:
        """By source, the seconds that its oldest unread byte has been seen waiting. `lags` are those after the positions in `states`."""
        for name in self._sources.keys() - lags.keys():
            del self._sources[name]
        return {name: self._look(now_s, name, lag, states.get(name) or SourceState()) for name, lag in lags.items()}

    def _look(self, now_s: float, name: str, lag: Lag, state: SourceState) -> float | None:
        measured = _measured(lag, state)
        if measured is None:
            return None
        progress, unread = measured
        known = self._sources.setdefault(name, _Source())
        if progress < known.progress:
            # Another state: what was seen of the one before says nothing.
            known = self._sources[name] = _Source()
        known.progress = progress
        return known.clock.look(now_s, progress, unread)


def _measured(lag: Lag, state: SourceState) -> tuple[int, int] | None:
    """How far the source is, and how much is unread, in one unit; None if there is no such unit."""
    if lag.unknown:
        return None
    if lag.read_bytes is not None:
        return state.retired.size_bytes + lag.read_bytes, lag.size_bytes
    if lag.records or not lag.size_bytes:
        return state.counts.read, lag.records
    return None
