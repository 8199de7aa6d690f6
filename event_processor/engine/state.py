"""The state as one value, and its canonical form.

Owns: what `state` in the checkpoint says about the log. The types here are that form: the published JSON Schema is made from
them.
Always: frozen; depends only on the sources' bytes, the configuration and the reading journal. It does not hold the names and
lengths of our own files; `checkpoint_document.py` adds them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import msgspec
import xxhash
from msgspec import UNSET, Struct, UnsetType
from msgspec.structs import replace

from event_processor.aggregation.documents import CategoryTotal
from event_processor.engine.journal import JournalRun
from event_processor.engine.losses import NOTHING_LOST, Losses
from event_processor.engine.sorting.kinds import Sorting
from event_processor.model.event import Json

if TYPE_CHECKING:
    from event_processor.engine.order import OrderStage

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
    """Records by outcome; `records` is the sum of the four outcomes. `late` events are among the accepted.

    `foreign`: records that were read but belong to other shards, outside `records`; missing without shards.
    """

    records: int = 0
    accepted: int = 0
    duplicate: int = 0
    rejected: int = 0
    blank: int = 0
    late: int = 0
    foreign: int | UnsetType = UNSET

    def __add__(self, other: Counts) -> Counts:
        return Counts(
            self.records + other.records,
            self.accepted + other.accepted,
            self.duplicate + other.duplicate,
            self.rejected + other.rejected,
            self.blank + other.blank,
            self.late + other.late,
            UNSET if self.foreign is UNSET and other.foreign is UNSET else self.of_other_shards + other.of_other_shards,
        )

    @property
    def of_other_shards(self) -> int:
        """`foreign`, or 0."""
        return 0 if self.foreign is UNSET else self.foreign

    @property
    def read(self) -> int:
        """How many records were read, those of other shards too: equal in all shards at one place of the log."""
        return self.records + self.of_other_shards


class GenerationState(Struct, frozen=True):
    """The place where one generation of a source resumes: its position, and the `line` records before it, of all shards.

    Only the source can read the position, which is the `Chunk.position` of the last committed chunk. For a file it has path,
    device, inode, offset in bytes, and hashes of the bytes at the head and before the offset. The connector names the fields that
    promise P2 does not cover.
    """

    generation: int
    line: int
    position: dict[str, Any]


class Retired(Struct, frozen=True):
    """The sum of the generations that were read to their end and closed. `records`: of all shards."""

    generations: int = 0
    size_bytes: int = 0
    records: int = 0


class SourceState(Struct, frozen=True):
    """How far one source is: its open generations, ascending, the closed ones, and its counts."""

    generations: tuple[GenerationState, ...] = ()
    retired: Retired = Retired()
    counts: Counts = Counts()

    def next_generation(self) -> int:
        """The number of the next generation. Numbers start at 1 and have no gap."""
        return self.retired.generations + len(self.generations) + 1

    def open_generation(self, number: int) -> GenerationState | None:
        """An open generation, or None."""
        return next((each for each in self.generations if each.generation == number), None)

    def positions(self) -> dict[int, Mapping[str, Json]]:
        """The position where each open generation resumes, in the form that `Source.open` takes."""
        return {each.generation: each.position for each in self.generations}

    def with_generation(self, opened: GenerationState) -> SourceState:
        """The same with `opened` in place of its generation."""
        others = [other for other in self.generations if other.generation != opened.generation]
        return replace(self, generations=tuple(sorted([*others, opened], key=lambda each: each.generation)))

    def retire(self, closed: GenerationState, size_bytes: int) -> SourceState:
        """The same with `closed` added to the retired generations; it ended after `size_bytes`."""
        before = self.retired
        retired = Retired(before.generations + 1, before.size_bytes + size_bytes, before.records + closed.line)
        others = tuple(other for other in self.generations if other.generation != closed.generation)
        return replace(self, generations=others, retired=retired)


class OrderSummary(Struct, frozen=True):
    """The content of the order stage: the number of events, a hash of them in order, and the last released key.

    If not `active`, no sink and no window reads events, so they bypass the stage. The reading journal says when use of the stage
    began and ended.

    If `sorting` is not empty, the input is finished and sorted on disk (`process`). Then `held` counts the events that are not
    released yet, and `held_hash` is empty. "lines": the runs hold the events' lines too; "columns": only what windows need.
    """

    active: bool = False
    held: int = 0
    held_hash: str = ""
    released: int = 0
    last_released: tuple[int, int | str | tuple[tuple[int, int | str], ...], int] | None = None
    sorting: Sorting = ""


class State(Struct, frozen=True):
    """Everything that is known about the log.

    `order` is the stage itself; the checkpoint has its summary. Events enter the stage if `ordered`.
    """

    sources: Mapping[str, SourceState]
    counts: Counts
    categories: Mapping[str, CategoryTotal]
    order: OrderStage
    ordered: bool = False
    journal: JournalRun | None = None
    lost: Losses = NOTHING_LOST

    def source(self, name: str) -> SourceState:
        """How far a source is. A source that was never read has an empty state."""
        return self.sources.get(name) or SourceState()


def fresh_state(buffer_events: int, sorting: Sorting = "") -> State:
    """The state of a log that was never read."""
    from event_processor.aggregation.categories.totals import Totals  # noqa: PLC0415 - only to run
    from event_processor.engine.order import OrderStage  # noqa: PLC0415

    order = OrderStage(buffer_events, sorting=sorting)
    return State(sources={}, counts=Counts(), categories=Totals.of({}), order=order)


def summarise_order(stage: OrderStage, *, active: bool) -> OrderSummary:
    """The summary of what is held. Equal content gives an equal summary, however it came about.

    Keys are part of the content; places are not.
    """
    if stage.sorting:
        return OrderSummary(active, stage.waiting, "", stage.released_count, stage.last_released, stage.sorting)
    keyed = [event[:4] for event in stage.held]
    digest = xxhash.xxh3_128_hexdigest(msgspec.msgpack.encode(keyed)) if keyed else ""
    return OrderSummary(active, len(keyed), digest, stage.released_count, stage.last_released)
