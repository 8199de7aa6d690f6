"""The contract of what a transactional receiver has committed, as `verify --sink` compares it with the log.

Owns: `CommittedRows`, `RowComparison`, what they are handed and what they return.
Always: everything is read from one snapshot of the receiver, so a daemon that goes on writing changes no answer.
Never: takes the lane's cursor or its fence; changes anything at the receiver.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

from event_processor.model.event import Json
from event_processor.model.transactions import CursorOwner, RemoteCursor

__all__ = ["CommittedRows", "LaneOfRows", "ReleasedRecord", "RowComparison", "RowCounts", "RowDifference", "RowsCompared"]


class ReleasedRecord(NamedTuple):
    """A record as the log gives it again. `place` and `content` are JSON objects; `chain` is that of the outbox."""

    sequence: int
    place: bytes
    chain: str
    content: bytes


@dataclass(frozen=True, slots=True)
class LaneOfRows:
    """The lane whose rows are compared, from the state's side.

    `started_after`, `chain`: where it started. `earlier`: names that it had before, each with the last sequence whose row may have it; None
    if every row may. `siblings`: other lanes of the sink, whose rows may replace a row with the same key. `enriched`: the dotted
    fields that its enrichers set, which the log does not have.
    """

    owner: CursorOwner
    started_after: int
    chain: str
    earlier: tuple[tuple[str, int | None], ...] = ()
    siblings: tuple[str, ...] = ()
    enriched: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RowDifference:
    """One place where the receiver's content differs from the log. A value is None if it is absent.

    `words`: what is compared. `sequence`: of the record; None if it is none. `place`: of the record. `column`: empty for a whole row.
    """

    words: str
    committed: Json
    recomputed: Json
    sequence: int | None = None
    place: Mapping[str, Any] = field(default_factory=dict)
    column: str = ""


@dataclass(frozen=True, slots=True)
class RowsCompared:
    """What was compared of one lane, up to its cursor. `rows`: those in the table under the lane's name, more than expected ones too.

    `replaced`: records whose row was replaced by one with the same key. `failed`, `skipped`: records that are kept as failed rows.
    `columns_not_compared`: those that depend on an enricher. `unfilled`: by column, rows from before the column was added.
    `of_shards`: rows of other shards of the pipeline, which have the same names and another place.
    `differing`: all differences; `differences`: the first ones, by sequence. `gone`: how many places of the receiver are gone, so that their records
    cannot be compared. `notes`: what a person should know, in words.
    """

    through: int
    rows: int
    replaced: int
    failed: int
    skipped: int
    columns_not_compared: tuple[str, ...]
    unfilled: Mapping[str, int]
    of_shards: int
    differing: int
    differences: tuple[RowDifference, ...]
    gone: int = 0
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RowCounts:
    """All rows of a table: those under the names of some lanes (`own`), of these the ones at or before a sequence (`before`), and `others`."""

    own: int
    before: int
    others: int


class RowComparison(Protocol):
    """Compares the rows of one lane. Used by one thread at a time. Both methods may raise `EventProcessorError`."""

    def compare(self, records: Sequence[ReleasedRecord]) -> None:
        """The next records of the lane's input, without a gap. Those at or before the lane's start, or after its cursor, are passed over."""
        ...

    def finish(self) -> RowsCompared:
        """No record follows."""
        ...


class CommittedRows(Protocol):
    """The committed rows of one sink, and its lanes' cursors, in one snapshot. Used by one thread at a time.

    Every method but `close` may raise `NotAnsweredError` if the receiver does not answer, `ConfigurationError`, and `StateError`.
    """

    @property
    def kind(self) -> str:
        """What `table` is, for people: "table", "objects"."""
        ...

    @property
    def noun(self) -> str:
        """What holds the cursor, for people: "database", "manifest"."""
        ...

    @property
    def table(self) -> str:
        """Where the rows are, for people."""
        ...

    def obstacle(self, lane: LaneOfRows) -> str:
        """Why the rows of a lane cannot be compared, in words; "" if they can."""
        ...

    def cursor(self, lane: LaneOfRows) -> RemoteCursor | None:
        """The lane's cursor, also under an earlier name; None if there is none. Raises `StateError` if another state owns it."""
        ...

    def comparison(self, lane: LaneOfRows, cursor: RemoteCursor, differences_max: int) -> RowComparison:
        """Compares the rows of a lane that has no obstacle, up to `cursor`."""
        ...

    def counts(self, lanes: Sequence[LaneOfRows]) -> RowCounts:
        """How many rows are of these lanes; `before`: at or before the start of the first one."""
        ...

    def close(self) -> None:
        """Ends the snapshot."""
        ...
