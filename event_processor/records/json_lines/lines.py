"""The places of a chunk's records, and which records may be decoded together.

Owns: the cut into lines, and every check on bytes that a decoder of whole blocks does not make.
Always: a line that `together` marks is valid UTF-8, begins with `{`, ends with `}`, and is not nested too deeply. No JSON value
continues with `{` after a `}`, so no object can span two such lines. If a line holds two objects, their count shows it. All
checks run over all bytes at once; only lines that look wrong are checked one by one.
Never: no line is accepted or rejected here.
"""

from __future__ import annotations

import re
from codecs import utf_8_decode
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from event_processor.kernels.lines import KERNELS
from event_processor.model.columns import BoolArray, IntArray, Lines
from event_processor.model.event import NESTING_DEPTH_MAX
from event_processor.records.json_lines.marks import BLANK_BYTES, BYTE_ORDER_MARK

__all__ = [
    "BLANK_BYTES",
    "BYTE_ORDER_MARK",
    "Lines",
    "Run",
    "Shapes",
    "blank_rows",
    "cut_lines",
    "gather",
    "nesting_depth",
    "shapes_of",
]

_LINE_FEED, _RETURN, _OPEN_BRACE, _CLOSE_BRACE, _OPEN_BRACKET = b"\n\r{}["
_PIECE_BYTES: Final = 262_144
_FEW_SHARE: Final = 16
"""If at most one record in this many is asked about, they are checked one by one."""
_UTF8_WINDOW_BYTES: Final = 16_384
"""If a decoding fails, its input is copied into the error. The window limits that copy."""
_STRING: Final = re.compile(rb'"(?:[^"\\]|\\.)*+"', re.DOTALL)
_NO_BRACKETS: Final = bytes(set(range(256)) - set(b"[]{}"))


@dataclass(frozen=True, slots=True)
class Shapes:
    """Two marks for n records, each of shape (n,).

    `blank`: only spaces, tabs and returns. `together`: may be decoded in one block.
    """

    blank: BoolArray
    together: BoolArray


@dataclass(frozen=True, slots=True)
class Run:
    """Lines that may be decoded together, one after the other. `rows` (m,) are the numbers of their records.

    Line i is `content[edges[i]:edges[i + 1]]`, line end included; `edges` (m + 1,).
    """

    content: memoryview
    edges: IntArray
    rows: IntArray

    def between(self, begin: int, end: int) -> memoryview:
        """The bytes of the lines from `begin` up to `end`."""
        return self.content[self.edges[begin] : self.edges[end]]


def gather(lines: Lines, together: BoolArray) -> Run:
    """The lines that may be decoded together, without the others. If there are no others, nothing is copied."""
    edges = np.append(lines.starts, len(lines.content))
    rows = together.nonzero()[0]
    if len(rows) == len(lines.starts):
        return Run(memoryview(lines.content), edges, rows)
    following = edges[1:][rows]
    breaks = (rows[1:] - rows[:-1] != 1).nonzero()[0]
    firsts = edges[rows[np.append(0, breaks + 1)]].tolist() if len(rows) else []
    ends = following[np.append(breaks, len(rows) - 1)].tolist() if len(rows) else []
    content = b"".join([lines.content[first:end] for first, end in zip(firsts, ends, strict=True)])
    sizes = following - edges[rows]
    return Run(memoryview(content), np.append(0, np.cumsum(sizes)), rows)


def cut_lines(content: bytes, *, at_file_start: bool, record_bytes_max: int) -> Lines:
    """Cuts `content` on line feeds. A byte order mark at the start of a file is not part of the first record."""
    begin = len(BYTE_ORDER_MARK) if at_file_start and content.startswith(BYTE_ORDER_MARK) else 0
    starts, ends = _cut(content, begin) if KERNELS is None else KERNELS.cut_lines(content, begin)
    readable: BoolArray = ends - starts <= record_bytes_max
    lines = Lines(content, starts, ends, readable)
    readable[_not_utf8(lines)] = False
    return lines


def _cut(content: bytes, begin: int) -> tuple[IntArray, IntArray]:
    """The starts and ends of the records from `begin` on, without their line feeds and the returns before them."""
    buffer = np.frombuffer(content, np.uint8)
    feeds = _places_of(buffer, _LINE_FEED)
    # After a byte order mark alone there is no record.
    ends = feeds if len(content) == begin or content.endswith(b"\n") else np.append(feeds, len(content))
    starts = np.empty_like(ends)
    starts[:1] = begin
    starts[1:] = ends[:-1] + 1
    if b"\r" in content:
        filled = (ends > starts).nonzero()[0]
        ends = ends.copy()
        ends[filled] -= buffer[ends[filled] - 1] == _RETURN
    return starts, ends


