"""Reads timestamps: from the form in a record to nanoseconds since 1970-01-01 UTC.

Owns: in which forms a field is read, and the instant of each. By default ("auto") these are accepted: RFC 3339 (`T`, `t` or a space;
`Z`, `z` or an offset, also without its colon; any fraction after a point or a comma, of which nine digits are read and the rest is
dropped); the same without an offset, in the configured zone; a date alone, its midnight; the form of web servers,
`31/Jan/2026:23:59:59 +0100`; and seconds since the epoch, as a JSON number, by its decimal digits (`epoch_seconds.py`).
Always: an instant fits in a signed 64-bit number, so it lies between 1677-09-21 and 2262-04-11; any other is not a timestamp, except
for a caller that asks for years up to 9999 (`read_wide`).
A local time that occurs twice is read as its first occurrence. A local time that the clocks skip is read with the offset
before the skip. A leap second, 23:59:60 UTC, is the second after it.
Never: guesses: no other order of day and month, no week dates; digits in a string only if the configuration says their unit.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta, tzinfo
from functools import partial
from math import isfinite
from typing import Final, cast
from zoneinfo import ZoneInfo

import msgspec
import numpy as np
from numpy.typing import NDArray

from event_processor.columns.epoch_seconds import NUMBER_LENGTH_MAX, read_alike, read_floats, seconds_ns
from event_processor.columns.number_texts import WrittenNumber
from event_processor.columns.timestamp_forms import AUTO, EPOCH_DIGITS, text_form
from event_processor.model.columns import BoolArray, IntArray
from event_processor.model.errors import ConfigurationError
from event_processor.model.time_patterns import pattern_fault

__all__ = ["AUTO", "TimestampReader", "canonical", "canonical_all"]

_NS_PER_S: Final = 1_000_000_000
_INT64_MAX: Final = 2**63 - 1  # -_INT64_MAX - 1 is numpy's "not a time"
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_WIDE_END: Final = (datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC) - _EPOCH) // timedelta(seconds=1) * _NS_PER_S + _NS_PER_S
_WIDE_FIRST: Final = (datetime(1, 1, 1, tzinfo=UTC) - _EPOCH) // timedelta(seconds=1) * _NS_PER_S
_TEXT_LENGTH_MAX: Final = 64
_OUT_OF_RANGE: Final = "is not between 1677-09-21 and 2262-04-11"
_LIKELY_S: Final = range(315_532_800, 4_102_444_800)
"""Seconds from 1980 to 2100: a number that is so many units is probably meant so."""
_UNITS: Final = {
    "epoch_s": (1, "seconds"),
    "epoch_ms": (10**3, "milliseconds"),
    "epoch_us": (10**6, "microseconds"),
    "epoch_ns": (10**9, "nanoseconds"),
}
_UNIT_DIGITS_MAX: Final = 20


class TimestampReader:
    """Reads timestamps. A timestamp without an offset is in `zone`. Pure, except that it reads the time zone database once."""

    def __init__(self, zone: str, formats: Sequence[str] = (AUTO,)) -> None:
        """`zone` is an IANA name.

        `formats`: in this order, "auto", "epoch_s", "epoch_ms", "epoch_us", "epoch_ns", or patterns of strptime. At least one.
        Raises `ConfigurationError` if this machine does not know the zone, or if a pattern is not one.
        """
        try:
            self._zone: Final[tzinfo] = UTC if zone == "UTC" else ZoneInfo(zone)
        except (KeyError, OSError, ValueError) as error:
            raise ConfigurationError(
                f'event.timestamp_zone: "{zone}" is not a known time zone',
                hint='use an IANA name, such as "Europe/Berlin"; the system needs its time zone database (tzdata)',
            ) from error
        for form in formats:
            if form != AUTO and form not in EPOCH_DIGITS and (fault := pattern_fault(form)):
                raise ConfigurationError(f'event.timestamp_format: "{form}" {fault}', hint="see docs/formats.md")
        self._formats: Final = tuple(formats)
        self._forms: Final = [text_form(form, self._zone) for form in formats]
        units = [EPOCH_DIGITS.get(form, EPOCH_DIGITS["epoch_s"]) for form in formats if form == AUTO or form in EPOCH_DIGITS]
        self._digits: Final = units[0] if units else None
        """How many digits after the point of a number are nanoseconds; None if no number is a timestamp."""

    @classmethod
    def of_sink(cls, zone: str, formats: Sequence[str]) -> TimestampReader:
        """For the fields of a sink: in the forms of the event's timestamp, and then as "auto", since not each field has those forms."""
        return cls(zone, formats if AUTO in formats else (*formats, AUTO))

    @property
    def reads_rfc3339_first(self) -> bool:
        """Whether a text of RFC 3339 is read as such."""
        return self._formats[0] == AUTO

    def read(self, raw: object) -> int | None:
        """Nanoseconds since 1970-01-01 UTC; None if `raw` is no timestamp, or out of range.

        A float stands for its shortest decimal text. If the record has more digits, `raw` is a `WrittenNumber`.
        """
        return _in_range(self._read_any(raw))

    def read_wide(self, raw: object) -> int | None:
        """`read`, but from year 1 to year 9999: the number may need more than 64 bits."""
        ns = self._read_any(raw)
        return ns if ns is not None and _WIDE_FIRST <= ns < _WIDE_END else None

    def read_json(self, value: bytes) -> int | None:
        """`read_wide` of a JSON string or number. Raises `msgspec.MsgspecError` or `UnicodeDecodeError` if it is not JSON."""
        if value.startswith(b'"'):
            return self.read_wide(msgspec.json.decode(value))
        ns = None if self._digits is None else seconds_ns(value.decode(), self._digits)
        return ns if ns is not None and _WIDE_FIRST <= ns < _WIDE_END else None

    def explain(self, raw: object) -> str:
        """Says what is wrong with a timestamp that `read` refuses; the text follows the field's name."""
        is_number = isinstance(raw, (int, float)) and not isinstance(raw, bool)
        is_known = self._read_any(raw) is not None or (is_number and self._digits is not None)
        fault = _OUT_OF_RANGE if is_known else "is not a timestamp"
        if not self.reads_rfc3339_first and not is_known:
            fault = f"is not a timestamp in the form {' or '.join(map(repr, self._formats))}"
        unit = _likely_unit(raw)
        if unit and (isinstance(raw, str) or EPOCH_DIGITS[unit] != self._digits):
            return f'{fault}; it looks like {_UNITS[unit][1]}: timestamp_format = "{unit}"'
        return fault

    def read_all(self, raw: Sequence[object]) -> tuple[IntArray, BoolArray]:
        """`read` for each: nanoseconds (0 if not a timestamp), and a mark on each that is not one. Both (n,)."""
        ns = np.zeros(len(raw), np.int64)
        rest = np.ones(len(raw), np.bool_)
        kinds = set(map(type, raw))
        if kinds == {str}:
            self._read_texts(cast("Sequence[str]", raw), ns, rest)
        elif kinds <= {float, WrittenNumber} and self._digits == EPOCH_DIGITS["epoch_s"]:
            read_floats(raw, ns, rest)
            if WrittenNumber in kinds:
                rest |= np.fromiter((type(each) is WrittenNumber for each in raw), np.bool_, len(raw))
        return ns, _read_rest(ns, rest, lambda row: self.read(raw[row]))

    def read_spans(self, content: bytes, begins: IntArray, ends: IntArray) -> tuple[IntArray, BoolArray]:
        """`read_all` of the texts `content[begins[i]:ends[i]]`, which are UTF-8 without escapes.

        Texts in a form shared with others of their length do not become Python objects.
        """
        ns, rest = _read_by_width(self._forms[0].read_alike, content, (begins, ends), _TEXT_LENGTH_MAX)
        return ns, _read_rest(ns, rest, lambda row: self.read(content[begins[row] : ends[row]].decode()))

    def read_numbers(self, content: bytes, begins: IntArray, ends: IntArray) -> tuple[IntArray, BoolArray]:
        """`read_all` of the JSON numbers `content[begins[i]:ends[i]]`, by their digits. Ordinary ones do not become Python objects."""
        digits = self._digits
        if digits is None:
            return np.zeros(len(begins), np.int64), np.ones(len(begins), np.bool_)
        ns, rest = _read_by_width(partial(read_alike, digits=digits), content, (begins, ends), NUMBER_LENGTH_MAX)
        return ns, _read_rest(ns, rest, lambda row: _in_range(seconds_ns(content[begins[row] : ends[row]].decode(), digits)))

    def _read_any(self, raw: object) -> int | None:
        """The instant, perhaps out of every range; None if `raw` is no timestamp."""
        if isinstance(raw, str):
            return next((ns for form in self._forms if (ns := form.read(raw)) is not None), None)
        if self._digits is None:
            return None
        if type(raw) is int:
            return raw * int(10**self._digits)
        if isinstance(raw, WrittenNumber):
            return seconds_ns(raw.text, self._digits)
        return seconds_ns(repr(raw), self._digits) if isinstance(raw, float) and isfinite(raw) else None

    def _read_texts(self, texts: Sequence[str], ns: IntArray, rest: BoolArray) -> None:
        """Reads texts of one form together; `rest` keeps the unread ones marked."""
        joined = "".join(texts)
        if not joined.isascii():
            return
        content = joined.encode()
        lengths = np.fromiter(map(len, texts), np.int64, len(texts))
        ends = np.cumsum(lengths)
        ns[:], rest[:] = _read_by_width(self._forms[0].read_alike, content, (ends - lengths, ends), _TEXT_LENGTH_MAX)


