"""What a chunk of JSON Lines means, one line at a time and by the standard library alone: the judge of the decoder's tests.

Imports nothing of the package. Slow, plain, and written from the format's description.
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction

LIMIT = 2.0**960
ABSENT = object()


@dataclass(frozen=True)
class Expected:
    """One record's outcome: `kind` is accepted, rejected or blank; the fields only count for the first."""

    kind: str
    id: object = None
    category: object = None
    value: str | None = None
    timestamp: object = None


BLANK = Expected("blank")
REJECTED = Expected("rejected")


@dataclass(frozen=True)
class Shape:
    """Which field is which, as dotted names."""

    id: object = "id"
    category: str = "category"
    value: str = "value"
    value_missing: str = "reject"
    timestamp: str = "timestamp"
    record_bytes_max: int = 1 << 20


class RefusedError(Exception):
    """The record is no event."""


class Number(str):
    """A number as it is written."""

    __slots__ = ()


def outcomes(content: bytes, shape: Shape, *, part: tuple[str, int] = ("events", 0), offset: int = 0) -> list[Expected]:
    """The outcome of each record of `content`, which stands at `offset`."""
    found = []
    lines = content.split(b"\n")
    if not lines[-1]:
        lines.pop()
    place = offset
    for whole in lines:
        has_mark = place == 0 and whole.startswith(b"\xef\xbb\xbf")
        unmarked = whole[3:] if has_mark else whole
        record = unmarked[:-1] if unmarked.endswith(b"\r") else unmarked
        found.append(outcome(record, shape, (*part, 3 if has_mark else place)))
        place += len(whole) + 1
    return found


def outcome(line: bytes, shape: Shape, position: tuple[str, int, int]) -> Expected:
    """The outcome of one record."""
    if all(byte in b" \t\r" for byte in line):
        return BLANK
    if len(line) > shape.record_bytes_max:
        return REJECTED
    try:
        document = read_document(line)
        if shape.id == "@position":
            identity: object = position
        elif isinstance(shape.id, str):
            identity = read_id(look(document, shape.id))
        else:
            assert isinstance(shape.id, tuple)
            identity = tuple(read_id(look(document, name)) for name in shape.id)
        category = read_category(look(document, shape.category)) if shape.category else None
        value = read_value(look(document, shape.value), shape.value_missing == "count_only") if shape.value else None
        timestamp = kept(look(document, shape.timestamp, strict=False)) if shape.timestamp else None
    except RefusedError:
        return REJECTED
    return Expected("accepted", identity, category, value, timestamp)


def read_document(line: bytes) -> dict[str, object]:
    """The object of a line."""

    def refuse(_: str) -> None:
        raise RefusedError

    def pairs(found: list[tuple[str, object]]) -> dict[str, object]:
        for key, value in found:
            check_strings(key)
            check_strings(value)
        return dict(found)

    try:
        text = line.decode("utf-8", "strict")
    except UnicodeDecodeError:
        raise RefusedError from None
    if depth(text) > 100:
        raise RefusedError
    try:
        document = json.loads(text, parse_int=Number, parse_float=Number, parse_constant=refuse, object_pairs_hook=pairs)
    except ValueError:
        raise RefusedError from None
    if not isinstance(document, dict):
        raise RefusedError
    return document


def depth(text: str) -> int:
    """The deepest nesting, by a walk over the characters."""
    deepest = here = 0
    inside = escaped = False
    for character in text:
        if inside:
            if escaped:
                escaped = False
            elif character == "\\":
                escaped = True
            elif character == '"':
                inside = False
        elif character == '"':
            inside = True
        elif character in "[{":
            here += 1
            deepest = max(deepest, here)
        elif character in "]}":
            here -= 1
    return deepest


def check_strings(value: object) -> None:
    """Refuses half a surrogate pair, wherever it is."""
    if (
        isinstance(value, str)
        and not isinstance(value, Number)
        and any(0xD800 <= ord(character) <= 0xDFFF for character in value)
    ):
        raise RefusedError
    if isinstance(value, list):
        for item in value:
            check_strings(item)


def look(document: dict[str, object], name: str, *, strict: bool = True) -> object:
    """The value at a dotted name; ABSENT where it or its parent is missing or null. A key that has the dots itself wins."""
    here: object = document
    keys = re.findall(r'"[^"]*"|[^.]+', name)
    for depth, key in enumerate(keys):
        if here is None or here is ABSENT:
            return ABSENT
        if not isinstance(here, dict):
            if strict:
                raise RefusedError
            return ABSENT
        rest = ".".join(keys[depth:])
        if '"' not in name and rest in here:
            return here[rest]
        here = here.get(key.strip('"'), ABSENT)
    return here


def is_text(value: object) -> bool:
    return isinstance(value, str) and not isinstance(value, Number)


def is_integer(value: object) -> bool:
    return isinstance(value, Number) and value.lstrip("-").isdigit()


def read_id(value: object) -> object:
    if is_text(value) and 1 <= len(str(value)) <= 1024:
        return value
    if is_integer(value) and len(str(value)) < 30 and -(2**63) <= int(str(value)) < 2**63:
        return int(str(value))
    raise RefusedError


def read_category(value: object) -> object:
    if is_text(value) and 1 <= len(str(value)) <= 256:
        return value
    raise RefusedError


def read_value(value: object, may_miss: bool) -> str | None:
    """The exact bits of the value; None where there is none and there need not be."""
    if (value is None or value is ABSENT) and may_miss:
        return None
    if not isinstance(value, Number):
        raise RefusedError
    double = nearest(value)
    if not abs(double) < LIMIT:
        raise RefusedError
    return (0.0 if double == 0 else double).hex()


def nearest(text: str) -> float:
    """The nearest double of a number as it is written, by exact fractions; infinite where it is beyond all doubles."""
    exact = Decimal(text)
    if exact == 0:
        return 0.0
    if exact.adjusted() > 400:
        return math.inf
    if exact.adjusted() < -400:
        return 0.0
    try:
        return float(Fraction(exact))
    except OverflowError:
        return math.inf


def kept(value: object) -> object:
    """A timestamp as it stands; floats by their bits."""
    if is_text(value) and len(str(value)) <= 64:
        return value
    if is_integer(value) and len(str(value)) < 30 and -(2**63) <= int(str(value)) < 2**63:
        return int(str(value))
    if isinstance(value, Number) and not is_integer(value):
        double = float(value)
        return ("float", double.hex()) if math.isfinite(double) else None
    return None
