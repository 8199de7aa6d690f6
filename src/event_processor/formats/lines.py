"""Where the records of a chunk stand, and which of them may be decoded together.

Owns: the cut into lines, and every check that has to be made on bytes because a decoder of whole blocks does not make it.
Always: a line that `together` marks is valid UTF-8, begins with `{`, ends with `}`, and nests no deeper than allowed. Since
no JSON value continues with `{` behind a `}`, no object can span two such lines; that a line holds two objects shows in
the count. All checks run over the bytes at once; only lines that look wrong are looked at one by one.
Never: the verdict on a line is not given here.
"""

from __future__ import annotations

import re
from codecs import utf_8_decode
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from event_processor.contracts import BoolArray, IntArray
from event_processor.event import NESTING_DEPTH_MAX

__all__ = ["BLANK_BYTES", "BYTE_ORDER_MARK", "Lines", "Run", "cut_lines", "gather", "nesting_depth"]

BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"
BLANK_BYTES: Final = b" \t\r"
_LINE_FEED, _RETURN, _OPEN_BRACE, _CLOSE_BRACE, _OPEN_BRACKET = b"\n\r{}["
_UTF8_WINDOW_BYTES: Final = 16_384
"""A failed decoding copies its input into the error; a window bounds that copy."""
_STRING: Final = re.compile(rb'"(?:[^"\\]|\\.)*+"', re.DOTALL)
_NO_BRACKETS: Final = bytes(set(range(256)) - set(b"[]{}"))


@dataclass(frozen=True, slots=True)
class Lines:
    """The n records of a chunk: record i is `content[starts[i]:ends[i]]`, without its line end.

    `blank` marks records of spaces, tabs and returns only, `together` those that may be decoded in one block. Both (n,).
    """

    content: bytes
    starts: IntArray
    ends: IntArray
    blank: BoolArray
    together: BoolArray

    def record(self, row: int) -> bytes:
        """The bytes of one record."""
        return self.content[int(self.starts[row]) : int(self.ends[row])]


@dataclass(frozen=True, slots=True)
class Run:
    """Lines that may be decoded together, one behind the other; `rows` (m,) are their records.

    Line i is `content[edges[i]:edges[i + 1]]`, line end included; `edges` (m + 1,).
    """

    content: memoryview
    edges: IntArray
    rows: IntArray

    def between(self, begin: int, end: int) -> memoryview:
        """The bytes of the lines from `begin` up to `end`."""
        return self.content[self.edges[begin] : self.edges[end]]


def gather(lines: Lines) -> Run:
    """The lines that may be decoded together, without those that may not: nothing is copied where there are none of these."""
    edges = np.append(lines.starts, len(lines.content))
    rows = np.flatnonzero(lines.together)
    if len(rows) == len(lines.starts):
        return Run(memoryview(lines.content), edges, rows)
    following = edges[1:][rows]
    breaks = np.flatnonzero(rows[1:] - rows[:-1] != 1)
    firsts = edges[rows[np.append(0, breaks + 1)]].tolist() if len(rows) else []
    ends = following[np.append(breaks, len(rows) - 1)].tolist() if len(rows) else []
    content = b"".join([lines.content[first:end] for first, end in zip(firsts, ends, strict=True)])
    sizes = following - edges[rows]
    return Run(memoryview(content), np.append(0, np.cumsum(sizes)), rows)


def cut_lines(content: bytes, *, at_file_start: bool, record_bytes_max: int) -> Lines:
    """Cuts `content` on line feeds. A byte order mark at the start of a file is no part of its first record."""
    buffer = np.frombuffer(content, np.uint8)
    feeds = np.flatnonzero(buffer == _LINE_FEED)
    ends = feeds if not content or content.endswith(b"\n") else np.append(feeds, len(content))
    starts = np.empty_like(ends)
    starts[:1] = len(BYTE_ORDER_MARK) if at_file_start and content.startswith(BYTE_ORDER_MARK) else 0
    starts[1:] = ends[:-1] + 1
    filled = np.flatnonzero(ends > starts)
    if len(filled):
        ends = ends.copy()
        ends[filled] -= buffer[ends[filled] - 1] == _RETURN
    blank, braced = _shapes(content, buffer, starts, ends)
    together = braced & (ends - starts <= record_bytes_max)
    lines = Lines(content, starts, ends, blank, together)
    together[_not_utf8(lines)] = False
    together[_too_deep(lines, buffer)] = False
    return lines


