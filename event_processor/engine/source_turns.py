"""The sources of a pipeline, read in turn.

Owns: whose turn it is, and what the loop asks all sources. While nothing may be read, the sources are paused.
Always: a source that has input waits for at most one chunk of each other source. A paused source is neither at its end nor idle.
Never: decides when to read or to commit.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from contextlib import ExitStack
from typing import Final

from event_processor.engine.attention import holds_unread_bytes
from event_processor.model.contracts import Source
from event_processor.model.event import Chunk

__all__ = ["SourceTurns", "always"]

PAUSED_S: Final = 0.05
"""While the sources are paused, the loop looks this often whether they may go on."""


def always() -> bool:
    """The sources are never paused."""
    return True


class SourceTurns:
    """Used by the loop's thread."""

    def __init__(self, sources: Sequence[Source], may_read: Callable[[], bool] = always) -> None:
        """`may_read` says at each call whether something may be read now."""
        self.all: Final = list(sources)
        self._may_read: Final = may_read
        self._next = 0

    def read(self, bytes_max: int) -> Chunk | None:
        """A chunk from the next source that has one, starting after the last source that gave one."""
        if not self._may_read():
            return None
        for _ in self.all:
            source = self.all[self._next]
            self._next = (self._next + 1) % len(self.all)
            if (chunk := source.read(bytes_max)) is not None:
                return chunk
        return None

    def lag_bytes(self) -> int:
        """How many unread bytes the sources are known to hold."""
        return sum(source.lag_bytes() for source in self.all)

    def have_more(self) -> bool:
        """Whether more input is known without a new look."""
        return self._may_read() and any(source.has_more() for source in self.all)

    def waits_s(self) -> list[float]:
        """The deadlines of sources that may give more although they gave nothing; empty if all are at their end."""
        if not self._may_read():
            return [PAUSED_S]
        return [wait_s for source in self.all if (wait_s := source.wait_s()) is not None]

    def hold_unread_bytes(self) -> bool:
        """Whether a source knows of unread input, so that the log is not idle."""
        return not self._may_read() or holds_unread_bytes(self.all)

    def acknowledge(self, read_ahead: Collection[str]) -> None:
        """Tells the sources that everything read is committed, except those of which more was read meanwhile.

        A later commit acknowledges these: `acknowledge` covers everything that a source gave.
        """
        for source in self.all:
            if source.name not in read_ahead:
                source.acknowledge()

    def close(self) -> None:
        """Closes all of them, the last first, whatever fails."""
        with ExitStack() as cleanup:
            for source in self.all:
                cleanup.callback(source.close)
