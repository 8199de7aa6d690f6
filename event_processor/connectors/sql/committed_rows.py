"""The committed rows of a sink in one snapshot of its database, for `verify --sink`.

Owns: `SqlRows`: the snapshot, the statements that read it, and why a table cannot be compared.
Always: the transaction only reads, and takes neither the cursor's row nor the fence. Rows are read in the order of their sequence.
Never: compares a value (`compared_lane.py` does); changes a table.
"""

# ruff: noqa: S608 - only names that were checked are put together

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final, cast

from event_processor.columns.timestamps import AUTO, TimestampReader
from event_processor.connectors.sql.columns import RowReader
from event_processor.connectors.sql.compared_lane import LaneComparison, LaneRows
from event_processor.connectors.sql.dialect import Dialect, Row, Session, SqlError, Value
from event_processor.connectors.sql.options import SqlSinkOptions
from event_processor.connectors.sql.tables import CURSOR, FAILED, LINEAGE, quoted, table_of
from event_processor.model.answers import Verdict
from event_processor.model.committed_rows import LaneOfRows, RowComparison, RowCounts
from event_processor.model.errors import ConfigurationError, NotAnsweredError, StateError
from event_processor.model.field_names import name_keys
from event_processor.model.messages import cut
from event_processor.model.transactions import RemoteCursor

__all__ = ["SqlRows"]

AGGREGATES: Final = "aggregates."
"""How the input of rows begins that have no line in the log."""
DAMAGED: Final = ("SQLITE_CORRUPT", "SQLITE_NOTADB", "XX")
"""How a code begins that says that the database itself is damaged."""
_PLACE: Final = ("_source", "_generation", "_offset", "_line")


