"""Turns lines of JSON objects into rows: which fields, in what order, with what names, and in what form timestamps are written.

Owns: the columns of a sink, how their fields are found, and the forms of timestamps (`TimestampSpelling`; instants are written in
UTC).
Always: a value has the bytes that its record wrote, except timestamps in another form. A value that is not a timestamp is not
changed. A missing field is null. A line gives exactly one row, whatever it holds, because a sink cannot reject.
Never: this file knows nothing about CSV or Parquet.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

import msgspec

from event_processor.columns.field_paths import FieldPath, Keys, field_path
from event_processor.columns.timestamps import TimestampReader, canonical
from event_processor.records.writing.columns import AS_IS, RFC3339, Column, column_of, is_spelling

__all__ = [
    "AS_IS",
    "NULL",
    "RFC3339",
    "Column",
    "ObjectLines",
    "Row",
    "RowReader",
    "TimestampSpelling",
    "column_of",
    "is_spelling",
    "text_of",
]

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_FOUR_DIGITS_FROM: Final = 1000
_DIRECTIVE: Final = re.compile("%.", re.DOTALL)
_NS_PER_S: Final = 1_000_000_000
_NS_PER_MS: Final = 1_000_000
_SCALAR_STARTS: Final = frozenset(b'"-0123456789')


class TimestampSpelling:
    """Writes timestamps in one form. Pure."""

    def __init__(self, spelling: str, reader: TimestampReader, digits: int | None = None) -> None:
        """`is_spelling(spelling)` must be true. `digits`: of the fraction in RFC 3339; None: as many as needed."""
        self._spelling: Final = spelling
        self._digits: Final = digits
        self._reader: Final = reader

    @property
    def changes_nothing(self) -> bool:
        """Whether every timestamp stays as it is."""
        return self._spelling == AS_IS

    def read(self, value: bytes) -> int | None:
        """The instant of a JSON value from year 1 to 9999, in nanoseconds since 1970-01-01 UTC; None if it is not a timestamp."""
        if value[0] not in _SCALAR_STARTS:
            return None
        try:
            return self._reader.read_json(value)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            return None

    def respelt(self, value: bytes) -> bytes:
        """A timestamp in the new form. Any other JSON value is returned unchanged."""
        ns = None if self.changes_nothing else self.read(value)
        return value if ns is None else self._written(ns)

    def _written(self, ns: int) -> bytes:
        if self._spelling == "epoch_ms":
            return b"%d" % (ns // _NS_PER_MS)
        if self._spelling == "epoch_s":
            sign, (seconds, fraction) = "-" * (ns < 0), divmod(abs(ns), _NS_PER_S)
            return f"{sign}{seconds}.{fraction:09d}".rstrip("0").rstrip(".").encode()
        if self._spelling == RFC3339:
            return f'"{canonical(ns, self._digits)}"'.encode()
        instant = _EPOCH + timedelta(microseconds=ns // 1000)
        pattern = self._spelling
        if instant.year < _FOUR_DIGITS_FROM:
            # The C library writes such a year without zeros.
            year = f"{instant.year:04d}"
            years = {"%Y": year, "%F": f"{year}-%m-%d", "%G": f"{instant.isocalendar().year:04d}"}
            pattern = _DIRECTIVE.sub(lambda found: years.get(found[0], found[0]), pattern)
        return msgspec.json.encode(instant.strftime(pattern))


NULL: Final = b"null"
BLOCK_BYTES: Final = 65_536
_FIELDS: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])
_ENCODER: Final = msgspec.json.Encoder()

Row = Sequence[bytes]
"""One JSON value for each column."""
Fields = dict[str, msgspec.Raw]


def text_of(value: bytes) -> bytes:
    """The content of a JSON string, in UTF-8. Half a surrogate pair becomes U+FFFD."""
    if b"\\" not in value:
        return value[1:-1]
    try:
        return msgspec.json.decode(value, type=str).encode()
    except (msgspec.MsgspecError, UnicodeError):
        text: str = json.loads(value)
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace").encode()


def _nothing_to_report(_fields: Sequence[str], _rows: int) -> None:
    """Reports nothing."""


class RowReader:
    """Reads rows from lines. Used by one thread at a time."""

    def __init__(
        self,
        columns: Sequence[Column],
        spelling: TimestampSpelling,
        timestamps: Sequence[str],
        report_absent: Callable[[Sequence[str], int], None] = _nothing_to_report,
    ) -> None:
        """`timestamps`: the fields that are written in the form `spelling`.

        `report_absent` is called by `close` if some fields were in none of the rows, with these fields and the number of rows.
        """
        self._names: Final = [column.field for column in columns]
        self._absent: Final = set(range(len(columns)))
        """The columns whose field no row had so far."""
        self._count = 0
        self._report_absent: Final = report_absent
        self._paths: Final = [field_path(column.field) for column in columns]
        respelt = () if spelling.changes_nothing else timestamps
        self._respelt: Final = [place for place, column in enumerate(columns) if column.field in respelt]
        self._spelling: Final = spelling

    def rows(self, lines: bytes) -> Iterator[Row]:
        """One row for each line of `lines`, which are whole lines."""
        for block in _blocks(lines):
            yield from map(self._row, _fields(block))

    def close(self) -> None:
        """Reports the fields that no row had. No row may be read after this."""
        if self._absent and self._count:
            self._report_absent([self._names[place] for place in sorted(self._absent)], self._count)

    def _row(self, fields: Fields) -> Row:
        row = [_reach(fields, path) for path in self._paths]
        self._count += 1
        if self._absent:
            # A null of the record is another object.
            self._absent.difference_update([place for place in self._absent if row[place] is not NULL])
        for place in self._respelt:
            row[place] = self._spelling.respelt(row[place])
        return row


class ObjectLines:
    """Lines as JSON objects: unchanged, or with timestamps in another form, or with only the columns."""

    def __init__(
        self,
        columns: Sequence[Column],
        spelling: TimestampSpelling,
        timestamps: Sequence[str],
        report_absent: Callable[[Sequence[str], int], None] = _nothing_to_report,
    ) -> None:
        """See `RowReader`."""
        self._rows: Final = RowReader(columns, spelling, timestamps, report_absent) if columns else None
        pairs = b",".join(_ENCODER.encode(column.name).replace(b"%", b"%%") + b":%b" for column in columns)
        self._form: Final = b"{" + pairs + b"}\n"
        self._spelling: Final = spelling
        self._paths: Final = [] if spelling.changes_nothing else [field_path(name) for name in timestamps]

    def written(self, lines: bytes) -> bytes:
        """The new lines, as many as `lines` has."""
        if self._rows is not None:
            return b"".join([self._form % tuple(row) for row in self._rows.rows(lines)])
        if not self._paths:
            return lines
        return b"".join(map(self._respelt, lines.split(b"\n")[:-1]))

    def close(self) -> None:
        """See `RowReader.close`."""
        if self._rows is not None:
            self._rows.close()

    def _respelt(self, line: bytes) -> bytes:
        """The same object with its timestamps in the new form."""
        fields = _fields_of(line)
        for path in self._paths:
            _respell(fields, path, self._spelling)
        return _ENCODER.encode(fields) + b"\n" if fields else line + b"\n"


def _blocks(lines: bytes) -> Iterator[bytes]:
    """The lines in blocks: enough for one call, but not too many. As Python objects, lines take many times their memory."""
    start = 0
    while start < len(lines):
        end = lines.find(b"\n", start + BLOCK_BYTES) + 1 or len(lines)
        yield lines[start:end]
        start = end


def _fields(lines: bytes) -> Sequence[Fields]:
    """The fields of each line's object."""
    try:
        found = _FIELDS.decode_lines(lines)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        found = []
    # The decoder ignores line ends. If it found as many objects as there are lines, each line was one object.
    return found if len(found) == lines.count(b"\n") else [_fields_of(line) for line in lines.split(b"\n")[:-1]]


