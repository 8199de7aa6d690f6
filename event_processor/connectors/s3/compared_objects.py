"""The objects of one lane against the records that the log gives again.

Owns: `ObjectComparison`: what must be true of each record up to the manifest's cursor, and which difference is reported if it is not.
Always: every record is exactly one line of one object, or one failed record that an object names. One object is in memory at a time. An object that
is gone is counted and named, and says nothing about its records. An object with a token in its name is of a try without conditional writes: if there
is one, objects may overlap, and end after the cursor. Then each record is compared in one of them, and an object without a record of its own in none.
Never: knows which objects count (`committed_objects.py` does); reads more than once.
"""

from __future__ import annotations

import gzip
import zlib
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Final, NamedTuple

import msgspec

from event_processor.connectors.s3.bucket_writing import Stored
from event_processor.connectors.s3.manifest import Manifest, ObjectFacts
from event_processor.model.committed_rows import LaneOfRows, ReleasedRecord, RowDifference, RowsCompared
from event_processor.model.errors import StateError
from event_processor.model.event import Json
from event_processor.model.field_names import name_keys
from event_processor.model.transactions import SKIPPED_STAGE, FailedRecord, RemoteCursor

__all__ = ["NamedObject", "NamedObjects", "ObjectComparison"]

NOTES_MAX: Final = 10
SHOWN_BYTES: Final = 200


class NamedObject(NamedTuple):
    """An object that counts, by the number of its first record."""

    first: int
    key: str

    @property
    def is_of_a_try(self) -> bool:
        """Whether its name has a token: it was written without conditions, and others may have the same records."""
        return "-" in self.key.rpartition("/")[2]


@dataclass(frozen=True, slots=True)
class NamedObjects:
    """The objects of a lane. `named`: those that count, ascending. `unnamed`: the paths of other objects beside them.

    `read` gives an object, or None if it is gone; `look` the same without its content. `path_of`: what a key is called. `failed`: the folder of failed records. `manifest`: None
    if there is none yet.
    """

    named: Sequence[NamedObject]
    unnamed: Sequence[str]
    read: Callable[[str], Stored | None]
    path_of: Callable[[str], str]
    look: Callable[[str], Stored | None]
    failed: str = ""
    manifest: Manifest | None = None


@dataclass(slots=True)
class _Open:
    """The records up to `last`: those of an object, or of one that cannot be compared. `lines`: None if none of them is compared.

    `failed`: the stage of each record that is not a line.
    """

    last: int
    path: str = ""
    facts: ObjectFacts | None = None
    lines: Iterator[bytes] | None = None
    failed: Mapping[int, str] = field(default_factory=dict)
    line: int = 0
    is_miscounted: bool = False


