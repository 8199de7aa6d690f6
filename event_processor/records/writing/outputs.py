"""The content of a sink's files: lines that are added to one growing file, or whole files of some lines each.

Owns: the two ways of writing, `LineOutput` and `PartOutput`, for each format.
Always: the same lines give the same bytes, in whatever pieces they come. No content of a line makes it fail.
Never: no file is opened here.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, Protocol

from event_processor.records.writing.delimited import DelimitedWriter
from event_processor.records.writing.parquet import ParquetWriter
from event_processor.records.writing.rows import ObjectLines, RowReader

__all__ = ["DelimitedOutput", "JsonArrayParts", "JsonLinesOutput", "LineOutput", "LineParts", "ParquetParts", "PartOutput"]

_BEGIN, _BETWEEN, _END = b"[\n", b",\n", b"\n]\n"


class LineOutput(Protocol):
    """Writes lines one after the other."""

    @property
    def header(self) -> bytes:
        """The begin of a file; empty if a file begins with its first line."""
        ...

    def written(self, lines: bytes) -> bytes:
        """The bytes to add to the file for `lines`, which are whole lines."""
        ...

    def count(self, content: bytes) -> int | None:
        """How many lines `content` was made from; it begins with the header. None if it is not a whole file."""
        ...

    def close(self) -> None:
        """Reports the columns that no line had."""
        ...


class PartOutput(Protocol):
    """Writes a whole file of some lines."""

    def content(self, pieces: Sequence[bytes]) -> Iterator[bytes]:
        """The file for `pieces`, in order. Each piece holds whole lines. There must be at least one line."""
        ...

    def count(self, content: bytes) -> int | None:
        """How many lines the file was made from; None if it is not one of our files."""
        ...

    def holds(self, content: bytes, lines: bytes) -> bool:
        """Whether a file has the content that `lines` would give."""
        ...

    def close(self) -> None:
        """Reports the columns that no line had."""
        ...


class JsonLinesOutput:
    """Each line a JSON object."""

    header: Final = b""

    def __init__(self, objects: ObjectLines) -> None:
        self._objects: Final = objects

    def written(self, lines: bytes) -> bytes:
        return self._objects.written(lines)

    def count(self, content: bytes) -> int | None:
        return content.count(b"\n") if content.endswith(b"\n") else None

    def close(self) -> None:
        self._objects.close()


class DelimitedOutput:
    """Each line a row of CSV."""

    def __init__(self, rows: RowReader, writer: DelimitedWriter) -> None:
        self._rows: Final = rows
        self._writer: Final = writer

    @property
    def header(self) -> bytes:
        return self._writer.header

    def written(self, lines: bytes) -> bytes:
        return self._writer.lines(self._rows.rows(lines))

    def count(self, content: bytes) -> int | None:
        return self._writer.count(content)

    def close(self) -> None:
        self._rows.close()


class LineParts:
    """Files of lines, written like one growing file."""

    def __init__(self, output: LineOutput) -> None:
        self._output: Final = output

    def content(self, pieces: Sequence[bytes]) -> Iterator[bytes]:
        yield self._output.header
        for piece in pieces:
            yield self._output.written(piece)

    def count(self, content: bytes) -> int | None:
        return self._output.count(content)

    def holds(self, content: bytes, lines: bytes) -> bool:
        return content == b"".join(self.content([lines]))

    def close(self) -> None:
        self._output.close()


class JsonArrayParts:
    """Files that are one JSON array each, an object a line."""

    def __init__(self, objects: ObjectLines) -> None:
        self._objects: Final = objects

    def content(self, pieces: Sequence[bytes]) -> Iterator[bytes]:
        between = _BEGIN
        for piece in pieces:
            lines = self._objects.written(piece)
            if lines:
                yield between
                yield lines[:-1].replace(b"\n", _BETWEEN)
                between = _BETWEEN
        yield _END

    def count(self, content: bytes) -> int | None:
        framed = content.startswith(_BEGIN) and content.endswith(_END) and len(content) >= len(_BEGIN) + len(_END)
        return content.count(b"\n") - 2 if framed else None

    def holds(self, content: bytes, lines: bytes) -> bool:
        return content == b"".join(self.content([lines]))

    def close(self) -> None:
        self._objects.close()


class ParquetParts:
    """Files in Parquet."""

    def __init__(self, rows: RowReader, writer: ParquetWriter) -> None:
        self._rows: Final = rows
        self._writer: Final = writer

    def content(self, pieces: Sequence[bytes]) -> Iterator[bytes]:
        yield self._writer.content([row for piece in pieces for row in self._rows.rows(piece)])

    def count(self, content: bytes) -> int | None:
        return self._writer.count(content)

    def holds(self, content: bytes, lines: bytes) -> bool:
        # Versions of pyarrow write different bytes around the same values.
        return self._writer.are_equal(content, b"".join(self.content([lines])))

    def close(self) -> None:
        self._rows.close()