def _fields_of(line: bytes) -> Fields:
    """The fields of one line's object; none if it cannot be read. An event can always be read."""
    try:
        return _FIELDS.decode(line)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        pass
    try:
        # This parser is more lenient: it also reads an object with half a surrogate pair in a key.
        found: object = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    if not isinstance(found, dict):
        return {}
    return {name.encode(errors="replace").decode(): msgspec.Raw(json.dumps(value).encode()) for name, value in found.items()}


def _reach(fields: Fields, path: FieldPath) -> bytes:
    """The value at `path`; null if there is none."""
    for keys in path:
        found = _holder(fields, keys).get(keys[-1])
        if found is not None:
            return bytes(found)
    return NULL


def _holder(fields: Fields, keys: Keys) -> Fields:
    """The object with the last of the keys; an empty one if there is none."""
    here = fields
    for key in keys[:-1]:
        here = _inside(here.get(key))
    return here


def _inside(value: msgspec.Raw | None) -> Fields:
    """The fields of a value; none if it is not an object."""
    content = b"" if value is None else bytes(value)
    return _fields_of(content) if content.startswith(b"{") else {}


def _respell(fields: Fields, path: FieldPath, spelling: TimestampSpelling) -> None:
    """Writes the timestamp at `path` in the new form, if there is one."""
    keys = next((each for each in path if each[-1] in _holder(fields, each)), None)
    if keys is not None:
        _respell_at(fields, keys, spelling)


def _respell_at(fields: Fields, keys: Keys, spelling: TimestampSpelling) -> None:
    first, *rest = keys
    value = fields[first]
    if not rest:
        fields[first] = msgspec.Raw(spelling.respelt(bytes(value)))
        return
    inner = _inside(value)
    _respell_at(inner, tuple(rest), spelling)
    fields[first] = msgspec.Raw(_ENCODER.encode(inner))
