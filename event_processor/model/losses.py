"""What a source found to be lost: bytes of the input that nothing can read any more.

Owns: `Loss`, and `ReportsLosses`, the part of a source that gives them.
Always: a loss is a fact of the input, never of this program's own files.
Never: decides what becomes of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from msgspec import Struct

__all__ = ["Loss", "ReportsLosses"]


class Loss(Struct, frozen=True, omit_defaults=True):
    """Input that was not read and cannot be read.

    `generation`: the one that misses it, or 0. `path`: where it was, as the configuration writes it. `offset`: the byte where
    the missing part begins. `size_bytes`: its length, or None if it is unknown. `reason`: what was found. `records`: set if the source
    numbers its records: then `offset` is such a number, and at most so many records are missing.
    """

    source: str
    generation: int
    path: str
    offset: int
    size_bytes: int | None = None
    reason: str = ""
    records: int | None = None

    def is_again(self, other: Loss) -> bool:
        """Whether this reports the same part of the same input as `other`: a restart may find a loss again."""
        return (self.source, self.generation, self.path, self.offset) == (
            other.source,
            other.generation,
            other.path,
            other.offset,
        )

    def __str__(self) -> str:
        if self.records is not None:
            return f"source {self.source}: {self.path}, from offset {self.offset:,}: {self.reason}"
        size = "of unknown size" if self.size_bytes is None else f"{self.size_bytes:,} bytes"
        return f"source {self.source}: {self.path}, from byte {self.offset:,}, {size}: {self.reason}"


@runtime_checkable
class ReportsLosses(Protocol):
    """A source that can lose input. A source without this method never says that it lost something."""

    def take_losses(self) -> Sequence[Loss]:
        """Returns the losses that were found since the last call, in order; mostly none.

        Called after each `read`. They are committed with what was read. If the process dies before that, the source must find
        them again. A loss that is found again counts once.
        """
        ...
