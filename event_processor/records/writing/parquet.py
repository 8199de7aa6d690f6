"""Writes Parquet: rows of JSON values become one file, with a type for each column.

Owns: `ParquetWriter`, and how a JSON value becomes a value of a column's type.
Always: a file depends only on its rows, not on the clock or the host. Every file of a sink has the same schema, whatever its rows
hold. A value that does not have its column's type is null. In a column of strings, any value is written as text.
Never: no other module imports `pyarrow`, which the extra `parquet` installs. It is imported only if a sink writes Parquet,
because the import takes longer than the start of the program.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeAlias

import msgspec

from event_processor.columns.number_texts import whole_number
from event_processor.model.errors import ConfigurationError
from event_processor.records.writing.columns import ColumnType
from event_processor.records.writing.rows import NULL, Row, text_of

__all__ = ["ColumnType", "ParquetWriter"]

ReadTimestamp: TypeAlias = Callable[[bytes], int | None]
"""The instant of a JSON value in nanoseconds since 1970-01-01 UTC; None if the value is not a timestamp."""

_INT64_MIN, _INT64_MAX = -(2**63), 2**63 - 1
_NS_PER_US: Final = 1000
_BOOLEANS: Final[Mapping[bytes, bool]] = {b"true": True, b"false": False}
_NUMBER_STARTS: Final = frozenset(b"-0123456789")
_COMPRESSION: Final = "zstd"


class ParquetWriter:
    """Rows as a Parquet file, compressed with Zstandard. Timestamps are microseconds in UTC."""

    def __init__(self, columns: Sequence[tuple[str, ColumnType]], read_timestamp: ReadTimestamp) -> None:
        """`columns`: the name and the type of each column. Raises `ConfigurationError` if pyarrow cannot be imported."""
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
        """How many rows a file holds; None if it is not a Parquet file."""
        try:
            return int(self._parquet.ParquetFile(self._arrow.BufferReader(content)).metadata.num_rows)
        except (self._arrow.ArrowException, OSError):
            return None

    def are_equal(self, one: bytes, other: bytes) -> bool:
        """Whether two files hold the same table, whatever version of pyarrow wrote them."""
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
    """The content of a JSON string, or the JSON text of another value; None for null."""
    if value == NULL:
        return None
    if not value.startswith(b'"'):
        return value.decode()
    return text_of(value).decode()


def _integer(value: bytes) -> int | None:
    """The value as a 64-bit integer, however it is written; None if it is not one. Its digits decide, not the nearest double."""
    number = _decoded(value)
    if isinstance(number, float):
        number = whole_number(value.decode())
    return number if number is not None and _INT64_MIN <= number <= _INT64_MAX else None


def _number(value: bytes) -> float | None:
    """The nearest double; None if the value is not a number or the double is not finite."""
    number = _decoded(value)
    try:
        found = None if number is None else float(number)
    except OverflowError:
        return None
    return found if found is not None and math.isfinite(found) else None


def _decoded(value: bytes) -> int | float | None:
    """The value as a number; None if it is not a JSON number."""
    if value[0] not in _NUMBER_STARTS:
        return None
    try:
        number: int | float = msgspec.json.decode(value)
    except (msgspec.MsgspecError, ValueError):
        return None
    return number


def _microseconds(ns: int | None) -> int | None:
    return None if ns is None else ns // _NS_PER_US
