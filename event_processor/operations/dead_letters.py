"""Dead letters: lists, exports, retries and purges them.

Owns: how repaired records return: they are appended to the intake, all or none, and are read as records of the source `intake`.
Always: `state/dead_letters.jsonl` is read only up to its committed length, and only `purge_dead_letters` replaces it.
Never: changes the log that holds a rejected record.
"""

from __future__ import annotations

import base64
import os
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain, islice
from typing import Final

import orjson
from msgspec.structs import replace

from event_processor.assembly import Environment, append_to_intake, sink_path_of
from event_processor.configuration.configuration import Configuration
from event_processor.engine.checkpoint import CheckpointStore
from event_processor.engine.checkpoint_document import Checkpoint
from event_processor.engine.dead_letters import DEAD_LETTERS_NAME, record_of
from event_processor.model.errors import StateError, UsageError
from event_processor.model.event import Json
from event_processor.operations.state_access import committed_length, peek, require_checkpoint
from event_processor.storage.append_file import committed_lines
from event_processor.storage.durable import create_file, prepare_directory, remove_files, storage_boundary
from event_processor.storage.line_index import IndexedLines, LineIndex

__all__ = [
    "DeadLetterCount",
    "DeadLetterPage",
    "count_dead_letters",
    "dead_letter_page",
    "newest_dead_letters",
    "page_of",
    "purge_dead_letters",
    "read_dead_letters",
    "repaired_record",
    "repaired_records",
    "retry_records",
]

LETTER_KEYS: Final = frozenset({"source", "line", "offset", "stage", "reason"})
"""A line with all these keys is a dead letter. Any other object is the record itself."""
PAGE_BYTES_MAX: Final = 4_194_304
"""A record may have a megabyte, and a page has many."""
STAGED_PREFIX: Final = f"{DEAD_LETTERS_NAME}.purged-"


def read_dead_letters(configuration: Configuration, environment: Environment) -> Iterator[dict[str, Json]]:
    """Yields the committed dead letters in order, as JSON objects. `record` is text even if the record is not UTF-8.

    Then `record_base64` holds its true bytes. A record that was too long to keep has neither, but its `length` in bytes.
    Raises `StateError` for an unreadable state or a line that is not a dead letter, `StorageError`.
    """
    checkpoint = peek(configuration, environment)
    length_bytes = committed_length(checkpoint, DEAD_LETTERS_NAME) if checkpoint else 0
    path = os.path.join(str(configuration.state.dir), DEAD_LETTERS_NAME)
    lines = chain.from_iterable(committed_lines(environment.fs, path, length_bytes))
    for number, line in enumerate(lines, start=1):
        yield _letter(line, path, number)


def _letter(line: bytes, path: str, number: int) -> dict[str, Json]:
    try:
        letter = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        raise StateError(
            f"{path}:{number}: not a dead letter: {error}", hint="rebuild the state from the log: event-processor replay"
        ) from error
    return _with_text(letter)


def _with_text(letter: dict[str, Json]) -> dict[str, Json]:
    encoded = letter.get("record_base64")
    if not isinstance(encoded, str):
        return letter
    return {**letter, "record": base64.b64decode(encoded).decode("utf-8", "replace")}


def newest_dead_letters(configuration: Configuration, environment: Environment, limit: int) -> list[dict[str, Json]]:
    """The last `limit` dead letters, oldest first."""
    return list(deque(read_dead_letters(configuration, environment), maxlen=limit))


def count_dead_letters(configuration: Configuration, environment: Environment) -> int:
    """The number of dead letters that are committed and not purged."""
    checkpoint = peek(configuration, environment)
    return DeadLetterCount(configuration, environment).of(checkpoint) if checkpoint else 0


@dataclass(frozen=True, slots=True)
class DeadLetterPage:
    """Some dead letters, the newest first. `count` is the number of all; `next_offset` is where the next page begins, None after the last."""

    count: int
    dead_letters: list[dict[str, Json]]
    next_offset: int | None


def dead_letter_page(lines: IndexedLines, *, offset: int, limit: int) -> DeadLetterPage:
    """The dead letters after the newest `offset`, at most `limit`, and no more after `PAGE_BYTES_MAX`; at least one if there is one.

    Costs the same wherever the page is, and however many there are. Raises `StateError`, `StorageError`.
    """
    stop = max(0, lines.count - offset)
    numbered = zip(range(stop, 0, -1), lines.before(stop), strict=False)
    found = ((_letter(line, lines.path, number), len(line)) for number, line in numbered)
    return page_of(found, count=lines.count, offset=offset, limit=limit)