class ObjectComparison:
    """See `RowComparison`."""

    def __init__(self, lane: LaneOfRows, cursor: RemoteCursor, found: NamedObjects, differences_max: int) -> None:
        """`cursor`: of the manifest, or the beginning of the lane."""
        self._lane: Final = lane
        self._cursor: Final = cursor
        self._found: Final = found
        self._differences_max: Final = differences_max
        self._left: Final = list(reversed(found.named))
        self._current: _Open | None = None
        self._sequence, self._chain = lane.started_after, lane.chain
        self._counts: Final = dict.fromkeys(("delivered", "failed", "skipped"), 0)
        self._tries: Final[list[tuple[int, NamedObject]]] = []
        """Objects of tries that were not read, each with its last record."""
        self._objects = self._gone = self._differing = 0
        self._is_weak: Final = any(each.is_of_a_try for each in found.named)
        """Whether the service had no conditional writes once. Objects with plain names may overlap since: the manifest may have gone back."""
        self._again = len(found.named) if self._is_weak else 0
        """How many objects of tries were not read."""
        self._differences: Final[list[RowDifference]] = []
        self._notes: Final[list[str]] = []

    def compare(self, records: Sequence[ReleasedRecord]) -> None:
        """See `RowComparison`."""
        for record in records:
            if self._lane.started_after < record.sequence <= self._cursor.sequence:
                self._record(record)

    def finish(self) -> RowsCompared:
        """See `RowComparison`."""
        self._close()
        for each in reversed(self._left):
            if not self._is_weak:
                self._surplus(each)
        cursor = self._cursor
        if self._sequence < cursor.sequence:
            self._differ("the last record of the sink", cursor.sequence, self._sequence)
        elif self._chain != cursor.chain:
            self._differ(f"the chain at record {cursor.sequence}", cursor.chain, self._chain, cursor.sequence)
        if not (self._differing or self._gone):
            for name, count in self._counts.items():
                if getattr(cursor, name) != count:
                    self._differ(f"the manifest's count of {name}", getattr(cursor, name), count)
        return RowsCompared(
            through=cursor.sequence,
            rows=self._counts["delivered"],
            replaced=0,
            failed=cursor.failed,
            skipped=cursor.skipped,
            columns_not_compared=self._lane.enriched,
            unfilled={},
            of_shards=0,
            differing=self._differing,
            differences=tuple(self._differences),
            gone=self._gone,
            notes=tuple(self._all_notes()),
        )

    def _all_notes(self) -> Iterator[str]:
        yield f"{self._objects:,} {'object' if self._objects == 1 else 'objects'} compared"
        yield from self._notes
        if self._gone > len(self._notes):
            yield f"{self._gone - len(self._notes):,} more are gone"
        if self._again:
            words = "1 object has" if self._again == 1 else f"{self._again:,} objects have"
            yield f"not compared: {words} only records that others have too: the service has no conditional writes"
        unnamed = self._found.unnamed
        for path in unnamed[:NOTES_MAX]:
            yield f"not compared: {path}: the manifest does not name it"
        if len(unnamed) > NOTES_MAX:
            yield f"not compared: {len(unnamed) - NOTES_MAX:,} more objects that the manifest does not name"

    # One object after the other.

    def _record(self, record: ReleasedRecord) -> None:
        if self._current is None or record.sequence > self._current.last:
            self._close()
            self._current = self._next(record.sequence)
        self._sequence, self._chain = record.sequence, record.chain
        current = self._current
        if current.lines is None:
            return
        if (stage := current.failed.get(record.sequence)) is not None:
            self._counts["skipped" if stage == SKIPPED_STAGE else "failed"] += 1
            return
        self._counts["delivered"] += 1
        line, current.line = next(current.lines, None), current.line + 1
        if line is None or not self._is_same(line, record.content):
            place = msgspec.json.decode(record.place, type=dict[str, Any])
            words = f"line {current.line} of {current.path}"
            self._differ(words, None if line is None else _shown(line), _shown(record.content), record.sequence, place)
            if current.is_miscounted:
                # The lines after it are shifted: each would differ.
                current.lines = None

    def _next(self, sequence: int) -> _Open:
        """What has the record with this sequence."""
        found = None
        while self._left and self._left[-1].first <= sequence:
            each = self._left.pop()
            if self._is_weak:
                self._note_try(each)
            elif each.first == sequence:
                found = self._opened(each)
            else:
                self._surplus(each)
        if found is None:
            found = self._opened_try(sequence)
        return found or self._missing(sequence, self._before_next())

    def _before_next(self) -> int:
        return self._left[-1].first - 1 if self._left else self._cursor.sequence

    def _note_try(self, named: NamedObject) -> None:
        stored = self._found.look(named.key)
        facts = stored and self._facts_of(named, stored, self._found.path_of(named.key))
        if facts:
            self._tries.append((facts.last, named))

    def _opened_try(self, sequence: int) -> _Open | None:
        """Of the objects of tries with this record, the one that goes on longest; None if none has it."""
        self._tries[:] = sorted(each for each in self._tries if each[0] >= sequence)
        while self._tries:
            _, named = self._tries.pop()
            stored = self._found.read(named.key)
            if stored is None:
                continue
            self._again -= 1
            found = self._read(named, stored)
            before = sequence - named.first - sum(each < sequence for each in found.failed)
            if found.lines is not None:
                found.line = before
                deque(islice(found.lines, before), maxlen=0)
            return found
        return None

    def _opened(self, named: NamedObject) -> _Open:
        stored = self._found.read(named.key)
        return self._missing(named.first, self._before_next()) if stored is None else self._read(named, stored)

    def _read(self, named: NamedObject, stored: Stored) -> _Open:
        path = self._found.path_of(named.key)
        self._objects += 1
        facts = self._facts_of(named, stored, path)
        if facts is None:
            return _Open(self._before_next())
        failed = self._failed_of(facts, named.first)
        if failed is None:
            return _Open(facts.last, path, facts)
        try:
            content = gzip.decompress(stored.content) if named.key.endswith(".gz") else stored.content
        except (OSError, EOFError, zlib.error) as error:
            self._differ(f"the content of {path}", f"not whole: {error}", "a gzip stream", named.first)
            return _Open(facts.last, path, facts)
        lines = content.split(b"\n")
        count = facts.last - named.first + 1 - len(failed)
        is_ended = lines.pop() == b""
        if len(lines) != count or not is_ended:
            self._differ(f"the lines of {path}", len(lines) + (not is_ended), count, named.first)
        return _Open(facts.last, path, facts, iter(lines), failed, is_miscounted=len(lines) != count)

    def _facts_of(self, named: NamedObject, stored: Stored, path: str) -> ObjectFacts | None:
        """What an object says of itself; None, and a difference, if that is not what the sink wrote."""
        try:
            facts = ObjectFacts.read(stored.metadata, path)
        except StateError:
            self._differ(f"the metadata of {path}", "none of ours", "as the sink writes them", named.first)
            return None
        manifest = self._found.manifest
        assert manifest is not None, "it names the object"
        own = (facts.state_id, facts.input, facts.first, facts.started_after)
        wanted = (manifest.state_id, manifest.input, named.first, manifest.started_after)
        if own == wanted and named.first <= facts.last and (self._is_weak or facts.last <= self._cursor.sequence):
            return facts
        self._differ(f"the metadata of {path}", [*own, facts.last], [*wanted, self._before_next()], named.first)
        return None

    def _failed_of(self, facts: ObjectFacts, first: int) -> dict[int, str] | None:
        """The stages of the failed records that an object names, by sequence; None if they are gone."""
        if not facts.failed_token:
            return {}
        key = f"{self._found.failed}/{first:020d}-{facts.failed_token}.jsonl"
        stored = self._found.read(key)
        if stored is None:
            self._gone += 1
            self._note(f"gone: {self._found.path_of(key)}: failed records of the records {first:,} to {facts.last:,}")
            return None
        try:
            records = [msgspec.json.decode(line, type=FailedRecord) for line in stored.content.splitlines()]
        except msgspec.MsgspecError as error:
            self._differ(
                f"the failed records of {self._found.path_of(key)}", f"none of ours ({type(error).__name__})", None, first
            )
            return None
        return {each.sequence: each.stage for each in records}

    def _missing(self, first: int, last: int) -> _Open:
        """No object has these records."""
        self._gone += 1
        self._note(f"gone: the object of record {first:,} (records {first:,} to {last:,} are in no object)")
        return _Open(last)

    def _surplus(self, named: NamedObject) -> None:
        """An object begins inside another one, or where the lane has no record."""
        self._differ(f"{self._found.path_of(named.key)}: it begins inside another object", named.first, None, named.first)

    def _close(self) -> None:
        current, self._current = self._current, None
        if (
            current is not None
            and current.facts is not None
            and self._sequence == current.facts.last
            and current.facts.chain != self._chain
        ):
            self._differ(f"the chain in the metadata of {current.path}", current.facts.chain, self._chain, current.last)

    def _is_same(self, line: bytes, content: bytes) -> bool:
        if line == content or not self._lane.enriched:
            return line == content
        try:
            return bool(self._without_enriched(line) == self._without_enriched(content))
        except msgspec.DecodeError:
            return False

    def _without_enriched(self, line: bytes) -> Any:
        document = msgspec.json.decode(line)
        for name in self._lane.enriched:
            *outer, last = name_keys(name)
            inside = document
            for key in outer:
                inside = inside.get(key) if isinstance(inside, dict) else None
            if isinstance(inside, dict):
                inside.pop(last, None)
        return document

    def _note(self, words: str) -> None:
        if len(self._notes) < NOTES_MAX:
            self._notes.append(words)

    def _differ(
        self, words: str, committed: Json, recomputed: Json, sequence: int | None = None, place: Mapping[str, Any] | None = None
    ) -> None:
        self._differing += 1
        if len(self._differences) < self._differences_max:
            self._differences.append(RowDifference(words, committed, recomputed, sequence, place or {}))


def _shown(line: bytes) -> str:
    text = line.decode("utf-8", "backslashreplace")
    return text if len(text) <= SHOWN_BYTES else f"{text[:SHOWN_BYTES]}…"
