"""From a record to the values of its columns.

Owns: which JSON values fit a column of which type, and the words if one does not.
Always: a value fits, or its record is bad. Nothing is rounded, cut or converted from another type; a timestamp becomes the same instant
in UTC. A missing field and null are NULL.
Never: knows a database.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any, Final, TypeAlias

import msgspec

from event_processor.columns.field_paths import FieldPath, field_path
from event_processor.columns.timestamps import TimestampReader, canonical, canonical_all
from event_processor.connectors.sql.dialect import Row, Value
from event_processor.connectors.sql.numeric import NUMBER, Precision, numeric_fit
from event_processor.connectors.sql.options import ColumnType, SqlSinkOptions
from event_processor.model.messages import cut

__all__ = ["RowReader", "UnfitError"]

INTEGER_MAX: Final = 2**63 - 1
_UUID: Final = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", re.IGNORECASE)
_OBJECT: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])
_NOTHING: Final = type(None)
FitAll: TypeAlias = Callable[[Sequence[Any]], "Sequence[Value] | None"]
"""Takes all values of a column, None included; returns them as they are written, or None if one may not fit."""
_UNREADABLE: Final = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)


def _is_raw(type_: ColumnType) -> bool:
    """Whether the text of a value counts, not the value."""
    return type_ == "json" or type_.startswith("numeric")


class UnfitError(Exception):
    """The record does not fit its columns. The message says why, without its values."""


@dataclass(frozen=True, slots=True)
class _Field:
    column: str
    type: ColumnType
    path: FieldPath
    fit: Callable[[Any], Value]
    fit_all: FitAll
    is_key: bool


class RowReader:
    """Reads the values of one sink's columns. Pure."""

    def __init__(
        self,
        options: SqlSinkOptions,
        writers: Mapping[ColumnType, Callable[[Value], Value]],
        timestamps: TimestampReader,
        *,
        rounds: bool = False,
    ) -> None:
        """`writers`: as in `Dialect`. `rounds`: the numbers are computed, so one with more digits than its column has is rounded."""
        self._fields: Final[list[_Field]] = []
        for (column, type_), name in zip(options.typed_columns().items(), options.fields(), strict=True):
            fit = _written(_fit_of(type_, timestamps, rounds=rounds), writers.get(type_))
            fit_all = _fit_all_of(type_, fit, timestamps)
            self._fields.append(_Field(column, type_, field_path(name), fit, fit_all, column in options.upsert))
        names = [field.path[-1][0] for field in self._fields]
        is_plain = all(len(field.path) == 1 and len(field.path[0]) == 1 for field in self._fields)
        self._decoder: Final = self._struct_decoder(names) if is_plain and len(set(names)) == len(names) else None

    def _struct_decoder(self, names: Sequence[str]) -> msgspec.json.Decoder[Any]:
        """Decodes the fields of the columns and nothing else."""
        fields = [
            (
                f"f{place}",
                msgspec.Raw if _is_raw(field.type) else Any,
                msgspec.Raw(b"null") if _is_raw(field.type) else None,
            )
            for place, field in enumerate(self._fields)
        ]
        rename = {f"f{place}": name for place, name in enumerate(names)}
        return msgspec.json.Decoder(msgspec.defstruct("Fields", fields, rename=rename, gc=False))

    def columns(self, objects: bytes) -> list[Sequence[Value]] | None:
        """The values of many records, by column, as `row` gives them. `objects`: one in each line.

        None if one of them may not fit, or if this is not the way to read them: then `row` decides for each.
        """
        if self._decoder is None:
            return None
        try:
            records = self._decoder.decode_lines(objects)
        except _UNREADABLE:
            return None
        found = []
        for place, field in enumerate(self._fields):
            values: Sequence[Any] = list(map(attrgetter(f"f{place}"), records))
            if _is_raw(field.type):
                values = list(map(_text_of, values))
            column = field.fit_all(values)
            if column is None or (field.is_key and None in column):
                return None
            found.append(column)
        return found

    def row(self, content: bytes) -> Row:
        """The values of a record's columns, in order. Raises `UnfitError`."""
        values = self._values(content)
        found: list[Value] = []
        for field, value in zip(self._fields, values, strict=True):
            if value is None:
                if field.is_key:
                    raise UnfitError(f'"{cut(field.column)}" is missing, and identifies the row')
                found.append(None)
                continue
            try:
                found.append(field.fit(value))
            except (ValueError, OverflowError) as error:
                raise UnfitError(f'"{cut(field.column)}" {error}') from error
        return tuple(found)

    def _values(self, content: bytes) -> Sequence[Any]:
        """The value of each field: decoded, or of some types its text; None if it is missing or null."""
        try:
            if self._decoder is None:
                document = _OBJECT.decode(content)
                return [_reached(document, field) for field in self._fields]
            values = msgspec.structs.astuple(self._decoder.decode(content))
        except _UNREADABLE as error:
            # The error's own words may repeat a part of the record.
            raise UnfitError(f"the record cannot be read as a JSON object ({type(error).__name__})") from error
        return [_text_of(value) if isinstance(value, msgspec.Raw) else value for value in values]


