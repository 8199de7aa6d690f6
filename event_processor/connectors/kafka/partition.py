"""One partition of a source: its position, and what was fetched of it.

Owns: `Partition`: how fetched records become chunks, and whether its end was reached.
Always: the position moves only with a chunk. Chunks of a generation follow each other without a gap.
Never: talks to a broker.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from msgspec.structs import replace

from event_processor.connectors.kafka.positions import PartitionPosition
from event_processor.connectors.kafka.records import Fetched
from event_processor.model.event import Chunk

__all__ = ["Partition"]


@dataclass(slots=True)
class Partition:
    """`fetched`: the offset after the last fetched record. `end`: where the broker said that the log ends, if it did since.

    `queue`: what was fetched and not handed on, and when, oldest first.
    """

    generation: int
    position: PartitionPosition
    fetched: int
    end: int | None = None
    queue: deque[tuple[Fetched, float]] = field(default_factory=deque)
    lost_since_s: float | None = None
    """Since when the broker does not know the offset; None if it does."""

    @property
    def is_at_end(self) -> bool:
        """Whether everything that the broker had was fetched and handed on."""
        return not self.queue and self.end is not None and self.end >= self.fetched

    @property
    def queued(self) -> int:
        """How many records were fetched and not handed on."""
        return sum(len(fetched) for fetched, _ in self.queue)

    def add(self, fetched: Fetched, end: int, now_s: float) -> None:
        """Adds what was fetched just now, up to the offset `end`."""
        self.queue.append((fetched, now_s))
        self.fetched = end

    def is_ready(self, verified_s: float) -> bool:
        """Whether it has records of which we know that they are of our topic: its id was asked for after they were fetched."""
        return bool(self.queue) and self.queue[0][1] <= verified_s

    def opened(self, source: str) -> Chunk:
        """A chunk without records: it says that the generation exists, and where it begins."""
        return Chunk(source, self.generation, self.position.offset, b"", self.position.to_json())

    def chunk(self, source: str, bytes_max: int, *, end: int | None = None) -> Chunk:
        """The next chunk: at least one record, none from the offset `end` on."""
        fetched, _ = self.queue[0]
        records = fetched.take(bytes_max, end=end)
        if fetched.is_empty:
            self.queue.popleft()
        begin, before = self.position.offset, self.position
        self.position = replace(
            before,
            offset=int(records.places[-1]) + 1,
            epoch=records.epoch,
            records=before.records + len(records.places),
            bytes=before.bytes + records.size_bytes,
            siblings=None,
        )
        return Chunk(
            source,
            self.generation,
            begin,
            records.content,
            self.position.to_json(),
            oversized_bytes=records.oversized_bytes,
            own=records.own,
            places=records.places,
        )
