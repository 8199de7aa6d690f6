"""The step: from the state before a chunk, its decoded columns and the index's answers to the state after it. Pure.

Owns: the outcome of every record, conservation, and the path of an event through totals and order.
Always: the same inputs give the same result. The index is asked in the order of the log, and its answers are an input.
Never: reads, writes or measures time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol, TypeAlias

import numpy as np
from msgspec import UNSET
from msgspec.structs import replace

from event_processor.aggregation.aggregates import Aggregates, WindowRows
from event_processor.aggregation.categories.shown import timestamp_texts
from event_processor.aggregation.categories.totals import AcceptedEvents, CategoryTotal, add_batch
from event_processor.columns.event_slices import Arrivals, Origin
from event_processor.columns.event_tables import EventTable
from event_processor.columns.timestamps import TimestampReader
from event_processor.deduplication.shards import Shard
from event_processor.engine.dead_letters import encode_dead_letters, letters_of
from event_processor.engine.journal import (
    IdleRelease,
    InputFinished,
    JournalEntry,
    JournalRun,
    LossesAcknowledged,
    LossFound,
    OrderEnded,
    OrderStarted,
    RetiredGeneration,
)
from event_processor.engine.order import Ordered
from event_processor.engine.stages import IDS, ORDER, unmeasured
from event_processor.engine.state import Counts, GenerationState, State
from event_processor.model.columns import BoolArray, CategoryColumn, Columns, Ids, IntArray, PreparedIds, TimestampColumn
from event_processor.model.contracts import NOTHING_RELEASED, Released
from event_processor.model.event import Chunk, DeadLetter
from event_processor.model.losses import Loss
from event_processor.model.rejections import Fault, Rejections

__all__ = [
    "KnownIds",
    "Memory",
    "Step",
    "StepOptions",
    "acknowledge",
    "advance",
    "begin_order",
    "end_order",
    "finish",
    "lose",
    "release_held",
    "release_sorted",
]


class KnownIds(Protocol):
    """The calls that the step makes to the index of seen ids; `contracts.SeenIds` says what each answer means."""

    def observe(self, ids: Ids, prepared: PreparedIds | None = None) -> BoolArray:
        """Marks each id that is seen for the first time, and remembers all."""
        ...

    def contains(self, ids: Ids) -> BoolArray:
        """Marks each id that was seen; remembers none."""
        ...


Keep: TypeAlias = Callable[[Chunk, Columns | None, BoolArray, BoolArray, int], None]
"""Takes a chunk with its columns, which of its valid events are accepted, and which are over the category limit, and how many records
its source had before. Without columns, the chunk is one record over the size limit."""
_NONE: Final[BoolArray] = np.zeros(0, np.bool_)


def kept_nowhere(_chunk: Chunk, _columns: Columns | None, _accepted: BoolArray, _over_limit: BoolArray, _first: int) -> None:
    """Keeps no outcome."""


@dataclass(frozen=True, slots=True)
class Memory:
    """What remembers events besides the state, and answers in the order in which it is asked. It is an input of the step.

    The aggregates cannot undo a step. If a step is discarded, the process must end.
    """

    ids: KnownIds
    aggregates: Aggregates
    passed: Callable[[str], None] = unmeasured
    """Told which part of a step is done, so that a caller can measure it."""
    keep: Keep = kept_nowhere
    """Told the outcomes of each chunk, so that a caller can say later what a record counted as."""


@dataclass(frozen=True, slots=True)
class StepOptions:
    """The part of the configuration that the step depends on."""

    categories_max: int
    order_by_timestamp: bool
    timestamps: TimestampReader
    shard: Shard | None = None

    def timestamp_texts(self, column: TimestampColumn) -> Sequence[str | None]:
        """The records' timestamps as the checkpoint shows them; None for a record without one."""
        return timestamp_texts(self.timestamps, column)


@dataclass(frozen=True, slots=True)
class Step:
    """The state after a chunk, and the results of the chunk.

    `released` is for the sinks; so are `rows`, the rows of the windows that closed. `dead_letters` are lines already.
    `journal_closed` are entries of the reading journal that will not grow any more. `waiting` are events for the sorted runs.
    """

    state: State
    counts: Counts
    released: Released
    dead_letters: Released
    journal_closed: Sequence[JournalEntry]
    rows: WindowRows = field(default_factory=dict)
    waiting: Sequence[EventTable] = ()


