"""The outbox and the lanes in the checkpoint, and the series that a commit writes.

Owns: `SeriesDocument`, `LaneDocument`, and what a commit asks of all series together.
Always: the sequence of a series is the number of records that its input has released, so that it is a function of the log and the
reading journal.
Never: reads a cursor, or knows a receiver.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from event_processor.aggregation.aggregates import AggregateDocument
from event_processor.configuration.configuration import AGGREGATES, DEAD_LETTERS, EVENTS
from event_processor.engine.state import State
from event_processor.model.errors import StateError
from event_processor.storage.outbox import OutboxSeries

__all__ = ["NO_OUTBOX", "LaneDocument", "Outbox", "SeriesDocument", "released_count"]


class SeriesDocument(Struct, frozen=True):
    """The outbox of one input: the sequence of its last record, and the chain there.

    `first`: the sequence after which the series began, `first_chain` the chain there. The files are in `appended`.
    """

    sequence: int
    chain: str
    first: int
    first_chain: str = ""


class LaneDocument(Struct, frozen=True):
    """One lane: its input, the sequence after which it started and the chain there, and its target (JSON without secrets)."""

    input: str
    started_after: int = msgspec.field(name="from")
    chain: str
    target: dict[str, Any]


def released_count(input_name: str, state: State, aggregates: Mapping[str, AggregateDocument]) -> int | None:
    """How many records `input_name` has released since the state began; None if a state of version 1 did not count them."""
    if input_name == EVENTS:
        return state.order.released_count
    if input_name == DEAD_LETTERS:
        return state.counts.rejected
    document = aggregates.get(input_name.removeprefix(f"{AGGREGATES}."))
    return document.rows if document else 0


@dataclass(frozen=True, slots=True)
class Outbox:
    """The series by input, how each began, and the lanes by the name of their sink.

    `is_saved`: the checkpoint that was loaded has exactly these series and lanes.
    """

    series: Mapping[str, OutboxSeries] = field(default_factory=dict)
    began: Mapping[str, SeriesDocument] = field(default_factory=dict)
    lanes: Mapping[str, LaneDocument] = field(default_factory=dict)
    is_saved: bool = True

    def documents(self) -> dict[str, SeriesDocument]:
        """The series as they are now, for the checkpoint."""
        return {name: replace(self.began[name], sequence=each.sequence, chain=each.chain) for name, each in self.series.items()}

    def has_spare_files(self) -> bool:
        """Whether the next commit would leave files out that every lane has passed."""
        return any(each.has_spare_files for each in self.series.values())

    def undelivered_bytes(self) -> int:
        """The bytes that wait for the slowest lane of each series, of all series together."""
        return sum(each.undelivered_bytes for each in self.series.values())

    def batch_begun(self, begun_s: float) -> None:
        """The next commit writes a batch that was begun at `begun_s` of the monotonic clock."""
        for each in self.series.values():
            each.batch_begun(begun_s)

    def require_sequences(self, state: State, aggregates: Mapping[str, AggregateDocument]) -> None:
        """Raises `StateError` if a series has more or fewer records than its input has released."""
        for name, each in self.series.items():
            released = released_count(name, state, aggregates)
            if released is not None and released != each.sequence:
                raise StateError(
                    f"the outbox of {name} ends at sequence {each.sequence}, but {released} records were released",
                    hint="restore the newest state from a backup, or move the state aside: event-processor reset",
                )


NO_OUTBOX = Outbox()
