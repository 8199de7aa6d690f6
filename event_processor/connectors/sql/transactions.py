"""The transactions of one lane: the rows, the failed rows, and the cursor.

Owns: `LaneTransactions`, and the order of what is in a transaction.
Always: a transaction ends with the move of the cursor (`cursor_row.py`), so what was committed is never written again.
Never: used by two threads at once; it may block. Knows no database.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import msgspec

from event_processor.connectors.sql.cursor_transactions import CursorTransactions, as_transaction_errors
from event_processor.connectors.sql.dialect import Row, Rows, Session, SqlError
from event_processor.connectors.sql.writing import Writing
from event_processor.model.answers import Answer, Verdict
from event_processor.model.clock import utc_text
from event_processor.model.transactions import (
    DELIVER,
    Batch,
    FailedRecord,
    Handed,
    Refusal,
)

__all__ = ["LaneTransactions"]


class LaneTransactions(CursorTransactions):
    """See `TransactionalReceiver`: the same, without the event loop."""

    def deliver(self, batch: Batch) -> list[Answer]:
        """See `TransactionalReceiver`."""
        pipeline, _, sink = self._row.name
        writing = Writing(batch, (pipeline, sink, utc_text(batch.wall_ns), self._software))
        places, rows = writing.rows(self._tools.reader)
        writing.require_few()
        with as_transaction_errors(), self._transaction() as session:
            self._write(session, places, rows, writing=writing)
            answers = writing.answers()
            if failed := [self._failed_row(batch, entry, answer) for entry, answer in writing.failed(answers)]:
                session.insert(self._tools.statements.fail, Rows.of(failed))
            after = batch.before.after(batch.entries, answers)
            # The last statement. If the fence or the sequence is not ours, nothing of this transaction counts.
            place, changed_at = batch.before.sequence, utc_text(batch.wall_ns)
            self._row.move(session, self._tools.statements, after, sequence=place, changed_at=changed_at)
            # If we die before the commit, nothing was written. If we die after it, the cursor says so at the next `begin`.
        return answers

    def _write(self, session: Session, places: Sequence[int], rows: Rows, *, writing: Writing) -> None:
        """Writes the rows. If the database refuses them, finds out by halves which: a good one is written, whatever its neighbour is."""
        if not len(rows):
            return
        session.execute("SAVEPOINT event_processor_rows")
        try:
            session.insert(self._tools.statements.insert, rows, writing.shared)
            session.settle()
        except SqlError as error:
            if error.answer.verdict is not Verdict.BAD or not session.is_in_transaction:
                raise
            session.execute("ROLLBACK TO SAVEPOINT event_processor_rows")
            session.execute("RELEASE SAVEPOINT event_processor_rows")
            if len(rows) == 1:
                writing.refuse(places[0], error.answer)
                return
            middle = (len(rows) + 1) // 2
            self._write(session, places[:middle], rows.part(0, middle), writing=writing)
            self._write(session, places[middle:], rows.part(middle, len(rows)), writing=writing)
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
        with as_transaction_errors():
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
