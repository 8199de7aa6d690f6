"""How much one step takes, and how much one commit covers.

Owns: the limits that follow from `batch.bytes_max`.
Never: reads or commits; knows what a batch holds.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

__all__ = ["BatchLimits"]

CHECKPOINT_BYTES_SMALL: Final = 65_536
"""Up to this size a checkpoint costs only its fsync. A larger one also costs its bytes, so a commit should cover enough."""
CHECKPOINT_WORTH: Final = 16
"""In a backlog a commit covers at least this many times a large checkpoint's bytes, so rewriting it adds a sixteenth at most."""
STEPS_WORTH: Final = 64
"""A chunk ends with a record, so some bytes are missing to `batch.bytes_max`. If at most one part in this many is missing, it
gets no step of its own: a step over one record takes as long as one over a thousand."""
COVERED_BATCHES_MAX: Final = 16
"""A commit covers at most this many times `batch.bytes_max`, which bounds memory."""
BACKLOG_SHARE: Final = 4
"""There is a backlog if this share of `batch.bytes_max` was committed at once or is unread."""
GROWN_BATCHES_MAX: Final = 4
"""While the commit before it runs, a batch grows to at most this many times `batch.bytes_max`."""


@dataclass(frozen=True, slots=True)
class BatchLimits:
    """The limits for `bytes_max` bytes in a batch."""

    bytes_max: int

    def is_full(self, content_bytes: int, checkpoint_bytes: int, *, is_ahead: bool) -> bool:
        """Whether a commit should cover no more than this. `checkpoint_bytes`: the size of the last checkpoint."""
        worth_bytes = CHECKPOINT_WORTH * checkpoint_bytes if checkpoint_bytes > CHECKPOINT_BYTES_SMALL else 0
        missing_bytes = max(self.bytes_max, min(worth_bytes, COVERED_BATCHES_MAX * self.bytes_max)) - content_bytes
        # Chunks that are decoded ahead come whole, not in the few missing bytes.
        return missing_bytes <= (0 if is_ahead else self.bytes_max // STEPS_WORTH)

    def is_backlog(self, content_bytes: int) -> bool:
        """Whether so many bytes, just committed or unread, are a backlog. Then its commits cost little, and none of them is held."""
        return content_bytes >= self.bytes_max // BACKLOG_SHARE

    def may_grow(self, content_bytes: int) -> bool:
        """Whether a full batch may grow on while the commit before it runs."""
        return GROWN_BATCHES_MAX * self.bytes_max - content_bytes > self.bytes_max // STEPS_WORTH

    def room_bytes(self, content_bytes: int) -> int:
        """How many bytes the next step may take: up to the next multiple of the batch size, however much a commit covers."""
        missing_bytes = self.bytes_max - content_bytes % self.bytes_max
        return missing_bytes if missing_bytes > self.bytes_max // STEPS_WORTH else self.bytes_max
