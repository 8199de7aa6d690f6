"""The independent model of the whole pipeline: from the bytes of logs to everything that a checkpoint and a sink must say.

Owns: outcomes, totals, order. Each is computed by its definition, over everything at once, with no batches, no restarts and
no care for speed.
Always: nothing of the program under test is imported, so that an error there cannot repeat itself here.

Where the promises leave room, this is what holds here: a byte order mark counts only in the first three bytes of a file, and
is no part of the record that sinks get, which then stands at offset 3; a line over the limit is rejected even if it is blank; a limit is on a line without
its end; `mean` divides the exact sum by the events that have a value, and is rounded once; `min` and `max` are None and `sum` is 0.0 without
parts where no event had a value; several sources that meet in the order stage are placed by the reading order.
"""

from __future__ import annotations

import bisect
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Final, TypeAlias

from support.reference_records import (
    BOM,
    Fields,
    Id,
    Line,
    ParsedEvent,
    RejectedRecordError,
    canonical_timestamp,
    cut_lines,
    parse_event,
)

__all__ = ["CategoryTotal", "Fields", "Options", "Piece", "Reference", "Rejected", "evaluate", "evaluate_pieces", "expansion"]

COUNT_NAMES: Final = ("records", "accepted", "duplicate", "rejected", "blank", "late")
Key: TypeAlias = "tuple[object, ...]"


@dataclass(frozen=True, slots=True)
class Options:
    """What the result depends on beside the bytes.

    `finished`: the input has an end, which ends its last line. `drained`: what the order stage holds at the end is let go.
    `buffer_events` 0: events are not put in order.
    """

    fields: Fields = field(default_factory=Fields)
    record_bytes_max: int = 1_048_576
    dedup: bool = True
    order_by: str = "id"
    buffer_events: int = 1024
    categories_max: int = 100_000
    finished: bool = False
    drained: bool = True


@dataclass(frozen=True, slots=True)
class Piece:
    """Some bytes of one part of a source, in the order in which they were read; the pieces of a part follow on each other."""

    source: str
    content: bytes
    generation: int = 0


@dataclass(frozen=True, slots=True)
class Rejected:
    """Where a rejected record stands: its line from 1, its offset, and its length in bytes without the line's end.

    `stage`: "source" for a line over the limit, "event" for one that is no event, "totals" for one category too many.
    """

    source: str
    generation: int
    line: int
    offset: int
    length: int
    stage: str


@dataclass(frozen=True, slots=True)
class CategoryTotal:
    """One category's totals, under the names that the checkpoint gives them."""

    count: int
    sum: float
    sum_parts: list[float]
    min: float | None
    max: float | None
    mean: float | None
    first_id: Id
    last_id: Id
    last_timestamp: str | None
    values: int


