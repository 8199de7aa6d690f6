"""The transactions of one snapshot: its rows, and the move of its cursor to what they are as of.

Owns: `SnapshotTransactions`, and the order of what is in a transaction.
Always: a transaction ends with the move of the cursor (`cursor_row.py`) to what the rows are as of. A whole snapshot leaves no row of
this pipeline that it does not have.
Never: used by two threads at once; it may block. Knows no database.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Final, TypeAlias

from event_processor.connectors.sql.columns import UnfitError
from event_processor.connectors.sql.cursor_row import ANOTHER
from event_processor.connectors.sql.cursor_transactions import CursorTransactions, as_transaction_errors
from event_processor.connectors.sql.dialect import Row, Rows, Session, SqlError
from event_processor.connectors.sql.tables import CURSOR
from event_processor.model.answers import Answer, Verdict
from event_processor.model.clock import utc_text
from event_processor.model.errors import StateError
from event_processor.model.snapshots import Snapshot, WrittenSnapshot
from event_processor.model.transactions import RemoteCursor, TransactionError

__all__ = ["SnapshotTransactions"]

SAVEPOINT: Final = "event_processor_rows"
NOTHING: Final = RemoteCursor(0, 0, "")
_Keyed: TypeAlias = tuple[str, Row]
"""The key of a row in the snapshot, and its values."""


class SnapshotTransactions(CursorTransactions):
    """See `SnapshotReceiver`: the same, without the event loop."""

    is_snapshot: ClassVar[bool] = True
    _has_place = False
    """Whether this process has had the cursor. Then it must not vanish."""

    @property
    def _whose(self) -> Row:
        """What marks the rows of this pipeline in the table."""
        return (self.owner.pipeline, self.owner.shard)

    def begin_snapshot(self) -> int:
        """See `SnapshotReceiver.begin`. If the database does not know this sink, its table is made, as of nothing."""
        is_known = self._is_known()
        if self._has_place and not is_known:
            raise TransactionError(
                Answer(Verdict.STOP, f"the place of {self.owner.lane} in this database is gone", "gone"),
                remedy="if the database was restored or replaced, restart this process: the table is then written anew",
            )
        try:
            found = self.begin(is_first=not is_known)
        except StateError as error:
            way_out = f"restore that state; or let this one take the table over: event-processor sinks drop {self.owner.sink}"
            raise StateError(error.message, hint=way_out) from error
        if found is None or found == ANOTHER:
            # If we die after this, the next start finds the cursor as of nothing, and writes everything.
            self.start(NOTHING)
            found = NOTHING
        elif not self.take():
            raise self._row.moved()
        self._has_place = True
        return found.sequence

    def _is_known(self) -> bool:
        """Whether the database has a place of this sink. Then no table is made."""
        with as_transaction_errors():
            url = self._read_url()
            dialect = self._use(self._dialect_of(url))
            session = dialect.connect(url, may_create=False, only_look=True)
            if session is None:
                return False
            try:
                if dialect.found_table(session, CURSOR.name) is None:
                    return False
                names = (self.owner.lane, *self.owner.earlier_lanes)
                look = self._tools.statements.look
                return any(session.execute(look, (self.owner.pipeline, self.owner.shard, name)) for name in names)
            finally:
                session.close()

    def write(self, before: int, snapshot: Snapshot) -> WrittenSnapshot:
        """See `SnapshotReceiver`."""
        left_out: dict[str, str] = {}
        keys, rows = self._rows(snapshot, left_out)
        _require_fit(snapshot, keys, left_out)
        with as_transaction_errors(), self._transaction() as session:
            if snapshot.is_whole:
                # Otherwise a row that the snapshot does not have might look like one of it.
                session.execute(self._tools.statements.forget, (*self._whose, snapshot.as_of))
            self._put(session, rows, left_out)
            _require_fit(snapshot, keys, left_out)
            self._remove(session, snapshot, left_out)
            after, changed_at = RemoteCursor(0, snapshot.as_of, ""), utc_text(snapshot.wall_ns)
            self._row.move(session, self._tools.statements, after, sequence=before, changed_at=changed_at)
            # If we die before the commit, the table is as it was. If we die after it, the cursor says so at the next `begin`.
        return WrittenSnapshot(keys, left_out)

    def _rows(self, snapshot: Snapshot, left_out: dict[str, str]) -> tuple[frozenset[str], list[_Keyed]]:
        """All keys, and the rows that fit their columns. The others are noted."""
        pipeline, shard, sink = self._row.name
        lineage = (snapshot.as_of, pipeline, shard, sink, utc_text(snapshot.wall_ns), self._software)
        keys: list[str] = []
        rows: list[_Keyed] = []
        for each in snapshot.rows:
            keys.append(each.key)
            try:
                rows.append((each.key, (*self._tools.reader.row(each.content), each.key, *lineage)))
            except UnfitError as error:
                left_out[each.key] = str(error)
        return frozenset(keys), rows

    def _put(self, session: Session, rows: Sequence[_Keyed], left_out: dict[str, str]) -> None:
        """Writes the rows. If the database refuses them, finds out by halves which, and notes them."""
        if not rows:
            return
        session.execute(f"SAVEPOINT {SAVEPOINT}")
        try:
            session.insert(self._tools.statements.insert, Rows.of([row for _, row in rows]))
            session.settle()
        except SqlError as error:
            self._undo(session, error)
            if len(rows) == 1:
                left_out[rows[0][0]] = error.answer.words
                return
            middle = (len(rows) + 1) // 2
            self._put(session, rows[:middle], left_out)
            self._put(session, rows[middle:], left_out)
        else:
            session.execute(f"RELEASE SAVEPOINT {SAVEPOINT}")

    def _undo(self, session: Session, error: SqlError) -> None:
        """Undoes what the database refused. Raises the error if it is not about a row, or if the transaction is gone."""
        if error.answer.verdict is not Verdict.BAD or not session.is_in_transaction:
            raise error
        session.execute(f"ROLLBACK TO SAVEPOINT {SAVEPOINT}")
        session.execute(f"RELEASE SAVEPOINT {SAVEPOINT}")

    def _remove(self, session: Session, snapshot: Snapshot, left_out: dict[str, str]) -> None:
        """Removes rows that the snapshot does not have: what they say is not true any more."""
        if snapshot.is_whole:
            session.execute(self._tools.statements.remove_others, (*self._whose, snapshot.as_of))
        for key in left_out:
            session.execute(f"SAVEPOINT {SAVEPOINT}")
            try:
                session.execute(self._tools.statements.remove, (*self._whose, key))
            except SqlError as error:
                # A key that cannot be written is in no row.
                self._undo(session, error)
            else:
                session.execute(f"RELEASE SAVEPOINT {SAVEPOINT}")


def _require_fit(snapshot: Snapshot, keys: frozenset[str], left_out: dict[str, str]) -> None:
    """Raises `TransactionError` if so many rows do not fit that the columns are at fault."""
    if snapshot.is_whole and 2 * len(left_out) > len(keys):
        raise TransactionError(Answer(Verdict.BAD, next(iter(left_out.values()))), is_schema=True)
