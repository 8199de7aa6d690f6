"""The row of one lane's cursor, as one process sees it.

Owns: `CursorRow`, every statement that takes or moves a cursor, and the fence.
Always: a cursor moves only if it has the fence and the sequence that this process knows. So of two processes only the later one writes.
Never: begins or ends a transaction: its caller does, so that rows and cursor are one. Knows no database.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, cast

from event_processor.connectors.sql.dialect import Dialect, Row, Session, SqlError, Value
from event_processor.connectors.sql.statements import Statements
from event_processor.model.answers import Answer, Verdict
from event_processor.model.clock import utc_text
from event_processor.model.errors import StateError
from event_processor.model.messages import cut
from event_processor.model.transactions import CursorOwner, RemoteCursor, TransactionError

__all__ = ["CursorRow"]

ANOTHER: Final = RemoteCursor(-1, -1, "")
"""In place of a cursor of the same name that counts the records of another input."""


class CursorRow:
    """Each method runs in a transaction of its caller, and may raise `SqlError` and `TransactionError`."""

    def __init__(self, owner: CursorOwner, writer: str, software: str, wall_ns: Callable[[], int]) -> None:
        """`writer`: which process this is; no other has the same."""
        self._owner: Final = owner
        self._writer: Final = writer
        self._software: Final = software
        self._wall_ns: Final = wall_ns
        self._fence = 0
        """Ours, of the last `take`; 0 if there was no cursor."""
        self._has_taken = False
        """Whether this process has taken the cursor before. Then it takes it again only if no other process has since."""

    @property
    def name(self) -> Row:
        """The key of the row."""
        return (self._owner.pipeline, self._owner.shard, self._owner.lane)

    def is_taken(self, *, is_there: bool) -> None:
        """`take` was committed. `is_there`: there was a cursor."""
        self._has_taken = is_there

    def take(self, session: Session, dialect: Dialect, statements: Statements) -> RemoteCursor | None:
        """Raises the fence of the cursor, and returns it; None if there is none."""
        if dialect.found_table(session, "event_processor_cursor") is None:
            return None
        owner = self._owner
        values = (self._writer, self._software, utc_text(self._wall_ns()), *self.name, owner.state_id)
        # The row lock of this statement waits for a transaction of unknown outcome, if the database still works on it. The fence
        # rises, so that such a transaction finds none of its own later.
        if self._has_taken:
            found = session.execute(statements.take_again, (*values, self._writer))
        else:
            found = session.execute(statements.take, values)
        if not found:
            return self._not_taken(session, dialect, statements)
        fence, input_name, *numbers = found[0]
        self._fence = cast("int", fence)
        return _cursor(numbers) if input_name == owner.input else ANOTHER

    def _not_taken(self, session: Session, dialect: Dialect, statements: Statements) -> RemoteCursor | None:
        """Why there was no cursor to take. Raises `StateError` if it is of another state."""
        owner = self._owner
        found = session.execute(statements.owner, self.name)
        if not found:
            self._fence = 0
            return self._renamed(session, dialect, statements)
        if found[0][0] == owner.state_id:
            writer = cut(str(found[0][1]).rpartition(":")[0])
            words = f"another process ({writer}) has taken the place of {owner.lane} in this database"
            raise TransactionError(
                Answer(Verdict.STOP, f"{words}: perhaps a copy of the state is running", "fenced"),
                remedy="stop one of the two; then restart this process if it is the one to go on",
            )
        raise StateError(
            f"sink {owner.sink}: its database belongs to another state of the pipeline {owner.pipeline}: "
            f"{cut(str(found[0][0]))}, not {owner.state_id}",
            hint="restore that state; or give this pipeline another state.name, or another database, which begin anew",
        )

    def _renamed(self, session: Session, dialect: Dialect, statements: Statements) -> RemoteCursor | None:
        """The cursor under an earlier name of the lane, which now gets the present one; None if there is none either."""
        owner = self._owner
        for name in owner.earlier_lanes:
            earlier = (owner.pipeline, owner.shard, name)
            moved = session.execute(statements.rename, (owner.lane, *earlier, owner.state_id))
            if moved:
                session.execute(statements.rename_failed, (owner.lane, *earlier, owner.state_id))
                return self.take(session, dialect, statements)
        return None

    def start(self, session: Session, statements: Statements, cursor: RemoteCursor) -> None:
        """Makes the cursor, or replaces the one of an earlier lane of this name."""
        values = (self._owner.state_id, self._owner.input, *_values(cursor), utc_text(self._wall_ns()), self._software)
        if self._fence:
            moved = session.execute(statements.restart, (*values, *self.name, self._fence))
            if not moved:
                raise self._moved()
            return
        try:
            session.execute(statements.make, (*self.name, *values, 1, self._writer))
        except SqlError as error:
            if error.answer.verdict is not Verdict.BAD:
                raise
            # Another process made it meanwhile.
            raise TransactionError(Answer(Verdict.WAIT, error.answer.words, error.answer.status)) from error
        self._fence = 1
        # Also if the outcome is unknown: if it is there with this writer, it is ours.
        self._has_taken = True

    def move(self, session: Session, statements: Statements, after: RemoteCursor, *, sequence: int, changed_at: str) -> None:
        """Moves the cursor from `sequence` on. The last statement: if it raises, nothing of the transaction may count."""
        values = (*_values(after), changed_at, self._software)
        if len(session.execute(statements.move, (*values, *self.name, self._owner.state_id, self._fence, sequence))) != 1:
            raise self._moved()

    def _moved(self) -> TransactionError:
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
