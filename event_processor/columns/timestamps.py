"""Reads timestamps: from the form in a record to nanoseconds since 1970-01-01 UTC.

Owns: which forms are timestamps, and the instant of each. These are accepted: RFC 3339 (`T`, `t` or a space; `Z`, `z` or an
offset; any fraction, of which nine digits are read and the rest is dropped); the same without an offset, in the configured
zone; and seconds since the epoch, as a JSON number, by its decimal digits (`epoch_seconds.py`).
Always: an instant fits in a signed 64-bit number, so it lies between 1677-09-21 and 2262-04-11; any other is not a timestamp.
A local time that occurs twice is read as its first occurrence. A local time that the clocks skip is read with the offset
before the skip. A leap second, 23:59:60 UTC, is the second after it.
Never: guesses: no other order of day and month, no week dates, no digits in a string.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from math import isfinite
from typing import Final, cast
from zoneinfo import ZoneInfo

import msgspec
import numpy as np
from numpy.typing import NDArray

from event_processor.columns.epoch_seconds import NUMBER_LENGTH_MAX, read_alike, read_floats, seconds_ns
from event_processor.columns.number_texts import WrittenNumber
from event_processor.columns.timestamp_tables import FRACTION_DIGITS_MAX, SECONDS_LENGTH, read_fraction, read_seconds
from event_processor.model.columns import BoolArray, IntArray
from event_processor.model.errors import ConfigurationError

__all__ = ["TimestampReader", "canonical", "canonical_all"]

_NS_PER_S: Final = 1_000_000_000
_INT64_MAX: Final = 2**63 - 1  # -_INT64_MAX - 1 is numpy's "not a time"
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_SPELLING: Final = re.compile(
    r"([0-9]{4})-([0-9]{2})-([0-9]{2})[Tt ]([0-9]{2}):([0-9]{2}):([0-9]{2})(?:\.([0-9]+))?([Zz]|[+-][0-9]{2}:[0-9]{2})?"
)
_TEXT_LENGTH_MAX: Final = SECONDS_LENGTH + 1 + FRACTION_DIGITS_MAX + len("+01:00")


class TimestampReader:
    """Reads timestamps. A timestamp without an offset is in `zone`. Pure, except that it reads the time zone database once."""

    def __init__(self, zone: str) -> None:
        """`zone` is an IANA name. Raises `ConfigurationError` if this machine does not know it."""
        try:
            self._zone: Final[tzinfo] = UTC if zone == "UTC" else ZoneInfo(zone)
        except (KeyError, OSError, ValueError) as error:
            raise ConfigurationError(
                f'event.timestamp_zone: "{zone}" is not a known time zone',
                hint='use an IANA name, such as "Europe/Berlin"; the system needs its time zone database (tzdata)',
            ) from error

    def read(self, raw: object) -> int | None:
        """Nanoseconds since 1970-01-01 UTC; None if `raw` is no timestamp, or out of range.

        A float stands for its shortest decimal text. If the record has more digits, `raw` is a `WrittenNumber`.
        """
        if isinstance(raw, str):
            ns = self._read_text(raw)
        elif type(raw) is int:
            ns = raw * _NS_PER_S
        elif isinstance(raw, WrittenNumber):
            ns = seconds_ns(raw.text)
        elif isinstance(raw, float) and isfinite(raw):
            ns = seconds_ns(repr(raw))
        else:
            return None
        return _in_range(ns)

    def read_json(self, value: bytes) -> int | None:
        """`read` of a JSON string or number. Raises `msgspec.MsgspecError` or `UnicodeDecodeError` if it is not JSON."""
        if value.startswith(b'"'):
            return self.read(msgspec.json.decode(value))
        return _in_range(seconds_ns(value.decode()))

    def explain(self, raw: object) -> str:
        """Says what is wrong with a timestamp that `read` refuses; the text follows the field's name."""
        if isinstance(raw, (int, float)) and not isinstance(raw, bool):
            return "is not between 1677-09-21 and 2262-04-11"
        if isinstance(raw, str) and self._read_text(raw) is not None:
            return "is not between 1677-09-21 and 2262-04-11"
        return "is not a timestamp"

    def read_all(self, raw: Sequence[object]) -> tuple[IntArray, BoolArray]:
        """`read` for each: nanoseconds (0 if not a timestamp), and a mark on each that is not one. Both (n,)."""
        ns = np.zeros(len(raw), np.int64)
        bad = np.zeros(len(raw), np.bool_)
        rest = np.ones(len(raw), np.bool_)
        kinds = set(map(type, raw))
        if kinds == {str}:
            self._read_texts(cast("Sequence[str]", raw), ns, rest)
        elif kinds <= {float, WrittenNumber}:
            read_floats(raw, ns, rest)
            if WrittenNumber in kinds:
                rest |= np.fromiter((type(each) is WrittenNumber for each in raw), np.bool_, len(raw))
        for row in np.flatnonzero(rest).tolist():
            instant = self.read(raw[row])
            bad[row] = instant is None
            ns[row] = instant or 0
        return ns, bad

    def read_spans(self, content: bytes, begins: IntArray, ends: IntArray) -> tuple[IntArray, BoolArray]:
        """`read_all` of the texts `content[begins[i]:ends[i]]`, which are UTF-8 without escapes.

        Texts in a form shared with others of their length do not become Python objects.
        """
        ns, rest = _read_by_width(self._read_alike, content, (begins, ends), (SECONDS_LENGTH, _TEXT_LENGTH_MAX))
        bad = np.zeros(len(begins), np.bool_)
        for row in np.flatnonzero(rest).tolist():
            instant = self.read(content[begins[row] : ends[row]].decode())
            bad[row] = instant is None
            ns[row] = instant or 0
        return ns, bad

    def read_numbers(self, content: bytes, begins: IntArray, ends: IntArray) -> tuple[IntArray, BoolArray]:
        """`read_all` of the JSON numbers `content[begins[i]:ends[i]]`, by their digits. Ordinary ones do not become Python objects."""
        ns, rest = _read_by_width(read_alike, content, (begins, ends), (1, NUMBER_LENGTH_MAX))
        bad = np.zeros(len(begins), np.bool_)
        for row in np.flatnonzero(rest).tolist():
            instant = _in_range(seconds_ns(content[begins[row] : ends[row]].decode()))
            bad[row] = instant is None
            ns[row] = instant or 0
        return ns, bad

    def _read_text(self, text: str) -> int | None:
        """The instant of one text, perhaps out of range; None if it is not a timestamp."""
        match = _SPELLING.fullmatch(text)
        if match is None:
            return None
        *numbers, fraction, offset = match.groups()
        year, month, day, hour, minute, second = map(int, numbers)
        zone = self._zone if offset is None else _offset_zone(offset)
        if zone is None:
            return None
        try:
            local = datetime(year, month, day, hour, minute, min(second, 59), tzinfo=zone)
            elapsed = local - _EPOCH if zone is UTC else local.astimezone(UTC) - _EPOCH
        except (ValueError, OverflowError):
            return None
        seconds = elapsed.days * 86_400 + elapsed.seconds
        if second >= 60:
            seconds += 1
            if second > 60 or seconds % 86_400:
                return None
        return seconds * _NS_PER_S + int((fraction or "0")[:FRACTION_DIGITS_MAX].ljust(FRACTION_DIGITS_MAX, "0"))

    def _read_texts(self, texts: Sequence[str], ns: IntArray, rest: BoolArray) -> None:
        """Reads texts of one form together; `rest` keeps the unread ones marked."""
        joined = "".join(texts)
        if not joined.isascii():
            return
        characters = np.frombuffer(joined.encode(), np.uint8)
        lengths = np.fromiter(map(len, texts), np.int64, len(texts))
        if lengths.min() == lengths.max():
            self._read_alike(characters.reshape(len(texts), -1), slice(None), ns, rest)
            return
        starts = np.cumsum(lengths) - lengths
        for length in np.unique(lengths).tolist():
            rows = np.flatnonzero(lengths == length)
            self._read_alike(characters[starts[rows][:, None] + np.arange(length)], rows, ns, rest)

    def _read_alike(self, table: NDArray[np.uint8], rows: IntArray | slice, ns: IntArray, rest: BoolArray) -> None:
        """Reads texts of one length, one per row of `table`, if they have the first one's form. They belong at `rows`."""
        match = _SPELLING.fullmatch(table[0].tobytes().decode("latin-1"))
        if match is None or (match[8] is None and self._zone is not UTC):
            return
        digits = len(match[7] or "")
        zone = _offset_zone(match[8] or "Z")
        if digits > FRACTION_DIGITS_MAX or zone is None:
            return
        seconds, good = read_seconds(table)
        found = (seconds - int(zone.utcoffset(None).total_seconds())) * _NS_PER_S
        tail = SECONDS_LENGTH
        if digits:
            fraction, fine = read_fraction(table, digits)
            found += fraction
            good &= fine
            tail += 1 + digits
        if table.shape[1] > tail:
            good &= (table[:, tail:] == table[0, tail:]).all(axis=1)
        ns[rows] = np.where(good, found, 0)
        rest[rows] = ~good


