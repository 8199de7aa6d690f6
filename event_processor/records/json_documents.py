"""JSON documents: cuts the items of one array out of each of several documents, or whole documents, each as a line.

Owns: where an item begins and ends. An item's bytes are not changed, except that line ends between its tokens become spaces. Each
item is judged later, like any line, so one bad item does not affect the others.
Always: a line end inside a string is a fault. A line cannot hold it, so another byte that JSON forbids there takes its place, and
the item's own bytes are given beside its line (`take_own`). Memory is bounded by a block, however long the document, an item or a
string is. Items before a fault in the document are returned.
Never: nothing outside the items is kept, only its structure.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from enum import Enum, auto
from typing import Final

from event_processor.model.field_names import name_keys
from event_processor.records.json_lines.marks import BYTE_ORDER_MARK

__all__ = ["ITEM", "WHOLE", "DocumentError", "ItemCutter", "item_path"]

ITEM: Final = "item"
"""The component of a path that means every element of an array."""
WHOLE: Final = "@document"
"""The path that means the document itself, as in a file of objects over several lines each."""
_NAME_BYTES_MAX: Final = 65_536
_SPACE: Final = re.compile(rb"[ \t\r\n]*+")
_TEXT: Final = rb'[^"\\\n\r]*+(?:\\.[^"\\\n\r]*+)*+'
_FLAT_BYTES: Final = rb'[^"\[\]{}]*+(?:"' + _TEXT + rb'"[^"\[\]{}]*+)*+'
_STRING: Final = re.compile(rb'"' + _TEXT + rb'"', re.DOTALL)
_STRING_REST: Final = re.compile(_TEXT, re.DOTALL)
_FLAT: Final = re.compile(_FLAT_BYTES, re.DOTALL)
"""Everything up to the next bracket outside strings, or up to a string that does not end in this block."""
_SCALAR: Final = re.compile(rb'[^ \t\r\n,:"\[\]{}]*+')
_LINE_ENDS: Final = b"\n\r"
_ESCAPED_LINE_END: Final = re.compile(rb"\\[\n\r]")
"""Inside a string, because a backslash is nowhere else."""
_NULS: Final = re.compile(rb"\0*+")
_INVALID_BYTE: Final = 1
"""JSON forbids this byte. It replaces a line end inside a string. As a space, the item would be accepted."""
_LINE_ENDS_TO_SPACES: Final = bytes.maketrans(b"\n\r", b"  ")
_QUOTE, _BACKSLASH, _COLON, _COMMA = b'"\\:,'
_OPENING, _CLOSING = b"[{", b"]}"
_BRACKETS_AT_ONCE: Final = 3
"""Items that are not nested deeper than this are cut many at once."""


def _nested_bytes(depth: int) -> bytes:
    """The pattern of brackets that are nested up to `depth`."""
    inner = rb"(?:" + _nested_bytes(depth - 1) + _FLAT_BYTES + rb")*+" if depth > 1 else b""
    return rb"[\[{]" + _FLAT_BYTES + inner + rb"[\]}]"


_ITEM: Final = re.compile(rb"[ \t\r\n]*+(" + _nested_bytes(_BRACKETS_AT_ONCE) + rb")[ \t\r\n]*+,", re.DOTALL)


class DocumentError(Exception):
    """The document is not JSON outside its items, or it ends too early."""


class _Next(Enum):
    """What may come next outside the items."""

    VALUE = auto()
    VALUE_OR_END = auto()
    NAME = auto()
    NAME_OR_END = auto()
    COLON = auto()
    COMMA_OR_END = auto()


_WANTED: Final = {
    _Next.VALUE: "a value",
    _Next.VALUE_OR_END: "a value or ']'",
    _Next.NAME: "a name in quotes",
    _Next.NAME_OR_END: "a name in quotes or '}'",
    _Next.COLON: "':'",
    _Next.COMMA_OR_END: "',' or the closing bracket",
}


_KINDS: Final = {"{": "an object", "[": "an array", '"': "a string", "t": "true", "f": "false", "n": "null"}
"""What a value is, by its first character. Any other is a number."""


def item_path(text: str) -> tuple[str, ...]:
    """The components of a dotted path, written as in ijson.

    "value.item" means the elements of the array at "value"; "item" means the elements of an array that is the whole document. A name
    with dots is quoted.
    """
    return name_keys(text)


class ItemCutter:
    """Cuts documents that follow one another, and arrive block by block. Each must have an array at the path."""

    def __init__(self, path: tuple[str, ...]) -> None:
        """`path` ends with `ITEM`, or is only `WHOLE`."""
        self._is_whole: Final = path == (WHOLE,)
        self._path: Final = () if self._is_whole else path
        self._documents = 0
        """How many documents have ended."""
        self._opened: list[int] = []
        """The open brackets on the path to the items."""
        self._keys: list[str] = []
        """For each open bracket: the key of the value that is being read or comes next."""
        self._next = _Next.VALUE
        self._depth = 0
        """The depth of brackets inside a value that is only copied or skipped."""
        self._in_value = self._begins = self._in_string = self._copies = False
        self._broken: list[int] = []
        """The places of line ends inside strings, in the block of the value that is being read."""
        self._kept = b""
        self._offset = 0
        self._was_found = False
        self._deepest: tuple[tuple[str, ...], int] = (), 0
        """The last of the deepest values on the path to the items: its path, and its first byte."""
        self._own: list[bytes] = []
        self._has_changed = False

    def feed(self, block: bytes) -> Iterator[bytes]:
        """The lines of the items, as far as the next block has them, in pieces. Raises `DocumentError`.

        Call `take_own` after the last piece.
        """
        block, start = self._kept + block, self._offset - len(self._kept)
        self._kept = b""
        if start == 0 and block.startswith(BYTE_ORDER_MARK):
            block, start = block[len(BYTE_ORDER_MARK) :], len(BYTE_ORDER_MARK)
        self._offset = start + len(block)
        place = 0
        while place < len(block):
            if not self._in_value:
                if self._next is _Next.VALUE and self._keys and tuple(self._keys) == self._path:
                    items, place = _whole_items(block, place)
                    yield self._given(*_lines(items))
                place = self._around(block, place, start)
                continue
            end = self._within(block, place)
            if self._copies:
                yield self._given(*_line(block[place:end], [broken - place for broken in self._broken]))
                self._broken = []
                if not self._in_value:
                    yield self._given(b"\n", b"\n")
            place = len(block) if self._kept else end

    def finish(self) -> Iterator[bytes]:
        """The bytes that were kept until the end of the document.

        Raises `DocumentError` if it ends too early, or has no array at the path.
        """
        if not self._offset:
            return
        if self._in_value and self._copies:
            yield self._given(self._kept, self._kept)
        if self._in_value and not (self._depth or self._in_string or self._opened):
            self._value_ended()
            if self._copies:
                yield self._given(b"\n", b"\n")
        if self._in_value or self._opened or not (self._documents or self._is_whole):
            raise DocumentError(f"the document is cut short: it ends at byte {self._offset}")

    def take_own(self) -> bytes:
        """The own bytes of the items since the last call, as many as the pieces have; empty if they are equal."""
        own = b"".join(self._own) if self._has_changed else b""
        self._own, self._has_changed = [], False
        return own

    def _given(self, own: bytes, line: bytes) -> bytes:
        self._own.append(own)
        self._has_changed |= own != line
        return line

    def _why_nothing(self) -> str:
        """Why no array was found at the path."""
        path, mark = self._deepest
        names, wanted = self._path[:-1], self._path[len(path)]
        if not names:
            return "the document is not an array"
        place = f'"{".".join(path)}"' if path else "the document"
        kind = _KINDS.get(chr(mark), "a number")
        if kind != ("an array" if wanted == ITEM else "an object"):
            found = f"it is {kind}" if path == names else f"{place} is {kind}"
        else:
            found = f"{place} is empty" if wanted == ITEM else f'{place} has no "{wanted}"'
        return f'there is no array at "{".".join(names)}": {found}'

    def _within(self, block: bytes, place: int) -> int:
        """How far the value continues in this block. Clears `_in_value` if the value ends."""
        if self._begins:
            place = self._begin(block, place)
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
        """How far brackets and whole strings continue: to the value's end, into a string, or to the block's end."""
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

    def _begin(self, block: bytes, place: int) -> int:
        """Reads the kind of a value from its first byte. NULs before it belong to it, so the item is rejected alone.

        Returns the place after it if it is a bracket or a quote, or else the same place.
        """
        place = _end(_NULS, block, place)
        if place == len(block):
            return place
        mark, self._begins = block[place], False
        self._depth, self._in_string = int(mark in _OPENING), mark == _QUOTE
        return place + 1 if self._depth or self._in_string else place

    def _string(self, block: bytes, place: int) -> int:
        """How far a string continues in this block. A backslash at the block's end is kept until the next byte is there."""
        place = _end(_STRING_REST, block, place)
        if place == len(block):
            return place
        if block[place] == _BACKSLASH:
            self._kept = block[place:]
            return place
        if block[place] in _LINE_ENDS:
            self._broken += [place] if self._copies else []
        else:
            self._in_string = False
        return place + 1

    def _value_ended(self) -> None:
        self._in_value = False
        if self._opened:
            self._next = _Next.COMMA_OR_END
            return
        if not (self._was_found or self._is_whole):
            raise DocumentError(self._why_nothing())
        # Another document may follow.
        self._documents += 1
        self._was_found, self._deepest, self._next = False, ((), 0), _Next.VALUE

    def _around(self, block: bytes, place: int, start: int) -> int:
        """Reads one token outside the items, and sets what may come next. Returns the place after it."""
        place = _end(_SPACE, block, place)
        if place == len(block):
            return place
        mark, wanted = block[place], self._next
        if wanted in (_Next.VALUE, _Next.VALUE_OR_END) and mark not in _CLOSING and mark not in (_COLON, _COMMA):
            return self._begin_value(mark, place, start)
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
            raise _unexpected(start + place, wanted, mark)
        return place + 1

    def _closes(self, mark: int) -> bool:
        return bool(self._opened) and mark == _CLOSING[_OPENING.index(self._opened[-1])]

    def _begin_value(self, mark: int, place: int, start: int) -> int:
        """Begins a value: an item, a value on the path to the items, or another one.

        Returns the place where reading continues.
        """
        path = tuple(self._keys)
        is_item = path == self._path
        if not is_item and not mark:
            raise _unexpected(start + place, self._next, mark)
        leads_there = not is_item and path == self._path[: len(path)]
        if leads_there and len(path) >= len(self._deepest[0]):
            self._deepest = path, mark
        if leads_there and mark in _OPENING:
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
                raise DocumentError(f"not JSON at byte {start + place}: a name is longer than {_NAME_BYTES_MAX} bytes")
            self._kept = block[place:]
            return len(block)
        try:
            self._keys[-1] = json.loads(found[0])
        except ValueError as error:
            raise DocumentError(f"not JSON at byte {start + place}: {found[0][:60]!r} is not a name") from error
        self._next = _Next.COLON
        return found.end()


