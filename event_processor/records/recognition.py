"""Finds out how a file of JSON holds its records: a line each, or the items of a document, or objects over several lines.

Owns: `recognised_item_path`, and `begins_with_record`, which needs only one line.
Always: depends only on the first bytes. If they do not show a document, the records are lines: each bad line then has a reason.
Never: decides whether a record is an event.
"""

from __future__ import annotations

import json
from collections.abc import Set as AbstractSet
from typing import Final

from event_processor.records.json_documents import ITEM, WHOLE
from event_processor.records.json_lines.marks import BYTE_ORDER_MARK

__all__ = ["HEAD_BYTES", "begins_with_record", "recognised_item_path"]

HEAD_BYTES: Final = 65_536
"""How many bytes are looked at. The array of a document begins there, or is not found."""
_SPACES: Final = " \t\r\n"
_DECODER: Final = json.JSONDecoder(strict=False)


def recognised_item_path(head: bytes, event_fields: AbstractSet[str]) -> str:
    """The `json_item_path` of the records; empty if each is a line.

    `head`: the first `HEAD_BYTES` of the input, fewer if it is shorter. `event_fields`: an object with one of them is a record.
    Another object with an array of objects in it is a document around its records.
    """
    text = head.removeprefix(BYTE_ORDER_MARK).decode(errors="replace").lstrip(_SPACES)
    if not text.startswith(("{", "[")):
        return ""
    try:
        first, end = _DECODER.raw_decode(text)
    except (ValueError, RecursionError):
        return ITEM if text.startswith("[") else _path_to_array(text, event_fields)
    rest = text[end:]
    following = rest.lstrip(_SPACES)
    if not isinstance(first, dict):
        # If objects follow, the array is a bad line.
        return "" if following else ITEM
    if not first.keys() & event_fields and (path := _path_to_array(text, event_fields)):
        return path
    gap = rest[: len(rest) - len(following)]
    is_on_one_line = "\n" not in text[:end] and ("\n" in gap or not following.startswith("{"))
    return "" if is_on_one_line else WHOLE


def begins_with_record(head: bytes, event_fields: AbstractSet[str]) -> bool:
    """Whether the first line is there, and is an object with one of the event's fields: so the records are lines."""
    line, feed, _ = head.partition(b"\n")
    try:
        found = json.loads(line.removeprefix(BYTE_ORDER_MARK).decode()) if feed else None
    except (ValueError, RecursionError):
        return False
    return isinstance(found, dict) and bool(found.keys() & event_fields)


def _path_to_array(text: str, event_fields: AbstractSet[str]) -> str:
    """The path to the items of the first array of objects in an object, perhaps cut off; empty if there is none."""
    keys: list[str] = []
    place = 1
    try:
        while True:
            place = _after_spaces(text, place)
            if text[place] in ",}":
                if text[place] == "}":
                    if not keys:
                        return ""
                    keys.pop()
                place += 1
                continue
            name, place = _DECODER.raw_decode(text, place)
            place = _after_spaces(text, place)
            if not isinstance(name, str) or text[place] != ":" or (not keys and name in event_fields):
                return ""
            place = _after_spaces(text, place + 1)
            if text[place] == "[" and text[_after_spaces(text, place + 1)] in "{]" and "." not in "".join([*keys, name]):
                return ".".join([*keys, name, ITEM])
            if text[place] == "{":
                keys.append(name)
                place += 1
            else:
                _, place = _DECODER.raw_decode(text, place)
    except (ValueError, IndexError, RecursionError):
        return ""


def _after_spaces(text: str, place: int) -> int:
    """The place of the next character that is not a space. Raises `IndexError` at the end."""
    while text[place] in _SPACES:
        place += 1
    return place
