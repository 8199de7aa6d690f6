"""The row of one lane's cursor, as one process sees it.

Owns: `CursorRow`, every statement that takes or moves a cursor, and the fence.
Always: a cursor moves only if it has the fence and the sequence that this process knows. So of two processes only the later one writes.
A look changes nothing: a process with other records must not stop the one that writes.
Never: begins or ends a transaction: its caller does, so that rows and cursor are one. Knows no database.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, cast

from event_processor.connectors.sql.dialect import Dialect, Row, Session, SqlError, Value
from event_processor.connectors.sql.statements import Statements
from event_processor.connectors.sql.tables import CURSOR
from event_processor.model.answers import Answer, Verdict
from event_processor.model.clock import utc_text
from event_processor.model.errors import StateError
from event_processor.model.messages import cut
from event_processor.model.transactions import CursorOwner, RemoteCursor, TransactionError

__all__ = ["CursorRow"]

ANOTHER: Final = RemoteCursor(-1, -1, "")
"""In place of a cursor of the same name that counts the records of another input."""


@dataclass(frozen=True, slots=True)
class _Found:
    """The row as it was seen: its key, its fence, and the cursor in it."""

    name: Row
    fence: int
    cursor: RemoteCursor


class CursorRow:
    """Each method runs in a transaction of its caller, and may raise `SqlError` and `TransactionError`."""

    def __init__(self, owner: CursorOwner, writer: str, software: str, wall_ns: Callable[[], int]) -> None:
        """`writer`: which process this is; no other has the same."""
        self._owner: Final = owner
        self._writer: Final = writer
        self._software: Final = software
        self._wall_ns: Final = wall_ns
        self._fence = 0
        """Ours, since the last `take` or `start`; 0 before the first."""
        self._found: _Found | None = None

    @property
    def name(self) -> Row:
        """The key of the row."""
        return (self._owner.pipeline, self._owner.shard, self._owner.lane)

    def look(self, session: Session, dialect: Dialect, statements: Statements) -> RemoteCursor | None:
        """The cursor, under the lane's name or an earlier one; None if there is none. Raises `StateError` if it is of another state."""
        self._found = None
        if dialect.found_table(session, CURSOR.name) is None:
            return None
        for lane in (self._owner.lane, *self._owner.earlier_lanes):
            name = (self._owner.pipeline, self._owner.shard, lane)
            if rows := session.execute(statements.look, name):
                state_id, writer, fence, input_name, *numbers = rows[0]
                if state_id == self._owner.state_id:
                    self._require_ours(str(writer), cast("int", fence))
                    self._found = _Found(name, cast("int", fence), _cursor(numbers))
                    return self._found.cursor if input_name == self._owner.input else ANOTHER
                if lane == self._owner.lane:
                    raise self._of_another_state(str(state_id))
        return None

    def _require_ours(self, writer: str, fence: int) -> None:
        """Raises `TransactionError` if another process has taken the cursor since this one did.

        With a lower fence, it is an older copy of the database, and names the process that wrote then.
        """
        if not self._fence or writer == self._writer or fence < self._fence:
            return
        words = f"another process ({cut(writer.rpartition(':')[0])}) has taken the place of {self._owner.lane} in this database"
        raise TransactionError(
            Answer(Verdict.STOP, f"{words}: perhaps a copy of the state is running", "fenced"),
            remedy="stop one of the two; then restart this process if it is the one to go on",
        )

    def _of_another_state(self, state_id: str) -> StateError:
        owner = self._owner
        return StateError(
            f"sink {owner.sink}: its database belongs to another state of the pipeline {owner.pipeline}: "
            f"{cut(state_id)}, not {owner.state_id}",
            hint="restore that state; or give this pipeline another state.name, or another database, which begin anew",
        )

    def take(self, session: Session, statements: Statements) -> int | None:
        """Raises the fence of the cursor that `look` found, and gives it the lane's name. Returns the fence; None if it was changed since.

        The row lock of the statement waits for a transaction of unknown outcome, if the database still works on it. The fence rises,
        so that such a transaction finds none of its own later.
        """
        assert self._found is not None, "it was found"
        values = (self._owner.lane, self._found.fence + 1, self._writer, utc_text(self._wall_ns()), self._software)
        return self._taken(session, statements, statements.take, values)

    def start(self, session: Session, statements: Statements, cursor: RemoteCursor) -> int | None:
        """Makes the cursor, or replaces the one that `look` found. Returns the fence; None if it was made or changed since."""
        whole = (self._owner.state_id, self._owner.input, *_values(cursor), utc_text(self._wall_ns()), self._software)
        if self._found is not None:
            values = (self._owner.lane, self._found.fence + 1, self._writer, *whole)
            return self._taken(session, statements, statements.restart, values)
        try:
            session.execute(statements.make, (*self.name, *whole, 1, self._writer))
        except SqlError as error:
            if error.answer.verdict is not Verdict.BAD:
                raise
            return None
        return 1

    def _taken(self, session: Session, statements: Statements, statement: str, values: Row) -> int | None:
        found = self._found
        assert found is not None, "it was found"
        where = (*found.name, self._owner.state_id, found.fence, found.cursor.sequence, found.cursor.chain)
        if not session.execute(statement, (*values, *where)):
            return None
        if found.name != self.name:
            session.execute(statements.rename_failed, (self._owner.lane, *found.name, self._owner.state_id))
        return found.fence + 1

    def took(self, fence: int) -> None:
        """The transaction with `take` or `start` was committed."""
        self._fence = fence

    def move(self, session: Session, statements: Statements, after: RemoteCursor, *, sequence: int, changed_at: str) -> None:
        """Moves the cursor from `sequence` on. The last statement: if it raises, nothing of the transaction may count."""
        values = (*_values(after), changed_at, self._software)
        if len(session.execute(statements.move, (*values, *self.name, self._owner.state_id, self._fence, sequence))) != 1:
            raise self.moved()

    def moved(self) -> TransactionError:
        """The cursor is not where it was: another process has taken it, or an older copy was restored. `begin` finds out which."""
        return TransactionError(Answer(Verdict.WAIT, f"the cursor of {self._owner.lane} was moved in this database", "moved"))


def _cursor(numbers: Sequence[Value]) -> RemoteCursor:
    started_after, sequence, chain, delivered, failed, skipped = numbers
    return RemoteCursor(
        cast("int", started_after),
        cast("int", sequence),
        str(chain),
        cast("int", delivered),
        cast("int", failed),
        cast("int", skipped),
    )


def _values(cursor: RemoteCursor) -> Row:
    return (cursor.started_after, cursor.sequence, cursor.chain, cursor.delivered, cursor.failed, cursor.skipped)