def shapes_of(lines: Lines, wanted: BoolArray) -> Shapes:
    """The shapes of the records that `wanted` marks. All other records have no mark."""
    blank, together = np.zeros(len(wanted), np.bool_), np.zeros(len(wanted), np.bool_)
    rows = wanted.nonzero()[0]
    if not len(rows) or not lines.content:
        return Shapes(blank, together)
    buffer = np.frombuffer(lines.content, np.uint8)
    last = len(buffer) - 1
    starts, ends = lines.starts[rows], lines.ends[rows]
    braced = (
        (buffer[np.minimum(starts, last)] == _OPEN_BRACE) & (buffer[np.maximum(ends - 1, 0)] == _CLOSE_BRACE) & (ends > starts)
    )
    for index in (~braced).nonzero()[0].tolist():
        stripped = lines.record(rows[index]).strip(BLANK_BYTES)
        blank[rows[index]] = not stripped
        braced[index] = stripped.startswith(b"{") and stripped.endswith(b"}")
    together[rows] = braced & lines.readable[rows]
    together[_too_deep(lines, rows, int(np.count_nonzero(together)))] = False
    return Shapes(blank, together)


def blank_rows(lines: Lines, rows: IntArray) -> BoolArray:
    """Marks the records of `rows` that hold only spaces, tabs and returns.

    Returns (n,) marks for all n records. `rows` should be few.
    """
    blank = np.zeros(len(lines.starts), np.bool_)
    blank[rows] = [not lines.content[begin:end].strip(BLANK_BYTES) for begin, end in _spans(lines, rows)]
    return blank


def _spans(lines: Lines, rows: IntArray) -> Iterator[tuple[int, int]]:
    """The begin and the end of each of these records."""
    return zip(lines.starts[rows].tolist(), lines.ends[rows].tolist(), strict=True)


def _places_of(buffer: NDArray[np.uint8], byte: int) -> IntArray:
    """All places of a byte. Works piece by piece, so that intermediate results stay in the processor's cache."""
    found = [(piece == byte).nonzero()[0] + begin for begin, piece in _pieces(buffer)]
    return np.concatenate(found) if found else np.zeros(0, np.int64)


def _count_of(buffer: NDArray[np.uint8], byte: int) -> int:
    return sum(int(np.count_nonzero(piece == byte)) for _, piece in _pieces(buffer))


def _pieces(buffer: NDArray[np.uint8]) -> Iterator[tuple[int, NDArray[np.uint8]]]:
    for begin in range(0, len(buffer), _PIECE_BYTES):
        yield begin, buffer[begin : begin + _PIECE_BYTES]


def _not_utf8(lines: Lines) -> list[int]:
    """The records with bytes that are not UTF-8. Works in windows of whole lines, so that the cost stays linear."""
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


def _too_deep(lines: Lines, rows: IntArray, braced: int) -> list[int]:
    """The records of `rows` that are nested too deeply.

    `braced` of them begin with a brace, and so do all records outside `rows`.

    Only records with more opening brackets than the allowed depth are checked closely.
    """
    if len(rows) * _FEW_SHARE <= len(lines.starts):
        suspects = [row for row, span in zip(rows.tolist(), _spans(lines, rows), strict=True) if _brackets(lines.content, span)]
    else:
        buffer = np.frombuffer(lines.content, np.uint8)
        opening = _count_of(buffer, _OPEN_BRACE) + _count_of(buffer, _OPEN_BRACKET)
        if opening <= NESTING_DEPTH_MAX + len(lines.starts) - len(rows) + braced - 1:
            return []
        places = ((buffer == _OPEN_BRACE) | (buffer == _OPEN_BRACKET)).nonzero()[0]
        spread = places[NESTING_DEPTH_MAX:] - places[:-NESTING_DEPTH_MAX]
        if not np.any(spread < np.max(lines.ends - lines.starts)):
            return []  # no record is long enough for that many brackets
        counts = np.searchsorted(places, lines.ends[rows]) - np.searchsorted(places, lines.starts[rows])
        suspects = rows[counts > NESTING_DEPTH_MAX].tolist()
    return [row for row in suspects if nesting_depth(lines.record(row)) > NESTING_DEPTH_MAX]


def _brackets(content: bytes, span: tuple[int, int]) -> bool:
    """Whether the record has more opening brackets than the allowed depth."""
    return content.count(b"{", *span) + content.count(b"[", *span) > NESTING_DEPTH_MAX


def nesting_depth(record: bytes) -> int:
    """How deep arrays and objects are nested. Brackets within strings do not count."""
    brackets = np.frombuffer(_STRING.sub(b"", record).translate(None, _NO_BRACKETS), np.uint8)
    opening = (brackets == _OPEN_BRACE) | (brackets == _OPEN_BRACKET)
    return int(np.max(np.cumsum(np.where(opening, 1, -1)), initial=0))
