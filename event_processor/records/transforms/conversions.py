"""The conversions of `[[transforms]]`: the kinds of `convert`, and UUIDs of version 5, many at once.

Owns: `conversion` (from the JSON text of a value to the JSON text of the new one), and `uuid5_strings`.
Always: a value that already has the wanted type keeps its JSON text. No number is rounded. No step costs more than the value's
length. Each UUID is what `uuid.uuid5` gives (RFC 9562, 5.5), as a JSON string.
Never: nothing is guessed. Spaces are not cut off, and true does not become 1.
"""

from __future__ import annotations

import hashlib
import math
import re
import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Final, TypeAlias

import msgspec
import numpy as np

from event_processor.columns.number_texts import json_number, whole_number, written_number
from event_processor.columns.timestamps import TimestampReader, canonical
from event_processor.configuration.transforms import Conversion
from event_processor.records.transforms.documents import UnfitError, Value, shown_value

__all__ = ["RIGHT_ALREADY", "Convert", "conversion", "uuid5_strings"]

_DIGITS: Final = np.frombuffer(b"".join(b"%02x" % byte for byte in range(256)), np.uint8).reshape(256, 2)
_FORM: Final = np.frombuffer(b'"00000000-0000-0000-0000-000000000000"', np.uint8)
_DIGIT_PLACES: Final = np.flatnonzero(ord("0") == _FORM)
_UUID_BYTES: Final = 16
_VERSION_BYTE, _VERSION, _VARIANT_BYTE, _VARIANT = 6, 0x50, 8, 0x80


def uuid5_strings(namespace: bytes, names: Sequence[bytes]) -> list[bytes]:
    """For each name (in UTF-8), its UUID as a JSON string. `namespace` has 16 bytes."""
    new = hashlib.sha1  # version 5 requires it, and no secret depends on it
    digests = b"".join([new(namespace + name).digest() for name in names])
    if not digests:
        return []
    numbers = np.frombuffer(digests, np.uint8).reshape(len(names), -1)[:, :_UUID_BYTES].copy()
    numbers[:, _VERSION_BYTE] = numbers[:, _VERSION_BYTE] & 0x0F | _VERSION
    numbers[:, _VARIANT_BYTE] = numbers[:, _VARIANT_BYTE] & 0x3F | _VARIANT
    strings = np.tile(_FORM, (len(names), 1))
    strings[:, _DIGIT_PLACES] = _DIGITS[numbers].reshape(len(names), -1)
    content, width = strings.tobytes(), len(_FORM)
    return [content[begin : begin + width] for begin in range(0, len(content), width)]


Convert: TypeAlias = Callable[[str, Value], msgspec.Raw]
"""Converts a field's value, which is not null. The arguments are the field's name and its value. Raises `UnfitError`."""

_Int64 = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
RIGHT_ALREADY: Final[Mapping[str, msgspec.json.Decoder[object]]] = {
    "string": msgspec.json.Decoder(list[str | None]),
    "integer": msgspec.json.Decoder(list[_Int64 | None]),
    "number": msgspec.json.Decoder(list[int | float | None]),
    "boolean": msgspec.json.Decoder(list[bool | None]),
}
"""For each kind, a decoder in C for an array of values that need no conversion. It may refuse some of these values."""

_Spelling: TypeAlias = Callable[[bytes], bytes | None]
"""From the JSON text of a scalar to the JSON text of its conversion; None if it cannot be converted."""

