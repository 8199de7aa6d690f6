"""From records of a lane to messages of topics: value, key and headers.

Owns: `Message`, the form of records and of dead letters in a topic, and the names of headers.
Always: pure. The value of a record is its bytes. The value of a dead letter is the record as it came, so that it can be repaired and
produced again; what happened to it is in the headers.
Never: sends; knows a cursor.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import msgspec

from event_processor.columns.field_paths import Absent, field_path, reach
from event_processor.connectors.kafka.sink_options import KafkaSinkOptions
from event_processor.model.delivery import OutboxRecord
from event_processor.model.event import DeadLetter
from event_processor.model.transactions import FailedRecord, Handed

__all__ = ["PREFIX", "Message", "MessageWriter", "UnfitError", "key_reader"]

PREFIX: Final = "event_processor."
"""How the names of our headers begin."""
Headers: TypeAlias = tuple[tuple[str, bytes], ...]
_LETTER: Final = msgspec.json.Decoder(DeadLetter)
_UNREADABLE: Final = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)


@dataclass(frozen=True, slots=True)
class Message:
    """One message for a topic. `value`: None deletes the key in a compacted topic. `partition`: -1 for the partitioner's choice."""

    topic: str
    value: bytes | None
    key: bytes | None = None
    headers: Headers = ()
    partition: int = -1


class UnfitError(Exception):
    """A record cannot become a message: it is bad. The message says why, without its content."""


class MessageWriter:
    """Writes the messages of one sink."""

    def __init__(self, options: KafkaSinkOptions, pipeline: str) -> None:
        """`pipeline`: the name of the pipeline, for dead letters."""
        self._options: Final = options
        self._pipeline: Final = pipeline
        self._key_of: Final = key_reader(options.record_key)
        self._is_of_letters: Final = options.input == "dead_letters"

    def record(self, handed: Handed) -> Message:
        """The message of a record. Raises `UnfitError`."""
        sent = handed.sent
        content = bytes(sent.object)
        if self._is_of_letters:
            letter = _letter(content)
            told = {"stage": letter.stage, "reason": letter.reason, "field": letter.field}
            length = {"length": letter.length} if isinstance(letter.length, int) else {}
            facts = {"key": handed.key, "sequence": sent.sequence, **sent.place, **told, **length}
            return Message(self._options.topic, _record_of(letter), self._key_of(content), _headers(facts))
        headers = _headers(_lineage(sent, handed.key)) if self._options.headers else ()
        return Message(self._options.topic, content, self._key_of(content), headers)

    def dead_letter(self, failed: FailedRecord, *, with_value: bool) -> Message:
        """The message of a record that failed. `with_value`: False if the topic does not take it, since it is too large."""
        content = bytes(failed.object)
        told = {
            "pipeline": self._pipeline,
            "sink": failed.sink,
            "key": failed.key,
            "sequence": failed.sequence,
            **failed.place,
            "stage": failed.stage,
            "status": failed.status,
            "reason": failed.reason,
            "tries": failed.tries,
            "failed_at": failed.failed_at,
        }
        if not with_value:
            told["length"] = len(content)
        key = failed.key.encode()
        return Message(self._options.dead_letter_topic, content if with_value else None, key, _headers(told))


def _lineage(record: OutboxRecord, key: str) -> dict[str, object]:
    """Where a record comes from, in short: the key names its source, generation and offset."""
    line = {"line": record.place["line"]} if "line" in record.place else {}
    return {"key": key, "sequence": record.sequence, **line}


def _headers(facts: Mapping[str, Any]) -> Headers:
    """A header for each fact that is known."""
    return tuple((PREFIX + name, _text(value)) for name, value in facts.items() if value not in (None, ""))


def _text(value: object) -> bytes:
    return value.encode("utf-8", "surrogatepass") if isinstance(value, str) else msgspec.json.encode(value)


def _letter(content: bytes) -> DeadLetter:
    try:
        return _LETTER.decode(content)
    except _UNREADABLE as error:
        raise UnfitError(f"the dead letter cannot be read ({type(error).__name__})") from error


def _record_of(letter: DeadLetter) -> bytes | None:
    """The record's own bytes; None if they were too many to be kept."""
    if isinstance(letter.record, str):
        return letter.record.encode("utf-8", "surrogatepass")
    return base64.b64decode(letter.record_base64) if isinstance(letter.record_base64, str) else None


def key_reader(field: str) -> Callable[[bytes], bytes | None]:
    """What reads a record's key: the text of a string, or the value as JSON; None if there is none, or no `field`.

    It raises `UnfitError` if the record is not a JSON object.
    """
    if not field:
        return lambda _content: None
    path = field_path(field)

    def read(content: bytes) -> bytes | None:
        try:
            found = reach(msgspec.json.decode(content, type=dict[str, object]), path)
        except _UNREADABLE as error:
            # The error's own words may repeat a part of the record.
            raise UnfitError(f"the record cannot be read as a JSON object ({type(error).__name__})") from error
        return None if found is None or isinstance(found, Absent) else _text(found)

    return read
