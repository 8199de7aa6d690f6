"""Records that a remote sink refused, or that an operator skipped: lists them, and sends repaired ones to that sink alone.

Owns: which failed records may be retried, and which number a retry has.
Always: only committed lines are read. A failed record is retried once: the same command again adds nothing, unless that retry has
failed too.
Never: sends; changes the file of failed records.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from heapq import merge
from itertools import chain, islice
from typing import Any, Final, TypeAlias

import msgspec
import orjson
from msgspec import Struct

from event_processor.assembly import CONNECTORS, Environment, remote_sinks
from event_processor.configuration.configuration import Configuration
from event_processor.engine.checkpoint_document import Checkpoint
from event_processor.engine.delivery.cursor_file import read_cursor
from event_processor.engine.delivery.failed_records import failed_path
from event_processor.engine.delivery.keys import RETRY
from event_processor.engine.delivery.retries import Retry, append_retries, first_key, planned_retries, retry_lane_name, retry_path
from event_processor.model.clock import utc_text
from event_processor.model.delivery import Request
from event_processor.model.errors import StateError, UsageError
from event_processor.operations.dead_letters import DeadLetterPage, page_of
from event_processor.operations.sinks import known_sinks
from event_processor.operations.state_access import peek
from event_processor.storage.append_file import committed_lines, whole_bytes_of
from event_processor.storage.line_index import IndexedLines, LineIndex
from event_processor.storage.shared_log import patiently

__all__ = ["FailedIndex", "Retried", "count_failed", "failed_page", "newest_failed", "read_failed", "retry_failed"]

WRONG: Final = (
    "use lines of 'event-processor dead-letters export --sink {sink}', and repair their \"object\"; nothing was retried"
)

Letter: TypeAlias = dict[str, Any]
"""A failed record as its line says; `object` is a `msgspec.Raw`, and everything else a JSON value."""


@dataclass(frozen=True, slots=True)
class Retried:
    """What a retry adds. `records`: each with its key and its object; if it is only to be shown, with its body, if the sink can do that.

    `already`: of these records a retry waits, or was delivered; they are not added again. `path`: of the file.
    """

    records: Sequence[tuple[str, bytes]]
    already: Sequence[str]
    path: str


class _Repaired(Struct, frozen=True):
    """What is read of a repaired line. The place is that of the failed record, whatever the line says."""

    key: str
    object: msgspec.Raw
    place: dict[str, Any] = {}


def read_failed(configuration: Configuration, environment: Environment, sink: str) -> Iterator[Letter]:
    """Yields the failed and skipped records of a sink, the oldest first, as JSON objects; those of its retries too.

    `object` of each is a `msgspec.Raw`. Raises `UsageError` if nothing is known of such a sink, `StateError`, `StorageError`.
    """
    directory = str(configuration.state.dir)
    files = [_lines(environment, directory, name) for name in (sink, retry_lane_name(sink))]
    _require_known(configuration, environment, peek(configuration, environment), sink)
    return merge(*files, key=lambda letter: str(letter.get("failed_at")))


def _require_known(configuration: Configuration, environment: Environment, checkpoint: Checkpoint | None, sink: str) -> None:
    """Raises `UsageError` if nothing is known of such a sink."""
    known = known_sinks(configuration, checkpoint)
    if sink not in known and environment.fs.status(failed_path(str(configuration.state.dir), sink)) is None:
        names = f"the remote sinks are: {', '.join(known)}" if known else "no sink here is remote"
        raise UsageError(f"{sink}: not a remote sink", hint=names)


def _lines(environment: Environment, directory: str, name: str) -> Iterator[Letter]:
    """The committed lines of one file."""
    path, length_bytes = failed_path(directory, name), _committed_bytes(environment, directory, name)
    for number, line in enumerate(chain.from_iterable(committed_lines(environment.fs, path, length_bytes)), start=1):
        yield _letter(line, path, number)


def _committed_bytes(environment: Environment, directory: str, name: str) -> int:
    """Without a cursor (the lane was dropped), all whole lines are committed."""
    cursor = read_cursor(environment.fs, directory, name)
    return cursor.failed_bytes if cursor else whole_bytes_of(environment.fs, failed_path(directory, name))


def _letter(line: bytes, path: str, number: int) -> Letter:
    """The line with its `object` as it is there: read and written again, a long number would have other digits, or be an error."""
    try:
        line.decode()
        parts = msgspec.json.decode(line, type=dict[str, msgspec.Raw])
        return {name: part if name == "object" else orjson.loads(bytes(part)) for name, part in parts.items()}
    except (msgspec.MsgspecError, ValueError) as error:
        raise StateError(f"{path}:{number}: not a failed record: {error}", hint="restore the file from a backup") from error


class FailedIndex:
    """Finds failed records from the newest on. Asked again, it reads only what was added. Used by one thread at a time."""

    def __init__(self, environment: Environment) -> None:
        self._environment: Final = environment
        self._indexes: Final[dict[str, LineIndex]] = {}

    def lines(self, configuration: Configuration, checkpoint: Checkpoint | None, sink: str) -> list[IndexedLines]:
        """The failed records of a sink, then those of its retries, for `failed_page`. Raises as `read_failed` does."""
        _require_known(configuration, self._environment, checkpoint, sink)
        directory, found = str(configuration.state.dir), []
        for name in (sink, retry_lane_name(sink)):
            path = failed_path(directory, name)
            index = self._indexes.setdefault(path, LineIndex(self._environment.fs, path))
            found.append(index.lines(_committed_bytes(self._environment, directory, name)))
        return found


def failed_page(files: Sequence[IndexedLines], *, offset: int, limit: int) -> DeadLetterPage:
    """The failed records after the newest `offset`, as `dead_letter_page` does it. If retries have failed too, what is passed over is read."""
    count = sum(each.count for each in files)
    filled = [each for each in files if each.count]
    if len(filled) == 1:
        newest = _newest(filled[0], max(0, count - offset))
    else:
        # Of two of one time, the later one in `read_failed` comes first.
        series = [_newest(each, each.count) for each in reversed(filled)]
        newest = islice(merge(*series, key=lambda found: str(found[0].get("failed_at")), reverse=True), offset, None)
    return page_of(newest, count=count, offset=offset, limit=limit)


def _newest(lines: IndexedLines, stop: int) -> Iterator[tuple[Letter, int]]:
    """The letters before number `stop`, the last first, each with its size in bytes.

    `record` is their object as text, with the digits that it has: a page in a browser would round numbers.
    """
    for number, line in zip(range(stop, 0, -1), lines.before(stop), strict=False):
        letter = _letter(line, lines.path, number)
        if "object" in letter:
            letter["record"] = bytes(letter["object"]).decode()
        yield letter, len(line)


def newest_failed(configuration: Configuration, environment: Environment, sink: str, limit: int) -> list[Letter]:
    """The last `limit` failed records, the oldest first, as `read_failed` does it."""
    return list(read_failed(configuration, environment, sink))[-limit:]


def count_failed(configuration: Configuration, environment: Environment, sink: str) -> int:
    """The number of failed and skipped records of a sink."""
    return sum(1 for _ in read_failed(configuration, environment, sink))


def retry_failed(
    configuration: Configuration, environment: Environment, sink: str, lines: Iterable[bytes], name: str, *, dry_run: bool
) -> Retried:
    """Gives repaired records to the lane of `sink`, durably; with `dry_run`, only says which.

    A running daemon sends them within seconds, or else the next one does. `name` is that of the file, for messages. Raises
    `UsageError` if a line is not a failed record of this sink, or if a record is there twice: then nothing is retried; `LockedError`,
    `StateError`, `StorageError`.
    """
    options = remote_sinks(configuration).get(sink)
    if options is None:
        raise UsageError(f"{sink}: no such remote sink is configured", hint="name a sink that has a lane: sinks list")
    failed = {str(letter["key"]): letter["place"] for letter in read_failed(configuration, environment, sink)}
    repaired = _repaired(lines, name, sink, failed)
    already: list[str] = []

    def choose(last: Mapping[str, int]) -> list[Retry]:
        already.clear()
        chosen = []
        for key, each in repaired.items():
            number = last.get(key, 0)
            if number and f"{key}:r{number}" not in failed:
                already.append(f"{key}:r{number}")
            else:
                chosen.append(Retry(key, number + 1, each.place, each.object))
        return chosen

    fs, directory, now = environment.fs, str(configuration.state.dir), utc_text(environment.clock.wall_ns())
    path = retry_path(directory, sink)
    if dry_run:
        records = planned_retries(fs, path, whole_bytes_of(fs, path), choose, now)
    else:
        # The lane holds the file's lock for an instant when it looks.
        records = patiently(environment.clock, lambda: append_retries(fs, directory, sink, choose, now))
    connector = CONNECTORS[options.type]
    shown = []
    for record in records:
        key = f"{record.place['key']}:{record.place[RETRY]}"
        body = connector.shown_body(options, Request([record], [key], key)) if dry_run else None
        shown.append((key, bytes(record.object) if body is None else body))
    return Retried(shown, already, path)


def _repaired(lines: Iterable[bytes], name: str, sink: str, failed: Mapping[str, Any]) -> dict[str, _Repaired]:
    """The repaired records by the key that each had first. Raises `UsageError` with the first line that cannot be retried."""
    found: dict[str, _Repaired] = {}
    hint = WRONG.format(sink=sink)
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        place = f"{name}:{number}"
        try:
            each = msgspec.json.decode(line, type=_Repaired)
        except msgspec.DecodeError as error:
            raise UsageError(f"{place}: not a failed record: {error}", hint=hint) from error
        if each.key not in failed:
            raise UsageError(f"{place}: no failed record of sink {sink} has the key {each.key}", hint=hint)
        if not bytes(each.object).lstrip().startswith(b"{"):
            raise UsageError(f'{place}: its "object" is not a JSON object', hint=hint)
        origin = failed[each.key]
        key = first_key(each.key, origin)
        if key in found:
            raise UsageError(f"{place}: the record {key} is there twice", hint="keep one of the lines; nothing was retried")
        found[key] = msgspec.structs.replace(each, place=origin)
    return found
