"""What became of one id: where it was accepted, where it came again, and where a record that bears it was rejected.

Always: the log is read in the order of the reading journal, so that the first place found is the one that counted. The
state is not changed and needs no lock.
Never: more than `LISTED_MAX` places of a kind are kept; the rest is counted.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field, replace
from typing import Final

import orjson

from event_processor.assembly import Environment, all_sources, check_config, record_format
from event_processor.columns.field_paths import field_path, reach
from event_processor.configuration.configuration import Configuration
from event_processor.engine.checkpoint import Checkpoint
from event_processor.engine.dead_letters import DEAD_LETTERS_NAME
from event_processor.model.columns import Columns
from event_processor.model.contracts import Format
from event_processor.model.event import Chunk, EventId, Json, SimpleId
from event_processor.operations.log_reader import LogReader, Progress, watched_script
from event_processor.operations.state_access import committed_length, require_checkpoint
from event_processor.records.json_lines.judge import INT64_MAX, INT64_MIN, id_names
from event_processor.storage.append_file import committed_lines

__all__ = ["LISTED_MAX", "Explanation", "IdHistory", "Occurrence", "explain", "meant_ids"]

LISTED_MAX: Final = 1000
LIMIT_STAGE: Final = "totals"
"""The stage of a record that is valid, but of one category too many."""


@dataclass(frozen=True, slots=True)
class Occurrence:
    """A record that bears the id. `line` counts from 1, `offset` in bytes; `path` is where its file was first read.

    `reason` says why it was rejected, and is empty otherwise.
    """

    source: str
    path: str
    generation: int
    line: int
    offset: int
    reason: str = ""


@dataclass(frozen=True, slots=True)
class IdHistory:
    """All that became of one id, in log order. `unlisted` counts what went past `LISTED_MAX` places of a kind.

    `accepted` has more than one place only where duplicates are not looked for.
    """

    id: EventId
    accepted: tuple[Occurrence, ...] = ()
    duplicates: tuple[Occurrence, ...] = ()
    rejected: tuple[Occurrence, ...] = ()
    unlisted: int = 0

    @property
    def is_known(self) -> bool:
        """Whether any record bears the id."""
        return bool(self.accepted or self.duplicates or self.rejected)


@dataclass(frozen=True, slots=True)
class Explanation:
    """The answer: one history for each id that the text may mean, and how much of the log was read for it."""

    text: str
    ids: tuple[IdHistory, ...]
    records: int
    size_bytes: int


def explain(configuration: Configuration, environment: Environment, text: str, *, progress: Progress) -> Explanation:
    """What became of the id that `text` names: a string, also the integer it looks like, or a JSON array for several fields.

    Raises `InputGoneError` where no state is, or bytes of the log are gone, `ConfigurationError` where the state was made by
    another configuration, `StateError`, `StorageError`.
    """
    checkpoint = require_checkpoint(configuration, environment)
    check_config(configuration, checkpoint)
    search = _Search(configuration, meant_ids(text))
    with closing(LogReader(configuration, environment, checkpoint)) as reader:
        for each in watched_script(reader, progress):
            if isinstance(each, Chunk):
                search.look_through(each)
        size_bytes = reader.size_bytes
    over_limit = _over_limit(configuration, environment, checkpoint)
    histories = tuple(_history(event_id, search.found[event_id], over_limit, configuration) for event_id in search.ids)
    return Explanation(text, histories, search.records, size_bytes)


def meant_ids(text: str) -> tuple[EventId, ...]:
    """The ids that a person may mean by `text`: itself, the integer that it writes, the several ids of a JSON array."""
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
    """The places of one id: valid records, and those that were rejected for themselves."""

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
    """One pass over the log for a few ids."""

    def __init__(self, configuration: Configuration, ids: tuple[EventId, ...]) -> None:
        sources = all_sources(configuration, str(configuration.state.dir))
        self.ids: Final = ids
        self.found: Final[dict[EventId, _Found]] = {event_id: _Found() for event_id in ids}
        self.records = 0
        self._formats: Final[Mapping[str, Format]] = {name: record_format(configuration, each) for name, each in sources.items()}
        is_changed = bool(configuration.transforms)
        self._as_written: Final = {name for name, each in sources.items() if each.holds_objects and not is_changed}
        self._id_paths: Final = [field_path(name) for name in id_names(configuration.event)]
        self._needles: Final = [_texts_of(event_id) for event_id in ids]
        self._lines: Final[dict[tuple[str, int], int]] = {}

    def look_through(self, chunk: Chunk) -> None:
        """Notes every place in `chunk`, and counts its lines."""
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
        """Whether any of the ids can be that of a record: where records are objects as they stand and nothing is escaped, its text must be there."""
        if not self._id_paths or chunk.source not in self._as_written or b"\\" in chunk.content:
            return True
        return any(all(text in chunk.content for text in texts) for texts in self._needles)

    def _look_at_events(self, chunk: Chunk, columns: Columns, line: int) -> None:
        for event_id, found in self.found.items():
            for row in _places(columns, event_id):
                found.add(_occurrence(chunk, columns, row, line))

    def _look_at_rejected(self, chunk: Chunk, columns: Columns, line: int) -> None:
        for rejection in columns.rejections:
            place = _occurrence(chunk, columns, rejection.row, line)
            event_id = self._id_of(columns.record(rejection.row), place)
            found = None if event_id is None else self.found.get(event_id)
            if found is not None:
                found.add(replace(place, reason=rejection.reason))

    def _id_of(self, record: bytes, place: Occurrence) -> EventId | None:
        """The id that a rejected record bears, as far as it can be read."""
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
    """The rows of the valid events that bear the id. An integer never equals a string, so comparing is enough."""
    for place, found in enumerate(columns.ids.to_list()):
        if found == event_id:
            yield int(columns.rows[place])


def _occurrence(chunk: Chunk, columns: Columns, row: int, line: int) -> Occurrence:
    return Occurrence(
        source=chunk.source,
        path=str(chunk.position.get("path", "")),
        generation=chunk.generation,
        line=line + row + 1,
        offset=chunk.offset + int(columns.starts[row]),
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
    """By source, generation and line, the records that were rejected though they are valid, and why.

    Only the dead letters tell; those that were purged are taken for duplicates.
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
    """The places by what became of them."""
    valid, refused = [], []
    for place in found.valid:
        reason = over_limit.get((place.source, place.generation, place.line))
        if reason is None:
            valid.append(place)
        else:
            refused.append(replace(place, reason=reason))
    first = 1 if configuration.dedup.enabled else len(valid)
    return IdHistory(
        id=event_id,
        accepted=tuple(valid[:first]),
        duplicates=tuple(valid[first:]),
        rejected=(*found.rejected, *refused),
        unlisted=found.unlisted,
    )