def canonical(ns: int, digits: int | None = None) -> str:
    """RFC 3339 in UTC. `digits`: of the fraction, the rest is dropped; None: as many as needed, and none for whole seconds."""
    seconds, fraction = divmod(ns, _NS_PER_S)
    text = (_EPOCH + timedelta(seconds=seconds)).isoformat()[: -len("+00:00")]
    if digits is not None:
        return f"{text}.{fraction:09d}"[: len(text) + (digits and 1 + digits)] + "Z"
    return f"{text}.{fraction:09d}".rstrip("0") + "Z" if fraction else text + "Z"


def canonical_all(ns: IntArray) -> list[str]:
    """`canonical` for each."""
    return [f"{text.rstrip('0').rstrip('.')}Z" for text in np.datetime_as_string(ns.view("datetime64[ns]")).tolist()]


def _in_range(ns: int | None) -> int | None:
    """The instant; None if it does not fit."""
    return ns if ns is not None and -_INT64_MAX <= ns <= _INT64_MAX else None


def _likely_unit(raw: object) -> str:
    """The unit in which a number, or its text, is a time of these decades; empty if there is none."""
    if isinstance(raw, str):
        number = int(raw) if raw.isascii() and raw.isdigit() and len(raw) <= _UNIT_DIGITS_MAX else 0
    else:
        number = int(raw) if isinstance(raw, (int, float)) and isfinite(raw) else 0
    return next((unit for unit, (per_s, _) in _UNITS.items() if number // per_s in _LIKELY_S), "")


def _read_rest(ns: IntArray, rest: BoolArray, read: Callable[[int], int | None]) -> BoolArray:
    """Reads each marked row alone, into `ns`. Returns a mark on each that is no timestamp."""
    bad = np.zeros(len(ns), np.bool_)
    for row in np.flatnonzero(rest).tolist():
        instant = read(row)
        bad[row] = instant is None
        ns[row] = instant or 0
    return bad


def _read_by_width(
    read: Callable[[NDArray[np.uint8]], tuple[IntArray, BoolArray]], content: bytes, spans: tuple[IntArray, IntArray], most: int
) -> tuple[IntArray, BoolArray]:
    """Reads together the texts of each length up to `most`: their nanoseconds, and a mark on each that was not read."""
    begins, ends = spans
    ns = np.zeros(len(begins), np.int64)
    rest = np.ones(len(begins), np.bool_)
    widths = ends - begins
    least, widest = int(widths.min(initial=most)), int(widths.max(initial=0))
    for width in range(max(least, 1), min(widest, most) + 1):
        rows = slice(None) if least == widest else np.flatnonzero(widths == width)
        if len(begins[rows]):
            alike = np.ndarray((len(content) - width + 1,), f"V{width}", content, strides=(1,))
            found, good = read(alike[begins[rows]].view(np.uint8).reshape(-1, width))
            ns[rows], rest[rows] = found, ~good
    return ns, rest
