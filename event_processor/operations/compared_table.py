"""A sink with a table, compared with the log: its lane, and the lane of its retried records.

Owns: `ComparedTable`, `TableVerification`, and the words of a difference.
Always: what is left out of the comparison is counted in the result.
Never: reads the log (the caller shows its records), or a database (a connector does).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import msgspec
import orjson

from event_processor.assembly import Environment, change_of_lane, remote_sinks
from event_processor.configuration.configuration import Configuration
from event_processor.engine.checkpoint_document import Checkpoint
from event_processor.engine.delivery.cursor_file import read_cursor
from event_processor.engine.delivery.keys import RETRY
from event_processor.engine.delivery.retries import retry_lane_name, retry_path
from event_processor.engine.outbox import LaneDocument
from event_processor.model.committed_rows import (
    CommittedRows,
    LaneOfRows,
    ReleasedRecord,
    RowComparison,
    RowDifference,
    RowsCompared,
)
from event_processor.model.connector import Difference
from event_processor.model.delivery import OutboxRecord
from event_processor.model.errors import StateError
from event_processor.model.remote import RemoteSinkOptions
from event_processor.model.transactions import CursorOwner, RemoteCursor
from event_processor.storage.append_file import committed_lines, whole_bytes_of
from event_processor.storage.outbox_reader import chain_after_record

__all__ = ["ComparedTable", "RowsDifference", "TableVerification"]

_DECODER: Final = msgspec.json.Decoder(OutboxRecord)


@dataclass(frozen=True, slots=True)
class RowsDifference(Difference):
    """A difference of a table. `sequence`, `file`, `line`, `offset`: of the record, as far as it has them. `column`: "" for a whole row."""

    sequence: int | None = None
    file: str = ""
    line: int | None = None
    offset: int | None = None
    column: str = ""


@dataclass(frozen=True, slots=True)
class TableVerification:
    """What was compared of a sink with a table: the records after `started_after` up to `through`, the cursor in the database.

    `released - started_after = delivered + failed + skipped + pending + detached`. `replaced`: of the delivered ones, those whose row a
    row with the same key replaced. `retried`: retried records that were compared too. Not compared: `retried_left_out` rows of retried
    records, `earlier` rows from before the sink started, `others` of other sinks and pipelines, `columns_not_compared`, which come
    from an enricher, and `unfilled`, by column the rows from before the column was added. `not_compared`: why nothing was. `kind`: what `table`
    is. `gone`: how many objects are gone, so that their records were not compared. `notes`: what a person should know.
    """

    name: str
    table: str = ""
    input: str = ""
    started_after: int = 0
    through: int = 0
    released: int = 0
    delivered: int = 0
    replaced: int = 0
    failed: int = 0
    skipped: int = 0
    pending: int = 0
    detached: int = 0
    retried: int = 0
    retried_left_out: int = 0
    earlier: int = 0
    others: int = 0
    columns_not_compared: tuple[str, ...] = ()
    unfilled: Mapping[str, int] = field(default_factory=dict)
    differing: int = 0
    not_compared: str = ""
    kind: str = "table"
    gone: int = 0
    notes: tuple[str, ...] = ()


class ComparedTable:
    """One remote sink. It gets the records of its input while the log is read."""

    def __init__(
        self,
        configuration: Configuration,
        environment: Environment,
        checkpoint: Checkpoint,
        name: str,
        rows: CommittedRows | None,
        *,
        differences_max: int,
    ) -> None:
        """`rows`: None if the receiver cannot be read. `checkpoint`: read after the snapshot of `rows` was taken.

        Raises `StateError` if the database belongs to another state or was lost, and as `CommittedRows` does.
        """
        options = remote_sinks(configuration)[name]
        self.name: Final = name
        self.input: Final = options.input
        self._environment: Final = environment
        self._directory: Final = str(configuration.state.dir)
        self._differences_max: Final = differences_max
        self._table: Final = rows.table if rows else ""
        self._kind: Final = rows.kind if rows else "table"
        self._open: _OpenComparison | None = None
        lane = checkpoint.state.lanes.get(name)
        self._not_compared = _obstacle(rows, options, lane)
        if rows is not None and lane is not None and not self._not_compared:
            self._prepare(configuration, checkpoint, lane, rows)

    def _prepare(self, configuration: Configuration, checkpoint: Checkpoint, lane: LaneDocument, rows: CommittedRows) -> None:
        main = self._main_lane(configuration, checkpoint, lane)
        self._not_compared = rows.obstacle(main)
        if self._not_compared:
            return
        cursor, released = self._cursor(rows, main), checkpoint.state.outbox[lane.input].sequence
        if cursor.sequence > released:
            self._not_compared = (
                f"its {rows.noun} is at record {cursor.sequence}, but this state has released {released}: the state is an older copy; "
                "restore the newest one, or run it until it has released as many"
            )
            return
        comparison = rows.comparison(main, cursor, self._differences_max)
        last = released if lane.detached is None else min(released, lane.detached.after)
        self._open = _OpenComparison(rows, main, comparison, released, last)

    def _main_lane(self, configuration: Configuration, checkpoint: Checkpoint, lane: LaneDocument) -> LaneOfRows:
        state_id = checkpoint.state.state_id
        mirror = read_cursor(self._environment.fs, self._directory, self.name)
        earlier = mirror.earlier_names if mirror is not None and mirror.state_id == state_id else ()
        enrichers = remote_sinks(configuration)[self.name].enrich
        return LaneOfRows(
            CursorOwner(configuration.state.name, self.name, self.name, state_id, lane.input, shard=configuration.engine.shard),
            lane.started_after,
            lane.chain,
            earlier=earlier,
            siblings=tuple(retry_lane_name(each) for each in (self.name, *(name for name, _ in earlier))),
            enriched=tuple(field for each in enrichers for field in configuration.enrichers[each].set_fields),
        )

    def _cursor(self, rows: CommittedRows, lane: LaneOfRows) -> RemoteCursor:
        """The cursor in the database. Without one, the lane is at its beginning. Raises `StateError` if the database was lost."""
        owner, beginning = lane.owner, RemoteCursor(lane.started_after, lane.started_after, lane.chain)
        found = rows.cursor(lane)
        if found is not None:
            # The cursor of an earlier lane of this name is replaced when this one begins.
            return found if found.started_after == lane.started_after else beginning
        mirror = read_cursor(self._environment.fs, self._directory, self.name)
        is_own = mirror is not None and mirror.is_of(owner.state_id, owner.input, lane.started_after)
        if mirror is not None and is_own and mirror.sequence > mirror.started_after:
            raise StateError(
                f"sink {self.name}: its {rows.noun} does not know this pipeline, but {mirror.sequence - mirror.started_after:,} records "
                f"were answered: the {rows.noun} was lost or replaced",
                hint=f"restore the {rows.noun}; or go on without the earlier records: event-processor sinks drop {self.name}",
            )
        return beginning

    @property
    def is_compared(self) -> bool:
        """Whether it gets records."""
        return self._open is not None

    def compare(self, records: Sequence[ReleasedRecord]) -> None:
        """The next records of its input. Raises as `CommittedRows` does."""
        assert self._open is not None, "it is compared"
        self._open.comparison.compare(records)

    def finish(self, names: Mapping[tuple[str, int], str]) -> tuple[TableVerification, list[RowsDifference]]:
        """The result, and the first differences. Compares the retried records too. `names`: the path of each generation.

        Raises `StateError` if the file of retried records cannot be read, `StorageError`, and as `CommittedRows` does.
        """
        opened = self._open
        if opened is None:
            return TableVerification(self.name, self._table, self.input, not_compared=self._not_compared, kind=self._kind), []
        main, retried, retry_lane = opened.comparison.finish(), None, _retry_lane(opened.lane)
        path = retry_path(self._directory, self.name)
        if whole_bytes := whole_bytes_of(self._environment.fs, path):
            retried = self._retried(opened.rows, retry_lane, path, whole_bytes)
        counts = opened.rows.counts([opened.lane, retry_lane])
        left_out = 0 if retried else opened.rows.counts([retry_lane]).own
        found = TableVerification(
            name=self.name,
            table=self._table,
            input=self.input,
            started_after=opened.lane.started_after,
            through=main.through,
            released=opened.released,
            delivered=main.through - opened.lane.started_after - main.failed - main.skipped,
            replaced=main.replaced,
            failed=main.failed,
            skipped=main.skipped,
            pending=max(0, opened.last - main.through),
            detached=opened.released - max(opened.last, main.through),
            retried=retried.through if retried else 0,
            retried_left_out=left_out,
            earlier=counts.before,
            others=counts.others + main.of_shards + (retried.of_shards if retried else 0),
            columns_not_compared=main.columns_not_compared,
            unfilled=main.unfilled,
            differing=main.differing + (retried.differing if retried else 0),
            kind=self._kind,
            gone=main.gone + (retried.gone if retried else 0),
            notes=(*main.notes, *(f"retried records: {each}" for each in (retried.notes if retried else ()))),
        )
        differences = [self._shown("record", each, names) for each in main.differences]
        differences += [self._shown("retried record", each, names) for each in (retried.differences if retried else ())]
        return found, differences

    def _retried(self, rows: CommittedRows, lane: LaneOfRows, path: str, whole_bytes: int) -> RowsCompared:
        """Compares the rows of retried records with their file: a repaired record is not in the log."""
        cursor = rows.cursor(lane) or RemoteCursor(0, 0, "")
        comparison = rows.comparison(lane, cursor, self._differences_max)
        for records in self._retries(path, whole_bytes):
            comparison.compare(records)
        return comparison.finish()

    def _retries(self, path: str, whole_bytes: int) -> Iterator[list[ReleasedRecord]]:
        """Yields the retried records in parts, with the chain that they should have."""
        link = ""
        for block in committed_lines(self._environment.fs, path, whole_bytes):
            records = []
            for line in block:
                try:
                    record = _DECODER.decode(line)
                except (msgspec.DecodeError, UnicodeDecodeError) as error:
                    raise StateError(
                        f"{path}: has a line that is not a retried record: {error}", hint="restore the file from a backup"
                    ) from error
                link = chain_after_record(link, record)
                records.append(ReleasedRecord(record.sequence, msgspec.json.encode(record.place), link, bytes(record.object)))
            yield records

    def _shown(self, what: str, difference: RowDifference, names: Mapping[tuple[str, int], str]) -> RowsDifference:
        """A difference with its place in words."""
        place = difference.place
        source, generation = place.get("source"), place.get("generation")
        path = ""
        if isinstance(source, str) and isinstance(generation, int):
            path = names.get((source, generation), source)
        line, offset = (each if isinstance(each, int) else None for each in (place.get("line"), place.get("offset")))
        words = [f"sinks.{self.name}: {self._kind} {self._table}"]
        if difference.sequence is not None:
            where = f"{path}:{line}, byte {offset}" if path else orjson.dumps(dict(place)).decode() if place else ""
            words.append(f"{what} {difference.sequence}{f' ({where})' if where else ''}")
        words.append(f"{difference.words} {difference.column}".strip())
        return RowsDifference(
            ", ".join(words),
            difference.committed,
            difference.recomputed,
            sequence=difference.sequence,
            file=path,
            line=line,
            offset=offset,
            column=difference.column,
        )


@dataclass(frozen=True, slots=True)
class _OpenComparison:
    """A lane that is compared. `released`: records of its input. `last`: of these, the last one for the lane if it is detached."""

    rows: CommittedRows
    lane: LaneOfRows
    comparison: RowComparison
    released: int
    last: int


def _obstacle(rows: CommittedRows | None, options: RemoteSinkOptions, lane: LaneDocument | None) -> str:
    """Why nothing can be compared, as far as the state says; "" if it can."""
    if rows is None:
        return f'what the receiver of a sink of type "{options.type}" has cannot be read'
    if lane is None:
        return "it has no lane in this state yet: run the daemon first"
    change = change_of_lane(options, lane)
    return f"{change} since its records were released" if change else ""


def _retry_lane(main: LaneOfRows) -> LaneOfRows:
    """The lane of the retried records of a sink."""
    owner, names = main.owner, [name for name, _ in main.earlier]
    return LaneOfRows(
        CursorOwner(owner.pipeline, retry_lane_name(owner.sink), owner.sink, owner.state_id, RETRY, shard=owner.shard),
        0,
        "",
        earlier=tuple((retry_lane_name(name), None) for name in names),
        siblings=(owner.lane, *names),
        enriched=main.enriched,
    )
