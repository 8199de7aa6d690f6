"""The body of a request: records to bytes.

Owns: `BodyWriter`, and how `fields` becomes an object.
Always: pure. A value has the bytes that its record wrote. The same records give the same body.
Never: parses a record that is sent whole.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final, Literal, TypeAlias

import msgspec

from event_processor.columns.field_paths import FieldPath, Keys, field_path
from event_processor.connectors.http.options import CONSTANT
from event_processor.model.clock import wall_ns_of
from event_processor.model.delivery import OutboxRecord

__all__ = ["BodyWriter", "UnencodableError"]

_Fields: TypeAlias = dict[str, msgspec.Raw]
_Value: TypeAlias = Callable[[OutboxRecord, str, _Fields], bytes]
"""A value of the body as JSON, from a record, its key and its fields."""

_FIELDS: Final = msgspec.json.Decoder(_Fields)
_ENCODE: Final = msgspec.json.Encoder().encode
_NULL: Final = b"null"
_OWN: Final[Mapping[str, _Value]] = {
    "@now": lambda record, _key, _fields: _ENCODE(record.now),
    "@now_s": lambda record, _key, _fields: _ENCODE((wall_ns_of(record.now) or 0) / 1e9),
    "@elapsed_ms": lambda record, _key, _fields: _ENCODE(record.elapsed_ms),
    "@key": lambda _record, key, _fields: _ENCODE(key),
    "@sequence": lambda record, _key, _fields: _ENCODE(record.sequence),
}


class UnencodableError(Exception):
    """A record cannot be written into a body: it is bad. The message says why, without its content."""


class BodyWriter:
    """Writes bodies of one kind. `content_type` is their type."""

    def __init__(self, kind: Literal["object", "array", "ndjson"], fields: Mapping[str, object]) -> None:
        """`fields`: as in `HttpSinkOptions`; empty for whole records."""
        self.content_type: Final = "application/x-ndjson" if kind == "ndjson" else "application/json"
        self._kind: Final = kind
        self._values: Final[list[_Value]] = []
        self._form: Final = self._object_form(fields) if fields else b""

    def body(self, records: Sequence[OutboxRecord], keys: Sequence[str]) -> bytes:
        """The body with these records, in order. `keys`: one for each. Raises `UnencodableError`."""
        parts = [self._part(record, key) for record, key in zip(records, keys, strict=True)]
        if self._kind == "object":
            if len(parts) != 1:
                raise UnencodableError(f'body = "object" cannot hold {len(parts)} records')
            return parts[0]
        return b"[" + b",".join(parts) + b"]" if self._kind == "array" else b"\n".join(parts) + b"\n"

    def _part(self, record: OutboxRecord, key: str) -> bytes:
        content = bytes(record.object)
        if not self._form:
            if not (content.startswith(b"{") and content.endswith(b"}")) or b"\n" in content:
                raise UnencodableError(f"record {record.sequence} is not a JSON object on one line")
            return content
        fields = _fields_of(content, record.sequence)
        return self._form % tuple([value(record, key, fields) for value in self._values])

    def _object_form(self, fields: Mapping[str, object]) -> bytes:
        """The object with a %b for each value that depends on the record. Appends these values to `self._values`."""
        members = [_ENCODE(name).replace(b"%", b"%%") + b":" + self._member(value) for name, value in fields.items()]
        return b"{" + b",".join(members) + b"}"

    def _member(self, value: object) -> bytes:
        if isinstance(value, Mapping):
            return self._object_form(value)
        if isinstance(value, str) and not value.startswith(CONSTANT):
            self._values.append(_OWN[value] if value in _OWN else _field(field_path(value)))
            return b"%b"
        return _ENCODE(value.removeprefix(CONSTANT) if isinstance(value, str) else value).replace(b"%", b"%%")


def _field(path: FieldPath) -> _Value:
    return lambda record, _key, fields: _reach(fields, path, record.sequence)


def _reach(fields: _Fields, path: FieldPath, sequence: int) -> bytes:
    """The value at `path`; null if there is none."""
    for keys in path:
        found = _holder(fields, keys, sequence).get(keys[-1])
        if found is not None:
            return bytes(found)
    return _NULL


def _holder(fields: _Fields, keys: Keys, sequence: int) -> _Fields:
    """The object with the last of the keys; an empty one if there is none."""
    here = fields
    for key in keys[:-1]:
        content = bytes(here.get(key, b""))
        here = _fields_of(content, sequence) if content.startswith(b"{") else {}
    return here


def _fields_of(content: bytes, sequence: int) -> _Fields:
    try:
        return _FIELDS.decode(content)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        # The error's own words may repeat a part of the record.
        raise UnencodableError(f"record {sequence} cannot be read as a JSON object ({type(error).__name__})") from error