@dataclass(frozen=True, slots=True)
class Reference:
    """What must come out. `released` are the records in the order in which a sink gets them; `held` those that still wait.

    `released_places`: source, generation, offset and line of each released record.
    """

    counts: dict[str, int]
    source_counts: dict[str, dict[str, int]]
    categories: dict[str, CategoryTotal]
    rejected: list[Rejected]
    released: list[bytes]
    held: list[bytes]
    released_places: list[tuple[str, int, int, int]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Accepted:
    """An accepted event: its key by id, its key in the order stage, and its place in the reading order."""

    id: Id
    id_key: Key
    order_key: Key
    category: str
    value: float | None
    timestamp_ns: int | None
    record: bytes
    record_place: tuple[str, int, int, int]


def evaluate(content: bytes, options: Options | None = None, *, source: str = "events") -> Reference:
    """What one log must give."""
    return evaluate_pieces([Piece(source, content)], options)


def evaluate_pieces(pieces: Sequence[Piece], options: Options | None = None) -> Reference:
    """What several logs must give, read in the order of `pieces`. A record belongs to the piece in which it ends."""
    pipeline = _Pipeline(options or Options())
    for piece, line in _reading_order(pieces, finished=pipeline.options.finished):
        pipeline.read(piece, line)
    return pipeline.result()


def expansion(total: Fraction) -> list[float]:
    """The canonical expansion: each part is the correctly rounded rest, until nothing is left. Zero has no parts."""
    parts = []
    while total:
        parts.append(float(total))
        total -= Fraction(parts[-1])
    return parts


def _reading_order(pieces: Sequence[Piece], *, finished: bool) -> list[tuple[Piece, Line]]:
    whole: dict[tuple[str, int], bytes] = {}
    for piece in pieces:
        part = (piece.source, piece.generation)
        whole[part] = whole.get(part, b"") + piece.content
    waiting = {part: deque(cut_lines(content, finished=finished)) for part, content in whole.items()}
    read_bytes: Counter[tuple[str, int]] = Counter()
    order = []
    for piece in pieces:
        part = (piece.source, piece.generation)
        read_bytes[part] += len(piece.content)
        while waiting[part] and waiting[part][0].end <= read_bytes[part]:
            order.append((piece, waiting[part].popleft()))
    return order


def _id_key(event_id: Id) -> Key:
    """Integers by value stand before strings by code point; several parts count one after the other."""
    if isinstance(event_id, tuple):
        return tuple(_id_key(part) for part in event_id)
    return (0, event_id) if isinstance(event_id, int) else (1, event_id)


class _Pipeline:
    """The records so far, one at a time."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.counts: dict[str, Counter[str]] = {}
        self.rejected: list[Rejected] = []
        self.accepted: list[_Accepted] = []
        self.late = 0
        self.seen: set[Key] = set()
        self.categories: set[str] = set()

    def read(self, piece: Piece, line: Line) -> None:
        """Gives one record its one outcome."""
        counts = self.counts.setdefault(piece.source, Counter())
        counts["records"] += 1
        counts[self._outcome(piece, line)] += 1

    def _outcome(self, piece: Piece, line: Line) -> str:
        if len(line.record) > self.options.record_bytes_max:
            return self._reject(piece, line, "source")
        if line.offset == 0 and line.record.startswith(BOM):
            line = replace(line, offset=len(BOM), record=line.record.removeprefix(BOM))
        record = line.record
        if not record.strip(b" \t\r"):
            return "blank"
        try:
            event = parse_event(record, self.options.fields)
        except RejectedRecordError:
            return self._reject(piece, line, "event")
        event_id = (piece.source, piece.generation, line.offset) if event.id is None else event.id
        if self.options.dedup and _id_key(event_id) in self.seen:
            return "duplicate"
        if event.category not in self.categories and len(self.categories) >= self.options.categories_max:
            return self._reject(piece, line, "totals")
        self._accept(event, event_id, record, (piece.source, piece.generation, line.offset, line.number))
        return "accepted"

    def _reject(self, piece: Piece, line: Line, stage: str) -> str:
        self.rejected.append(Rejected(piece.source, piece.generation, line.number, line.offset, len(line.record), stage))
        return "rejected"

    def _accept(self, event: ParsedEvent, event_id: Id, record: bytes, record_place: tuple[str, int, int, int]) -> None:
        key = _id_key(event_id)
        self.seen.add(key)
        self.categories.add(event.category)
        order = event.timestamp_ns if self.options.order_by == "timestamp" else key
        place = (order, len(self.accepted))
        self.accepted.append(
            _Accepted(event_id, key, place, event.category, event.value, event.timestamp_ns, record, record_place)
        )

    def result(self) -> Reference:
        """Everything that follows from the accepted events."""
        released, held, late = _release(self.accepted, self.options.buffer_events)
        by_category: dict[str, list[_Accepted]] = {}
        for event in self.accepted:
            by_category.setdefault(event.category, []).append(event)
        total = sum(self.counts.values(), Counter[str]())
        total["late"] = late
        if self.options.drained:
            released, held = released + held, []
        return Reference(
            counts={name: total[name] for name in COUNT_NAMES},
            source_counts={
                source: {name: counts[name] for name in COUNT_NAMES if name != "late"} for source, counts in self.counts.items()
            },
            categories={name: _total(events) for name, events in sorted(by_category.items())},
            rejected=self.rejected,
            released=[event.record for event in released],
            held=[event.record for event in held],
            released_places=[event.record_place for event in released],
        )


def _release(events: list[_Accepted], buffer_events: int) -> tuple[list[_Accepted], list[_Accepted], int]:
    """The events let go, those still held (in the order in which they would go), and how many were late."""
    if not buffer_events:
        return events, [], 0
    released: list[_Accepted] = []
    held: list[_Accepted] = []
    last_key: Key | None = None
    late = 0
    for event in events:
        if last_key is not None and event.order_key < last_key:
            released.append(event)
            late += 1
            continue
        bisect.insort(held, event, key=lambda one: one.order_key)
        if len(held) > buffer_events:
            released.append(held.pop(0))
            last_key = released[-1].order_key
    return released, held, late


def _total(events: list[_Accepted]) -> CategoryTotal:
    values = [event.value for event in events if event.value is not None]
    exact = sum(map(Fraction, values), Fraction(0))
    parts = expansion(exact)
    rounded = parts[0] if parts else 0.0
    first = min(events, key=lambda event: event.id_key)
    last = max(reversed(events), key=lambda event: event.id_key)
    return CategoryTotal(
        count=len(events),
        sum=rounded,
        sum_parts=parts,
        min=min(values, default=None),
        max=max(values, default=None),
        mean=float(exact / len(values)) if values else None,
        first_id=first.id,
        last_id=last.id,
        last_timestamp=canonical_timestamp(last.timestamp_ns),
        values=len(values),
    )