def _shapes(content: bytes, buffer: NDArray[np.uint8], starts: IntArray, ends: IntArray) -> tuple[BoolArray, BoolArray]:
    """Which records are blank, and which begin with `{` and end with `}`, white space around them left aside."""
    blank = np.zeros(len(starts), np.bool_)
    if not len(buffer):
        return blank, blank.copy()
    last = len(buffer) - 1
    braced = (
        (buffer[np.minimum(starts, last)] == _OPEN_BRACE) & (buffer[np.maximum(ends - 1, 0)] == _CLOSE_BRACE) & (ends > starts)
    )
    for row in np.flatnonzero(~braced).tolist():
        stripped = content[int(starts[row]) : int(ends[row])].strip(BLANK_BYTES)
        blank[row] = not stripped
        braced[row] = stripped.startswith(b"{") and stripped.endswith(b"}")
    return blank, braced


def _not_utf8(lines: Lines) -> list[int]:
    """The records with bytes that are not UTF-8. In windows of whole lines, so that the cost stays linear."""
    if lines.content.isascii():
        return []
    try:
        utf_8_decode(lines.content, "strict", True)
    except UnicodeDecodeError as error:
        begin = int(np.searchsorted(lines.starts, error.start, side="right")) - 1
    else:
        return []
    faulty = []
    view = memoryview(lines.content)
    while begin < len(lines.starts):
        offset = int(lines.starts[begin])
        end = max(int(np.searchsorted(lines.starts, offset + _UTF8_WINDOW_BYTES)), begin + 1)
        try:
            utf_8_decode(view[offset : lines.ends[end - 1]], "strict", True)
        except UnicodeDecodeError as error:
            begin = int(np.searchsorted(lines.starts, offset + error.start, side="right"))
            faulty.append(begin - 1)
        else:
            begin = end
    return faulty


def _too_deep(lines: Lines, buffer: NDArray[np.uint8]) -> list[int]:
    """The records that nest deeper than allowed. Only what holds more opening brackets than that is looked at closely."""
    opening = np.count_nonzero(buffer == _OPEN_BRACE) + np.count_nonzero(buffer == _OPEN_BRACKET)
    if opening <= NESTING_DEPTH_MAX + np.count_nonzero(lines.together) - 1:
        return []  # each of these lines has at least one
    places = np.flatnonzero((buffer == _OPEN_BRACE) | (buffer == _OPEN_BRACKET))
    spread = places[NESTING_DEPTH_MAX:] - places[:-NESTING_DEPTH_MAX]
    if not np.any(spread < np.max(lines.ends - lines.starts)):
        return []  # no record is long enough to hold so many
    counts = np.searchsorted(places, lines.ends) - np.searchsorted(places, lines.starts)
    suspects = np.flatnonzero(counts > NESTING_DEPTH_MAX).tolist()
    return [row for row in suspects if nesting_depth(lines.record(row)) > NESTING_DEPTH_MAX]


def nesting_depth(record: bytes) -> int:
    """How many arrays and objects stand one inside the other at the deepest; brackets within strings do not count."""
    brackets = np.frombuffer(_STRING.sub(b"", record).translate(None, _NO_BRACKETS), np.uint8)
    opening = (brackets == _OPEN_BRACE) | (brackets == _OPEN_BRACKET)
    return int(np.max(np.cumsum(np.where(opening, 1, -1)), initial=0))
