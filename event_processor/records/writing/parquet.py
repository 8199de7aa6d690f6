"""Writing Parquet: rows of JSON values as one file, with a type for each column.

Always: the file of some rows is a function of the rows: nothing of the clock or the host is in it. Every file of a sink has the same
schema, whatever its rows hold. A value that is not of its column's type is null; in a column of strings any value has a text.
Never: no other module imports `pyarrow`, which the extra `parquet` installs. It is imported only where a sink writes Parquet, since
that takes longer than the start of the program.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Literal, TypeAlias

import msgspec

from event_processor.model.errors import ConfigurationError
from event_processor.records.writing.rows import NULL, Row, text_of

__all__ = ["ColumnType", "ParquetWriter"]

ColumnType: TypeAlias = Literal["string", "integer", "number", "boolean", "timestamp"]
ReadTimestamp: TypeAlias = Callable[[bytes], int | None]
"""The instant of a JSON value in nanoseconds since 1970-01-01 UTC; None where it is no timestamp."""

_INT64_MIN, _INT64_MAX = -(2**63), 2**63 - 1
_NS_PER_US: Final = 1000
_BOOLEANS: Final[Mapping[bytes, bool]] = {b"true": True, b"false": False}
_NUMBER_STARTS: Final = frozenset(b"-0123456789")
_COMPRESSION: Final = "zstd"


class ParquetWriter:
    """Rows as a Parquet file, compressed with Zstandard; timestamps are microseconds in UTC."""

    def __init__(self, columns: Sequence[tuple[str, ColumnType]], read_timestamp: ReadTimestamp) -> None:
        """`columns`: the name and the type of each. Raises `ConfigurationError` where pyarrow is not installed."""
        self._arrow: Final = _module("pyarrow")
        self._parquet: Final = _module("pyarrow.parquet")
        arrow = self._arrow
        types = {
            "string": arrow.string(),
            "integer": arrow.int64(),
            "number": arrow.float64(),
            "boolean": arrow.bool_(),
            "timestamp": arrow.timestamp("us", tz="UTC"),
        }
        conversions: dict[ColumnType, Callable[[bytes], object]] = {
            "string": _text,
            "integer": _integer,
            "number": _number,
            "boolean": _BOOLEANS.get,
            "timestamp": lambda value: _microseconds(read_timestamp(value)),
        }
        self._schema: Final = arrow.schema([(name, types[kind]) for name, kind in columns])
        self._conversions: Final = [conversions[kind] for _, kind in columns]

    def content(self, rows: Sequence[Row]) -> bytes:
        """The whole file."""
        arrow = self._arrow
        arrays = [
            arrow.array([convert(row[place]) for row in rows], field.type)
            for place, (convert, field) in enumerate(zip(self._conversions, self._schema, strict=True))
        ]
        output = arrow.BufferOutputStream()
        table = arrow.Table.from_arrays(arrays, schema=self._schema)
        self._parquet.write_table(table, output, compression=_COMPRESSION)
        return bytes(output.getvalue().to_pybytes())

    def count(self, content: bytes) -> int | None:
        """How many rows a file holds; None where it is no Parquet file."""
        try:
            return int(self._parquet.ParquetFile(self._arrow.BufferReader(content)).metadata.num_rows)
        except (self._arrow.ArrowException, OSError):
            return None

    def are_equal(self, one: bytes, other: bytes) -> bool:
        """Whether two files hold the same, whichever version of pyarrow wrote them."""
        tables = []
        for content in (one, other):
            try:
                tables.append(self._parquet.read_table(self._arrow.BufferReader(content)))
            except (self._arrow.ArrowException, OSError):
                return False
        return bool(tables[0].equals(tables[1]))


def _module(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ConfigurationError(
            f'format = "parquet" needs pyarrow, which cannot be imported: {error}',
            hint="install it: pip install 'event-processor[parquet]'",
        ) from error


def _text(value: bytes) -> str | None:
    """The characters of a JSON string; of another value its JSON text."""
    if value == NULL:
        return None
    if not value.startswith(b'"'):
        return value.decode()
    return text_of(value).decode()


def _integer(value: bytes) -> int | None:
    """Of a whole number of 64 bits, however it is spelt."""
    number = _decoded(value)
    if isinstance(number, float):
        number = int(number) if number.is_integer() else None
    return number if number is not None and _INT64_MIN <= number <= _INT64_MAX else None


def _number(value: bytes) -> float | None:
    """The nearest double; None where there is none."""
    number = _decoded(value)
    try:
        found = None if number is None else float(number)
    except OverflowError:
        return None
    return found if found is not None and math.isfinite(found) else None


def _decoded(value: bytes) -> int | float | None:
    """A JSON number; None of another value."""
    if value[0] not in _NUMBER_STARTS:
        return None
    try:
        number: int | float = msgspec.json.decode(value)
    except (msgspec.MsgspecError, ValueError):
        return None
    return number


def _microseconds(ns: int | None) -> int | None:
    return None if ns is None else ns // _NS_PER_US