def page_of(found: Iterator[tuple[dict[str, Json], int]], *, count: int, offset: int, limit: int) -> DeadLetterPage:
    """The first `limit` letters that are found, each with its size in bytes, and no more after `PAGE_BYTES_MAX`."""
    letters: list[dict[str, Json]] = []
    size_bytes = 0
    for letter, letter_bytes in islice(found, limit):
        size_bytes += letter_bytes
        if letters and size_bytes > PAGE_BYTES_MAX:
            break
        letters.append(letter)
    reached = offset + len(letters)
    return DeadLetterPage(count, letters, reached if letters and reached < count else None)


class DeadLetterCount:
    """Counts the committed dead letters. Asked again, it reads only what was added. Used by one thread at a time."""

    def __init__(self, configuration: Configuration, environment: Environment) -> None:
        path = os.path.join(str(configuration.state.dir), DEAD_LETTERS_NAME)
        self._index: Final = LineIndex(environment.fs, path)

    def of(self, checkpoint: Checkpoint) -> int:
        """The number of dead letters that `checkpoint` covers. Raises `StateError` if the file is shorter, `StorageError`."""
        return self.lines(checkpoint).count

    def lines(self, checkpoint: Checkpoint) -> IndexedLines:
        """Their lines, for `dead_letter_page`. Raises as `of` does."""
        return self._index.lines(committed_length(checkpoint, DEAD_LETTERS_NAME))


def repaired_records(lines: Iterable[bytes], name: str) -> list[bytes]:
    """The records to retry: the `record` of a line that is a dead letter, or any other line as it is.

    Skips blank lines. Raises `UsageError`, which names `name` and the first line that is not JSON or has a record that is not.
    """
    return [_repaired(line, f"{name}:{number}") for number, line in enumerate(lines, start=1) if line.strip()]


def _repaired(line: bytes, place: str) -> bytes:
    document = _object(line, f"{place}: not a JSON object")
    return repaired_record(document, place) if document.keys() >= LETTER_KEYS else line.strip()


def repaired_record(letter: dict[str, Json], place: str) -> bytes:
    """The record to retry of a dead letter, on one line. Raises `UsageError`, which names `place`, if it has none that is JSON."""
    record = record_of(letter)
    if record is None:
        raise UsageError(
            f"{place}: a dead letter without its record, which was too long to keep",
            hint='put the repaired record into "record", or remove the line; nothing was retried',
        )
    _object(record, f'{place}: its "record" is not a JSON object')
    # Between JSON tokens a line feed means the same as a space. Inside a string it is not valid.
    return record.replace(b"\r", b" ").replace(b"\n", b" ").strip()


def _object(content: bytes, words: str) -> dict[str, Json]:
    try:
        document = orjson.loads(content)
    except orjson.JSONDecodeError as error:
        raise UsageError(f"{words}: {error}", hint="repair the line, or remove it; nothing was retried") from error
    if not isinstance(document, dict):
        raise UsageError(words, hint="repair the line, or remove it; nothing was retried")
    return document


def retry_records(configuration: Configuration, environment: Environment, records: list[bytes]) -> str:
    """Appends the records to the intake, durably: all or none. Returns the path of the intake.

    A daemon may run meanwhile: it reads them like any log. An event that was accepted before is a duplicate, so a second retry
    is harmless. Raises `LockedError` if other processes append without a pause, `StorageError`.
    """
    directory = str(configuration.state.dir)
    with storage_boundary(directory):
        if records:
            prepare_directory(environment.fs, directory)
        return append_to_intake(environment.fs, environment.clock, directory, records)


def purge_dead_letters(configuration: Configuration, environment: Environment) -> None:
    """Empties `dead_letters.jsonl`. The counts do not change: rejected records stay rejected. The caller holds the lock.

    Raises `InputGoneError` if there is no state, `StateError`, `StorageError`; then all letters are still there.
    """
    fs, directory, paths = environment.fs, str(configuration.state.dir), sink_path_of(configuration)
    require_checkpoint(configuration, environment)
    store = CheckpointStore(fs, directory, environment.telemetry)
    with storage_boundary(directory):
        checkpoint = store.load(paths)
        assert checkpoint is not None, "it existed a moment ago, and we hold the lock"
        leftovers = [name for name in fs.names(directory) if name.startswith(STAGED_PREFIX)]
        remove_files(fs, [os.path.join(directory, name) for name in leftovers])
        staged = os.path.join(directory, f"{STAGED_PREFIX}{environment.new_token()}")
        # If we die before the swap, an empty file remains. The next purge removes it.
        create_file(fs, staged, [])
        state = replace(checkpoint.state, appended={**checkpoint.state.appended, DEAD_LETTERS_NAME: 0})
        store.swap_in(Checkpoint(state, checkpoint.meta), {DEAD_LETTERS_NAME: staged}, paths)
