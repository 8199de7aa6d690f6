"""CSV: one record a line, cells between delimiters, names from the header line or from the configuration.

Owns: how a line becomes cells, how cells become typed values, and the reasons for rejections of lines.
Always: a line is judged alone: an unclosed quote makes its own line bad and no other. The header line is neither an event nor a
fault, so it is counted as blank. A number keeps its digits. Three ways give the same bytes: all lines of a chunk at once if nothing is quoted, column by
column if every line is good, or else line by line.
Never: no type is guessed from a cell's content.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import msgspec
import numpy as np

from event_processor.model.contracts import Rejection
from event_processor.model.event import Chunk
from event_processor.records.converted_text import has_utf_16_mark
from event_processor.records.delimited_cells import CellType, Dialect, UnfitCellError, conversion
from event_processor.records.heads import HEAD_BYTES_MIN
from event_processor.records.json_lines.lines import Lines
from event_processor.records.objects import Objects

__all__ = ["CellType", "DelimitedReader", "Dialect", "is_line_based"]

_ENCODER: Final = msgspec.json.Encoder()
_STAGE: Final = "decode"
_BLANK: Final = " \t\r"
_BLANK_BYTES: Final = b" \t\r"
_LINE_FEED, _SPACE = b"\n "
_WIDTH_MIN: Final = 2
"""With one column, a blank line could be a row."""
_PLAIN_NUMBER: Final = re.compile(rb"-?(?:0|[1-9][0-9]{0,299})(?:\.[0-9]+)?")
"""A number that is written as in JSON, and that a double can hold."""
_PLAIN_NUMBERS: Final = re.compile(rb"(?:(?:%b)?(?:\n|$))*+" % _PLAIN_NUMBER.pattern)
_PLAIN_INTEGERS: Final = re.compile(rb"(?:(?:0|-?[1-9][0-9]{0,17})?(?:\n|$))*+")
"""A column of cells, one a line. Each is written as in JSON, or is empty."""
_POINTS_FOR_COMMAS: Final = bytes.maketrans(b",.", b".!")
"""With a decimal comma, a point is not part of a number."""
_UNCLOSED: Final = "a quoted cell does not end on its line"


class DelimitedReader:
    """The `ObjectReader` of CSV lines."""

    def __init__(self, dialect: Dialect, *, record_bytes_max: int) -> None:
        """Raises the cell limit of Python's parser to `record_bytes_max`, because a cell may be as long as a record.

        That limit applies to the whole process.
        """
        self._dialect: Final = dialect
        self._header: Final = dialect.header_place
        self._record_bytes_max: Final = record_bytes_max
        self._head_bytes_max: Final = max(HEAD_BYTES_MIN, record_bytes_max)
        self._convert: Final = {name: conversion(kind, dialect) for name, kind in dialect.types.items() if kind != "string"}
        csv.field_size_limit(max(csv.field_size_limit(), record_bytes_max))

    def read(self, chunk: Chunk, lines: Lines) -> Objects:
        names = self._names(chunk)
        header_rows = self._leading_rows(chunk, lines)
        faults = self._header_faults(names, chunk, lines, header_rows - 1) if header_rows else {}
        is_simple = not (faults or isinstance(names, _Unfit) or chunk.own or self._dialect.nulls)
        at_once = self._at_once(names, lines, header_rows) if is_simple and not isinstance(names, _Unfit) else None
        if at_once is not None:
            return Objects(range(header_rows, len(lines.starts)), at_once, header_rows, [])
        texts, unfit = self._texts(lines, chunk.own)
        blank = {row for row, text in enumerate(texts) if (not text or text.isspace()) and not text.strip(_BLANK)}
        if comment := self._dialect.comment:
            blank |= {row for row, text in enumerate(texts) if text.startswith(comment)}
        blank = ((blank - unfit.keys()) | set(range(header_rows))) - faults.keys()
        if isinstance(names, _Unfit):
            rest = [names.at(row) for row in range(len(texts)) if row not in blank and row not in faults]
            return Objects([], b"", len(blank), [*faults.values(), *rest])
        faults |= {row: each.at(row) for row, each in unfit.items() if row not in blank and row not in faults}
        if blank or faults:
            rows: Sequence[int] = [row for row in range(len(texts)) if row not in blank and row not in faults]
            texts = [texts[row] for row in rows]
        else:
            rows = range(len(texts))
        cells, are_whole = self._cells(texts)
        if not names[-1]:
            names, cells = names[:-1], [_without_last(each, len(names)) for each in cells]
        content = self._by_column(names, cells) if are_whole and not self._dialect.nulls else None
        if content is None:
            rows, values = self._by_row(names, rows, cells, faults)
            content = _ENCODER.encode_lines(values)
        return Objects(rows, content, len(blank), [faults[row] for row in sorted(faults)])

    def _at_once(self, names: Sequence[str], lines: Lines, header_rows: int) -> bytes | None:
        """The objects of all lines, from one call. None if a cell is quoted, or if a line or a cell needs a closer look."""
        delimiter = self._dialect.delimiter.encode()
        width, count = len(names), len(lines.starts) - header_rows
        too_long = count > 0 and int((lines.ends - lines.starts).max()) > self._record_bytes_max
        if width < _WIDTH_MIN or count <= 0 or too_long or len(delimiter) > 1 or delimiter in _BLANK_BYTES:
            return None
        content = self._unquoted(lines.content[int(lines.starts[header_rows]) :])
        comment = self._dialect.comment.encode()
        if content is None or not names[-1] or (comment and (content.startswith(comment) or b"\n" + comment in content)):
            return None
        buffer = np.frombuffer(content, np.uint8)
        marks = ((buffer == ord(delimiter)) | (buffer == _LINE_FEED)).nonzero()[0]
        if len(marks) != width * count or not (buffer[marks[width - 1 :: width]] == _LINE_FEED).all():
            return None
        cells = content[:-1].replace(b"\n", delimiter).split(delimiter)
        for place, name in enumerate(names):
            if name in self._convert:
                fragments = self._fragments(self._dialect.types[name], b"\n".join(cells[place::width]))
                if fragments is None:
                    return None
                cells[place::width] = fragments
        form = _form(names, {name: b"%b" if name in self._convert else b'"%b"' for name in names})
        return (form * count) % tuple(cells)

    def _unquoted(self, content: bytes) -> bytes | None:
        """The lines in UTF-8, each ended by a line feed, if every cell can be copied into JSON as it is.

        None if that is not certain.
        """
        if not content.isascii():
            try:
                content = content.decode(self._dialect.encoding).encode()
            except UnicodeDecodeError:
                return None
        if b"\r" in content:
            content = content.replace(b"\r\n", b"\n")
        if not content.endswith(b"\n"):
            content += b"\n"
        if any(mark in content for mark in (b'"', b"\\", self._dialect.quote.encode()) if mark):
            return None
        controls = int(np.count_nonzero(np.frombuffer(content, np.uint8) < _SPACE))
        return content if controls == content.count(b"\n") else None

    def _texts(self, lines: Lines, own: bytes) -> tuple[list[str], dict[int, _Unfit]]:
        """Each line as text (empty if it cannot be decoded), and the reasons for the lines that cannot be.

        `own`: the records' own bytes, if quoted cells hold line ends; otherwise empty.
        """
        spans = zip(lines.starts.tolist(), lines.ends.tolist(), strict=True)
        try:
            # A file with a byte order mark and nothing else has no line.
            text = "" if own or not len(lines.starts) else lines.content.decode(self._dialect.encoding)
        except UnicodeDecodeError:
            text = ""
        if text and not (lines.ends - lines.starts > self._record_bytes_max).any():
            texts = text.removesuffix("\n").split("\n")
            if "\r" in text:
                texts = [each.removesuffix("\r") for each in texts]
            texts[0] = lines.record(0).decode(self._dialect.encoding)  # without a byte order mark
            return texts, {}
        content = own or lines.content
        found = [self._text(content[start:end]) for start, end in spans]
        unfit = {row: each for row, each in enumerate(found) if isinstance(each, _Unfit)}
        return ["" if isinstance(each, _Unfit) else each for each in found], unfit

    def _text(self, line: bytes) -> str | _Unfit:
        if len(line) > self._record_bytes_max:
            return _Unfit("record over the size limit (record_bytes_max)", stage="read")
        try:
            return line.decode(self._dialect.encoding)
        except UnicodeDecodeError as error:
            return _Unfit(f"is not {self._dialect.encoding} (byte {error.start})")

    def _names(self, chunk: Chunk) -> Sequence[str] | _Unfit:
        """The names of the columns, or why they are unknown."""
        if self._dialect.columns:
            return self._dialect.columns
        head = _head(chunk)
        begin = self._header.span(head)[0]
        line, ended, _ = head[begin:].partition(b"\n")
        if not ended and (len(head) >= self._head_bytes_max or not chunk.final):
            return _UNKNOWN_HEADER
        text = self._text(line.removesuffix(b"\r"))
        if isinstance(text, _Unfit):
            return _UTF_16 if has_utf_16_mark(head) else _Unfit(f"the header line {text.reason}")
        ((names,), _) = self._cells([text])
        if isinstance(names, _Unfit):
            return _Unfit(f"the header line: {names.reason}")
        # If each line ends with a delimiter, the header has an empty name at its end.
        if not names or len(set(names)) < len(names) or not all(names[:-1] if len(names) > 1 else names):
            return _Unfit("the header line has a duplicate or empty name: set csv_columns")
        return names

    def _leading_rows(self, chunk: Chunk, lines: Lines) -> int:
        """How many of the chunk's first rows are no records: lines to skip, comments before the header, and the header."""
        dialect = self._dialect
        if not (dialect.skip_lines or dialect.comment):
            return 1 if dialect.has_header and len(lines.starts) and chunk.offset == _header_offset(chunk) else 0
        head = chunk.head or (chunk.content if chunk.offset == 0 else b"")
        nuls = _header_offset(chunk)
        return int(np.searchsorted(lines.starts + chunk.offset, nuls + self._header.span(head[nuls:])[1]))

    def _header_faults(self, names: Sequence[str] | _Unfit, chunk: Chunk, lines: Lines, row: int) -> dict[int, Rejection]:
        """The rejection of the last line before the records, which is `row`, if it may hold rows, or if no later line reports its fault.

        With line ends that are carriage returns, the whole file is one line, and all its rows would be lost with the header. If the chunk ends
        before the header, only the end of the file makes that a fault.
        """
        line = lines.record(row)
        has_feed = row < len(lines.starts) - 1 or chunk.content.endswith(b"\n")
        found: _Unfit | None = None
        if not self._is_header(chunk, chunk.offset + int(lines.ends[row])):
            found = _NO_FEED if not has_feed and b"\r" in line[:-1] else None
        elif b"\r" in line:
            text = self._text(line)
            cells = text if isinstance(text, _Unfit) else self._cells([text])[0][0]
            if isinstance(cells, _Unfit):
                found = _Unfit(f"the header line: {cells.reason}") if has_feed else _NO_FEED
        elif isinstance(names, _Unfit) and not has_feed:
            found = names
        return {} if found is None else {row: found.at(row)}

    def _is_header(self, chunk: Chunk, end: int) -> bool:
        """Whether the line before the records that ends at the offset `end` is the header, and not before it."""
        head = _head(chunk)
        begin = self._header.span(head)[0]
        return self._dialect.has_header and begin < len(head) and end >= _header_offset(chunk) + begin

    def _by_column(self, names: Sequence[str], cells: Sequence[list[str] | _Unfit]) -> bytes | None:
        """The objects of lines that are all good, one a line; None if a line may be bad.

        No Python object is made for an event, except its cells.
        """
        if not cells or set(map(len, cells)) != {len(names)}:  # type: ignore[arg-type]  # they are whole
            return None
        parts: list[Sequence[bytes]] = []
        for name, column in zip(names, zip(*cells, strict=True), strict=True):
            fragments: Sequence[bytes] | None = _ENCODER.encode_lines(column).split(b"\n")[:-1]
            if name in self._convert:
                fragments = self._fragments(self._dialect.types[name], "\n".join(column).encode())
            # A quoted cell may hold a line feed. It is then no plain number.
            if fragments is None or len(fragments) != len(column):
                return None
            parts.append(fragments)
        return b"".join(map(_form(names, dict.fromkeys(names, b"%b")).__mod__, zip(*parts, strict=True)))

    def _fragments(self, kind: CellType, cells: bytes) -> Sequence[bytes] | None:
        """Typed cells, one a line, as JSON. None unless all of them are written as in JSON, or are empty."""
        if kind == "number" and self._dialect.decimal == ",":
            cells = cells.translate(_POINTS_FOR_COMMAS)
        if kind == "boolean" or not (_PLAIN_NUMBERS if kind == "number" else _PLAIN_INTEGERS).fullmatch(cells):
            return None
        fragments = cells.split(b"\n")
        return [each or b"null" for each in fragments] if b"" in fragments else fragments

    def _by_row(
        self, names: Sequence[str], rows: Sequence[int], cells: Sequence[list[str] | _Unfit], faults: dict[int, Rejection]
    ) -> tuple[list[int], list[dict[str, object]]]:
        """The rows of the objects, and the objects. Adds the other rows to `faults`."""
        typed = [(name, self._convert[name]) for name in names if name in self._convert]
        nulls = self._dialect.nulls
        kept: list[int] = []
        values: list[dict[str, object]] = []
        for row, each in zip(rows, cells, strict=True):
            if isinstance(each, _Unfit):
                faults[row] = each.at(row)
                continue
            if len(each) != len(names):
                faults[row] = _Unfit(f"has {_counted(len(each))}, but there are {len(names)} columns").at(row)
                continue
            value: dict[str, object] = {name: None if cell in nulls else cell for name, cell in zip(names, each, strict=True)}
            try:
                for name, convert in typed:
                    if value[name] is not None:
                        value[name] = convert(str(value[name]))
            except UnfitCellError as error:
                faults[row] = Rejection(row, _STAGE, error.reason, name)
                continue
            kept.append(row)
            values.append(value)
        return kept, values

    def _cells(self, texts: list[str]) -> tuple[Sequence[list[str] | _Unfit], bool]:
        """The cells of each line, and whether all lines are whole."""
        try:
            found: list[list[str]] = list(self._parser(iter(texts)))
        except csv.Error:
            found = []
        # If there are as many rows as lines, every row ended with its line.
        if len(found) == len(texts):
            return found, True
        return list(self._line_by_line(texts)), False

    def _line_by_line(self, texts: list[str]) -> Iterator[list[str] | _Unfit]:
        """The same if some lines are bad: the parser starts again after each bad line.

        A line is parsed at most twice: a line with an open quote also takes the lines up to the next quote.
        """
        place = 0

        def rest() -> Iterator[str]:
            nonlocal place
            while place < len(texts):
                place += 1
                yield texts[place - 1]

        parser = None
        while place < len(texts):
            parser = parser or self._parser(rest())
            begin = place
            try:
                cells: list[str] | _Unfit = next(parser)
            except csv.Error as error:
                cells = _refused(str(error))
            if place - begin > 1:
                cells = _Unfit(_UNCLOSED)
            yield cells
            if isinstance(cells, _Unfit):
                place, parser = begin + 1, None

    def _parser(self, texts: Iterator[str]) -> Iterator[list[str]]:
        dialect = self._dialect
        if not dialect.quote:
            return csv.reader(texts, delimiter=dialect.delimiter, quoting=csv.QUOTE_NONE, strict=True)
        return csv.reader(texts, delimiter=dialect.delimiter, quotechar=dialect.quote, strict=True)


