"""How long the oldest uncommitted byte waits, from looks at how many there are.

Owns: `LagClock`.
Always: bounded memory, whatever happens.
Never: survives a restart; nothing relies on it.
"""

from __future__ import annotations

from collections import deque
from typing import Final

__all__ = ["LagClock"]

LOOK_S: Final = 1.0
LOOKS_MAX: Final = 3600


class LagClock:
    """Says how long the oldest uncommitted byte has been seen waiting, from the looks at how many there are.

    A byte that was there at a look, at some distance after everything committed, is committed once as many more bytes are. A look remembers that
    place; the oldest place that is not committed yet says how long it waits. Used by one thread at a time.
    """

    def __init__(self) -> None:
        self._places: Final[deque[tuple[float, int]]] = deque()
        """When a look was, and the number of bytes that must be committed until all that it saw are."""

    def look(self, now_s: float, committed_bytes: int, lag_bytes: int) -> float:
        """The seconds that the oldest byte waits, at least. `committed_bytes`: a count that grows with each commit, from any start."""
        while self._places and self._places[0][1] <= committed_bytes:
            self._places.popleft()
        is_due = not self._places or now_s - self._places[-1][0] >= LOOK_S
        # When it is full, the oldest looks are the ones that count.
        if lag_bytes and is_due and len(self._places) < LOOKS_MAX:
            self._places.append((now_s, committed_bytes + lag_bytes))
        return now_s - self._places[0][0] if lag_bytes and self._places else 0.0
