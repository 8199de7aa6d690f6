"""The words of a refusal: what people may read of an answer's body.

Owns: `refusal_words`.
Always: pure. The words are one printable line, cut, without the token and without any value that we sent.
Never: fails, whatever the answer holds.
"""

from __future__ import annotations

import html
import json
from collections.abc import Iterator, Sequence
from typing import Final

import msgspec

from event_processor.model.messages import printable

__all__ = ["one_line", "refusal_words"]

WORDS_CHARACTERS_MAX: Final = 200
HIDDEN: Final = "***"
_READ_CHARACTERS: Final = 400
"""As much of an answer is searched for what we sent: each character costs one search in the body."""
_SEARCHED_BYTES_MAX: Final = 4 * 1_048_576
"""If a request's body is larger, no words are shown, because the search would take too long."""
_PIECE_CHARACTERS: Final = 8
"""Any piece of a value with so many characters is hidden."""
_SHORT_CHARACTERS: Final = 4
"""A whole value is hidden if it has so many characters. Shorter ones, such as "EUR" or 12, identify nothing."""


def one_line(text: str) -> str:
    """`text` as one printable line, cut."""
    line = " ".join(text.split())
    return printable(line if len(line) <= WORDS_CHARACTERS_MAX else line[: WORDS_CHARACTERS_MAX - 1] + "…")


def refusal_words(answer: bytes, sent: bytes, secrets: Sequence[str]) -> str:
    """The words for people from the body of an answer to the body `sent`; may be empty.

    A service may repeat what it got. So each of `secrets`, and each value of `sent`, becomes "***". Names of fields stay: they
    often say what is wrong.
    """
    text = answer.decode("utf-8", "replace")
    for secret in filter(None, secrets):
        for spelling in _spellings(secret):
            text = text.replace(spelling, HIDDEN)
    if len(sent) > _SEARCHED_BYTES_MAX:
        return ""
    shortened = text[:_READ_CHARACTERS]
    # A piece of a value at the cut may be too short to be found.
    end = len(text) if len(shortened) == len(text) else len(shortened) - _PIECE_CHARACTERS
    return one_line(_hidden(shortened, _values(sent), end))


def _values(sent: bytes) -> set[str]:
    """The values of a body as texts, in every spelling that an answer may use."""
    try:
        documents: list[object] = msgspec.json.Decoder().decode_lines(sent)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return {sent.decode("utf-8", "replace")}
    return {spelling for text in _leaves(documents) if len(text) >= _SHORT_CHARACTERS for spelling in _spellings(text)}


def _leaves(value: object) -> Iterator[str]:
    waiting = [value]
    while waiting:
        each = waiting.pop()
        if isinstance(each, dict):
            waiting.extend(each.values())
        elif isinstance(each, list):
            waiting.extend(each)
        elif isinstance(each, str):
            yield each
        elif isinstance(each, int | float) and not isinstance(each, bool):
            yield json.dumps(each)


def _spellings(text: str) -> set[str]:
    """The text itself, and as it stands in JSON and in HTML."""
    return {text, json.dumps(text)[1:-1], json.dumps(text, ensure_ascii=False)[1:-1], html.escape(text)}


def _hidden(text: str, values: set[str], end: int) -> str:
    """`text` up to `end`, without the values, and without any longer piece of one."""
    is_hidden = bytearray(len(text))
    for value in values:
        if len(value) < _PIECE_CHARACTERS:
            place = text.find(value)
            while place >= 0:
                is_hidden[place : place + len(value)] = b"\1" * len(value)
                place = text.find(value, place + 1)
    # Line ends keep the values apart: no piece is found that reaches from one value into the next.
    everything = "\n".join(value.replace("\n", " ") for value in values if len(value) >= _PIECE_CHARACTERS)
    searched = text.replace("\n", " ")
    for place in range(len(text) - _PIECE_CHARACTERS + 1):
        if searched[place : place + _PIECE_CHARACTERS] in everything:
            is_hidden[place : place + _PIECE_CHARACTERS] = b"\1" * _PIECE_CHARACTERS
    return "".join(
        letter if not hidden else HIDDEN if not (place and is_hidden[place - 1]) else ""
        for place, (letter, hidden) in enumerate(zip(text[:end], is_hidden[:end], strict=True))
    )
