"""The independent reading of records: which lines are events, and what they say. Written from the promises, not from the code.

Owns: cutting a log into lines, judging one record, reading one timestamp; by the standard library's JSON reader, exact
fractions and plain definitions, with no care for speed.
Always: nothing of the program under test is imported, so that an error there cannot repeat itself here.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from fractions import Fraction
from typing import Final, TypeAlias
from zoneinfo import ZoneInfo

__all__ = ["Fields", "Id", "Line", "ParsedEvent", "RejectedRecordError", "canonical_timestamp", "cut_lines", "parse_event"]

Id: TypeAlias = "str | int | tuple[str | int, ...]"
BOM: Final = b"\xef\xbb\xbf"
DEPTH_MAX: Final = 100
INTEGER_MIN, INTEGER_MAX = -(2**63), 2**63 - 1


class RejectedRecordError(Exception):
    """The record is no event."""


class Number(str):
    """A JSON number as it was written."""

    __slots__ = ()


Value: TypeAlias = "bool | Number | str | list[Value] | dict[str, Value] | None"


@dataclass(frozen=True, slots=True)
class Fields:
    """Which field is which, as the configuration's `event` table says; dotted names reach inside."""

    id: str | tuple[str, ...] = "id"
    category: str = "category"
    value: str = "value"
    value_missing: str = "reject"
    timestamp: str = "timestamp"
    timestamp_zone: str = "UTC"
    timestamp_needed: bool = False


@dataclass(frozen=True, slots=True)
class Line:
    """One line: its number from 1, its byte offset, the offset behind it, and its record (the line without its end)."""

    number: int
    offset: int
    end: int
    record: bytes


@dataclass(frozen=True, slots=True)
class ParsedEvent:
    """What a valid record says. `id` is None where the position is the id; `value` is None where the event is only counted."""

    id: Id | None
    category: str
    value: float | None
    timestamp_ns: int | None


def cut_lines(content: bytes, *, finished: bool) -> list[Line]:
    """The complete lines of a file; a last one without a line feed counts only where the input is `finished`.

    A carriage return at the very end is then the first half of a torn line end, and no part of the record.
    """
    lines = []
    offset = 0
    for number, piece in enumerate(content.split(b"\n"), start=1):
        end = offset + len(piece) + 1
        if end <= len(content):
            lines.append(Line(number, offset, end, piece.removesuffix(b"\r")))
        elif piece and finished:
            lines.append(Line(number, offset, len(content), piece.removesuffix(b"\r")))
        offset = end
    return lines


def parse_event(record: bytes, fields: Fields) -> ParsedEvent:
    """The event that a record is. Raises `RejectedRecordError`."""
    found = _parse_object(record)
    raw_timestamp = _field(found, fields.timestamp) if fields.timestamp else None
    timestamp_ns = _read_timestamp(raw_timestamp, fields.timestamp_zone)
    if fields.timestamp_needed and timestamp_ns is None:
        raise RejectedRecordError("timestamp")
    return ParsedEvent(
        id=_event_id(found, fields.id),
        category=_category(_field(found, fields.category)) if fields.category else "",
        value=_value(_field(found, fields.value), fields.value_missing) if fields.value else None,
        timestamp_ns=timestamp_ns,
    )


def _parse_object(record: bytes) -> dict[str, Value]:
    try:
        text = record.decode("utf-8")
    except UnicodeDecodeError as error:
        raise RejectedRecordError("not UTF-8") from error
    if _depth(text) > DEPTH_MAX:
        raise RejectedRecordError("too deep")
    try:
        found: Value = json.loads(
            text, parse_int=Number, parse_float=Number, parse_constant=_refuse, object_pairs_hook=_last_wins
        )
    except json.JSONDecodeError as error:
        raise RejectedRecordError("not JSON") from error
    if not isinstance(found, dict):
        raise RejectedRecordError("not an object")
    return found


def _depth(text: str) -> int:
    """How many arrays and objects stand one inside the other at the deepest place, brackets in strings left out."""
    deepest = depth = 0
    for bracket in re.findall(r"[\[{\]}]", re.sub(r'"(?:[^"\\]|\\.)*"', "", text, flags=re.DOTALL)):
        depth += 1 if bracket in "[{" else -1
        deepest = max(deepest, depth)
    return deepest


def _refuse(word: str) -> Value:
    raise RejectedRecordError(f"{word} is not JSON")