@dataclass(frozen=True, slots=True)
class _Judged:
    """Which of a chunk's valid events are accepted, and which are over the category limit; both of length m."""

    accepted: BoolArray
    over_limit: BoolArray


def advance(state: State, chunk: Chunk, columns: Columns | None, memory: Memory, options: StepOptions) -> Step:
    """The state after `chunk`. `columns` is None if it has no record to decode: an oversized record, or no record."""
    before = state.source(chunk.source)
    opened = before.open_generation(chunk.generation)
    line = opened.line if opened else 0
    if columns is None:
        if chunk.oversized_bytes:
            memory.keep(chunk, None, _NONE, _NONE, before.counts.read)
        return _advance_without_columns(state, chunk, line, options.shard)
    judged = _judge(state.categories, columns, memory.ids, options.categories_max)
    memory.keep(chunk, columns, judged.accepted, judged.over_limit, before.counts.read)
    memory.passed(IDS)
    accepted = _take(columns, judged.accepted)
    origin = Origin(chunk.source, chunk.generation, chunk.offset, line, state.counts.read, chunk.places)
    ordered = _order(state, columns, judged.accepted, accepted, origin=origin, memory=memory, options=options)
    rows = memory.aggregates.release(ordered.slices)
    memory.passed(ORDER)
    dead_letters = _dead_letters(chunk, columns, judged.over_limit, line)
    counts = Counts(
        records=columns.record_count - columns.foreign_count,
        accepted=len(accepted.ids),
        duplicate=len(columns.ids) - len(accepted.ids) - int(np.count_nonzero(judged.over_limit)),
        rejected=dead_letters.count,
        blank=columns.blank_count,
        late=ordered.late,
        foreign=UNSET if options.shard is None else columns.foreign_count,
    )
    categories = add_batch(state.categories, accepted, options.timestamp_texts) if len(accepted.ids) else state.categories
    moved, closed = _move(state, chunk, line, counts)
    after = replace(moved, categories=categories, order=ordered.stage)
    return Step(after, counts, ordered.released, dead_letters, closed, rows, ordered.waiting)


def release_held(state: State, aggregates: Aggregates) -> Step:
    """Flushes the order buffer: the log is idle, or its end was requested.

    The run in the reading journal is closed first, so that a recomputation releases at the same place.
    """
    ordered = state.order.release_all()
    run: list[JournalEntry] = [state.journal] if state.journal else []
    closed = [*run, IdleRelease(state.counts.read)]
    after = replace(state, order=ordered.stage, journal=None)
    return Step(after, Counts(), ordered.released, NOTHING_RELEASED, closed, aggregates.release(ordered.slices))


def release_sorted(state: State, table: EventTable, aggregates: Aggregates) -> Step:
    """Releases the next events of finished input that was sorted on disk."""
    ordered = state.order.release(table)
    after = replace(state, order=ordered.stage)
    return Step(after, Counts(), ordered.released, NOTHING_RELEASED, (), aggregates.release(ordered.slices))


def begin_order(state: State) -> tuple[State, Sequence[JournalEntry]]:
    """From the next event on, the order stage is used, because something reads events now.

    Returns the state, and the entries of the reading journal that say so.
    """
    run: list[JournalEntry] = [state.journal] if state.journal else []
    return replace(state, ordered=True, journal=None), [*run, OrderStarted(state.counts.read)]


def end_order(state: State) -> tuple[State, Sequence[JournalEntry]]:
    """From the next event on, the order stage is bypassed, because nothing reads events any more.

    What it holds is released to no reader. Returns as `begin_order` does.
    """
    run: list[JournalEntry] = [state.journal] if state.journal else []
    ended = replace(state, ordered=False, order=state.order.release_all().stage, journal=None)
    return ended, [*run, OrderEnded(state.counts.read)]


def finish(state: State, aggregates: Aggregates) -> Step:
    """Closes the windows, because the input is finished. The reading journal records the place, as for `release_held`."""
    run: list[JournalEntry] = [state.journal] if state.journal else []
    closed = [*run, InputFinished(state.counts.read)]
    return Step(replace(state, journal=None), Counts(), NOTHING_RELEASED, NOTHING_RELEASED, closed, aggregates.finish())


