"""Dead letters on disk: `state/dead_letters.jsonl`, a JSON object a line, only ever appended to.

Owns: their form, both ways. Bytes that are UTF-8 stand as text in `record`, others in `record_base64`; a record that was too
long to be held has neither, and `length` in bytes.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Final

import msgspec
from msgspec import UNSET, UnsetType

from event_processor.event import DeadLetter, Json

__all__ = ["DEAD_LETTERS_NAME", "encode_dead_letters", "kept", "record_of"]

DEAD_LETTERS_NAME = "dead_letters.jsonl"
_ENCODER: Final = msgspec.json.Encoder()


def encode_dead_letters(letters: Sequence[DeadLetter]) -> bytes:
    """The letters as lines."""
    return _ENCODER.encode_lines(letters)


def kept(record: bytes) -> tuple[str | UnsetType, str | UnsetType]:
    """A letter's `record` and `record_base64`, of which one is given."""
    try:
        return record.decode(), UNSET
    except UnicodeDecodeError:
        return UNSET, base64.b64encode(record).decode("ascii")


def record_of(letter: dict[str, Json]) -> bytes | None:
    """The record's bytes from a letter's JSON object, or None where it holds none."""
    text = letter.get("record")
    if isinstance(text, str):
        return text.encode("utf-8", "surrogatepass")
    encoded = letter.get("record_base64")
    return base64.b64decode(encoded) if isinstance(encoded, str) else None
