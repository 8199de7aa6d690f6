"""The conversions of a value, from its spelling to its spelling.

Always: what is of the wanted type already keeps its spelling. No number is rounded, and no step costs more than the length of the value.
Never: nothing is guessed: no spaces are cut off, and no true is a 1.
"""

from __future__ import annotations

import hashlib
import math
import re
import uuid
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal, InvalidOperation
from typing import Annotated, Final, TypeAlias

import msgspec
import numpy as np

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
    """For each name in UTF-8 its UUID in the namespace, of 16 bytes."""
    new = hashlib.sha1  # what the version prescribes, and no secret hangs on it
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
"""Takes a field's name and its value, not null; raises `UnfitError`."""

_Int64 = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
RIGHT_ALREADY: Final[Mapping[str, msgspec.json.Decoder[object]]] = {
    "string": msgspec.json.Decoder(list[str | None]),
    "integer": msgspec.json.Decoder(list[_Int64 | None]),
    "number": msgspec.json.Decoder(list[int | float | None]),
    "boolean": msgspec.json.Decoder(list[bool | None]),
}
"""By kind, what reads an array of values that need no conversion, in C; it may refuse some of these."""

_Spelling: TypeAlias = Callable[[bytes], bytes | None]
"""From a scalar as it is written to what it becomes; None where it cannot."""

_QUOTE: Final = b'"'
_SCALAR_BYTES_MAX: Final = 1024
"""What is longer spells neither a number, nor a UUID, nor a time."""
_INTEGER: Final = re.compile(rb"-?[0-9]+")
_INTEGER_TEXT: Final = re.compile(rb"[+-]?[0-9]{1,19}")
_NUMBER: Final = re.compile(rb"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
"""As JSON writes it."""
_NUMBER_TEXT: Final = re.compile(rb"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_UUID: Final = re.compile(rb"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}|[0-9a-f]{32}")
_BOOLEANS: Final = {b"true": b"true", b"false": b"false", b"1": b"true", b"0": b"false"}
_INT64_DIGITS_MAX: Final = 19
_INT64_END: Final = 2**63
_UUID_INTEGER: Final = re.compile(rb"[0-9]{1,39}")
_UUID_END: Final = 2**128
_SECONDS_DIGITS_MAX: Final = 20
_ENCODE: Final = msgspec.json.Encoder().encode


def conversion(kind: Conversion, timestamps: TimestampReader) -> Convert:
    """What makes a value of this kind."""
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
    """A text, or a number of seconds, as the reader of timestamps takes it."""
    if _INTEGER.fullmatch(text):
        return int(text) if len(text) <= _SECONDS_DIGITS_MAX else math.inf
    return msgspec.json.decode(text) if text.startswith(_QUOTE) else float(text) if _NUMBER.fullmatch(text) else None


def _scalar(value: Value) -> bytes | None:
    """How a string, a number, true or false is written; None for an object and an array."""
    text = b"{" if isinstance(value, dict) else bytes(value)
    return None if text.startswith((b"{", b"[")) else text


def _spelt(text: bytes) -> bytes | None:
    """What a string says, or how anything else is written; None where it is too long to spell what is sought."""
    if len(text) > _SCALAR_BYTES_MAX:
        return None
    if not text.startswith(_QUOTE):
        return text
    return str(msgspec.json.decode(text)).encode() if b"\\" in text else text[1:-1]


def _string(text: bytes) -> bytes | None:
    return text if text.startswith(_QUOTE) else _QUOTE + text + _QUOTE


def _integer(text: bytes) -> bytes | None:
    said = _spelt(text)
    if said is None:
        return None
    if _INTEGER_TEXT.fullmatch(said):
        number = int(said)
        if not -_INT64_END <= number < _INT64_END:
            return None
        return text if said is text else b"%d" % number
    if said is not text or not _NUMBER.fullmatch(said):
        return None
    return _whole(said.decode())


def _whole(number: str) -> bytes | None:
    """A number that is an integer of 64 bits, written as one."""
    try:
        exact = Decimal(number)
    except InvalidOperation:  # an exponent beyond all exponents
        return None
    is_small = exact.is_zero() or exact.adjusted() < _INT64_DIGITS_MAX
    if not is_small or exact != exact.to_integral_value() or not -_INT64_END <= exact < _INT64_END:
        return None
    return b"%d" % int(exact)


def _number(text: bytes) -> bytes | None:
    if not text.startswith(_QUOTE):
        return text if _NUMBER.match(text) else None
    said = _spelt(text)
    if said is None or not _NUMBER_TEXT.fullmatch(said):
        return None
    number = float(said)
    if not math.isfinite(number):
        return None
    return said if _NUMBER.fullmatch(said) else _ENCODE(number)


def _boolean(text: bytes) -> bytes | None:
    said = _spelt(text)
    return None if said is None else _BOOLEANS.get(said.lower())


def _uuid(text: bytes) -> bytes | None:
    said = _spelt(text)
    if said is None:
        return None
    if said is text:
        number = int(said) if _UUID_INTEGER.fullmatch(said) else _UUID_END
        return None if number >= _UUID_END else b'"%s"' % str(uuid.UUID(int=number)).encode()
    said = said.lower()
    return b'"%s"' % str(uuid.UUID(said.decode())).encode() if _UUID.fullmatch(said) else None


_SPELLINGS: Final[Mapping[str, tuple[_Spelling, str]]] = {
    "string": (_string, "a string, a number, true or false"),
    "integer": (_integer, "an integer of 64 bits"),
    "number": (_number, "a number"),
    "boolean": (_boolean, "true or false"),
    "uuid": (_uuid, "a UUID, nor an integer of 128 bits"),
}
