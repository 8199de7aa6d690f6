"""The state as one value, and its canonical form.

Owns: what `state` in the checkpoint says about the log. The types here are that form: their JSON Schema is the published one.
Always: frozen; a function of the sources' bytes, the configuration and the reading journal. Names and lengths of our own
files are not in it (see `checkpoint.py`, which adds them).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
import xxhash
from msgspec import Struct
from msgspec.structs import replace

from event_processor.aggregation.categories.totals import CategoryTotal, Totals
from event_processor.engine.journal import JournalRun
from event_processor.engine.order import OrderStage
from event_processor.model.event import Json

__all__ = [
    "Counts",
    "GenerationState",
    "OrderSummary",
    "Retired",
    "SourceState",
    "State",
    "fresh_state",
    "summarise_order",
]


class Counts(Struct, frozen=True):
    """Records by outcome; `records` is the sum of the four. `late` events are among the accepted."""

    records: int = 0
    accepted: int = 0
    duplicate: int = 0
    rejected: int = 0
    blank: int = 0
    late: int = 0

    def __add__(self, other: Counts) -> Counts:
        return Counts(
            self.records + other.records,
            self.accepted + other.accepted,
            self.duplicate + other.duplicate,
            self.rejected + other.rejected,
            self.blank + other.blank,
            self.late + other.late,
        )


class GenerationState(Struct, frozen=True):
    """Where one generation of a source resumes: `line` records before it, and its position.

    Only the source can read the position, the `Chunk.position` of the last committed chunk. A file's holds its path, device, inode, offset
    in bytes, and hashes of the bytes at its head and before the offset. Its connector names the fields that are outside P2.
    """

    generation: int
    line: int
    position: dict[str, Any]


class Retired(Struct, frozen=True):
    """The generations that were read to their end and are closed, folded together."""

    generations: int = 0
    size_bytes: int = 0
    records: int = 0


class SourceState(Struct, frozen=True):
    """How far one source is: its open generations, ascending, the closed ones, and its counts."""

    generations: tuple[GenerationState, ...] = ()
    retired: Retired = Retired()
    counts: Counts = Counts()

    def next_generation(self) -> int:
        """The number of the next generation: they count from 1 without a gap."""
        return self.retired.generations + len(self.generations) + 1

    def open_generation(self, number: int) -> GenerationState | None:
        """An open generation, or None."""
        return next((each for each in self.generations if each.generation == number), None)

    def positions(self) -> dict[int, Mapping[str, Json]]:
        """Where each open generation resumes, as `Source.open` takes it."""
        return {each.generation: each.position for each in self.generations}

    def with_generation(self, opened: GenerationState) -> SourceState:
        """With `opened` in the place of its generation."""
        others = [other for other in self.generations if other.generation != opened.generation]
        return replace(self, generations=tuple(sorted([*others, opened], key=lambda each: each.generation)))

    def retire(self, closed: GenerationState, size_bytes: int) -> SourceState:
        """With `closed` folded into the retired generations; it ended after `size_bytes`."""
        before = self.retired
        retired = Retired(before.generations + 1, before.size_bytes + size_bytes, before.records + closed.line)
        others = tuple(other for other in self.generations if other.generation != closed.generation)
        return replace(self, generations=others, retired=retired)


class OrderSummary(Struct, frozen=True):
    """What the order stage holds, by content: how many events, a hash of them in order, and the last that was released.

    Not `active`: no sink and no window reads events, so they pass the stage by. The reading journal says when it began and when it ended.
    """

    active: bool = False
    held: int = 0
    held_hash: str = ""
    released: int = 0
    last_released: tuple[int, int | str | tuple[tuple[int, int | str], ...], int] | None = None


class State(Struct, frozen=True):
    """Everything that is known of the log. `order` is the stage itself, which events enter if it is `ordered`; the checkpoint has its summary."""

    sources: Mapping[str, SourceState]
    counts: Counts
    categories: Mapping[str, CategoryTotal]
    order: OrderStage
    ordered: bool = False
    journal: JournalRun | None = None

    def source(self, name: str) -> SourceState:
        """How far a source is; nothing read of it yet is a state too."""
        return self.sources.get(name) or SourceState()


def fresh_state(buffer_events: int) -> State:
    """The state of a log of which nothing was read."""
    return State(sources={}, counts=Counts(), categories=Totals.of({}), order=OrderStage(buffer_events))


def summarise_order(stage: OrderStage, *, active: bool) -> OrderSummary:
    """The summary of what is held: equal content gives an equal summary, however it came about. Keys are content; places are not."""
    keyed = [event[:4] for event in stage.held]
    digest = xxhash.xxh3_128_hexdigest(msgspec.msgpack.encode(keyed)) if keyed else ""
    return OrderSummary(active, len(keyed), digest, stage.released_count, stage.last_released)