def _text_of(raw: msgspec.Raw) -> bytes | None:
    content = bytes(raw)
    return None if content == b"null" else content


def _reached(document: dict[str, msgspec.Raw], field: _Field) -> Any:
    """The value of a field that is inside others."""
    for keys in field.path:
        here = document
        for key in keys[:-1]:
            content = bytes(here.get(key, b""))
            here = _OBJECT.decode(content) if content.startswith(b"{") else {}
        found = here.get(keys[-1])
        if found is not None:
            return _text_of(found) if _is_raw(field.type) else msgspec.json.decode(found)
    return None


def _written(fit: Callable[[Any], Value], writer: Callable[[Value], Value] | None) -> Callable[[Any], Value]:
    return fit if writer is None else lambda value: writer(fit(value))


def _fit_of(type_: ColumnType, timestamps: TimestampReader, *, rounds: bool) -> Callable[[Any], Value]:
    """What checks a value of a column. It raises `ValueError` with words that follow the column's name."""
    if precision := Precision.of(type_):
        return numeric_fit(precision, rounds=rounds)

    def timestamp(value: object) -> str:
        ns = None if isinstance(value, bool) else timestamps.read_wide(value)
        if ns is None:
            raise ValueError("is not a timestamp")
        return canonical(ns)

    fits: dict[ColumnType, Callable[[Any], Value]] = {
        "text": _text,
        "integer": _integer,
        "double": _double,
        "boolean": _boolean,
        "timestamp": timestamp,
        "json": _json,
        "numeric": _numeric,
        "uuid": _uuid,
    }
    return fits[type_]


def _fit_all_of(type_: ColumnType, fit: Callable[[Any], Value], timestamps: TimestampReader) -> FitAll:
    """What checks all values of a column. `fit` checks one, and is asked if they are not all of the usual kind."""

    def one_by_one(values: Sequence[Any]) -> Sequence[Value] | None:
        try:
            return [None if value is None else fit(value) for value in values]
        except (ValueError, OverflowError):
            return None

    def of_kind(kind: type) -> FitAll:
        return lambda values: values if set(map(type, values)) <= {kind, _NOTHING} else one_by_one(values)

    def instants(values: Sequence[Any]) -> Sequence[Value] | None:
        if not set(map(type, values)) <= {str, _NOTHING}:
            return one_by_one(values)
        # The events of a moment often have the same text.
        texts = [text for text in dict.fromkeys(values) if text is not None]
        if not texts:
            return values
        ns, are_bad = timestamps.read_all(texts)
        if are_bad.any():
            return None
        written: dict[str | None, Value] = {None: None, **dict(zip(texts, canonical_all(ns), strict=True))}
        return list(map(written.__getitem__, values))

    def integers(values: Sequence[Any]) -> Sequence[Value] | None:
        kinds = set(map(type, values))
        if not kinds <= {int, _NOTHING}:
            return None
        numbers = [value for value in values if value is not None] if _NOTHING in kinds else values
        fits = not numbers or (min(numbers) >= -INTEGER_MAX - 1 and max(numbers) <= INTEGER_MAX)
        return values if fits else None

    fits: dict[ColumnType, FitAll] = {
        "text": of_kind(str),
        "double": of_kind(float),
        "integer": integers,
        "timestamp": instants,
    }
    return fits.get(type_, one_by_one)


def _text(value: object) -> str:
    if type(value) is not str:
        raise ValueError("is not a text")
    return value


def _integer(value: object) -> int:
    if type(value) is not int:
        raise ValueError("is not a whole number")
    if not -INTEGER_MAX - 1 <= value <= INTEGER_MAX:
        raise ValueError("does not fit 64 bits")
    return value


def _double(value: object) -> float:
    if type(value) is float:
        return value
    if type(value) is not int:
        raise ValueError("is not a number")
    try:
        return float(value)
    except OverflowError:
        raise ValueError("is too large for a double") from None


def _boolean(value: object) -> bool:
    if type(value) is not bool:
        raise ValueError("is not true or false")
    return value


def _json(value: bytes) -> str:
    return value.decode()


def _numeric(value: bytes) -> str:
    if not NUMBER.fullmatch(value):
        raise ValueError("is not a number")
    return value.decode()


def _uuid(value: object) -> str:
    if not isinstance(value, str) or not _UUID.fullmatch(value):
        raise ValueError("is not a UUID")
    return value.lower()
