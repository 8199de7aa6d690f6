"""A connection of one sink to its database, with the cursor that it holds there.

Owns: `CursorTransactions`: how the tables are made or refused, how the cursor is taken (`cursor_row.py`), and how a transaction begins
and ends.
Always: after an error the connection is closed, and the cursor is taken again on another one.
Never: used by two threads at once; it may block. Knows what is written (`transactions.py` does), or a database.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import ClassVar, Final

from event_processor.columns.timestamps import AUTO, TimestampReader
from event_processor.connectors.sql.columns import RowReader
from event_processor.connectors.sql.cursor_row import CursorRow
from event_processor.connectors.sql.dialect import Dialect, Session, SqlError
from event_processor.connectors.sql.options import SqlSinkOptions
from event_processor.connectors.sql.statements import Statements
from event_processor.connectors.sql.tables import apply_changes, changes_of, table_of
from event_processor.model.answers import Answer, Verdict
from event_processor.model.transactions import CursorOwner, RemoteCursor, TransactionError

__all__ = ["CursorTransactions", "as_transaction_errors"]

PLAN: Final = "look at what must be changed: event-processor sql plan; then: event-processor sql apply"


@dataclass(frozen=True, slots=True)
class _Tools:
    """What depends on the dialect."""

    dialect: Dialect
    statements: Statements
    reader: RowReader


class CursorTransactions:
    """The cursor of one sink in a database. `TransactionalReceiver` says what `open`, `begin`, `take` and `start` do."""

    is_snapshot: ClassVar[bool] = False
    """Whether its table holds a snapshot."""

    def __init__(
        self,
        options: SqlSinkOptions,
        dialect_of: Callable[[str], Dialect],
        *,
        read_url: Callable[[], str],
        zone: str,
        formats: Sequence[str] = (AUTO,),
        sources: Mapping[str, str],
        wall_ns: Callable[[], int],
        software: str,
        writer: str,
    ) -> None:
        """`read_url` is called for each connection; it may raise `SqlError`. `dialect_of`: the dialect of an address, the same each time.

        `sources`: the paths of sources, by name. `zone`: of timestamps without an offset; raises `ConfigurationError` if it is not known.
        `formats`: their forms, as `TimestampReader` takes them.
        `writer`: which process this is; no other has the same.
        """
        self._options: Final = options
        self._dialect_of: Final = dialect_of
        self._read_url: Final = read_url
        self._timestamps: Final = TimestampReader.of_sink(zone, formats)
        self._tools_: _Tools | None = None
        self._sources: Final = dict(sources)
        self._wall_ns: Final = wall_ns
        self._software: Final = software
        self._session: Session | None = None
        self._is_first = False
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
        assert self._tools_ is not None, "`begin` was called"
        return self._tools_

    def _use(self, dialect: Dialect) -> Dialect:
        """From now on, everything is in this dialect. An address from a file may change it."""
        if self._tools_ is None or self._tools_.dialect is not dialect:
            table = table_of(self._options, is_snapshot=self.is_snapshot)
            reader = RowReader(self._options, dialect.writers, self._timestamps, rounds=self.is_snapshot)
            self._tools_ = _Tools(dialect, Statements(table, dialect), reader)
        return dialect

    # Taking the cursor.

    def begin(self, *, is_first: bool) -> RemoteCursor | None:
        """See `TransactionalReceiver`."""
        self.close()
        self._is_first = is_first
        with as_transaction_errors():
            url = self._read_url()
            self._session = self._use(self._dialect_of(url)).connect(url, may_create=is_first)
            if self._session is None:
                return None
            with self._transaction() as session:
                return self._row.look(session, self._tools.dialect, self._tools.statements)

    def take(self) -> bool:
        """See `TransactionalReceiver`."""
        with as_transaction_errors(), self._transaction() as session:
            self._prepare(session)
            fence = self._row.take(session, self._tools.statements)
            # If we die before the commit, no other process was fenced off. After it, the next start takes the cursor from us.
        return self._took(fence)

    def start(self, cursor: RemoteCursor) -> None:
        """See `TransactionalReceiver`."""
        with as_transaction_errors(), self._transaction() as session:
            self._prepare(session)
            fence = self._row.start(session, self._tools.statements, cursor)
            if fence is None:
                raise self._row.moved()
            # If we die before the commit, there are neither tables nor a cursor. After it, the next start finds both.
        self._took(fence)

    def _took(self, fence: int | None) -> bool:
        if fence is not None:
            self._row.took(fence)
        return fence is not None

    def _prepare(self, session: Session) -> None:
        """The tables are as the sink needs them; for a sink that starts, they are made."""
        if self._is_first:
            self._make_tables(session)
        else:
            self._require_tables(session)
        self._note_sources(session)

    def _make_tables(self, session: Session) -> None:
        """Makes what is missing for a lane that starts. A table that is there and differs is not changed."""
        self._tools.dialect.hold_tables(session)
        changes = changes_of(session, self._tools.dialect, self._options, is_snapshot=self.is_snapshot)
        is_new = self._tools.dialect.found_table(session, self._options.table) is None
        if changes.conflicts or (changes.statements and not is_new):
            raise self._unfit_tables(changes.conflicts)
        apply_changes(session, changes)

    def _require_tables(self, session: Session) -> None:
        changes = changes_of(session, self._tools.dialect, self._options, is_snapshot=self.is_snapshot)
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

    # The connection.

    @contextmanager
    def _transaction(self) -> Iterator[Session]:
        """One transaction. After any error the connection is closed: `begin` makes a new one."""
        session = self._session
        assert session is not None, "`begin` was called"
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
def as_transaction_errors() -> Iterator[None]:
    """Turns errors of the database into `TransactionError`."""
    try:
        yield
    except SqlError as error:
        raise TransactionError(error.answer, remedy=error.remedy) from error
