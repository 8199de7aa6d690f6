"""Dead letters on disk: `state/dead_letters.jsonl`, a JSON object a line, only ever appended to.

Owns: their form, both ways. Bytes that are UTF-8 stand as text in `record`, others in `record_base64`; a record that was too
long to be held has neither, and `length` in bytes.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable

import orjson

from event_processor.event import DeadLetter, Json

__all__ = ["DEAD_LETTERS_NAME", "encode_dead_letters", "record_of"]

DEAD_LETTERS_NAME = "dead_letters.jsonl"


def encode_dead_letters(letters: Iterable[DeadLetter]) -> bytes:
    """The letters as lines."""
    return b"".join(orjson.dumps(_form(letter), option=orjson.OPT_APPEND_NEWLINE) for letter in letters)


def record_of(letter: dict[str, Json]) -> bytes | None:
    """The record's bytes from a letter's JSON object, or None where it holds none."""
    text = letter.get("record")
    if isinstance(text, str):
        return text.encode("utf-8", "surrogatepass")
    encoded = letter.get("record_base64")
    return base64.b64decode(encoded) if isinstance(encoded, str) else None


def _form(letter: DeadLetter) -> dict[str, Json]:
    form: dict[str, Json] = {
        "source": letter.source,
        "generation": letter.part,
        "line": letter.line,
        "offset": letter.offset,
        "stage": letter.stage,
        "reason": letter.reason,
        "field": letter.field,
    }
    if letter.record is None:
        form["length"] = letter.record_bytes
        return form
    try:
        form["record"] = letter.record.decode("utf-8")
    except UnicodeDecodeError:
        form["record_base64"] = base64.b64encode(letter.record).decode("ascii")
    return form
