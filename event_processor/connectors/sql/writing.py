"""One batch on its way into the database: its rows, and what became of each of its records.

Owns: `Writing`: how records become rows, together or one by one, and which of them are bad.
Always: together or one by one, the rows are the same. If so many records are bad that it is not their fault, nothing is written.
Never: runs a statement.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from event_processor.connectors.sql.columns import RowReader, UnfitError
from event_processor.connectors.sql.dialect import Row, Rows, Value
from event_processor.model.answers import Answer, Verdict
from event_processor.model.record_blocks import RecordBlock
from event_processor.model.transactions import Batch, BatchAnswers, HandedBlocks

__all__ = ["Writing"]


class Writing(BatchAnswers):
    """See `BatchAnswers`.

    `shared`: the values of the last columns, which all rows have in common; known after `rows`.
    """

    def __init__(self, batch: Batch, shared: Row) -> None:
        super().__init__(batch)
        self.shared = shared
        self._entries: Final = batch.entries

    def rows(self, reader: RowReader) -> tuple[Sequence[int], Rows]:
        """The rows of the records that are to be written, without what they share, and their places in the batch.

        Records that do not fit are noted.
        """
        entries = self._entries
        if isinstance(entries, HandedBlocks) and (together := _rows_of_blocks(reader, entries.blocks)) is not None:
            rows, shared = together
            self.shared = (*shared, *self.shared)
            return range(len(rows)), rows
        places: list[int] = []
        alone: list[Row] = []
        for place, entry in enumerate(entries):
            if entry.refusal is not None:
                continue
            record = entry.sent
            try:
                own = reader.row(bytes(record.object))
            except UnfitError as error:
                self.bad[place] = Answer(Verdict.BAD, str(error))
                continue
            where = record.place
            source = where.get("source") or where.get("aggregate")
            places.append(place)
            alone.append((*own, where.get("offset"), where.get("line"), record.sequence, source, where.get("generation")))
        return places, Rows.of(alone)


def _rows_of_blocks(reader: RowReader, blocks: Sequence[RecordBlock]) -> tuple[Rows, Row] | None:
    """The rows of all records, and their source and generation if they share these.

    None if one of the records may not fit, or has another kind of place: then each is looked at alone.
    """
    found: list[list[Value]] = []
    runs: list[tuple[tuple[str, int], int]] = []
    for block in blocks:
        places = block.places
        if places is None or (columns := reader.columns(block.object_lines())) is None:
            return None
        runs += places.sources.counted()
        more = [*columns, places.offsets, places.lines, range(block.first, block.last + 1)]
        if any(len(column) != len(block) for column in more):
            return None
        found = found or [[] for _ in more]
        for column, values in zip(found, more, strict=True):
            column.extend(values)
    if len({place for place, _ in runs}) == 1:
        return Rows(found), runs[0][0]
    for part in (0, 1):
        found.append([value for place, count in runs for value in [place[part]] * count])
    return Rows(found), ()
