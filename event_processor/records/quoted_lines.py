"""CSV whose quoted cells hold line ends: each record becomes one line, and its own bytes stay beside it.

Owns: which line feed ends a record.
Always: a line feed within a quoted cell is a space in the line. A quote opens a cell only at the cell's start, and none in a comment or in a
line that is skipped. A record that is longer than the limit ends at its next line feed, so an unclosed quote makes one record bad, and
not the rest of the file. Where blocks end makes no difference. Memory is bounded by a block.
Never: judges a record.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Final

from event_processor.records.json_lines.marks import BYTE_ORDER_MARK

if TYPE_CHECKING:
    from event_processor.records.delimited_cells import Dialect

__all__ = ["QUOTED_LINES", "QuotedLineCutter", "quoted_lines_path"]

QUOTED_LINES: Final = "@quoted lines"
"""The first component of a path that means such lines."""
_SPACE: Final = ord(" ")


def quoted_lines_path(dialect: Dialect, record_bytes_max: int) -> tuple[str, ...]:
    """The `items` of such a source."""
    limits = str(dialect.skip_lines), str(record_bytes_max)
    return QUOTED_LINES, dialect.delimiter, dialect.quote, dialect.comment, dialect.encoding, *limits


class QuotedLineCutter:
    """Cuts one file, which arrives block by block. It has the methods of `ItemCutter`."""

    def __init__(self, path: tuple[str, ...]) -> None:
        """`path`: from `quoted_lines_path`. Delimiter and quote are one byte each."""
        _, delimiter, quote, comment, encoding, skip_lines, limit = path
        self._quote: Final = quote.encode(encoding)
        self._delimiter: Final = delimiter.encode(encoding)
        self._comment: Final = comment.encode(encoding)
        self._limit: Final = int(limit)
        special = b"(?<=[\n%b])%b" % (re.escape(self._delimiter), re.escape(self._quote))
        if comment:
            special = b"(?<=\n)%b|%b" % (re.escape(self._comment), special)
        self._special: Final = re.compile(special)
        """Where something other than plain bytes begins."""
        self._skipped_left = int(skip_lines)
        self._step: Callable[[bytearray, int], int | None] = self._file_start
        """Passes over the next bytes, which are of one kind, from a place before the end of the block, and returns the place after them. None if
        what they mean depends on the next block."""
        self._begin = 0
        """Where the record begins, counted from the start of the block."""
        self._held = b""
        """The last bytes of the block before, if they mean something only together with the next one."""
        self._own: list[bytes] = []
        self._has_changed = False

    def feed(self, block: bytes) -> Iterator[bytes]:
        """The lines, as far as the next block has them, in pieces. Call `take_own` after the last piece."""
        block = self._held + block
        line = bytearray(block)
        place = 0
        while place < len(block):
            end = self._step(line, place)
            if end is None:
                break
            place = end
        self._held = block[place:]
        self._begin -= place
        if place:
            made, own = bytes(line[:place]), block[:place]
            self._own.append(own)
            self._has_changed |= made != own
            yield made

    def finish(self) -> Iterator[bytes]:
        """The bytes that waited for the next block. The end of the file ends its last record."""
        if self._held:
            self._own.append(self._held)
            yield self._held
            self._held = b""

    def take_own(self) -> bytes:
        """The own bytes since the last call, as many as the pieces have; empty if they are equal."""
        own = b"".join(self._own) if self._has_changed else b""
        self._own, self._has_changed = [], False
        return own

    def _file_start(self, line: bytearray, _place: int) -> int | None:
        if line.startswith(BYTE_ORDER_MARK):
            self._step = self._record_start
            return len(BYTE_ORDER_MARK)
        if BYTE_ORDER_MARK.startswith(bytes(line)):
            return None
        self._step = self._record_start
        return 0

    def _record_start(self, line: bytearray, place: int) -> int | None:
        self._begin = place
        if self._skipped_left:
            self._skipped_left -= 1
            self._step = self._rest
            return place
        if self._may_be_comment(line, place):
            return None
        if self._comment and line.startswith(self._comment, place):
            self._step = self._rest
            return place
        if line.startswith(self._quote, place):
            return self._opened(place)
        self._step = self._plain
        return place

    def _may_be_comment(self, line: bytearray, place: int) -> bool:
        """Whether the line, from `place` on, is only a part of the mark of a comment."""
        return 0 < len(line) - place < len(self._comment) and self._comment.startswith(bytes(line[place:]))

    def _plain(self, line: bytearray, place: int) -> int:
        """Up to the next special byte; to the end if there is none."""
        match = self._special.search(line, place)
        end = match.start() if match else len(line)
        feed = line.rfind(b"\n", place, end)
        if feed >= 0:
            self._begin = feed + 1
            if self._begin == end or self._may_be_comment(line, self._begin):
                self._step = self._record_start
                return self._begin
        if match:
            return self._opened(end)
        self._step = self._cell_start if line.endswith(self._delimiter) else self._plain
        return end

    def _cell_start(self, line: bytearray, place: int) -> int:
        """At the start of a block, after a delimiter."""
        return self._opened(place) if line.startswith(self._quote, place) else self._plain(line, place)

    def _rest(self, line: bytearray, place: int) -> int:
        """In a line that ends at its next line feed, whatever it holds: a comment, a skipped line, or a record over the limit."""
        feed = line.find(b"\n", place)
        if feed < 0:
            return len(line)
        self._step = self._record_start
        return feed + 1

    def _opened(self, place: int) -> int:
        """The place after a quote that opens a cell."""
        self._step = self._quoted if place - self._begin < self._limit else self._rest
        return place + len(self._quote)

    def _quoted(self, line: bytearray, place: int) -> int | None:
        """The place after the quoted cell; that of its last quote if the next byte may double it."""
        quote = line.find(self._quote, place)
        while 0 <= quote < len(line) - 1 and line.startswith(self._quote, quote + 1):
            quote = line.find(self._quote, quote + 2)
        is_last = quote == len(line) - 1
        if is_last and quote == place:
            return None
        end = len(line) if quote < 0 else quote
        after = end if quote < 0 or is_last else quote + 1
        allowed = max(place, self._begin + self._limit)
        if end > allowed:
            # Too long for a record: its next line feed ends it.
            end = after = allowed
            self._step = self._rest
        elif after > end:
            self._step = self._plain
        feed = line.find(b"\n", place, end)
        while feed >= 0:
            line[feed] = _SPACE
            feed = line.find(b"\n", feed + 1, end)
        return after