def _unexpected(byte: int, wanted: _Next, mark: int) -> DocumentError:
    return DocumentError(f"not JSON at byte {byte}: expected {_WANTED[wanted]}, not {repr(chr(mark)) if mark else 'a NUL byte'}")


def _line(item: bytes, broken: Sequence[int]) -> tuple[bytes, bytes]:
    """An item, or a piece of one, with spaces for line ends between tokens: with its own line ends in strings, and on one line.

    `broken`: the places of line ends in strings that have no backslash before them.
    """
    line = item.translate(_LINE_ENDS_TO_SPACES)
    places = [] if line == item else [*broken, *(found.end() - 1 for found in _ESCAPED_LINE_END.finditer(item))]
    if not places:
        return line, line
    own, marked = bytearray(line), bytearray(line)
    for place in places:
        own[place], marked[place] = item[place], _INVALID_BYTE
    return bytes(own), bytes(marked)


def _lines(items: list[bytes]) -> tuple[bytes, bytes]:
    """`_line` for whole items, each with a line feed after it."""
    joined = b"\n".join([*items, b""]) if items else b""
    if joined.count(b"\n") == len(items) and b"\r" not in joined:
        return joined, joined
    pairs = [_line(item, ()) for item in items]
    return b"\n".join([*(own for own, _ in pairs), b""]), b"\n".join([*(line for _, line in pairs), b""])


def _whole_items(block: bytes, place: int) -> tuple[list[bytes], int]:
    """The items from `place` on that end in this block with a comma after them, and the place after the last comma."""
    found: list[bytes] = []
    # Match only at this place. A search would run to the end of the block after each item that is nested deeper.
    while item := _ITEM.match(block, place):
        found.append(item[1])
        place = item.end()
    return found, place


def _end(pattern: re.Pattern[bytes], block: bytes, place: int) -> int:
    """The end of the text that `pattern` matches at `place`. The match may be empty."""
    found = pattern.match(block, place)
    return found.end() if found else place
