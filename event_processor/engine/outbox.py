"""The outbox and the lanes in the checkpoint, and the series that a commit writes.

Owns: `SeriesDocument`, `LaneDocument`, and what a commit asks of all series together.
Always: the sequence of a series is the number of records that its input has released, so that it is a function of the log and the
reading journal.
Never: reads a cursor, or knows a receiver.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from dataclasses import replace as dataclass_replace
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from event_processor.configuration.configuration import AGGREGATES, DEAD_LETTERS, EVENTS
from event_processor.engine.delivery.cursor import CursorDocument
from event_processor.engine.state import State
from event_processor.model.errors import StateError
from event_processor.storage.outbox import OutboxSeries, SeriesPlace, SeriesView

if TYPE_CHECKING:
    from event_processor.aggregation.documents import AggregateDocument

__all__ = [
    "NO_OUTBOX",
    "Detached",
    "LaneDocument",
    "Outbox",
    "SeriesDocument",
    "committed_series",
    "detached_places",
    "released_count",
]


class SeriesDocument(Struct, frozen=True):
    """The outbox of one input: the sequence of its last record, and the chain there.

    `first`: the sequence after which the series began, `first_chain` the chain there. The files are in `appended`. `sealed_after`: at this
    sequence a lane was detached last; later records are in other files, or in none.
    """

    sequence: int
    chain: str
    first: int
    first_chain: str = ""
    sealed_after: int | msgspec.UnsetType = msgspec.UNSET


class Detached(Struct, frozen=True):
    """Where a lane was detached: the sequence of its last record, the chain there, and how many records had been read by then."""

    after: int
    chain: str
    records: int


class LaneDocument(Struct, frozen=True, omit_defaults=True):
    """One lane: its input, the sequence after which it started and the chain there, and its target (JSON without secrets).

    `detached`: the records after a sequence are not for it, until an operator attaches it.
    """

    input: str
    started_after: int = msgspec.field(name="from")
    chain: str
    target: dict[str, Any]
    detached: Detached | None = None

    def shares(self, cursor: CursorDocument, released: int) -> tuple[int, int]:
        """How many records up to the sequence `released` wait for it, and how many are skipped because it is detached."""
        if self.detached is None:
            return cursor.pending(released), 0
        pending = cursor.pending_through(self.detached.after)
        return pending, max(0, cursor.pending(released) - pending)


def detached_places(lanes: Mapping[str, LaneDocument], input_name: str) -> dict[str, SeriesPlace]:
    """The lanes of an input that are detached, each with its last record."""
    of_input = {name: lane.detached for name, lane in lanes.items() if lane.input == input_name}
    return {name: (each.after, each.chain) for name, each in of_input.items() if each is not None}


def committed_series(
    directory: str, lane: LaneDocument, series: SeriesDocument, appended: Mapping[str, int], name: str
) -> SeriesView:
    """What a checkpoint covers of the series for the lane `name`, for a process that only reads. `directory` is the state's."""
    view = SeriesView.of(directory, lane.input, appended=appended, sequence=series.sequence, chain=series.chain)
    return dataclass_replace(view, detached=detached_places({name: lane}, lane.input)).for_lane(name)


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

    `is_saved`: the checkpoint that was loaded has exactly these series and lanes. `bytes_max`: at so many undelivered bytes it is full; then
    the slowest lane is detached (`detaches`), or the sources pause. None: a replica sends nothing, so its outbox is never full.
    """

    series: Mapping[str, OutboxSeries] = field(default_factory=dict)
    began: Mapping[str, SeriesDocument] = field(default_factory=dict)
    lanes: dict[str, LaneDocument] = field(default_factory=dict)
    is_saved: bool = True
    bytes_max: int | None = None
    detaches: bool = False

    def documents(self) -> dict[str, SeriesDocument]:
        """The series as they are now, for the checkpoint."""
        return {
            name: replace(
                self.began[name], sequence=each.sequence, chain=each.chain, sealed_after=each.sealed_after or msgspec.UNSET
            )
            for name, each in self.series.items()
        }

    def has_room(self) -> bool:
        """Whether the sources may be read. If slow lanes are detached, they never wait."""
        return self.detaches or not self.is_full()

    def is_full(self) -> bool:
        """Whether the bytes that wait have reached the limit."""
        return self.bytes_max is not None and bool(self.series) and self.undelivered_bytes() >= self.bytes_max

    def detach_slowest(self, records: int, *, grows: bool) -> Sequence[str]:
        """Detaches the slowest lanes if the outbox is full and grows, until it is not full. Returns them.

        Call it in a commit, before the series are written. `records`: how many were read before its batch. If we die before its
        checkpoint, nothing was detached.
        """
        detached: list[str] = []
        while grows and self.detaches and self.is_full():
            waiting: dict[str, int] = {}
            for each in self.series.values():
                if (found := each.waiting_bytes) is None:
                    # What no lane has looked at yet is no reason: at a start everything seems to wait.
                    return detached
                waiting |= found
            slowest = max(waiting, key=lambda name: waiting[name])
            self._detach(slowest, records)
            detached.append(slowest)
        return detached

    def _detach(self, name: str, records: int) -> None:
        lane = self.lanes[name]
        others = [each for other, each in self.lanes.items() if other != name and each.input == lane.input]
        is_read = any(each.detached is None for each in others)
        after, chain = self.series[lane.input].detach(name, is_read=is_read)
        self.lanes[name] = replace(lane, detached=Detached(after, chain, records))

    def has_spare_files(self) -> bool:
        """Whether the next commit would leave files out that every lane has passed."""
        return any(each.has_spare_files for each in self.series.values())

    def undelivered_bytes(self) -> int:
        """The bytes that wait for the slowest lane of each series that is not detached, of all series together."""
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