def canonical(ns: int) -> str:
    """RFC 3339 in UTC, with as many digits of a fraction as needed, and none for whole seconds."""
    seconds, fraction = divmod(ns, _NS_PER_S)
    text = (_EPOCH + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%S")
    return f"{text}.{fraction:09d}".rstrip("0") + "Z" if fraction else text + "Z"


def canonical_all(ns: IntArray) -> list[str]:
    """`canonical` for each."""
    return [f"{text.rstrip('0').rstrip('.')}Z" for text in np.datetime_as_string(ns.view("datetime64[ns]")).tolist()]


def _offset_zone(offset: str) -> timezone | None:
    """The zone of "Z" or "+hh:mm"; None if there is no such offset."""
    if offset in ("Z", "z"):
        return UTC
    hours, minutes = int(offset[1:3]), int(offset[4:6])
    if hours > 23 or minutes > 59:
        return None
    distance = timedelta(hours=hours, minutes=minutes)
    return timezone(-distance if offset[0] == "-" else distance)


def _in_range(ns: int | None) -> int | None:
    """The instant; None if it does not fit."""
    return ns if ns is not None and -_INT64_MAX <= ns <= _INT64_MAX else None


def _read_by_width(
    read: Callable[[NDArray[np.uint8], IntArray | slice, IntArray, BoolArray], None],
    content: bytes,
    spans: tuple[IntArray, IntArray],
    limits: tuple[int, int],
) -> tuple[IntArray, BoolArray]:
    """Reads together the texts of each length within the limits: their nanoseconds, and a mark on each that was not read."""
    begins, ends = spans
    ns = np.zeros(len(begins), np.int64)
    rest = np.ones(len(begins), np.bool_)
    widths = ends - begins
    least, most = int(widths.min(initial=limits[1])), int(widths.max(initial=0))
    for width in range(max(least, limits[0]), min(most, limits[1]) + 1):
        rows = slice(None) if least == most else np.flatnonzero(widths == width)
        if len(begins[rows]):
            alike = np.ndarray((len(content) - width + 1,), f"V{width}", content, strides=(1,))
            read(alike[begins[rows]].view(np.uint8).reshape(-1, width), rows, ns, rest)
    return ns, rest
