"""JSON documents: the items of an array somewhere inside, each as a line of its own.

Owns: where an item begins and ends. An item's bytes stay as they are, but for line ends between its tokens, which become spaces; whether it is
sound is judged later, as for any line, so that one bad item spoils no other.
Always: memory is bounded by a block, whatever the document, an item or a text in it is long. What comes before a fault around the items is given.
Never: nothing outside the items is kept, but for its structure.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from enum import Enum, auto
from typing import Final

from event_processor.records.json_lines.lines import BYTE_ORDER_MARK

__all__ = ["ITEM", "DocumentError", "ItemCutter", "item_path"]

ITEM: Final = "item"
"""The component of a path that stands for every element of an array."""
_NAME_BYTES_MAX: Final = 65_536
_SPACE: Final = re.compile(rb"[ \t\r\n]*+")
_TEXT: Final = rb'[^"\\\n\r]*+(?:\\.[^"\\\n\r]*+)*+'
_FLAT_BYTES: Final = rb'[^"\[\]{}]*+(?:"' + _TEXT + rb'"[^"\[\]{}]*+)*+'
_STRING: Final = re.compile(rb'"' + _TEXT + rb'"', re.DOTALL)
_STRING_REST: Final = re.compile(_TEXT, re.DOTALL)
_FLAT: Final = re.compile(_FLAT_BYTES, re.DOTALL)
"""Up to the next bracket outside strings, or up to a string that does not end here."""
_SCALAR: Final = re.compile(rb'[^ \t\r\n,:"\[\]{}]*+')
_LINE_ENDS: Final = b"\n\r"
_SPOILT: Final = b"\x01"
"""No JSON holds this byte: it ends an item that has a line end within a string, which would else become a space and pass."""
_LINE_ENDS_TO_SPACES: Final = bytes.maketrans(b"\n\r", b"  ")
_QUOTE, _BACKSLASH, _COLON, _COMMA = b'"\\:,'
_OPENING, _CLOSING = b"[{", b"]}"
_BRACKETS_AT_ONCE: Final = 3
"""Items that nest no deeper are cut many at once."""


def _nested_bytes(depth: int) -> bytes:
    """The pattern of brackets that nest to `depth`."""
    inner = rb"(?:" + _nested_bytes(depth - 1) + _FLAT_BYTES + rb")*+" if depth > 1 else b""
    return rb"[\[{]" + _FLAT_BYTES + inner + rb"[\]}]"


_ITEM: Final = re.compile(rb"[ \t\r\n]*+(" + _nested_bytes(_BRACKETS_AT_ONCE) + rb")[ \t\r\n]*+,", re.DOTALL)


class DocumentError(Exception):
    """The document is no JSON around its items, or ends before its time."""


class _Next(Enum):
    """What may come next around the items."""

    VALUE = auto()
    VALUE_OR_END = auto()
    NAME = auto()
    NAME_OR_END = auto()
    COLON = auto()
    COMMA_OR_END = auto()
    NOTHING = auto()


_WANTED: Final = {
    _Next.VALUE: "a value",
    _Next.VALUE_OR_END: "a value or ']'",
    _Next.NAME: "a name in quotes",
    _Next.NAME_OR_END: "a name in quotes or '}'",
    _Next.COLON: "':'",
    _Next.COMMA_OR_END: "',' or the end of what was opened",
    _Next.NOTHING: "nothing more",
}


def item_path(text: str) -> tuple[str, ...]:
    """The components of a dotted path, as ijson writes it: "value.item" are the elements of the array at "value", "item" those of the whole document."""
    return tuple(text.split("."))


class ItemCutter:
    """Cuts one document that comes block by block."""

    def __init__(self, path: tuple[str, ...]) -> None:
        """`path` ends with `ITEM`."""
        self._path: Final = path
        self._opened: list[int] = []
        """The brackets that are open around the place, as far as they lead to the items."""
        self._keys: list[str] = []
        """For each of them, which of its values it is that comes next or is read."""
        self._next = _Next.VALUE
        self._depth = 0
        """Of brackets within a value that is only copied or skipped."""
        self._in_value = self._begins = self._in_string = self._copies = self._is_spoilt = False
        self._kept = b""
        self._offset = 0
        self._was_found = False

    def feed(self, block: bytes) -> Iterator[bytes]:
        """The items' lines as far as they are in the next block, in pieces. Raises `DocumentError`."""
        block, start = self._kept + block, self._offset - len(self._kept)
        self._kept = b""
        if start == 0 and block.startswith(BYTE_ORDER_MARK):
            block, start = block[len(BYTE_ORDER_MARK) :], len(BYTE_ORDER_MARK)
        self._offset = start + len(block)
        place = 0
        while place < len(block):
            if not self._in_value:
                if self._next is _Next.VALUE and tuple(self._keys) == self._path:
                    items, place = _whole_items(block, place)
                    yield items
                place = self._around(block, place, start)
                continue
            end = self._within(block, place)
            if self._copies:
                yield block[place:end].translate(_LINE_ENDS_TO_SPACES)
                if not self._in_value:
                    yield _SPOILT + b"\n" if self._is_spoilt else b"\n"
            place = len(block) if self._kept else end

    def finish(self) -> Iterator[bytes]:
        """The end of the document: what was kept back. Raises `DocumentError` where it comes too early, or where no array stands at the path."""
        if not self._offset:
            return
        if self._in_value and self._copies:
            yield self._kept
        if self._in_value and not (self._depth or self._in_string or self._opened):
            self._value_ended()
        if self._in_value or self._next is not _Next.NOTHING:
            raise DocumentError(f"the document is cut short: it ends at byte {self._offset}")
        if not self._was_found:
            raise DocumentError(
                f'there is no array at "{".".join(self._path[:-1])}"' if self._path[:-1] else "the document is no array"
            )

    def _within(self, block: bytes, place: int) -> int:
        """How far the value goes on in this block; unsets `_in_value` where it ends."""
        if self._begins:
            place = self._begin(block[place], place)
        while self._in_value and place < len(block):
            if self._in_string:
                place = self._string(block, place)
                if self._kept:
                    break
                if not (self._in_string or self._depth):
                    self._value_ended()
            elif self._depth:
                place = self._nested(block, place)
            else:
                place = _end(_SCALAR, block, place)
                if place < len(block):
                    self._value_ended()
        return place

    def _nested(self, block: bytes, place: int) -> int:
        """How far brackets and whole strings go on: to the end of the value, into a string that does not end here, or to the block's end."""
        while (place := _end(_FLAT, block, place)) < len(block):
            mark, place = block[place], place + 1
            if mark == _QUOTE:
                self._in_string = True
                break
            self._depth += 1 if mark in _OPENING else -1
            if not self._depth:
                self._value_ended()
                break
        return place

    def _begin(self, mark: int, place: int) -> int:
        """The first byte of a value tells what it is; the place behind it, if it is told apart from the rest."""
        self._begins = self._is_spoilt = False
        self._depth, self._in_string = int(mark in _OPENING), mark == _QUOTE
        return place + 1 if self._depth or self._in_string else place

    def _string(self, block: bytes, place: int) -> int:
        """How far a string goes on in this block; a backslash at the block's end is kept for what it is before."""
        place = _end(_STRING_REST, block, place)
        if place == len(block):
            return place
        if block[place] == _BACKSLASH:
            self._kept = block[place:]
            return place
        if block[place] in _LINE_ENDS:
            self._is_spoilt = True
        else:
            self._in_string = False
        return place + 1

    def _value_ended(self) -> None:
        self._in_value = False
        self._next = _Next.COMMA_OR_END if self._opened else _Next.NOTHING

    def _around(self, block: bytes, place: int, start: int) -> int:
        """One token around the items, and what it leads to; the place behind it."""
        place = _end(_SPACE, block, place)
        if place == len(block):
            return place
        mark, wanted = block[place], self._next
        if wanted in (_Next.VALUE, _Next.VALUE_OR_END) and mark not in _CLOSING and mark not in (_COLON, _COMMA):
            return self._begin_value(mark, place)
        if wanted in (_Next.NAME, _Next.NAME_OR_END) and mark == _QUOTE:
            return self._name(block, place, start)
        if wanted is _Next.COLON and mark == _COLON:
            self._next = _Next.VALUE
        elif wanted is _Next.COMMA_OR_END and mark == _COMMA:
            self._next = _Next.NAME if self._opened[-1] == _OPENING[1] else _Next.VALUE
        elif wanted in (_Next.COMMA_OR_END, _Next.NAME_OR_END, _Next.VALUE_OR_END) and self._closes(mark):
            self._opened.pop()
            self._keys.pop()
            self._value_ended()
        else:
            raise DocumentError(f"not JSON at byte {start + place}: {_WANTED[wanted]} is wanted, not {chr(mark)!r}")
        return place + 1

    def _closes(self, mark: int) -> bool:
        return bool(self._opened) and mark == _CLOSING[_OPENING.index(self._opened[-1])]

    def _begin_value(self, mark: int, place: int) -> int:
        """A value: an item, on the way to the items, or neither; the place from which it is read on."""
        path = tuple(self._keys)
        is_item = path == self._path
        if not is_item and mark in _OPENING and path == self._path[: len(path)]:
            is_array = mark == _OPENING[0]
            wants_array = self._path[len(path)] == ITEM
            self._was_found |= is_array and wants_array and len(path) + 1 == len(self._path)
            self._opened.append(mark)
            self._keys.append(ITEM if is_array else "")
            self._next = _Next.VALUE_OR_END if is_array else _Next.NAME_OR_END
            return place + 1
        self._in_value, self._begins, self._copies = True, True, is_item
        return place

    def _name(self, block: bytes, place: int, start: int) -> int:
        found = _STRING.match(block, place)
        if found is None:
            if len(block) - place > _NAME_BYTES_MAX:
                raise DocumentError(f"not JSON at byte {start + place}: a name of more than {_NAME_BYTES_MAX} bytes")
            self._kept = block[place:]
            return len(block)
        try:
            self._keys[-1] = json.loads(found[0])
        except ValueError as error:
            raise DocumentError(f"not JSON at byte {start + place}: {found[0][:60]!r} is no name") from error
        self._next = _Next.COLON
        return found.end()


def _whole_items(block: bytes, place: int) -> tuple[bytes, int]:
    """The lines of the items from `place` on that end in this block with a comma behind them, and the place behind that."""
    found = []
    # Only at this very place: a search would go on to the end of the block, behind each item that nests deeper.
    while item := _ITEM.match(block, place):
        found.append(item[1])
        place = item.end()
    if not found:
        return b"", place
    if any(byte in block for byte in (b"\n", b"\r")):
        found = [item.translate(_LINE_ENDS_TO_SPACES) for item in found]
    return b"\n".join([*found, b""]), place


def _end(pattern: re.Pattern[bytes], block: bytes, place: int) -> int:
    """Where what `pattern` takes from `place` on ends; it takes nothing too."""
    found = pattern.match(block, place)
    return found.end() if found else place