class SqlRows:
    """See `CommittedRows`."""

    kind: Final = "table"
    noun: Final = "database"

    def __init__(
        self,
        options: SqlSinkOptions,
        connect: Callable[[], tuple[Session | None, Dialect]],
        *,
        sink: str,
        zone: str,
        formats: Sequence[str] = (AUTO,),
    ) -> None:
        """`connect` may raise `SqlError`; it returns no session if there is no database. `zone`: of timestamps without an offset.

        `formats`: their forms, as `TimestampReader` takes them.
        """
        self._options: Final = options
        self._sink: Final = sink
        self._timestamps: Final = TimestampReader.of_sink(zone, formats)
        self._session: Session | None = None
        with self._as_errors():
            self._session, self._dialect = connect()
            if self._session is not None:
                try:
                    self._session.begin_snapshot()
                except BaseException:
                    self._session.close()
                    raise

    @property
    def table(self) -> str:
        """See `CommittedRows`."""
        return self._options.table

    def obstacle(self, lane: LaneOfRows) -> str:
        """See `CommittedRows`."""
        enriched = set(self._enriched(lane))
        if keys := [name for name in self._options.upsert if name in enriched]:
            return f"the column {keys[0]} identifies a row, and comes from an enricher, whose answers are not in the log"
        if self._has_shards(lane) and lane.owner.input.startswith(AGGREGATES):
            return "other shards of this pipeline write to this database, and nothing says which rows of an aggregate are whose"
        with self._as_errors():
            found = self._session and self._dialect.found_table(self._session, self._options.table)
        if not found:
            return ""
        for column in table_of(self._options).columns:
            type_, present = self._dialect.type_of(column.type), found.types.get(column.name.lower())
            if present is None:
                return f"the table {self._options.table} has no column {column.name}; see: event-processor sql plan {self._sink}"
            if present != type_:
                return f"the column {column.name} of the table {self._options.table} is {present}, but the sink writes {type_}"
        return ""

    def cursor(self, lane: LaneOfRows) -> RemoteCursor | None:
        """See `CommittedRows`."""
        owner = lane.owner
        with self._as_errors():
            if self._session is None or self._dialect.found_table(self._session, CURSOR.name) is None:
                return None
            for name in (owner.lane, *(each for each, _ in reversed(lane.earlier))):
                found = self._session.execute(
                    "SELECT state_id, input, started_after, sequence, chain, delivered, failed, skipped "
                    f"FROM {CURSOR.name} WHERE {self._where('pipeline', 'shard', 'sink')}",
                    (owner.pipeline, owner.shard, name),
                )
                if found and (name == owner.lane or found[0][0] == owner.state_id):
                    return self._checked(lane, found[0])
        return None

    def _checked(self, lane: LaneOfRows, row: Row) -> RemoteCursor | None:
        """The cursor of a row; None if it counts the records of another input: then the lane begins anew. Raises `StateError`."""
        owner, (state_id, input_name, started_after, sequence, chain, *counts) = lane.owner, row
        if state_id != owner.state_id:
            raise StateError(
                f"sink {self._sink}: its database belongs to another state of the pipeline {owner.pipeline}: "
                f"{cut(str(state_id))}, not {owner.state_id}",
                hint="restore that state; or give this pipeline another state.name, or another database, which begin anew",
            )
        if input_name != owner.input:
            return None
        numbers = [cast("int", each) for each in (started_after, sequence, *counts)]
        return RemoteCursor(numbers[0], numbers[1], str(chain), *numbers[2:])

    def comparison(self, lane: LaneOfRows, cursor: RemoteCursor, differences_max: int) -> RowComparison:
        """See `CommittedRows`."""
        enriched = self._enriched(lane)
        options = self._options.model_copy(
            update={"columns": {name: what for name, what in self._options.columns.items() if name not in enriched}}
        )
        with self._as_errors():
            found = self._session and self._dialect.found_table(self._session, options.table)
            names = list(found.types) if found else []
        last = max((names.index(column.name) for column in LINEAGE if column.name in names), default=len(names))
        rows = LaneRows(
            options,
            self._session,
            self._dialect,
            RowReader(options, self._dialect.writers, self._timestamps),
            self._rows(lane, options) if found else iter(()),
            self._failed(lane),
            added=frozenset(name for name in options.columns if name.lower() in names[last + 1 :]),
            left_out=enriched,
            has_shards=self._has_shards(lane),
        )
        return LaneComparison(lane, cursor, rows, differences_max=differences_max, guard=self._as_errors)

    def counts(self, lanes: Sequence[LaneOfRows]) -> RowCounts:
        """See `CommittedRows`."""
        with self._as_errors():
            if self._session is None or self._dialect.found_table(self._session, self._options.table) is None:
                return RowCounts(0, 0, 0)
            own = [self._own(lane) for lane in lanes]
            is_own = " OR ".join(condition for condition, _ in own)
            values = tuple(each for _, values in own for each in values)
            (first_own, first_values), mark = own[0], self._dialect.mark
            ((total, of_lanes, before),) = self._session.execute(
                f"SELECT count(*), count(CASE WHEN {is_own} THEN 1 END), "
                f"count(CASE WHEN ({first_own}) AND _sequence <= {mark} THEN 1 END) FROM {quoted(self._options.table)}",
                (*values, *first_values, lanes[0].started_after),
            )
        return RowCounts(cast("int", of_lanes), cast("int", before), cast("int", total) - cast("int", of_lanes))

    def close(self) -> None:
        """See `CommittedRows`."""
        if self._session is not None:
            self._session.rollback()
            self._session.close()

    def _has_shards(self, lane: LaneOfRows) -> bool:
        """Whether another shard of the pipeline has a cursor of this name in this database."""
        owner = lane.owner
        with self._as_errors():
            if not owner.shard or self._session is None or self._dialect.found_table(self._session, CURSOR.name) is None:
                return False
            mark = self._dialect.mark
            statement = f"SELECT count(*) FROM {CURSOR.name} WHERE {self._where('pipeline', 'sink')} AND shard <> {mark}"
            return self._session.execute(statement, (owner.pipeline, owner.lane, owner.shard)) != [(0,)]

    def _enriched(self, lane: LaneOfRows) -> tuple[str, ...]:
        """The columns that have something of an enricher: a field that is set, one around it, or one inside."""
        fields = zip(self._options.columns, self._options.fields(), strict=True)
        return tuple(column for column, field in fields if any(_overlap(field, each) for each in lane.enriched))

    def _own(self, lane: LaneOfRows) -> tuple[str, Row]:
        """The condition for the rows of a lane, and its values."""
        mark = self._dialect.mark
        condition, values = f"_sink = {mark}", [lane.owner.lane]
        bounds: list[Value] = [*values]
        for name, through in lane.earlier:
            condition += f" OR _sink = {mark}" if through is None else f" OR (_sink = {mark} AND _sequence <= {mark})"
            bounds += [name] if through is None else [name, through]
        return f"(_pipeline = {mark} AND ({condition}))", (lane.owner.pipeline, *bounds)

    def _rows(self, lane: LaneOfRows, options: SqlSinkOptions) -> Iterator[Row]:
        """The rows of a lane after its start: sequence, place, and the columns that are compared."""
        assert self._session is not None, "there is a table"
        own, values = self._own(lane)
        types = options.typed_columns().items()
        names = ["_sequence", *_PLACE, *(self._dialect.read_as(type_, quoted(name)) for name, type_ in types)]
        return self._session.stream(
            f"SELECT {', '.join(names)} FROM {quoted(options.table)} "
            f"WHERE {own} AND _sequence > {self._dialect.mark} ORDER BY _sequence",
            (*values, lane.started_after),
        )

    def _failed(self, lane: LaneOfRows) -> Iterator[Row]:
        """The failed rows of a lane after its start: sequence and stage."""
        owner = lane.owner
        with self._as_errors():
            if self._session is None or self._dialect.found_table(self._session, FAILED.name) is None:
                return iter(())
            # An earlier name counts until the lane's next start gives the rows the present one.
            names = (owner.lane, *(name for name, _ in lane.earlier))
            return self._session.stream(
                f"SELECT sequence, stage FROM {FAILED.name} WHERE {self._where('pipeline', 'shard', 'state_id', 'input')} "
                f"AND sink IN ({', '.join([self._dialect.mark] * len(names))}) AND sequence > {self._dialect.mark} ORDER BY sequence",
                (owner.pipeline, owner.shard, owner.state_id, owner.input, *names, lane.started_after),
            )

    def _where(self, *columns: str) -> str:
        return " AND ".join(f"{column} = {self._dialect.mark}" for column in columns)

    @contextmanager
    def _as_errors(self) -> Iterator[None]:
        try:
            yield
        except SqlError as error:
            message = f"sinks.{self._sink}: {error.answer.words}"
            if error.answer.status.startswith(DAMAGED):
                raise StateError(message, hint=error.remedy or "restore the database from a backup") from error
            if error.answer.verdict is Verdict.WAIT:
                raise NotAnsweredError(message, hint="make the database available, then repeat the command") from error
            raise ConfigurationError(message, hint=error.remedy or "look at the database") from error


def _overlap(one: str, other: str) -> bool:
    """Whether two dotted names are the same field, or one is inside the other."""
    first, second = (".".join(name_keys(each)) for each in (one, other))
    return first == second or first.startswith(f"{second}.") or second.startswith(f"{first}.")
