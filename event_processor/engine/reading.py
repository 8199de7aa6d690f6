"""What the loop reads ahead of its commits, and how long the input has been silent.

Owns: the chunks between the sources and the step: handed to the decoding, not stepped over yet; and the limit of how many.
Always: a source is told that everything it gave is committed only after a commit covers all of it.
Never: decides when to read, to step or to commit.
"""

from __future__ import annotations

from collections import deque
from typing import Final

from event_processor.engine.batch import Batch
from event_processor.engine.batch_limits import BatchLimits
from event_processor.engine.loss_keeper import LossKeeper
from event_processor.engine.source_turns import SourceTurns
from event_processor.model.columns import Columns
from event_processor.model.contracts import Clock, Decoding
from event_processor.model.event import Chunk

__all__ = ["Reading"]


class Reading:
    """The sources and the decoding, as the loop uses them. Used by its thread."""

    def __init__(
        self, sources: SourceTurns, decoding: Decoding, *, losses: LossKeeper, limits: BatchLimits, clock: Clock
    ) -> None:
        self._sources: Final = sources
        self._losses: Final = losses
        self._limits: Final = limits
        self._decoding: Final = decoding
        self._clock: Final = clock
        self._handed_in: Final[deque[str]] = deque()
        """The source of each chunk that was read but not stepped over yet."""
        self._read_ahead: set[str] = set()
        """The sources from which something was read that no commit covers."""
        self._last_read_s = clock.monotonic_s()

    @property
    def pending(self) -> int:
        """How many chunks were handed in and not taken yet."""
        return self._decoding.pending

    def read_on(self, batch: Batch) -> None:
        """Reads and hands in available chunks, as many as may be decoded ahead. Notes in `batch` what was lost."""
        while self._decoding.has_room:
            chunk = self._sources.read(self._limits.room_bytes(0 if self.pending else batch.content_bytes))
            self._losses.note(batch)
            if chunk is None:
                break
            self.hand_in(chunk)

    def hand_in(self, chunk: Chunk) -> None:
        """Gives a chunk that was just read to the decoding."""
        self._last_read_s = self._clock.monotonic_s()
        self._read_ahead.add(chunk.source)
        self._handed_in.append(chunk.source)
        self._decoding.submit(chunk)

    def take(self) -> tuple[Chunk, Columns | None]:
        """The oldest chunk that was handed in, and its columns. Waits for them."""
        taken = self._decoding.take()
        self._handed_in.popleft()
        return taken

    def begin_commit(self) -> None:
        """A commit begins that covers everything taken so far."""
        self._read_ahead = set(self._handed_in)

    def acknowledge(self) -> None:
        """Tells the sources what that commit covered; it is durable."""
        self._sources.acknowledge(self._read_ahead)

    def silent_in_s(self, silence_s: float) -> float | None:
        """Seconds until nothing was read for `silence_s`; None if a source knows of unread input."""
        if self._sources.hold_unread_bytes():
            return None
        return max(0.0, self._last_read_s + silence_s - self._clock.monotonic_s())
