"""The cells of CSV: from the text of a cell to a value of its column's type.

Owns: the dialect of the lines, and the conversions.
Always: a number keeps its digits. An empty cell is null if its column is not one of strings.
Never: guesses a type from a cell's content.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final, Literal, TypeAlias

import msgspec

from event_processor.columns.number_texts import json_number, whole_number
from event_processor.records.heads import HeaderPlace

__all__ = ["CellType", "Dialect", "UnfitCellError", "conversion"]

CellType: TypeAlias = Literal["string", "integer", "number", "boolean"]

_SHOWN_CHARACTERS_MAX: Final = 60
_INTEGER: Final = re.compile(r"[+-]?[0-9]{1,19}")
_WHOLE: Final = re.compile(rb"-?[0-9]{1,19}\.0+")
_BOOLEANS: Final = {"true": True, "false": False, "1": True, "0": False}
_POINTS_FOR_COMMAS: Final = bytes.maketrans(b",.", b".!")
"""With a decimal comma, a point is not part of a number."""
_INT64_END: Final = 2**63


@dataclass(frozen=True, slots=True)
class Dialect:
    """How the lines are written.

    `columns`: the names, in order; empty if the header line has them. `types`: by column name. Other columns are strings. An
    empty cell is null if its type is not string. `quote`: empty if nothing is quoted. `skip_lines`: before the header. `comment`: how a line begins that
    is none; empty if there are none. `nulls`: cells that are null, in any column. `thousands`: between groups of three digits; empty if there is none.
    """

    delimiter: str = ","
    quote: str = '"'
    decimal: Literal[".", ","] = "."
    encoding: str = "utf-8"
    has_header: bool = True
    columns: tuple[str, ...] = ()
    types: Mapping[str, CellType] = field(default_factory=dict)
    skip_lines: int = 0
    comment: str = ""
    nulls: frozenset[str] = frozenset()
    thousands: str = ""

    @property
    def header_place(self) -> HeaderPlace:
        """Where the header is."""
        return HeaderPlace(self.skip_lines, self.comment.encode(self.encoding), self.has_header)


class UnfitCellError(Exception):
    """A cell does not have its column's type."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason: Final = reason


def conversion(kind: CellType, dialect: Dialect) -> Callable[[str], object]:
    """What converts a cell to a type that is not "string". It raises `UnfitCellError`."""
    if kind == "boolean":
        return _boolean
    grouped = (
        re.compile(rf"[+-]?[0-9]{{1,3}}(?:{re.escape(dialect.thousands)}[0-9]{{3}})+(?![0-9])") if dialect.thousands else None
    )

    def digits(cell: str) -> bytes:
        text = cell.strip()
        if grouped and (found := grouped.match(text)):
            text = found[0].replace(dialect.thousands, "") + text[found.end() :]
        plain = text.encode(errors="replace")
        return plain.translate(_POINTS_FOR_COMMAS) if dialect.decimal == "," else plain

    def number(cell: str) -> object:
        text = digits(cell)
        found = json_number(text) if text else None
        if text and found is None:
            raise UnfitCellError(f"is not a number: {_shown(cell)}")
        return None if found is None else msgspec.Raw(found)

    def integer(cell: str) -> int | None:
        text = digits(cell)
        if not text:
            return None
        found = int(text) if _INTEGER.fullmatch(text.decode()) else None
        if found is None and _WHOLE.fullmatch(text):
            found = whole_number(text.decode())
        if found is None or not -_INT64_END <= found < _INT64_END:
            raise UnfitCellError(f"is not a 64-bit integer: {_shown(cell)}")
        return found

    return integer if kind == "integer" else number


def _boolean(cell: str) -> bool | None:
    text = cell.strip().lower()
    if text and text not in _BOOLEANS:
        raise UnfitCellError(f"is not true or false: {_shown(cell)}")
    return _BOOLEANS[text] if text else None


def _shown(cell: str) -> str:
    return repr(cell if len(cell) <= _SHOWN_CHARACTERS_MAX else cell[:_SHOWN_CHARACTERS_MAX] + "…")
