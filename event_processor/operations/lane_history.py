"""What became of accepted records on their way to remote sinks: when each was released, its tries, and how it ended.

Owns: the search for a place in the outbox, the order buffer, the failed records and their retries, and what a lane's cursor says.
Always: reads only what is committed, so it needs no lock and works while a daemon runs. Files are searched in blocks.
Never: changes a file; says "delivered" of a record whose sequence is not known.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Literal, TypeAlias

import msgspec

from event_processor.assembly import Environment
from event_processor.columns.places import place_texts
from event_processor.configuration.configuration import EVENTS, Configuration
from event_processor.engine.checkpoint_document import Checkpoint
from event_processor.engine.delivery.cursor import CursorDocument
from event_processor.engine.delivery.cursor_file import read_cursor
from event_processor.engine.delivery.failed_records import failed_path
from event_processor.engine.delivery.keys import RETRY
from event_processor.engine.delivery.retries import retry_lane_name, retry_path
from event_processor.engine.delivery.tries import Try, tries_in
from event_processor.engine.held_events import read_held_events
from event_processor.engine.outbox import LaneDocument
from event_processor.model.answers import Verdict
from event_processor.model.delivery import OutboxRecord
from event_processor.model.errors import StateError
from event_processor.model.transactions import DELIVER, FailedRecord
from event_processor.operations.sinks import lane_cursor
from event_processor.operations.state_access import require_checkpoint
from event_processor.storage.append_file import lines_with, whole_bytes_of
from event_processor.storage.durable import FileSystem, storage_call
from event_processor.storage.outbox import SeriesView

__all__ = ["LaneHistory", "LaneResult", "OneTry", "RecordPlace", "lane_histories"]

LaneResult: TypeAlias = Literal["delivered", "failed", "skipped", "pending", "held", "before", "answered", "unknown"]
RecordPlace: TypeAlias = tuple[str, int, int]
"""Source, generation, and offset in bytes."""
READS_MAX: Final = 3
EITHER: Final = "answered, or released before this sink started"
DETACHED: Final = "the sink was detached"
EITHER_DETACHED: Final = "answered, released before this sink started, or skipped because the sink was detached"
PLACE: Final = re.compile(rb'"place":\{("source":"(?:[^"\\]|\\.)*","generation":\d+,"offset":\d+),')
"""The place in a line of an outbox, of failed records, or of retried ones."""


@dataclass(frozen=True, slots=True)
class OneTry:
    """One request with the record. `at`: when it was answered. `stage`: "deliver", or the enricher's name. `records`: how many it had.

    `number`: of this request's tries, from 1. `next_in_s`: how long its records waited at least; 0 if they did not.
    """

    at: str
    stage: str
    number: int
    records: int
    took_ms: float
    verdict: str
    status: str
    words: str
    next_in_s: float

    @classmethod
    def of(cls, tried: Try) -> OneTry:
        """A try of the ring."""
        names = ("at", "stage", "number", "took_ms", "verdict", "status", "words", "next_in_s")
        return cls(records=len(tried.sequences), **{name: getattr(tried, name) for name in names})


@dataclass(frozen=True, slots=True)
class LaneHistory:
    """One accepted record at one remote sink; with `retry` (`r1`), one retry of it.

    `sequence`, `released_at` and `chain` are those of its line in the outbox, or in the file of retries; None if they are not known.
    `result`: "delivered", "failed", "skipped", "pending"; "held": in the order buffer; "before": released before the sink started;
    "answered": delivered, but its record is no longer in the outbox; "unknown", with the reason. `at`: when it was delivered, failed or skipped; empty
    if that is not known. `tries`: of a failed record, how often it was sent. `last_tries`: those that are still known, oldest first.
    """

    sink: str
    retry: str
    source: str
    generation: int
    offset: int
    sequence: int | None
    released_at: str | None
    chain: str | None
    result: LaneResult
    at: str = ""
    status: str = ""
    reason: str = ""
    tries: int | None = None
    last_tries: tuple[OneTry, ...] = ()


def lane_histories(
    configuration: Configuration, environment: Environment, places: Mapping[RecordPlace, int]
) -> dict[RecordPlace, tuple[LaneHistory, ...]]:
    """What every lane that reads events did with the accepted records at `places`. Empty if there is no such lane.

    `places`: each with the record's number among all that were read, from 1; 0 if that is not known.
    Raises `StateError` if the outbox or the order buffer cannot be read, `StorageError`. If only the files of one lane cannot be
    read, that lane's result is "unknown", with the reason.
    """
    for _ in range(READS_MAX - 1):
        checkpoint = require_checkpoint(configuration, environment)
        try:
            return _histories(configuration, environment, checkpoint, places)
        except StateError:
            # A daemon may have replaced a file after we read the checkpoint. Otherwise the next read fails in the same way.
            continue
    return _histories(configuration, environment, require_checkpoint(configuration, environment), places)


def _histories(
    configuration: Configuration, environment: Environment, checkpoint: Checkpoint, places: Mapping[RecordPlace, int]
) -> dict[RecordPlace, tuple[LaneHistory, ...]]:
    lanes = {name: lane for name, lane in checkpoint.state.lanes.items() if lane.input == EVENTS}
    if not lanes or not places:
        return {}
    fs, directory = environment.fs, str(configuration.state.dir)
    series = checkpoint.state.outbox[EVENTS]
    appended = checkpoint.state.appended
    view = SeriesView.of(directory, EVENTS, appended=appended, sequence=series.sequence, chain=series.chain)
    # A daemon may have unlinked files since that checkpoint.
    view = replace(view, files=tuple(file for file in view.files if _is_there(fs, file[0])))
    released = _released(fs, view, places)
    held: frozenset[RecordPlace] = frozenset()
    if checkpoint.state.order.held and len(released) < len(set(places)):
        stage = read_held_events(fs, directory, appended, checkpoint.state.order, configuration.order.buffer_events)
        held = frozenset(event[4][:3] for event in stage.held)
    is_whole = series.sequence + checkpoint.state.order.held == checkpoint.state.counts.accepted
    answers = _Answers(fs, directory, checkpoint.state.state_id, released, held, view.oldest, is_whole, places)
    found: dict[RecordPlace, list[LaneHistory]] = {place: [] for place in places}
    for name, lane in lanes.items():
        try:
            cursor = lane_cursor(environment, directory, checkpoint, name, lane)
            histories = [*answers.of_lane(name, lane, cursor, places)]
        except StateError as error:
            histories = [_unknown(name, place, released.get(place), error.message) for place in places]
        for each in histories:
            found[each.source, each.generation, each.offset].append(each)
    return {place: tuple(each) for place, each in found.items()}


def _released(fs: FileSystem, view: SeriesView, places: Collection[RecordPlace]) -> dict[RecordPlace, OutboxRecord]:
    """The records of the outbox with these places, each of which was released once. The newest are looked for first."""
    found: dict[RecordPlace, OutboxRecord] = {}
    for path, _, length_bytes in reversed(view.files):
        if len(found) == len(places):
            break
        found |= {_place_in(record.place): record for record in _records_at(fs, path, length_bytes, places)}
    return found


def _is_there(fs: FileSystem, path: str) -> bool:
    with storage_call("stat", path):
        return fs.status(path) is not None


def _records_at(fs: FileSystem, path: str, length_bytes: int, places: Collection[RecordPlace]) -> Iterator[OutboxRecord]:
    for line in lines_with(fs, path, length_bytes, PLACE, _texts(places)):
        record = _decoded(line, path, OutboxRecord)
        # An object may have a text like that of a place.
        if _place_in(record.place) in places:
            yield record


def _texts(places: Iterable[RecordPlace]) -> frozenset[bytes]:
    """The places as they begin in a line, without what follows from the offset."""
    return frozenset(text[1:].rpartition(b',"line":')[0] for text in place_texts((*place, 0) for place in places))


def _place_in(place: Mapping[str, Any]) -> RecordPlace:
    return str(place.get("source")), int(place.get("generation", 0)), int(place.get("offset", 0))


def _decoded(line: bytes, path: str, kind: type[Any]) -> Any:
    try:
        return msgspec.json.decode(line, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise StateError(f"{path}: has a line that cannot be read: {error}", hint="restore the file from a backup") from error


@dataclass(frozen=True, slots=True)
class _Answers:
    """What lanes answer. `released`, `held`: of the places that are asked for. `oldest`: the sequence of the outbox's first record.

    `is_whole`: every accepted record was released to the outbox, or is held. Otherwise some were accepted before it began. `numbers`: of the
    records among all that were read.
    """

    fs: FileSystem
    directory: str
    state_id: str
    released: Mapping[RecordPlace, OutboxRecord]
    held: frozenset[RecordPlace]
    oldest: int
    is_whole: bool
    numbers: Mapping[RecordPlace, int]

    def of_lane(
        self, sink: str, lane: LaneDocument, cursor: CursorDocument, places: Collection[RecordPlace]
    ) -> Iterator[LaneHistory]:
        """Yields one history for each place, and then one for each retry of the records that failed."""
        failed = {_place_in(each.place): each for each in self._failed(sink, cursor.failed_bytes, places)}
        sequences = {place: each.sequence for place, each in failed.items()}
        sequences |= {place: record.sequence for place, record in self.released.items()}
        tries = self._tries(sink, cursor, sequences.values())
        for place in places:
            record, sequence = self.released.get(place), sequences.get(place)
            if sequence is None:
                yield self._gone(sink, place, lane, cursor)
            elif place not in failed and sequence <= lane.started_after:
                yield _history(sink, place, record, "before")
            elif lane.detached and sequence > lane.detached.after and not cursor.is_answered(sequence):
                yield _history(sink, place, record, "skipped", reason=DETACHED)
            else:
                yield _answered(sink, place, record, cursor, failed.get(place), sequence=sequence, tries=tries.get(sequence, []))
        yield from self._retried(sink, frozenset(failed))

    def _gone(self, sink: str, place: RecordPlace, lane: LaneDocument, cursor: CursorDocument) -> LaneHistory:
        """The history of a record that is not in the outbox: if it ever was, its sequence was below `oldest`."""
        if place in self.held:
            return _history(sink, place, None, "held")
        if lane.detached is not None:
            # Its line may never have been written. If it was read after the lane was detached, it was released after that too.
            is_after = self.numbers[place] > lane.detached.records
            result: LaneResult = "skipped" if is_after else "unknown"
            return _history(sink, place, None, result, reason=DETACHED if is_after else EITHER_DETACHED)
        if self.oldest - 1 <= lane.started_after:
            return _history(sink, place, None, "before")
        if self.is_whole and not lane.started_after and cursor.sequence >= self.oldest - 1:
            return _history(sink, place, None, "answered")
        return _history(sink, place, None, "unknown", reason=EITHER)

    def _failed(self, lane: str, length_bytes: int, places: Collection[RecordPlace]) -> Iterator[FailedRecord]:
        """The failed and skipped records of a lane at these places. An earlier state may have left others in the file."""
        path = failed_path(self.directory, lane)
        for line in lines_with(self.fs, path, length_bytes, PLACE, _texts(places)):
            record: FailedRecord = _decoded(line, path, FailedRecord)
            if _place_in(record.place) in places and record.key.startswith(f"{self.state_id}:"):
                yield record

    def _tries(self, lane: str, cursor: CursorDocument, sequences: Collection[int]) -> dict[int, list[Try]]:
        """The known tries of these records, by sequence. Before a rename, they have the earlier name of the sink."""
        found: dict[int, list[Try]] = {sequence: [] for sequence in sequences}
        for name in sorted({lane, *(earlier for earlier, _ in cursor.earlier_names)}):
            for tried in tries_in(self.fs, self.directory, name, [*found]):
                for sequence in found.keys() & set(tried.sequences):
                    if name in (lane, cursor.name_of(sequence, lane)):
                        found[sequence].append(tried)
        return found

    def _retried(self, sink: str, places: frozenset[RecordPlace]) -> Iterator[LaneHistory]:
        """Yields the retries of the records that failed at these places."""
        path, name = retry_path(self.directory, sink), retry_lane_name(sink)
        records = [*_records_at(self.fs, path, whole_bytes_of(self.fs, path), places)] if places else []
        records = [each for each in records if str(each.place.get("key")).startswith(f"{self.state_id}:")]
        if not records:
            return
        cursor = read_cursor(self.fs, self.directory, name)
        if cursor is None or cursor.state_id != self.state_id:
            cursor = CursorDocument(self.state_id, RETRY, {}, 0, 0, "")
        failed = {each.sequence: each for each in self._failed(name, cursor.failed_bytes, places)}
        tries = self._tries(name, cursor, [each.sequence for each in records])
        for each in records:
            place, sequence, number = _place_in(each.place), each.sequence, str(each.place.get(RETRY))
            yield _answered(
                sink, place, each, cursor, failed.get(sequence), sequence=sequence, tries=tries[sequence], retry=number
            )


def _history(sink: str, place: RecordPlace, record: OutboxRecord | None, result: LaneResult, **more: Any) -> LaneHistory:
    released = (record.sequence, record.now, record.chain) if record else (None, None, None)
    facts: dict[str, Any] = {"retry": "", **dict(zip(("sequence", "released_at", "chain"), released, strict=True)), **more}
    source, generation, offset = place
    return LaneHistory(sink=sink, source=source, generation=generation, offset=offset, result=result, **facts)


def _unknown(sink: str, place: RecordPlace, record: OutboxRecord | None, reason: str) -> LaneHistory:
    return _history(sink, place, record, "unknown", reason=reason)


def _answered(
    sink: str,
    place: RecordPlace,
    record: OutboxRecord | None,
    cursor: CursorDocument,
    failed: FailedRecord | None,
    *,
    sequence: int,
    tries: Sequence[Try],
    retry: str = "",
) -> LaneHistory:
    """The history of a record that the lane read, or is going to read."""
    # Earlier tries under this sequence were of another record, in a state that was replaced since.
    known = tuple(OneTry.of(each) for each in tries if record is None or each.at >= record.now)
    facts = {"sequence": sequence, "retry": retry, "last_tries": known}
    if failed is not None:
        result: LaneResult = "skipped" if failed.stage == "skipped" else "failed"
        facts |= {"at": failed.failed_at, "status": failed.status, "reason": failed.reason, "tries": failed.tries}
        return _history(sink, place, record, result, **facts)
    if not cursor.is_answered(sequence):
        return _history(sink, place, record, "pending", **facts)
    last = next((each for each in reversed(known) if each.stage == DELIVER and each.verdict == Verdict.DELIVERED.value), None)
    if last is not None:
        facts |= {"at": last.at, "status": last.status}
    return _history(sink, place, record, "delivered", **facts)