def _last_wins(pairs: list[tuple[str, Value]]) -> dict[str, Value]:
    """One object. Objects inside it were through here before it."""
    for key, value in pairs:
        _refuse_lone_surrogates(key)
        _refuse_lone_surrogates(value)  # Here too, since a value that a later one of its key replaces is seen nowhere else.
    return dict(pairs)


def _refuse_lone_surrogates(value: Value) -> None:
    if isinstance(value, str) and any("\ud800" <= character <= "\udfff" for character in value):
        raise RejectedRecordError("a lone surrogate")
    if isinstance(value, list):
        for item in value:
            _refuse_lone_surrogates(item)


def _field(found: dict[str, Value], name: str) -> Value:
    """The named field, or None where it, or an object on the way to it, is missing."""
    value: Value = found
    for key in name.split("."):
        value = value.get(key) if isinstance(value, dict) else None
    return value


def _event_id(found: dict[str, Value], name: str | tuple[str, ...]) -> Id | None:
    if name == "@position":
        return None
    if isinstance(name, str):
        return _simple_id(_field(found, name))
    return tuple(_simple_id(_field(found, part)) for part in name)


def _simple_id(value: Value) -> str | int:
    if isinstance(value, Number):
        if re.fullmatch(r"-?[0-9]{1,19}", value) and INTEGER_MIN <= int(value) <= INTEGER_MAX:
            return int(value)
    elif isinstance(value, str) and 1 <= len(value) <= 1024:
        return value
    raise RejectedRecordError("id")


def _category(value: Value) -> str:
    if isinstance(value, str) and not isinstance(value, Number) and 1 <= len(value) <= 256:
        return value
    raise RejectedRecordError("category")


def _value(value: Value, value_missing: str) -> float | None:
    """The nearest double of the number as it was written; a zero has no sign."""
    if value is None and value_missing == "count_only":
        return None
    if isinstance(value, Number) and abs(float(value)) < 2.0**960:
        return float(value) + 0.0
    raise RejectedRecordError("value")


WRITTEN_TIME: Final = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2})[Tt ]([0-9]{2}:[0-9]{2}:[0-9]{2})(?:\.([0-9]+))?([Zz]|[+-][0-9]{2}:[0-9]{2})?"
)
EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def _read_timestamp(value: Value, zone: str) -> int | None:
    """Nanoseconds since 1970 UTC, in 64 bits with a sign but not the least such number, or None where there is no readable timestamp."""
    if isinstance(value, Number):
        exact = Fraction(int(value)) if re.fullmatch(r"-?[0-9]{1,19}", value) else _fraction(value)
        found = None if exact is None else round(exact * 10**9)
    else:
        found = _read_written_time(value, zone) if isinstance(value, str) else None
    return found if found is not None and INTEGER_MIN < found <= INTEGER_MAX else None


def _fraction(number: str) -> Fraction | None:
    """Epoch seconds are what their digits say."""
    if abs(float(number)) >= 2.0**63:
        return None
    return Fraction(number) if float(number) else Fraction(0)


def _read_written_time(text: str, zone: str) -> int | None:
    match = WRITTEN_TIME.fullmatch(text)
    if match is None:
        return None
    day, clock, digits, offset = match.groups()
    leap = clock.endswith(":60")
    try:
        moment = datetime.fromisoformat(f"{day}T{clock[:6]}59" if leap else f"{day}T{clock}")
        whole = moment.replace(tzinfo=_zone(offset, zone)) - EPOCH
    except (ValueError, OverflowError):
        return None
    seconds = whole.days * 86_400 + whole.seconds + leap
    if leap and seconds % 86_400:
        return None  # A leap second is the last one of a day in UTC, and nowhere else.
    return seconds * 10**9 + int((digits or "0")[:9].ljust(9, "0"))


def _zone(offset: str | None, zone: str) -> timezone | ZoneInfo:
    if offset is None:
        return ZoneInfo(zone)
    if offset in ("Z", "z"):
        return UTC
    hours, minutes = int(offset[1:3]), int(offset[4:6])
    if hours > 23 or minutes > 59:
        raise ValueError("no such offset")
    return timezone(timedelta(minutes=(hours * 60 + minutes) * (-1 if offset[0] == "-" else 1)))


def canonical_timestamp(timestamp_ns: int | None) -> str | None:
    """RFC 3339 in UTC, with as many digits of a fraction as it needs."""
    if timestamp_ns is None:
        return None
    seconds, fraction = divmod(timestamp_ns, 10**9)
    moment = (EPOCH + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%S")
    digits = f".{fraction:09}".rstrip("0") if fraction else ""
    return f"{moment}{digits}Z"
