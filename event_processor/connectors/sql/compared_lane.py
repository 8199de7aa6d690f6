"""The rows of one lane against the records that the log gives again.

Owns: `LaneComparison`: what must be true of each record up to the cursor, and which difference is reported if it is not.
Always: every record is exactly one row, one failed row, or, in a table with a key, replaced by a later row with its key. Records, rows
and failed rows come in the order of their sequence, so only a part of them is in memory.
Never: decides that two values are equal (the dialect does); knows which rows of a table are the lane's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias, cast

import msgspec

from event_processor.connectors.sql.columns import RowReader, UnfitError
from event_processor.connectors.sql.dialect import Dialect, Row, Session, Value
from event_processor.connectors.sql.options import ColumnType, SqlSinkOptions
from event_processor.connectors.sql.tables import quoted
from event_processor.model.committed_rows import LaneOfRows, ReleasedRecord, RowDifference, RowsCompared
from event_processor.model.event import Json
from event_processor.model.transactions import SKIPPED_STAGE, RemoteCursor

__all__ = ["LaneComparison", "LaneRows"]

RECORDS_AT_ONCE: Final = 500
"""So many records are compared before the database is asked what is in doubt."""
KEYS_AT_ONCE: Final = 100
"""How many rows one statement looks up by their key."""
SHOWN_CHARACTERS: Final = 200
_PLACE: Final = ("_source", "_generation", "_offset", "_line")
_Guard: TypeAlias = Callable[[], AbstractContextManager[None]]


@dataclass(frozen=True, slots=True)
class LaneRows:
    """What a database has of a lane after its start. `session`: None if there is no database.

    `rows`: sequence, place, and the columns of `options`, which `reader` reads from a record. `failed`: sequence and stage. Both ascending.
    `added`: the columns that the table got after it was made. `left_out`: those of enrichers, which `options` does not have. `has_shards`:
    other shards of the pipeline may have rows under the same names: only the place of a row says whose it is.
    """

    options: SqlSinkOptions
    session: Session | None
    dialect: Dialect
    reader: RowReader
    rows: Iterator[Row]
    failed: Iterator[Row]
    added: frozenset[str]
    left_out: tuple[str, ...]
    has_shards: bool


class _Ordered:
    """Rows that begin with a sequence, ascending, of which the next one can be looked at."""

    def __init__(self, rows: Iterator[Row]) -> None:
        self._rows: Final = rows
        self._next: Row | None = None
        self._is_begun = False

    def through(self, sequence: int | None) -> Iterator[Row]:
        """Yields the next rows up to this sequence; None: all."""
        if not self._is_begun:
            # Not before: it runs the statement.
            self._next, self._is_begun = next(self._rows, None), True
        while self._next is not None and (sequence is None or cast("int", self._next[0]) <= sequence):
            yield self._next
            self._next = next(self._rows, None)


@dataclass
class _Doubts:
    """What is not decided yet of the present records, in the order of the records.

    `differences`: those that count, unless they are among `values` or `replaced`, by their place in it.
    """

    differences: list[RowDifference | None] = field(default_factory=list)
    values: dict[ColumnType, list[tuple[int, Value, Value]]] = field(default_factory=dict)
    replaced: list[tuple[int, ReleasedRecord, Row]] = field(default_factory=list)


class LaneComparison:
    """See `RowComparison`."""

    def __init__(self, lane: LaneOfRows, cursor: RemoteCursor, found: LaneRows, *, differences_max: int, guard: _Guard) -> None:
        """`guard` turns errors of the database into those of a command."""
        self._lane: Final = lane
        self._cursor: Final = cursor
        self._found: Final = found
        self._rows: Final = _Ordered(found.rows)
        self._failed: Final = _Ordered(found.failed)
        self._differences_max: Final = differences_max
        self._guard: Final = guard
        self._types: Final = list(found.options.typed_columns().items())
        self._keys: Final = [list(found.options.columns).index(name) for name in found.options.upsert]
        self._unfilled: Final[dict[str, int]] = {name: 0 for name in found.options.columns if name in found.added}
        self._empty: Final = set(self._unfilled)
        """Columns that were added later and had no value yet."""
        self._sequence, self._chain = lane.started_after, lane.chain
        self._counts: Final = dict.fromkeys(("rows", "of_shards", "delivered", "replaced", "failed", "skipped"), 0)
        self._differing = 0
        self._differences: Final[list[RowDifference]] = []

    def compare(self, records: Sequence[ReleasedRecord]) -> None:
        """See `RowComparison`."""
        first = self._sequence
        wanted = [each for each in records if first < each.sequence <= self._cursor.sequence]
        with self._guard():
            for start in range(0, len(wanted), RECORDS_AT_ONCE):
                doubts = _Doubts()
                for record in wanted[start : start + RECORDS_AT_ONCE]:
                    self._record(record, doubts)
                self._decide(doubts)

    def finish(self) -> RowsCompared:
        """See `RowComparison`."""
        with self._guard():
            self._ends()
        counts = self._counts
        return RowsCompared(
            through=self._cursor.sequence,
            rows=counts["rows"],
            replaced=counts["replaced"],
            failed=counts["failed"],
            skipped=counts["skipped"],
            columns_not_compared=self._found.left_out,
            of_shards=counts["of_shards"],
            unfilled={name: count for name, count in self._unfilled.items() if count},
            differing=self._differing,
            differences=tuple(self._differences),
        )

    def _ends(self) -> None:
        """What may not be after the last record; and the cursor's own figures."""
        cursor = self._cursor
        for row in self._rows.through(None):
            if self._found.has_shards:
                self._counts["of_shards"] += 1
                continue
            self._counts["rows"] += 1
            place = dict(zip(("source", "generation", "offset", "line"), row[1:5], strict=True))
            self._differ(
                RowDifference("a row, though the sink is not there yet", self._shown(row[5:]), None, _int(row[0]), place)
            )
        for sequence, stage in self._failed.through(None):
            self._differ(RowDifference("a failed row, though the sink is not there yet", str(stage), None, _int(sequence)))
        if self._sequence < cursor.sequence:
            self._differ(RowDifference("the last record of the sink", cursor.sequence, self._sequence))
        elif self._chain != cursor.chain:
            self._differ(RowDifference(f"the chain at record {cursor.sequence}", cursor.chain, self._chain, cursor.sequence))
        if not self._differing:
            for name in ("delivered", "failed", "skipped"):
                if getattr(cursor, name) != self._counts[name]:
                    self._differ(RowDifference(f"the cursor's count of {name}", getattr(cursor, name), self._counts[name]))

    def _record(self, record: ReleasedRecord, doubts: _Doubts) -> None:
        """Compares one record, as far as no other statement is needed."""
        self._sequence, self._chain = record.sequence, record.chain
        place = msgspec.json.decode(record.place, type=dict[str, Any])
        rows = self._own_rows(record.sequence, place)
        failed = [str(stage) for _, stage in self._failed.through(record.sequence)]
        for stage in failed:
            self._counts["skipped" if stage == SKIPPED_STAGE else "failed"] += 1
        self._counts["delivered"] += not failed
        try:
            expected: Row | None = self._found.reader.row(record.content)
            words = "a row"
        except UnfitError as error:
            expected, words = None, f"a row ({error})"

        def differ(words: str, committed: Json, recomputed: Json, column: str = "") -> None:
            doubts.differences.append(RowDifference(words, committed, recomputed, record.sequence, place, column))

        if failed:
            if rows or len(failed) > 1:
                differ("rows and failed rows of one record", len(rows) + len(failed), 1)
            return
        if not rows:
            recomputed = "a failed row" if expected is None else self._shown(expected)
            differ(words, None, recomputed)
            if expected is not None and self._keys:
                doubts.replaced.append((len(doubts.differences) - 1, record, expected))
            return
        if len(rows) > 1:
            differ("rows of one record", len(rows), 1)
        if expected is None:
            differ(words, self._shown(rows[0][5:]), "a failed row")
            return
        self._place(rows[0], place, differ)
        self._values(rows[0], expected, differ, doubts)

    def _own_rows(self, sequence: int, place: Mapping[str, Any]) -> list[Row]:
        """The lane's rows up to this sequence, which is that of the record from `place`."""
        rows = list(self._rows.through(sequence))
        if self._found.has_shards:
            expected = (place.get("source"), place.get("generation"), place.get("offset"))
            own = [row for row in rows if row[1:4] == expected]
            self._counts["of_shards"] += len(rows) - len(own)
            rows = own
        self._counts["rows"] += len(rows)
        return rows

    def _place(self, row: Row, place: Mapping[str, Any], differ: Callable[[str, Json, Json, str], None]) -> None:
        source = place.get("source") or place.get("aggregate")
        expected = (source, place.get("generation"), place.get("offset"), place.get("line"))
        for name, found, wanted in zip(_PLACE, row[1:5], expected, strict=True):
            if found != wanted:
                differ("column", _json(found), wanted, name)

    def _values(self, row: Row, expected: Row, differ: Callable[[str, Json, Json, str], None], doubts: _Doubts) -> None:
        """Notes each value that is not the same object; the dialect decides whether it is another value."""
        for (name, type_), found, written in zip(self._types, row[5:], expected, strict=True):
            if found is None and written is not None and name in self._empty:
                self._unfilled[name] += 1
                continue
            if found is not None:
                self._empty.discard(name)
            if found == written:
                continue
            differ("column", *_excerpts(found, written), name)
            doubts.values.setdefault(type_, []).append((len(doubts.differences) - 1, found, written))

    def _decide(self, doubts: _Doubts) -> None:
        """Asks the database about what is in doubt, and notes the differences that are left."""
        session = self._found.session
        if session is not None:
            for type_, values in doubts.values.items():
                answers = self._found.dialect.unequal(session, type_, [(found, written) for _, found, written in values])
                for (number, *_), is_unequal in zip(values, answers, strict=True):
                    if not is_unequal:
                        doubts.differences[number] = None
            for start in range(0, len(doubts.replaced), KEYS_AT_ONCE):
                self._look_up(session, doubts, doubts.replaced[start : start + KEYS_AT_ONCE])
        for difference in doubts.differences:
            if difference is not None:
                self._differ(difference)

    def _look_up(self, session: Session, doubts: _Doubts, missing: Sequence[tuple[int, ReleasedRecord, Row]]) -> None:
        """Finds out whether records without a row were replaced by a later row with the same key."""
        dialect, options = self._found.dialect, self._found.options
        where = " AND ".join(f"{quoted(name)} = {dialect.mark}" for name in options.upsert)
        one = f"_pipeline, _sink, _sequence FROM {quoted(options.table)} WHERE {where}"
        statement = " UNION ALL ".join(f"SELECT {number}, {one}" for number in range(len(missing)))
        values = tuple(expected[key] for _, _, expected in missing for key in self._keys)
        found = {_int(number): row for number, *row in session.execute(statement, values)}
        owner = self._lane.owner
        names = {owner.lane, *(name for name, _ in self._lane.earlier)}
        for number, (place, record, _) in enumerate(missing):
            if number not in found:
                continue
            pipeline, sink, sequence = found[number]
            is_later = sink in self._lane.siblings or (sink in names and _int(sequence) > record.sequence)
            if pipeline == owner.pipeline and is_later:
                doubts.differences[place] = None
                self._counts["replaced"] += 1
            elif (difference := doubts.differences[place]) is not None:
                of_whom = f"a row of record {_int(sequence)} of {sink!s}, pipeline {pipeline!s}"
                changed = RowDifference(difference.words, of_whom, difference.recomputed, difference.sequence, difference.place)
                doubts.differences[place] = changed

    def _differ(self, difference: RowDifference) -> None:
        self._differing += 1
        if len(self._differences) < self._differences_max:
            self._differences.append(difference)

    def _shown(self, values: Row) -> dict[str, Json]:
        """The values of a row, by column."""
        return {name: _cut(_json(value)) for (name, _), value in zip(self._types, values, strict=True)}


def _int(value: Value) -> int:
    return cast("int", value)


def _json(value: Value) -> Json:
    """A value as JSON has it; what JSON cannot hold, as text."""
    if isinstance(value, bytes) or (isinstance(value, float) and not -float("inf") < value < float("inf")):
        return repr(value)
    return value


def _cut(value: Json) -> Json:
    return f"{value[:SHOWN_CHARACTERS]}…" if isinstance(value, str) and len(value) > SHOWN_CHARACTERS else value


def _excerpts(found: Value, written: Value) -> tuple[Json, Json]:
    """Both values, to be shown. Long texts are cut to the part where they begin to differ."""
    if not (isinstance(found, str) and isinstance(written, str)):
        return _cut(_json(found)), _cut(_json(written))
    same = next((n for n, (a, b) in enumerate(zip(found, written, strict=False)) if a != b), min(len(found), len(written)))
    start = max(0, same - SHOWN_CHARACTERS // 2) if max(len(found), len(written)) > SHOWN_CHARACTERS else 0
    return tuple(_cut(f"{'…' if start else ''}{each[start:]}") for each in (found, written))  # type: ignore[return-value]  # two