def lose(state: State, loss: Loss) -> tuple[State, Sequence[JournalEntry]]:
    """Remembers that input is lost. Returns the state, and the entry of the reading journal; none if the loss is known."""
    lost = state.lost.adding(loss)
    return (state, []) if lost is state.lost else (replace(state, lost=lost), [LossFound(loss)])


def acknowledge(state: State, seen: LossesAcknowledged) -> tuple[State, Sequence[JournalEntry]]:
    """Forgets the losses that a person has seen. Returns as `lose` does."""
    lost = state.lost.acknowledging(seen.losses, seen.unlisted)
    return (state, []) if lost is state.lost else (replace(state, lost=lost), [seen])


def _advance_without_columns(state: State, chunk: Chunk, line: int, shard: Shard | None) -> Step:
    """Advances over a chunk that is one record over the size limit, or that only moves the position."""
    if not chunk.oversized_bytes:
        moved, closed = _move(state, chunk, line, Counts())
        return Step(moved, Counts(), NOTHING_RELEASED, NOTHING_RELEASED, closed)
    offset = chunk.offset if chunk.places is None else int(chunk.places[0])
    if shard is not None and not shard.owns_places(chunk.source, chunk.generation, np.array([offset]))[0]:
        counts = Counts(foreign=1)
        moved, closed = _move(state, chunk, line, counts)
        return Step(moved, counts, NOTHING_RELEASED, NOTHING_RELEASED, closed)
    letter = DeadLetter(
        source=chunk.source,
        generation=chunk.generation,
        line=line + 1,
        offset=offset,
        stage="read",
        reason="record over the size limit (record_bytes_max)",
        field="",
        length=chunk.oversized_bytes,
    )
    counts = Counts(records=1, rejected=1, foreign=UNSET if shard is None else 0)
    moved, closed = _move(state, chunk, line, counts)
    return Step(moved, counts, NOTHING_RELEASED, encode_dead_letters([letter]), closed)


def _judge(categories: Mapping[str, CategoryTotal], columns: Columns, ids: KnownIds, categories_max: int) -> _Judged:
    """Decides for each valid event, in log order: accepted, duplicate or over the category limit.

    A record rejected for its category reserves no id, and a duplicate opens no category. So if the limit is near, events are
    judged in runs that cannot cross it.
    """
    count = len(columns.ids)
    if columns.categories is None:
        return _Judged(ids.observe(columns.ids, columns.prepared_ids), np.zeros(count, dtype=np.bool_))
    room = categories_max - len(categories)
    if len(columns.categories.names) <= room or sum(name not in categories for name in columns.categories.names) <= room:
        return _Judged(ids.observe(columns.ids, columns.prepared_ids), np.zeros(count, dtype=np.bool_))
    return _judge_near_limit(set(categories), columns, columns.categories, ids, categories_max)


def _judge_near_limit(known: set[str], columns: Columns, column: CategoryColumn, ids: KnownIds, categories_max: int) -> _Judged:
    """As `_judge`, if there are more new categories than room. A duplicate is a duplicate whatever its category."""
    categories = [column.names[code] for code in column.codes.tolist()]
    accepted = np.zeros(len(categories), dtype=np.bool_)
    over_limit = np.zeros(len(categories), dtype=np.bool_)
    start = 0
    while start < len(categories):
        rows, end = _run_within(known, categories, start, categories_max - len(known))
        over_limit[start:end] = True
        over_limit[rows] = False
        left_out = (start + np.flatnonzero(over_limit[start:end])).tolist()
        were_seen = ids.contains(columns.ids.picked(np.array(left_out, np.int64))).tolist()
        accepted[rows] = ids.observe(columns.ids.picked(np.array(rows, np.int64)))
        known.update(categories[row] for row in rows if accepted[row])
        first_rows = {columns.ids[row]: row for row in rows if accepted[row]}
        for row, was_seen in zip(left_out, were_seen, strict=True):
            over_limit[row] = not was_seen and first_rows.get(columns.ids[row], end) > row
        start = end
    return _Judged(accepted, over_limit)


def _run_within(known: set[str], categories: Sequence[str], start: int, room: int) -> tuple[list[int], int]:
    """The rows from `start` that can be judged together, and the end of the run: they open at most `room` categories.

    If there is no room at all, rows of new categories are left out of the run, and it goes to the end.
    """
    opened: set[str] = set()
    rows: list[int] = []
    for row in range(start, len(categories)):
        category = categories[row]
        if category not in known and category not in opened:
            if room == 0:
                continue
            if len(opened) == room:
                return rows, row
            opened.add(category)
        rows.append(row)
    return rows, len(categories)


