"""Explains one id: where it was accepted, where it was a duplicate, where a record with it was rejected, and what remote sinks did.

Owns: the search through the log, and the ids that a text can mean. (`lane_history.py` asks the lanes of remote sinks.)
Always: reads the log in the order of the reading journal, so the first place found is the one that counted. Needs no lock.
Never: changes the state; keeps more than `LISTED_MAX` places of a kind (it only counts the rest).
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field, replace
from typing import Any, Final

import msgspec
import numpy as np
import orjson

from event_processor.assembly import Environment, all_sources, check_config, record_format
from event_processor.columns.field_paths import field_path, reach
from event_processor.configuration.configuration import Configuration
from event_processor.deduplication.shards import Shard
from event_processor.engine.checkpoint_document import Checkpoint
from event_processor.engine.dead_letters import DEAD_LETTERS_NAME
from event_processor.model.columns import Columns
from event_processor.model.contracts import Format
from event_processor.model.event import Chunk, EventId, Json, SimpleId
from event_processor.operations.lane_history import LaneHistory, RecordPlace, lane_histories
from event_processor.operations.log_reader import LogReader, Progress, watched_script
from event_processor.operations.state_access import committed_length, require_checkpoint
from event_processor.records.json_lines.judge import INT64_MAX, INT64_MIN, id_names
from event_processor.storage.append_file import committed_lines

__all__ = ["LISTED_MAX", "Explanation", "IdHistory", "Occurrence", "explain", "explanation_document", "meant_ids"]

LISTED_MAX: Final = 1000
LIMIT_STAGE: Final = "totals"
"""The stage of a record that is valid but exceeds the limit of categories."""


@dataclass(frozen=True, slots=True)
class Occurrence:
    """A record with the id. `line` counts from 1; `path` is where its file was first read.

    `offset` is in bytes, or the number of the record if `is_numbered`.
    `reason` says why it was rejected; empty if it was not.
    """

    source: str
    path: str
    generation: int
    line: int
    offset: int
    reason: str = ""
    is_numbered: bool = False


@dataclass(frozen=True, slots=True)
class IdHistory:
    """Every record with one id, in log order. `unlisted` counts the places above `LISTED_MAX` of a kind.

    `accepted` has more than one place only if `dedup.enabled` is false. `lanes`: of each accepted place, in this order, what each
    remote sink did; empty if no remote sink reads events. `foreign`: the places of an id that belongs to another shard, which `shard` names.
    """

    id: EventId
    accepted: tuple[Occurrence, ...] = ()
    duplicates: tuple[Occurrence, ...] = ()
    rejected: tuple[Occurrence, ...] = ()
    unlisted: int = 0
    lanes: tuple[LaneHistory, ...] = ()
    foreign: tuple[Occurrence, ...] = ()
    shard: str = ""

    @property
    def is_known(self) -> bool:
        """Whether any record has the id."""
        return bool(self.accepted or self.duplicates or self.rejected or self.foreign)


@dataclass(frozen=True, slots=True)
class Explanation:
    """The answer: one history for each id that the text can mean, and how much of the log was read."""

    text: str
    ids: tuple[IdHistory, ...]
    records: int
    size_bytes: int


def explanation_document(explanation: Explanation) -> dict[str, Any]:
    """The explanation as JSON. An id has `lanes`, `foreign` and `shard` only if there are any."""
    document: dict[str, Any] = msgspec.to_builtins(explanation)
    for each in document["ids"]:
        for key in ("lanes", "foreign", "shard"):
            if not each[key]:
                del each[key]
    return document


def explain(configuration: Configuration, environment: Environment, text: str, *, progress: Progress) -> Explanation:
    """Explains the id that `text` names: a string, also the integer that it looks like, or a JSON array for several fields.

    Raises `InputGoneError` if there is no state or bytes of the log are gone, `ConfigurationError` if another configuration
    made the state, `StateError`, `StorageError`.
    """
    checkpoint = require_checkpoint(configuration, environment)
    configuration = check_config(configuration, checkpoint)
    search = _Search(configuration, meant_ids(text))
    with closing(LogReader(configuration, environment, checkpoint)) as reader:
        for each in watched_script(reader, progress):
            if isinstance(each, Chunk):
                search.look_through(each)
        size_bytes = reader.read_bytes
    over_limit = _over_limit(configuration, environment, checkpoint)
    histories = tuple(_history(event_id, search.found[event_id], over_limit, configuration) for event_id in search.ids)
    return Explanation(text, _with_lanes(configuration, environment, histories, search.numbers), search.records, size_bytes)


def _with_lanes(
    configuration: Configuration,
    environment: Environment,
    histories: tuple[IdHistory, ...],
    numbers: Mapping[RecordPlace, int],
) -> tuple[IdHistory, ...]:
    """The histories with what the lanes of remote sinks did. `numbers`: of the records with these ids, among all that were read."""
    places = {_place_of(each): numbers[_place_of(each)] for history in histories for each in history.accepted}
    answers = lane_histories(configuration, environment, places)
    return tuple(
        replace(history, lanes=tuple(answer for each in history.accepted for answer in answers.get(_place_of(each), ())))
        for history in histories
    )


def _place_of(occurrence: Occurrence) -> RecordPlace:
    return occurrence.source, occurrence.generation, occurrence.offset


def meant_ids(text: str) -> tuple[EventId, ...]:
    """The ids that `text` can mean: itself, the integer that it writes, or the fields of a JSON array."""
    ids: list[EventId] = [text]
    if re.fullmatch(r"-?(0|[1-9]\d{0,18})", text) and INT64_MIN <= int(text) <= INT64_MAX:
        ids.append(int(text))
    if text.startswith("["):
        parts = _parsed(text.encode("utf-8", "surrogatepass"))
        if isinstance(parts, list) and parts and all(type(part) in (str, int) for part in parts):
            ids.append(tuple(part for part in parts if isinstance(part, str | int)))
    return tuple(ids)


@dataclass(slots=True)
class _Found:
    """The places of one id: valid records, and records that were rejected for their content."""

    valid: list[Occurrence] = field(default_factory=list)
    rejected: list[Occurrence] = field(default_factory=list)
    unlisted: int = 0

    def add(self, place: Occurrence) -> None:
        places = self.rejected if place.reason else self.valid
        if len(places) < LISTED_MAX:
            places.append(place)
        else:
            self.unlisted += 1


class _Search:
    """Searches the log for a few ids, in one pass."""

    def __init__(self, configuration: Configuration, ids: tuple[EventId, ...]) -> None:
        sources = all_sources(configuration, str(configuration.state.dir))
        self.ids: Final = ids
        self.found: Final[dict[EventId, _Found]] = {event_id: _Found() for event_id in ids}
        self.records = 0
        self.numbers: Final[dict[RecordPlace, int]] = {}
        """The number of each record that was found, among all that were read, from 1."""
        self._formats: Final[Mapping[str, Format]] = {name: record_format(configuration, each) for name, each in sources.items()}
        is_changed = bool(configuration.transforms)
        self._as_written: Final = {name for name, each in sources.items() if each.holds_objects and not is_changed}
        self._id_paths: Final = [field_path(name) for name in id_names(configuration.event)]
        self._needles: Final = [_texts_of(event_id) for event_id in ids]
        self._lines: Final[dict[tuple[str, int], int]] = {}

    def look_through(self, chunk: Chunk) -> None:
        """Records every place in `chunk` and counts its lines."""
        key = chunk.source, chunk.generation
        line = self._lines.get(key, 0)
        if chunk.content and self._may_hold(chunk):
            columns = self._formats[chunk.source].decode(chunk)
            records = columns.record_count
            self._look_at_events(chunk, columns, line)
            self._look_at_rejected(chunk, columns, line)
        else:
            records = chunk.content.count(b"\n") + chunk.final if chunk.content else bool(chunk.oversized_bytes)
        self._lines[key] = line + records
        self.records += records

    def _may_hold(self, chunk: Chunk) -> bool:
        """Whether a record of the chunk can have one of the ids.

        If records are JSON objects without escapes, the text of the id must occur.
        """
        if not self._id_paths or chunk.source not in self._as_written or b"\\" in chunk.content:
            return True
        return any(all(text in chunk.content for text in texts) for texts in self._needles)

    def _look_at_events(self, chunk: Chunk, columns: Columns, line: int) -> None:
        for event_id, found in self.found.items():
            for row in _places(columns, event_id):
                place = _occurrence(chunk, columns, row, line)
                found.add(place)
                self.numbers[_place_of(place)] = self.records + row + 1

    def _look_at_rejected(self, chunk: Chunk, columns: Columns, line: int) -> None:
        for rejection in columns.rejections:
            place = _occurrence(chunk, columns, rejection.row, line)
            event_id = self._id_of(columns.record(rejection.row), place)
            found = None if event_id is None else self.found.get(event_id)
            if found is not None:
                found.add(replace(place, reason=rejection.reason))

    def _id_of(self, record: bytes, place: Occurrence) -> EventId | None:
        """The id of a rejected record; None if it cannot be read."""
        if not self._id_paths:
            return place.source, place.generation, place.offset
        document = _parsed(record)
        if not isinstance(document, dict):
            return None
        parts = [reach({**document}, path) for path in self._id_paths]
        simple: list[SimpleId] = [part for part in parts if isinstance(part, str | int) and not isinstance(part, bool)]
        if len(simple) < len(parts):
            return None
        return tuple(simple) if len(simple) > 1 else simple[0]


def _places(columns: Columns, event_id: EventId) -> Iterator[int]:
    """Yields the rows of the valid events with the id. An integer never equals a string, so `==` is enough."""
    for place, found in enumerate(columns.ids.to_list()):
        if found == event_id:
            yield int(columns.rows[place])


def _occurrence(chunk: Chunk, columns: Columns, row: int, line: int) -> Occurrence:
    return Occurrence(
        source=chunk.source,
        path=str(chunk.position.get("path", "")),
        generation=chunk.generation,
        line=line + row + 1,
        offset=int(chunk.offsets(columns.starts, np.array([row]))[0]),
        is_numbered=chunk.places is not None,
    )


def _texts_of(event_id: EventId) -> list[bytes]:
    parts = event_id if isinstance(event_id, tuple) else (event_id,)
    return [str(part).encode("utf-8", "surrogatepass") for part in parts]


def _parsed(content: bytes) -> Json:
    try:
        value: Json = orjson.loads(content)
    except orjson.JSONDecodeError:
        return None
    return value


def _over_limit(
    configuration: Configuration, environment: Environment, checkpoint: Checkpoint
) -> Mapping[tuple[str, int, int], str]:
    """Valid records that were rejected over a limit: the reason, by source, generation and line.

    Only the dead letters know them. Purged ones count as duplicates here.
    """
    if len(checkpoint.state.categories) < configuration.totals.categories_max:
        return {}
    path = os.path.join(str(configuration.state.dir), DEAD_LETTERS_NAME)
    reasons = {}
    for lines in committed_lines(environment.fs, path, committed_length(checkpoint, DEAD_LETTERS_NAME)):
        for letter in map(_parsed, lines):
            if isinstance(letter, dict) and letter.get("stage") == LIMIT_STAGE:
                place = str(letter["source"]), int(str(letter["generation"])), int(str(letter["line"]))
                reasons[place] = str(letter["reason"])
    return reasons


def _history(
    event_id: EventId, found: _Found, over_limit: Mapping[tuple[str, int, int], str], configuration: Configuration
) -> IdHistory:
    """The places, sorted by outcome."""
    valid, refused = [], []
    for place in found.valid:
        reason = over_limit.get((place.source, place.generation, place.line))
        if reason is None:
            valid.append(place)
        else:
            refused.append(replace(place, reason=reason))
    first = 1 if configuration.dedup.enabled else len(valid)
    shard = Shard.of(configuration.engine.shard)
    if shard is not None and not shard.owns([event_id])[0]:
        owner = Shard(int(shard.numbers([event_id])[0]), shard.count)
        rejected = tuple(found.rejected)
        return IdHistory(event_id, rejected=rejected, unlisted=found.unlisted, foreign=tuple(valid), shard=str(owner))
    return IdHistory(
        id=event_id,
        accepted=tuple(valid[:first]),
        duplicates=tuple(valid[first:]),
        rejected=(*found.rejected, *refused),
        unlisted=found.unlisted,
    )
