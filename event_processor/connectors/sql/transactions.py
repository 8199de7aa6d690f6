"""The transactions of one lane: the rows, the failed rows, and the cursor.

Owns: `LaneTransactions`, and the order of what is in a transaction.
Always: a transaction ends with the move of the cursor (`cursor_row.py`), so what was committed is never written again.
Never: used by two threads at once; it may block. Knows no database.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final, TypeAlias, cast

import msgspec

from event_processor.columns.timestamps import TimestampReader
from event_processor.connectors.sql.columns import RowReader, UnfitError
from event_processor.connectors.sql.cursor_row import CursorRow
from event_processor.connectors.sql.dialect import Dialect, Row, Session, SqlError
from event_processor.connectors.sql.options import SqlSinkOptions
from event_processor.connectors.sql.statements import Statements
from event_processor.connectors.sql.tables import apply_changes, changes_of
from event_processor.model.answers import Answer, Verdict
from event_processor.model.clock import utc_text
from event_processor.model.transactions import (
    DELIVER,
    Batch,
    BatchAnswers,
    CursorOwner,
    FailedRecord,
    Handed,
    Refusal,
    RemoteCursor,
    TransactionError,
)

__all__ = ["LaneTransactions"]

PLAN: Final = "look at what must be changed: event-processor sql plan; then: event-processor sql apply"
_Numbered: TypeAlias = tuple[int, Row]
"""The place of a record in its batch, and its row."""


@dataclass(frozen=True, slots=True)
class _Tools:
    """What depends on the dialect."""

    dialect: Dialect
    statements: Statements
    reader: RowReader


class LaneTransactions:
    """See `TransactionalReceiver`: the same, without the event loop."""

    def __init__(
        self,
        options: SqlSinkOptions,
        dialect_of: Callable[[str], Dialect],
        *,
        read_url: Callable[[], str],
        zone: str,
        sources: Mapping[str, str],
        wall_ns: Callable[[], int],
        software: str,
        writer: str,
    ) -> None:
        """`read_url` is called for each connection; it may raise `SqlError`. `dialect_of`: the dialect of an address, the same each time.

        `sources`: the paths of sources, by name. `zone`: of timestamps without an offset; raises `ConfigurationError` if it is not known.
        `writer`: which process this is; no other has the same.
        """
        self._options: Final = options
        self._dialect_of: Final = dialect_of
        self._read_url: Final = read_url
        self._timestamps: Final = TimestampReader(zone)
        self._tools_: _Tools | None = None
        self._sources: Final = dict(sources)
        self._wall_ns: Final = wall_ns
        self._software: Final = software
        self._session: Session | None = None
        self._writer: Final = writer
        self._owner: CursorOwner | None = None
        self._row_: CursorRow | None = None

    @property
    def owner(self) -> CursorOwner:
        """Whose cursor it is."""
        assert self._owner is not None, "it was opened"
        return self._owner

    def open(self, owner: CursorOwner) -> None:
        """See `TransactionalReceiver`."""
        self._owner = owner
        self._row_ = CursorRow(owner, self._writer, self._software, self._wall_ns)

    @property
    def _row(self) -> CursorRow:
        assert self._row_ is not None, "it was opened"
        return self._row_

    @property
    def _tools(self) -> _Tools:
        assert self._tools_ is not None, "it was begun"
        return self._tools_

    def _use(self, dialect: Dialect) -> Dialect:
        """From now on, everything is in this dialect. An address from a file may change it."""
        if self._tools_ is None or self._tools_.dialect is not dialect:
            reader = RowReader(self._options, dialect.writers, self._timestamps)
            self._tools_ = _Tools(dialect, Statements(self._options, dialect), reader)
        return dialect

    # Taking the cursor.

    def begin(self, *, is_first: bool) -> RemoteCursor | None:
        """See `TransactionalReceiver`."""
        self.close()
        with _as_transaction_errors():
            url = self._read_url()
            self._session = self._use(self._dialect_of(url)).connect(url, may_create=is_first)
            if self._session is None:
                return None
            with self._transaction() as session:
                if is_first:
                    self._make_tables(session)
                found = self._row.take(session, self._tools.dialect, self._tools.statements)
                if found is not None:
                    self._require_tables(session)
                if found is not None or is_first:
                    self._note_sources(session)
                # If we die before the commit, no other process was fenced off. After it, the next start takes the cursor from us.
            self._row.is_taken(is_there=found is not None)
            return found

    def _make_tables(self, session: Session) -> None:
        """Makes what is missing for a lane that starts. A table that is there and differs is not changed."""
        self._tools.dialect.hold_tables(session)
        changes = changes_of(session, self._tools.dialect, self._options)
        is_new = self._tools.dialect.found_table(session, self._options.table) is None
        if changes.conflicts or (changes.statements and not is_new):
            raise self._unfit_tables(changes.conflicts)
        apply_changes(session, changes)

    def _require_tables(self, session: Session) -> None:
        changes = changes_of(session, self._tools.dialect, self._options)
        if changes.statements or changes.conflicts:
            raise self._unfit_tables(changes.conflicts)

    def _unfit_tables(self, conflicts: Sequence[str]) -> TransactionError:
        words = "; ".join(conflicts) or f"the table {self._options.table} is missing, or is not as the sink needs it"
        return TransactionError(Answer(Verdict.STOP, words), remedy=PLAN)

    def _note_sources(self, session: Session) -> None:
        """Writes where sources are, for the view."""
        known = {row[0]: row[1] for row in session.execute(self._tools.statements.sources, (self.owner.pipeline,))}
        for name, path in self._sources.items():
            if known.get(name) != path:
                session.execute(self._tools.statements.note_source, (self.owner.pipeline, name, path))

    def start(self, cursor: RemoteCursor) -> None:
        """See `TransactionalReceiver`."""
        with _as_transaction_errors(), self._transaction() as session:
            self._row.start(session, self._tools.statements, cursor)

    # Writing.

    def deliver(self, batch: Batch) -> list[Answer]:
        """See `TransactionalReceiver`."""
        writing = BatchAnswers(batch)
        rows = list(self._rows(batch, writing))
        writing.require_few()
        with _as_transaction_errors(), self._transaction() as session:
            self._write(session, rows, writing)
            answers = writing.answers()
            if failed := [self._failed_row(batch, entry, answer) for entry, answer in writing.failed(answers)]:
                session.insert(self._tools.statements.fail, failed)
            after = batch.before.after(batch.entries, answers)
            # The last statement. If the fence or the sequence is not ours, nothing of this transaction counts.
            place, changed_at = batch.before.sequence, utc_text(batch.wall_ns)
            self._row.move(session, self._tools.statements, after, sequence=place, changed_at=changed_at)
            # If we die before the commit, nothing was written. If we die after it, the cursor says so at the next `begin`.
        return answers

    def _rows(self, batch: Batch, writing: BatchAnswers) -> Iterator[_Numbered]:
        """Yields the rows of the records that are to be written. Records that do not fit are noted."""
        delivered_at = utc_text(batch.wall_ns)
        pipeline, _, sink = self._row.name
        for place, entry in enumerate(batch.entries):
            if entry.refusal is not None:
                continue
            record = entry.sent
            try:
                own = self._tools.reader.row(bytes(record.object))
            except UnfitError as error:
                writing.bad[place] = Answer(Verdict.BAD, str(error))
                continue
            where = record.place
            source = where.get("source") or where.get("aggregate")
            lineage = (source, where.get("generation"), where.get("offset"), where.get("line"))
            yield place, (*own, pipeline, sink, *lineage, record.sequence, delivered_at, self._software)

    def _write(self, session: Session, rows: Sequence[_Numbered], writing: BatchAnswers) -> None:
        """Writes the rows. If the database refuses them, finds out by halves which: a good one is written, whatever its neighbour is."""
        if not rows:
            return
        session.execute("SAVEPOINT event_processor_rows")
        try:
            session.insert(self._tools.statements.insert, [row for _, row in rows])
            session.settle()
        except SqlError as error:
            if error.answer.verdict is not Verdict.BAD or not session.is_in_transaction:
                raise
            session.execute("ROLLBACK TO SAVEPOINT event_processor_rows")
            session.execute("RELEASE SAVEPOINT event_processor_rows")
            if len(rows) == 1:
                writing.refuse(rows[0][0], error.answer)
                return
            middle = (len(rows) + 1) // 2
            self._write(session, rows[:middle], writing)
            self._write(session, rows[middle:], writing)
        else:
            session.execute("RELEASE SAVEPOINT event_processor_rows")

    def _failed_row(self, batch: Batch, entry: Handed, answer: Answer) -> Row:
        owner = self.owner
        refusal = entry.refusal or Refusal(DELIVER, answer, batch.tries + 1)
        record = FailedRecord.of(owner.sink, entry.record, entry.key, refusal, batch.wall_ns)
        place = msgspec.json.encode(record.place).decode()
        told = (record.stage, record.status, record.reason, record.tries, record.failed_at)
        # Outbox lines are UTF-8, but a record may be anything that one was given; nothing may keep it out of the failed rows.
        content = bytes(record.object).decode(errors="replace")
        return (*self._row.name, owner.state_id, owner.input, record.sequence, record.key, place, *told, content)

    def failed_after(self, sequence: int) -> list[FailedRecord]:
        """See `TransactionalReceiver`."""
        with _as_transaction_errors():
            assert self._session is not None, "it was begun"
            found = self._session.execute(
                self._tools.statements.failed, (*self._row.name, self.owner.state_id, self.owner.input, sequence)
            )
        return [self._failed_record(row) for row in found]

    def _failed_record(self, row: Row) -> FailedRecord:
        sequence, key, place, stage, status, reason, tries, failed_at, content = row
        return FailedRecord(
            sink=self.owner.sink,
            sequence=cast("int", sequence),
            key=str(key),
            place=msgspec.json.decode(str(place), type=dict[str, object]),
            stage=str(stage),
            status=str(status),
            reason=str(reason),
            tries=cast("int", tries),
            failed_at=str(failed_at),
            object=msgspec.Raw(str(content).encode()),
        )

    # The connection.

    @contextmanager
    def _transaction(self) -> Iterator[Session]:
        """One transaction. After any error the connection is closed: `begin` makes a new one."""
        session = self._session
        assert session is not None, "it was begun"
        try:
            session.begin()
            yield session
            session.commit()
        except BaseException:
            session.rollback()
            self.close()
            raise

    def interrupt(self) -> None:
        """Ends a statement that runs. Any thread may call it."""
        if (session := self._session) is not None:
            session.interrupt()

    def close(self) -> None:
        """Closes the connection, if there is one."""
        if self._session is not None:
            self._session.close()
            self._session = None


@contextmanager
def _as_transaction_errors() -> Iterator[None]:
    try:
        yield
    except SqlError as error:
        raise TransactionError(error.answer, remedy=error.remedy) from error