def _take(columns: Columns, accepted: BoolArray) -> AcceptedEvents:
    """The accepted events by column."""
    if accepted.all():
        return AcceptedEvents(columns.ids, columns.categories, columns.values, columns.has_value, columns.timestamps)
    places = np.flatnonzero(accepted)
    categories = columns.categories
    return AcceptedEvents(
        ids=columns.ids.picked(places),
        # Some of these names may occur only in duplicates. To find out would take longer than to add nothing to them.
        categories=None if categories is None else CategoryColumn(categories.codes[places], categories.names),
        values=None if columns.values is None else columns.values[places],
        has_value=None if columns.has_value is None else columns.has_value[places],
        timestamps=None if columns.timestamps is None else _Chosen(columns.timestamps, places),
    )


@dataclass(frozen=True, slots=True)
class _Chosen:
    """The timestamps at some places of a column, looked up only on demand: most are never needed."""

    column: TimestampColumn
    places: IntArray

    def picked(self, places: IntArray) -> TimestampColumn:
        return self.column.picked(self.places[places])

    def to_list(self) -> Sequence[object]:
        return self.column.picked(self.places).to_list()

    def spans(self) -> tuple[bytes, IntArray, IntArray] | None:
        return self.column.picked(self.places).spans()


def _order(
    state: State,
    columns: Columns,
    accepted: BoolArray,
    events: AcceptedEvents,
    *,
    origin: Origin,
    memory: Memory,
    options: StepOptions,
) -> Ordered:
    """Passes the accepted events to the aggregates that need no order, and through the order stage."""
    count = len(events.ids)
    if not count or not (state.ordered or memory.aggregates.accepts):
        return Ordered(state.order)
    arrivals = Arrivals(columns, accepted, events.ids, origin, by_timestamp=options.order_by_timestamp)
    if memory.aggregates.accepts:
        memory.aggregates.accept(arrivals.between(0, count), None if options.shard is None else arrivals.sequences)
    return state.order.push(arrivals) if state.ordered else Ordered(state.order)


def _dead_letters(chunk: Chunk, columns: Columns, over_limit: BoolArray, line: int) -> Released:
    """The rejected records of the chunk, in log order."""
    rejections = Rejections.of(columns.rejections)
    if over_limit.any():
        rows = columns.rows[over_limit]
        beyond = Rejections(rows, np.zeros(len(rows), np.int64), [Fault("category limit", "category", "totals")])
        rejections = Rejections.joined([rejections, beyond])
    return letters_of(chunk, columns, rejections, line)


def _move(state: State, chunk: Chunk, line: int, counts: Counts) -> tuple[State, list[JournalEntry]]:
    """The state after the chunk's bytes, and the journal runs that this closes."""
    before = state.source(chunk.source)
    moved = GenerationState(chunk.generation, line + counts.read, dict(chunk.position))
    after = before.retire(moved, chunk.end_offset) if chunk.retired else before.with_generation(moved)
    after = replace(after, counts=before.counts + counts)
    journal, closed = _journal(state.journal, chunk)
    if chunk.retired:
        closed.append(RetiredGeneration(chunk.source, chunk.generation, moved.position, chunk.end_offset))
    sources = {**state.sources, chunk.source: after}
    return replace(state, sources=sources, counts=state.counts + counts, journal=journal), closed


def _journal(run: JournalRun | None, chunk: Chunk) -> tuple[JournalRun | None, list[JournalEntry]]:
    """The open run after `chunk`, and the run that it closes, if any. Adjacent runs are merged.

    They are not merged after a record without a line end: what was appended to it later is a separate record, and stays one.
    """
    if chunk.end_offset == chunk.offset:
        return run, []
    final = chunk.final and not chunk.content.endswith(b"\n")
    if run and not run.final and (run.source, run.generation, run.end) == (chunk.source, chunk.generation, chunk.offset):
        return replace(run, end=chunk.end_offset, final=final), []
    opened = JournalRun(chunk.source, chunk.generation, chunk.offset, chunk.end_offset, final)
    return opened, [run] if run else []
