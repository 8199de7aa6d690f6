"""The spelling of a line: what stands in it word for word, and the slots between, where other lines of its kind differ.

Owns: the cut of one JSON line into literals and slots. Programs write their lines by one form: the keys, their order and
the spaces between are always the same, and only the values differ.
Always: a line that has a template's literals, a JSON string's inside in each text slot and a JSON number in each number slot is valid
JSON, and the value at a slot's path is what stands in the slot.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from event_processor.schema import FieldPath

__all__ = ["NUMBER", "TEXT", "Slot", "Template", "template_of"]

TEXT: Final = "text"
NUMBER: Final = "number"
_SLOTS_MAX: Final = 64
"""Each slot costs a step for all lines; past this, decoding line by line is no slower."""
_TOKEN: Final = re.compile(
    rb'(?P<text>"[^"\\\x00-\x1f]*")|(?P<number>-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?)'
    rb"|(?P<word>true|false|null)|(?P<mark>[{}\[\]:,])|(?P<space>[ \t\r]+)"
)


@dataclass(frozen=True, slots=True)
class Slot:
    """Where values differ: of `kind` text (between its quotes) or number; `width` in bytes in the line that gave the template.

    `path` are the keys that lead to it, or None within an array.
    """

    kind: str
    path: FieldPath | None
    width: int


@dataclass(frozen=True, slots=True)
class Template:
    """A line's literals, one more than there are slots, and the slots between them; `quotes` stand in the literals."""

    literals: tuple[bytes, ...]
    slots: tuple[Slot, ...]
    constants: frozenset[FieldPath]
    """The paths of what is no slot: objects, arrays, true, false and null."""

    @property
    def quotes(self) -> int:
        """How many quotes a line of this kind has."""
        return sum(literal.count(b'"') for literal in self.literals)

    def slot_at(self, path: FieldPath) -> int | None:
        """The number of the slot at `path`, or None."""
        return next((number for number, slot in enumerate(self.slots) if slot.path == path), None)


def template_of(line: bytes) -> Template | None:
    """The template of `line`, known to be JSON; None where it has an escape, a key twice in one object, or too many values."""
    walk = _Walk()
    end = 0
    for match in _TOKEN.finditer(line):
        if match.start() != end:
            return None
        end = match.end()
        walk.take(line, match)
    if end != len(line) or walk.is_ambiguous or len(walk.slots) > _SLOTS_MAX:
        return None
    walk.literals.append(line[walk.literal_begin :])
    return Template(tuple(walk.literals), tuple(walk.slots), frozenset(walk.constants))


class _Walk:
    """Follows the tokens of a line and knows at each where in the object it stands."""

    def __init__(self) -> None:
        self.literals: list[bytes] = []
        self.slots: list[Slot] = []
        self.constants: list[FieldPath] = []
        self.literal_begin = 0
        self.is_ambiguous = False
        self._path: list[str | None] = []
        self._key_is_next = False
        self._seen: set[tuple[str | None, ...]] = set()

    def take(self, line: bytes, match: re.Match[bytes]) -> None:
        """The next token."""
        kind, text = match.lastgroup, match[0]
        if kind == "text" and self._key_is_next:
            self._enter_key(text[1:-1].decode())
        elif kind == "text":
            self._add_slot(line, TEXT, match.start() + 1, match.end() - 1)
        elif kind == "number":
            self._add_slot(line, NUMBER, match.start(), match.end())
        elif kind == "word":
            self._add_constant()
        elif kind == "mark":
            self._take_mark(text)

    def _enter_key(self, key: str) -> None:
        self._path[-1] = key
        self._key_is_next = False
        place = tuple(self._path)
        if None not in place:
            # Within an array the same keys come again and again, but nothing is read there.
            self.is_ambiguous |= place in self._seen
            self._seen.add(place)

    def _add_slot(self, line: bytes, kind: str, begin: int, end: int) -> None:
        self.literals.append(line[self.literal_begin : begin])
        self.literal_begin = end
        self.slots.append(Slot(kind, self._here(), end - begin))

    def _add_constant(self) -> None:
        here = self._here()
        if here is not None:
            self.constants.append(here)

    def _take_mark(self, mark: bytes) -> None:
        if mark in b"{[":
            self._add_constant()
            self._path.append(None)
            self._key_is_next = mark == b"{"
        elif mark in b"}]":
            self._path.pop()
        elif mark == b",":
            self._key_is_next = self._in_object()
            if self._key_is_next:
                self._path[-1] = ""

    def _in_object(self) -> bool:
        """Whether the innermost container is an object: only there a key was entered."""
        return bool(self._path) and self._path[-1] is not None

    def _here(self) -> FieldPath | None:
        """The path of the value that comes next, or None within an array."""
        if not self._path or any(key is None for key in self._path):
            return None
        return tuple(key for key in self._path if key is not None)
