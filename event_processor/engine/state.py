"""The state as one value, and its canonical form.

Owns: what `state` in the checkpoint says about the log. The types here are that form: their JSON Schema is the published one.
Always: frozen; a function of the sources' bytes, the configuration and the reading journal. Names and lengths of our own
files are not in it (see `checkpoint.py`, which adds them).
"""

from __future__ import annotations

from collections.abc import Mapping

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
    "FileState",
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


class FileState(Struct, frozen=True):
    """Where one generation of a file resumes: `offset` in bytes behind the last committed record, `line` records before it.

    Device and inode name the file for its life; `head_hash` is of its first min(4096, offset) bytes, `tail_hash` of the last
    min(4096, offset) before the offset.
    """

    generation: int
    path: str
    device: int
    inode: int
    offset: int
    line: int
    head_hash: str
    tail_hash: str

    def resume(self) -> dict[str, Json]:
        """What the source gave as `Chunk.resume`."""
        return {
            "path": self.path,
            "device": self.device,
            "inode": self.inode,
            "offset": self.offset,
            "head_hash": self.head_hash,
            "tail_hash": self.tail_hash,
        }


class Retired(Struct, frozen=True):
    """The generations that were read to their end and are closed, folded together."""

    files: int = 0
    size_bytes: int = 0
    records: int = 0


class SourceState(Struct, frozen=True):
    """How far one source is: its open generations, ascending, the closed ones, and its counts."""

    files: tuple[FileState, ...] = ()
    retired: Retired = Retired()
    counts: Counts = Counts()

    def next_generation(self) -> int:
        """The number of the next generation: they count from 1 without a gap."""
        return self.retired.files + len(self.files) + 1

    def file(self, generation: int) -> FileState | None:
        """An open generation, or None."""
        return next((file for file in self.files if file.generation == generation), None)

    def with_file(self, file: FileState) -> SourceState:
        """With `file` in the place of its generation."""
        others = [other for other in self.files if other.generation != file.generation]
        return replace(self, files=tuple(sorted([*others, file], key=lambda each: each.generation)))

    def without_file(self, file: FileState) -> SourceState:
        """With `file` closed: folded into the retired ones."""
        retired = Retired(self.retired.files + 1, self.retired.size_bytes + file.offset, self.retired.records + file.line)
        return replace(self, files=tuple(other for other in self.files if other.generation != file.generation), retired=retired)


class OrderSummary(Struct, frozen=True):
    """What the order stage holds, by content: how many events, a hash of them in order, and the last that was released."""

    held: int = 0
    held_hash: str = ""
    released: int = 0
    last_released: tuple[int, int | str | tuple[tuple[int, int | str], ...], int] | None = None


class State(Struct, frozen=True):
    """Everything that is known of the log. `order` is the stage itself; its summary stands in the checkpoint."""

    sources: Mapping[str, SourceState]
    counts: Counts
    categories: Mapping[str, CategoryTotal]
    order: OrderStage
    journal: JournalRun | None = None

    def source(self, name: str) -> SourceState:
        """How far a source is; nothing read of it yet is a state too."""
        return self.sources.get(name) or SourceState()


def fresh_state(buffer_events: int) -> State:
    """The state of a log of which nothing was read."""
    return State(sources={}, counts=Counts(), categories=Totals.of({}), order=OrderStage(buffer_events))


def summarise_order(stage: OrderStage) -> OrderSummary:
    """The summary of what is held: equal content gives an equal summary, however it came about. Keys are content too."""
    digest = xxhash.xxh3_128_hexdigest(msgspec.msgpack.encode(list(stage.held))) if stage.held else ""
    return OrderSummary(len(stage.held), digest, stage.released_count, stage.last_released)
