"""Values in messages: cut short, and safe on a terminal."""

from __future__ import annotations

import json
from typing import Final

__all__ = ["SHOWN_CHARACTERS_MAX", "cut", "printable", "shown"]

SHOWN_CHARACTERS_MAX: Final = 60
_WRITER: Final = json.JSONEncoder(ensure_ascii=False, default=repr)


def shown(value: object) -> str:
    """A JSON value for a message; an object or an array by name only."""
    if isinstance(value, (dict, list)):
        return "an object" if isinstance(value, dict) else "an array"
    if isinstance(value, str):
        value = value[: SHOWN_CHARACTERS_MAX + 1]
        # An ordinary text has nothing to be escaped: that is found out sooner than it is encoded.
        if len(value) < SHOWN_CHARACTERS_MAX - 1 and value.isprintable() and '"' not in value and "\\" not in value:
            return f'"{value}"'
    return cut(_WRITER.encode(value))


def cut(text: str) -> str:
    """At most so many characters of `text` as a message shows."""
    return printable(text if len(text) <= SHOWN_CHARACTERS_MAX else text[: SHOWN_CHARACTERS_MAX - 1] + "…")


def printable(text: str) -> str:
    """`text` with every character escaped that could move a terminal's cursor."""
    if text.isprintable():
        return text
    return "".join(character if character.isprintable() else f"\\u{ord(character):04x}" for character in text)
