"""Writes CSV: rows of JSON values become lines of cells.

Owns: `DelimitedWriter`.
Always: a cell is quoted if RFC 4180 requires it: if it holds the delimiter, the quote or a line end. Null is an empty cell; the
empty string is an empty quoted cell. A number keeps its digits; only its decimal mark may change. An object or an array is
written as JSON text.
Never: no row fails, whatever it holds.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Final, Literal

import msgspec
import numpy as np

from event_processor.records.writing.rows import NULL, Row, text_of

__all__ = ["DelimitedWriter"]

_ENCODER: Final = msgspec.json.Encoder()
_NUMBER_STARTS: Final = frozenset(b"-0123456789")
_FORMULA_STARTS: Final = frozenset({b"=", b"+", b"-", b"@", b"\t", b"\r"})
_STRING_START, _LINE_FEED = ord('"'), ord("\n")


class DelimitedWriter:
    """Rows as CSV, in UTF-8, each line ended by a line feed."""

    def __init__(
        self,
        names: Sequence[str],
        *,
        delimiter: str,
        quote: str,
        decimal: Literal[".", ","],
        has_header: bool,
        escapes_formulas: bool = False,
    ) -> None:
        """`escapes_formulas`: strings that a spreadsheet would take for a formula get an apostrophe before them."""
        self._delimiter: Final = delimiter.encode()
        self._quote: Final = quote.encode()
        self._quote_character: Final = quote
        self._decimal: Final = decimal.encode()
        self._formula_starts: Final = _FORMULA_STARTS if escapes_formulas else frozenset()
        self._special: Final = re.compile(b"%b|%b|[\r\n]" % (re.escape(self._delimiter), re.escape(self._quote)))
        self.header: Final = self._line([_ENCODER.encode(name) for name in names]) if has_header else b""

    def lines(self, rows: Iterable[Row]) -> bytes:
        """One line for each row. If a value holds a line end, its row takes several lines."""
        return b"".join(map(self._line, rows))

    def count(self, content: bytes) -> int | None:
        """How many rows `content` holds, without the header; None if it does not end with the end of a row."""
        text = content.decode("utf-8", "replace")
        characters = np.frombuffer(text.encode("utf-32-le"), np.uint32)
        # After an even number of quotes the cell is closed, because a quote inside a cell is doubled.
        outside = np.cumsum(characters == ord(self._quote_character)) % 2 == 0
        rows = int(np.count_nonzero((characters == _LINE_FEED) & outside)) - (1 if self.header else 0)
        return rows if rows >= 0 and (not len(outside) or (outside[-1] and text.endswith("\n"))) else None

    def _line(self, row: Row) -> bytes:
        line = self._delimiter.join(map(self._cell, row))
        # An empty line would not be a row.
        return (line or self._quote * 2) + b"\n"

    def _cell(self, value: bytes) -> bytes:
        if value == NULL:
            return b""
        text = value
        if value[0] == _STRING_START:
            text = text_of(value)
            if text[:1] in self._formula_starts:
                text = b"'" + text
        elif value[0] in _NUMBER_STARTS:
            text = value.replace(b".", self._decimal)
        if text and not self._special.search(text):
            return text
        return self._quote + text.replace(self._quote, self._quote * 2) + self._quote