@dataclass(frozen=True, slots=True)
class _Unfit:
    """Why a line is not an object."""

    reason: str
    stage: str = _STAGE

    def at(self, row: int) -> Rejection:
        return Rejection(row, self.stage, self.reason, "")


_NO_FEED: Final = _Unfit('the header has no line feed: if carriage returns end the lines, set csv_line_end = "cr"')
_UTF_16: Final = _Unfit('the file is UTF-16: set csv_encoding = "utf-16"')
_UNKNOWN_HEADER: Final = _Unfit(
    "the header does not begin and end in the first record_bytes_max bytes of the file: raise that limit"
)


def is_line_based(encoding: str) -> bool:
    """Whether text in this encoding can be cut into lines by its bytes: each ASCII character, also a line feed, is its own byte."""
    ascii_bytes = bytes(range(128))
    try:
        return ascii_bytes.decode(encoding) == ascii_bytes.decode("ascii") and "\n".encode(encoding) == b"\n"
    except (LookupError, UnicodeError):
        return False


def _form(names: Sequence[str], values: Mapping[str, bytes]) -> bytes:
    """The template of an object's line, with a place for each value."""
    pairs = b",".join(_ENCODER.encode(name).replace(b"%", b"%%") + b":" + values[name] for name in names)
    return b"{" + pairs + b"}\n"


def _refused(error: str) -> _Unfit:
    """The error of Python's parser, in our words if we have them."""
    if "end of data" in error:
        return _Unfit(_UNCLOSED)
    return _Unfit("has a carriage return outside quotes" if "new-line" in error else f"is not CSV: {error}")


def _without_last(cells: list[str] | _Unfit, columns: int) -> list[str] | _Unfit:
    """The cells of a line that ends with a delimiter, without the empty one after it."""
    return cells[:-1] if isinstance(cells, list) and len(cells) == columns and not cells[-1] else cells


def _head(chunk: Chunk) -> bytes:
    """The known start of the part, without leading NULs. A writer that continued after a truncation leaves such NULs."""
    return (chunk.head or (chunk.content if chunk.offset == 0 else b"")).lstrip(b"\0")


def _header_offset(chunk: Chunk) -> int:
    return len(chunk.head) - len(chunk.head.lstrip(b"\0"))


def _counted(cells: int) -> str:
    return "1 cell" if cells == 1 else f"{cells} cells"
