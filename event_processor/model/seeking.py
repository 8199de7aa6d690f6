"""A source that is moved to another place of its input, on request of a person.

Owns: what is asked, and what must be committed for it.
Always: what is skipped is a `Loss` of the plan.
Never: moves anything.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from event_processor.model.event import Chunk, Json
from event_processor.model.losses import Loss

__all__ = ["SeekPlan", "SeekRequest"]


@dataclass(frozen=True, slots=True)
class SeekRequest:
    """Where a source is to go on. `positions`, `next_generation`: as for `Source.open`. `to`: as a person wrote it.

    `partition`: the only one that moves; None moves all.
    """

    positions: Mapping[int, Mapping[str, Json]]
    next_generation: int
    to: str
    partition: int | None = None


@dataclass(frozen=True, slots=True)
class SeekPlan:
    """What a seek does: chunks without records, and losses, to be committed in this order. `words`: for a person, a line each.

    `skipped`, `repeated`: at most so many records are not read, or are read again.
    """

    script: tuple[Chunk | Loss, ...]
    words: tuple[str, ...]
    skipped: int
    repeated: int