_QUOTE: Final = b'"'
_SCALAR_BYTES_MAX: Final = 1024
"""A longer text is not a number, a UUID or a time."""
_INTEGER: Final = re.compile(rb"-?[0-9]+")
_INTEGER_TEXT: Final = re.compile(rb"[+-]?[0-9]{1,19}")
_NUMBER: Final = re.compile(rb"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
"""A number of JSON."""
_UUID: Final = re.compile(rb"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}|[0-9a-f]{32}")
_BOOLEANS: Final = {b"true": b"true", b"false": b"false", b"1": b"true", b"0": b"false"}
_INT64_END: Final = 2**63
_UUID_INTEGER: Final = re.compile(rb"[0-9]{1,39}")
_UUID_END: Final = 2**128
_SECONDS_DIGITS_MAX: Final = 20
_ENCODE: Final = msgspec.json.Encoder().encode


def conversion(kind: Conversion, timestamps: TimestampReader) -> Convert:
    """The conversion to this kind."""
    if kind == "timestamp":
        return _to_timestamp(timestamps)
    spell, wanted = _SPELLINGS[kind]

    def convert(name: str, value: Value) -> msgspec.Raw:
        text = _scalar(value)
        found = None if text is None else spell(text)
        if found is None:
            raise UnfitError(f'"{name}" is not {wanted}: {shown_value(value)}', name)
        return msgspec.Raw(found)

    return convert


def _to_timestamp(timestamps: TimestampReader) -> Convert:
    def convert(name: str, value: Value) -> msgspec.Raw:
        text = _scalar(value)
        raw = None if text is None or len(text) > _SCALAR_BYTES_MAX else _instant(text)
        ns = timestamps.read(raw)
        if ns is None:
            raise UnfitError(f'"{name}" {timestamps.explain(raw)}: {shown_value(value)}', name)
        return msgspec.Raw(_ENCODE(canonical(ns)))

    return convert


def _instant(text: bytes) -> object:
    """A text or a number of seconds, in the form that `TimestampReader` accepts."""
    if _INTEGER.fullmatch(text):
        return int(text) if len(text) <= _SECONDS_DIGITS_MAX else math.inf
    if text.startswith(_QUOTE):
        return msgspec.json.decode(text)
    if not _NUMBER.fullmatch(text):
        return None
    return written_number(text.decode()) if math.isfinite(float(text)) else math.inf


def _scalar(value: Value) -> bytes | None:
    """The JSON text of a string, a number, true or false; None for an object and an array."""
    text = b"{" if isinstance(value, dict) else bytes(value)
    return None if text.startswith((b"{", b"[")) else text


def _content_of(text: bytes) -> bytes | None:
    """The content of a JSON string, or the JSON text of any other scalar; None if it is longer than `_SCALAR_BYTES_MAX`."""
    if len(text) > _SCALAR_BYTES_MAX:
        return None
    if not text.startswith(_QUOTE):
        return text
    return str(msgspec.json.decode(text)).encode() if b"\\" in text else text[1:-1]


def _string(text: bytes) -> bytes | None:
    return text if text.startswith(_QUOTE) else _QUOTE + text + _QUOTE


def _integer(text: bytes) -> bytes | None:
    said = _content_of(text)
    if said is None:
        return None
    if _INTEGER_TEXT.fullmatch(said):
        number = int(said)
        if not -_INT64_END <= number < _INT64_END:
            return None
        return text if said is text else b"%d" % number
    if said is not text or not _NUMBER.fullmatch(said):
        return None
    whole = whole_number(said.decode())
    return None if whole is None else b"%d" % whole


def _number(text: bytes) -> bytes | None:
    if not text.startswith(_QUOTE):
        return text if _NUMBER.match(text) else None
    said = _content_of(text)
    return None if said is None else json_number(said)


def _boolean(text: bytes) -> bytes | None:
    said = _content_of(text)
    return None if said is None else _BOOLEANS.get(said.lower())


def _uuid(text: bytes) -> bytes | None:
    said = _content_of(text)
    if said is None:
        return None
    if said is text:
        number = int(said) if _UUID_INTEGER.fullmatch(said) else _UUID_END
        return None if number >= _UUID_END else b'"%s"' % str(uuid.UUID(int=number)).encode()
    said = said.lower()
    return b'"%s"' % str(uuid.UUID(said.decode())).encode() if _UUID.fullmatch(said) else None


_SPELLINGS: Final[Mapping[str, tuple[_Spelling, str]]] = {
    "string": (_string, "a string, a number, true or false"),
    "integer": (_integer, "a 64-bit integer"),
    "number": (_number, "a number"),
    "boolean": (_boolean, "true or false"),
    "uuid": (_uuid, "a UUID or a 128-bit integer"),
}
