"""Shows values in messages.

Owns: how a JSON value or a text is cut and escaped.
Always: a shown value is short and cannot change a terminal.
Never: no message is written here.
"""

from __future__ import annotations

import json
from typing import Final

__all__ = ["SHOWN_CHARACTERS_MAX", "cut", "in_one_line", "printable", "readable_path", "shown"]

SHOWN_CHARACTERS_MAX: Final = 60
_WRITER: Final = json.JSONEncoder(ensure_ascii=False, default=repr)


def shown(value: object) -> str:
    """A JSON value for a message. An object or an array is only named as such."""
    if isinstance(value, (dict, list)):
        return "an object" if isinstance(value, dict) else "an array"
    if isinstance(value, str):
        value = value[: SHOWN_CHARACTERS_MAX + 1]
        # Most texts need no escapes. This check is cheaper than encoding the text.
        if len(value) < SHOWN_CHARACTERS_MAX - 1 and value.isprintable() and '"' not in value and "\\" not in value:
            return f'"{value}"'
    return cut(_WRITER.encode(value))


def cut(text: str) -> str:
    """`text` cut to `SHOWN_CHARACTERS_MAX` characters, and made printable."""
    return printable(text if len(text) <= SHOWN_CHARACTERS_MAX else text[: SHOWN_CHARACTERS_MAX - 1] + "…")


def in_one_line(text: str) -> str:
    """A message of several lines, such as an error with its hint, as one line: each line is a part of its own."""
    joined = ""
    for line in filter(None, (" ".join(each.split()) for each in text.splitlines())):
        joined += line if not joined else f"{' ' if joined[-1] in ':;,.' else '; '}{line}"
    return joined


def readable_path(path: str) -> str:
    """`path` with each byte that is not UTF-8 as a backslash, `x` and two digits: any output and any JSON can hold it.

    A plain string, also if `path` is of a subclass, which no JSON encoder takes.
    """
    if path.isascii():
        return str(path)
    try:
        return path.encode(errors="surrogateescape").decode(errors="backslashreplace")
    except UnicodeEncodeError:  # not a path
        return path.encode(errors="backslashreplace").decode()


def printable(text: str) -> str:
    """`text` with every character escaped that is not printable, so that it cannot move a terminal's cursor."""
    if text.isprintable():
        return text
    return "".join(character if character.isprintable() else f"\\u{ord(character):04x}" for character in text)
