"""The entries of the cursor topic, as bytes: the cursor of each lane, and its last failed records.

Owns: the form of their keys and values; `LaneEntries`, what the entries of one lane say; and `FailedParts`.
Always: pure. A later entry with the same key replaces the earlier one, as the topic's compaction does. Keys are JSON that people read.
Never: reads or writes a topic (`cursor_topic.py` and `sink_transactions.py` do).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import msgspec
from msgspec import Struct

from event_processor.model.errors import StateError
from event_processor.model.messages import cut
from event_processor.model.transactions import CursorOwner, FailedRecord, RemoteCursor

__all__ = ["CursorEntry", "FailedKey", "FailedParts", "LaneEntries", "cursor_key", "failed_entries"]

VERSION: Final = 1
FAILED_PART_BYTES: Final = 262_144
"""An entry of a failed record is cut into parts of this size: a topic takes 1 MiB in one record by default."""
FAILED_MAX: Final = 10_000
FAILED_BYTES_MAX: Final = 67_108_864
"""So many failed records of a lane are kept in the topic, and so many bytes: it is read whole at each start."""


class CursorEntry(Struct, frozen=True, kw_only=True):
    """The cursor of a lane. `writer`: the process that writes for it now; no other has the same. `at`, `software`: for people."""

    version: int = VERSION
    state_id: str
    input: str
    started_after: int
    sequence: int
    chain: str
    delivered: int
    failed: int
    skipped: int
    writer: str
    at: str
    software: str

    @property
    def cursor(self) -> RemoteCursor:
        return RemoteCursor(self.started_after, self.sequence, self.chain, self.delivered, self.failed, self.skipped)

    @property
    def encoded(self) -> bytes:
        return msgspec.json.encode(self)


class _CursorKey(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    pipeline: str
    shard: str
    """There are no shards yet."""
    lane: str


class FailedKey(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The key of a part of a failed record. `sequence`: of the record."""

    pipeline: str
    shard: str
    lane: str
    input: str
    failed: int
    part: int
    parts: int

    @property
    def encoded(self) -> bytes:
        return msgspec.json.encode(self)


def cursor_key(owner: CursorOwner, lane: str) -> bytes:
    """The key of the cursor of a lane: the owner's, or an earlier one of it."""
    return msgspec.json.encode(_CursorKey(pipeline=owner.pipeline, shard=owner.shard, lane=lane))


def failed_entries(owner: CursorOwner, record: FailedRecord) -> Iterator[tuple[FailedKey, bytes]]:
    """The entries that keep a failed record."""
    content = msgspec.json.encode(record)
    starts = range(0, len(content), FAILED_PART_BYTES)
    for part, start in enumerate(starts):
        key = FailedKey(
            pipeline=owner.pipeline,
            shard=owner.shard,
            lane=owner.lane,
            input=owner.input,
            failed=record.sequence,
            part=part,
            parts=len(starts),
        )
        yield key, content[start : start + FAILED_PART_BYTES]


class LaneEntries:
    """What the entries of the topic say of one lane, under its name and its earlier ones. Used by one thread."""

    def __init__(self, owner: CursorOwner) -> None:
        self._owner: Final = owner
        self._names: Final = (owner.lane, *owner.earlier_lanes)
        self._cursors: Final[dict[str, CursorEntry]] = {}
        self._failed: Final[dict[FailedKey, int]] = {}
        """The size of each part of failed records, oldest first."""
        self._failed_bytes = 0

    @property
    def cursor(self) -> CursorEntry | None:
        """The lane's own."""
        return self._cursors.get(self._owner.lane)

    def earlier(self) -> Iterator[tuple[str, CursorEntry]]:
        """The cursors under earlier names, the latest first."""
        return ((name, self._cursors[name]) for name in self._owner.earlier_lanes if name in self._cursors)

    def take(self, key: bytes | None, value: bytes | None) -> FailedKey | None:
        """Takes the next entry of the topic. Returns its key if it is a part of a failed record of this lane.

        Raises `StateError` if it is a cursor of this lane that cannot be read.
        """
        if key is None:
            return None
        for name in self._names:
            if key == cursor_key(self._owner, name):
                self._take_cursor(name, value)
                return None
        try:
            failed = msgspec.json.decode(key, type=FailedKey)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            return None  # of another lane, or of a later version
        owner = self._owner
        ours = (owner.pipeline, owner.shard, owner.input)
        if (failed.pipeline, failed.shard, failed.input) != ours or failed.lane not in self._names:
            return None
        self.note_failed(failed, None if value is None else len(value))
        return failed

    def _take_cursor(self, name: str, value: bytes | None) -> None:
        if value is None:
            self._cursors.pop(name, None)
            return
        try:
            entry = msgspec.json.decode(value, type=CursorEntry)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise StateError(
                f"sink {self._owner.sink}: its cursor in the topic cannot be read: {cut(str(error))}",
                hint="the topic is for the cursors of event-processor alone: find out what else writes there",
            ) from error
        if entry.version != VERSION:
            raise StateError(
                f"sink {self._owner.sink}: its cursor in the topic has version {entry.version}, but this software reads {VERSION}",
                hint="use the version of event-processor that wrote it",
            )
        self._cursors[name] = entry

    def note_cursor(self, entry: CursorEntry) -> None:
        """A transaction with this cursor is committed."""
        self._cursors[self._owner.lane] = entry

    def note_failed(self, key: FailedKey, size_bytes: int | None) -> None:
        """A part of a failed record is in the topic; None: it was deleted."""
        self._failed_bytes -= self._failed.pop(key, 0)
        if size_bytes is not None:
            self._failed[key] = size_bytes
            self._failed_bytes += size_bytes

    def excess(self) -> list[FailedKey]:
        """The oldest parts, if more are kept than should be."""
        found: list[FailedKey] = []
        left, left_bytes = len(self._failed), self._failed_bytes
        for key, size_bytes in self._failed.items():
            if left <= FAILED_MAX and left_bytes <= FAILED_BYTES_MAX:
                break
            found.append(key)
            left, left_bytes = left - 1, left_bytes - size_bytes
        return found


class FailedParts:
    """The parts of a lane's failed records after a sequence. A record counts only if all of its parts are there."""

    def __init__(self, entries: LaneEntries, sequence: int) -> None:
        self._entries: Final = entries
        self._sequence: Final = sequence
        self._parts: Final[dict[int, dict[int, bytes]]] = {}
        self._wanted: Final[dict[int, int]] = {}

    def take(self, key: bytes | None, value: bytes | None) -> None:
        """Takes the next entry of the topic."""
        found = self._entries.take(key, value)
        if found is None or found.failed <= self._sequence:
            return
        if value is None:
            self._parts.pop(found.failed, None)
            return
        self._wanted[found.failed] = found.parts
        self._parts.setdefault(found.failed, {})[found.part] = value

    def records(self) -> list[FailedRecord]:
        """The records that are whole, ascending."""
        whole = {each: parts for each, parts in sorted(self._parts.items()) if len(parts) == self._wanted[each]}
        contents = (b"".join(parts[part] for part in sorted(parts)) for parts in whole.values())
        return [msgspec.json.decode(content, type=FailedRecord) for content in contents]
