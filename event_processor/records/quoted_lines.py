"""CSV whose quoted cells hold line ends: each record becomes one line, and its own bytes stay beside it.

Owns: which line feed ends a record.
Always: a line feed within a quoted cell is a space in the line. A quote opens a cell only at the cell's start. A record that is longer than
the limit ends at its next line feed, so an unclosed quote makes one record bad, and not the rest of the file. Memory is bounded by a block.
Never: judges a record.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from event_processor.records.json_lines.lines import BYTE_ORDER_MARK

__all__ = ["QUOTED_LINES", "QuotedLineCutter", "quoted_lines_path"]

QUOTED_LINES: Final = "@quoted lines"
"""The first component of a path that means such lines."""
_LINE_FEED: Final = ord("\n")
_SPACE: Final = ord(" ")


def quoted_lines_path(delimiter: str, quote: str, encoding: str, record_bytes_max: int) -> tuple[str, ...]:
    """The `items` of such a source."""
    return QUOTED_LINES, delimiter, quote, encoding, str(record_bytes_max)


class QuotedLineCutter:
    """Cuts one file, which arrives block by block. Its methods are those of `ItemCutter`."""

    def __init__(self, path: tuple[str, ...]) -> None:
        """`path`: from `quoted_lines_path`. Delimiter and quote are one byte each."""
        _, delimiter, quote, encoding, limit = path
        quoted, between = quote.encode(encoding), delimiter.encode(encoding)
        self._quote: Final = quoted
        self._limit: Final = int(limit)
        self._delimiter: Final = between
        self._opening: Final = re.compile(b"(?<=[\n%b])%b" % (re.escape(between), re.escape(quoted)))
        self._last = b"\n"
        """What came before the block: at the start of a file, a cell begins."""
        self._is_first = True
        self._is_open = self._closes = False
        self._record_bytes = 0
        self._own: list[bytes] = []
        self._has_changed = False

    def feed(self, block: bytes) -> Iterator[bytes]:
        """The lines, as far as the next block has them, in pieces. Call `take_own` after the last piece."""
        if not block:
            return
        if self._is_first and block.startswith(BYTE_ORDER_MARK):
            self._own.append(BYTE_ORDER_MARK)
            yield BYTE_ORDER_MARK
            block = block[len(BYTE_ORDER_MARK) :]
        self._is_first = False
        line = bytearray(block)
        for begin, end in self._open_spans(block):
            feed = line.find(b"\n", begin, end)
            while feed >= 0:
                line[feed] = _SPACE
                feed = line.find(b"\n", feed + 1, end)
        self._own.append(block)
        made = bytes(line)
        self._has_changed |= made != block
        yield made

    def finish(self) -> Iterator[bytes]:
        """Nothing more: the end of the file ends its last record."""
        return iter(())

    def take_own(self) -> bytes:
        """The own bytes since the last call, as many as the pieces have; empty if they are equal."""
        own = b"".join(self._own) if self._has_changed else b""
        self._own, self._has_changed = [], False
        return own

    def _open_spans(self, block: bytes) -> Iterator[tuple[int, int]]:
        """The parts of the block that are inside quotes, up to where a record is over the limit."""
        place = 0
        while place < len(block):
            if self._closes:
                # The block before ended with a quote that closes its cell, unless it is doubled here.
                self._closes = False
                self._is_open = block.startswith(self._quote, place)
                place += len(self._quote) if self._is_open else 0
            if not self._is_open:
                place = self._opened(block, place)
                continue
            end, after = self._closed(block, place)
            allowed = place + max(0, self._limit - self._record_bytes)
            if end > allowed:
                # Too long for a record: its next line feed ends it.
                yield place, allowed
                feed = block.find(b"\n", allowed)
                self._is_open = feed < 0
                self._record_bytes = self._limit if feed < 0 else 0
                place = len(block) if feed < 0 else feed + 1
                self._last = block[place - 1 : place]
                continue
            yield place, end
            self._record_bytes += after - place
            self._last = block[after - 1 : after]
            place = after

    def _opened(self, block: bytes, place: int) -> int:
        """Searches the next quote that opens a cell, from `place` on, which is outside quotes. Returns the place after it."""
        cell_begins = place == 0 and (self._last in (b"\n", self._delimiter))
        if cell_begins and block.startswith(self._quote):
            found = len(self._quote)
        else:
            match = self._opening.search(block, max(place, 1))
            found = match.end() if match else 0
        end = found or len(block)
        feed = block.rfind(b"\n", place, end)
        self._record_bytes = end - feed - 1 if feed >= 0 else self._record_bytes + end - place
        self._is_open = bool(found)
        self._last = block[end - 1 : end]
        return end

    def _closed(self, block: bytes, place: int) -> tuple[int, int]:
        """Where the quoted part ends, and the place after its quote. Sets `_is_open` and `_closes`."""
        while True:
            quote = block.find(self._quote, place)
            if quote < 0:
                return len(block), len(block)
            after = quote + len(self._quote)
            if after == len(block):
                self._closes = True
                return quote, after
            if not block.startswith(self._quote, after):
                self._is_open = False
                return quote, after
            place = after + len(self._quote)
