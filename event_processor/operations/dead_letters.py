"""Dead letters: listed, exported for somebody to mend, and brought back through the intake.

Always: `state/dead_letters.jsonl` is only read, and only up to its committed length; what is retried is appended to the intake,
all of it or nothing, and comes back as records of the source `intake`. The log that held a rejected record stays untouched.
"""

from __future__ import annotations

import base64
import os
from collections import deque
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Final

import orjson
from msgspec.structs import replace

from event_processor.assembly import INTAKE_NAME, Environment, sink_path_of
from event_processor.configuration.configuration import Configuration
from event_processor.engine.checkpoint import Checkpoint, CheckpointStore
from event_processor.engine.dead_letters import DEAD_LETTERS_NAME, record_of
from event_processor.model.errors import StateError, UsageError
from event_processor.model.event import Json
from event_processor.operations.state_access import committed_length, peek, require_checkpoint
from event_processor.storage.append_file import append_lines, committed_lines, count_lines
from event_processor.storage.durable import create_file, prepare_directory, remove_files, storage_boundary

__all__ = [
    "count_dead_letters",
    "mended_records",
    "newest_dead_letters",
    "purge_dead_letters",
    "read_dead_letters",
    "retry_records",
]

LETTER_KEYS: Final = frozenset({"source", "line", "offset", "stage", "reason"})
"""By these a line is known as a dead letter; any other object is taken for the record itself."""
STAGED_PREFIX: Final = f"{DEAD_LETTERS_NAME}.purged-"


def read_dead_letters(configuration: Configuration, environment: Environment) -> Iterator[dict[str, Json]]:
    """The committed dead letters in their order, as JSON objects; the record of each as text, also where it is no UTF-8.

    `record_base64` then still holds its true bytes. A record that was too long to be kept has neither, and `length` in
    bytes. Raises `StateError` for an unreadable state or a line that is no dead letter, `StorageError`.
    """
    checkpoint = peek(configuration, environment)
    length_bytes = committed_length(checkpoint, DEAD_LETTERS_NAME) if checkpoint else 0
    path = os.path.join(str(configuration.state.dir), DEAD_LETTERS_NAME)
    lines = chain.from_iterable(committed_lines(environment.fs, path, length_bytes))
    for number, line in enumerate(lines, start=1):
        try:
            letter = orjson.loads(line)
        except orjson.JSONDecodeError as error:
            raise StateError(
                f"{path}:{number}: not a dead letter: {error}", hint="make the state anew from the log: event-processor replay"
            ) from error
        yield _with_text(letter)


def _with_text(letter: dict[str, Json]) -> dict[str, Json]:
    encoded = letter.get("record_base64")
    if not isinstance(encoded, str):
        return letter
    return {**letter, "record": base64.b64decode(encoded).decode("utf-8", "replace")}


def newest_dead_letters(configuration: Configuration, environment: Environment, limit: int) -> list[dict[str, Json]]:
    """The last `limit` of them, oldest first."""
    return list(deque(read_dead_letters(configuration, environment), maxlen=limit))


def count_dead_letters(configuration: Configuration, environment: Environment) -> int:
    """How many are committed and not purged."""
    checkpoint = peek(configuration, environment)
    length_bytes = committed_length(checkpoint, DEAD_LETTERS_NAME) if checkpoint else 0
    path = os.path.join(str(configuration.state.dir), DEAD_LETTERS_NAME)
    return count_lines(environment.fs, path, length_bytes)


def mended_records(lines: Iterable[bytes], name: str) -> list[bytes]:
    """The records to be retried: of each line that is a dead letter its `record`, of any other the line itself.

    Blank lines are left out. Raises `UsageError` naming `name` and the first line that is not JSON, or whose record is not.
    """
    return [_mended(line, f"{name}:{number}") for number, line in enumerate(lines, start=1) if line.strip()]


def _mended(line: bytes, place: str) -> bytes:
    document = _object(line, f"{place}: not a JSON object")
    if not document.keys() >= LETTER_KEYS:
        return line.strip()
    record = record_of(document)
    if record is None:
        raise UsageError(
            f"{place}: a dead letter without its record, which was too long to be kept",
            hint='put the mended record into "record", or take the line out; nothing was retried',
        )
    _object(record, f'{place}: its "record" is not a JSON object')
    # Between the tokens of JSON a line feed means no more than a space; inside a string it cannot stand.
    return record.replace(b"\r", b" ").replace(b"\n", b" ").strip()


def _object(content: bytes, words: str) -> dict[str, Json]:
    try:
        document = orjson.loads(content)
    except orjson.JSONDecodeError as error:
        raise UsageError(f"{words}: {error}", hint="mend it, or take the line out; nothing was retried") from error
    if not isinstance(document, dict):
        raise UsageError(words, hint="mend it, or take the line out; nothing was retried")
    return document


def retry_records(configuration: Configuration, environment: Environment, records: list[bytes]) -> str:
    """Appends the records to the intake, durably: all of them or none; the path of the intake.

    Works while a daemon runs, which reads them as it reads any log. An event that was accepted in the meantime is a duplicate,
    so that to retry twice does no harm. Raises `LockedError` where somebody else retries just now, `StorageError`.
    """
    directory = str(configuration.state.dir)
    path = os.path.join(directory, INTAKE_NAME)
    if records:
        with storage_boundary(directory):
            prepare_directory(environment.fs, directory)
            append_lines(environment.fs, path, records)
    return path


def purge_dead_letters(configuration: Configuration, environment: Environment) -> None:
    """Empties `dead_letters.jsonl`. The counts stay: what was rejected stays rejected. The caller holds the lock.

    Raises `InputGoneError` where no state is, `StateError`, `StorageError`; the letters then all stand.
    """
    fs, directory, paths = environment.fs, str(configuration.state.dir), sink_path_of(configuration)
    require_checkpoint(configuration, environment)
    store = CheckpointStore(fs, directory, environment.telemetry)
    with storage_boundary(directory):
        checkpoint = store.load(paths)
        assert checkpoint is not None, "it was there a moment ago, and the lock is ours"
        leftovers = [name for name in fs.names(directory) if name.startswith(STAGED_PREFIX)]
        remove_files(fs, [os.path.join(directory, name) for name in leftovers])
        staged = os.path.join(directory, f"{STAGED_PREFIX}{environment.new_token()}")
        # If we die before the swap, an empty file stays that the next purge removes.
        create_file(fs, staged, [])
        state = replace(checkpoint.state, appended={**checkpoint.state.appended, DEAD_LETTERS_NAME: 0})
        store.swap_in(Checkpoint(state, checkpoint.meta), {DEAD_LETTERS_NAME: staged}, paths)
