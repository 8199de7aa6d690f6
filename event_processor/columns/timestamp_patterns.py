"""Timestamps in a pattern of strptime: from a text to nanoseconds since 1970-01-01 UTC, alone and many at once.

Owns: what each directive of a pattern (`model/time_patterns.py`) reads.
Always: texts read together are read as each alone. A time that a pattern does not name is midnight. A text without an offset is in the configured zone.
Never: guesses a year, or the offset of a zone's short name: only UTC, GMT and Z are known.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from typing import Final

import numpy as np
from numpy.typing import NDArray

from event_processor.model.columns import BoolArray, IntArray
from event_processor.model.time_patterns import DAYS, MONTHS, NUMBERS, compiled_pattern

__all__ = ["EPOCH", "TimestampPattern", "local_offsets", "ns_since_epoch", "offset_zone"]

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
NS_PER_S: Final = 1_000_000_000
_FRACTION_DIGITS_MAX: Final = 9
_CENTURY_PIVOT: Final = 69
"""Two digits of a year from here on are of the twentieth century, as POSIX says."""
_FIRST_YEAR, _LAST_YEAR = 1678, 2261
"""Whole years that signed 64-bit nanoseconds hold."""
_QUARTER_S, _DAY_S = 900, 86_400
_FORMS_MAX: Final = 6
"""After so many forms, the rest of a table is read one by one."""
_NAME_LETTERS: Final = 3


def offset_zone(offset: str) -> timezone | None:
    """The zone of "Z", "+hh", "+hhmm" or "+hh:mm"; None if there is no such offset."""
    if offset in ("Z", "z"):
        return UTC
    hours, minutes = int(offset[1:3]), int(offset[3:].lstrip(":") or "0")
    if hours > 23 or minutes > 59:
        return None
    distance = timedelta(hours=hours, minutes=minutes)
    return timezone(-distance if offset[0] == "-" else distance)


def ns_since_epoch(date: tuple[int, int, int], time: tuple[int, int, int], nanoseconds: int, zone: tzinfo) -> int | None:
    """The instant of a local date and time, perhaps beyond 64 bits; None if there is no such date or time.

    Second 60 is the second after it, and only at the end of a day in UTC.
    """
    hour, minute, second = time
    try:
        local = datetime(*date, hour, minute, min(second, 59), tzinfo=zone)
        elapsed = local - EPOCH if zone is UTC else local.astimezone(UTC) - EPOCH
    except (ValueError, OverflowError):
        return None
    seconds = elapsed.days * 86_400 + elapsed.seconds
    if second >= 60:
        seconds += 1
        if second > 60 or seconds % 86_400:
            return None
    return seconds * NS_PER_S + nanoseconds


def local_offsets(zone: tzinfo, seconds: IntArray) -> tuple[IntArray, BoolArray]:
    """The offset of `zone` in seconds at each local time, in seconds since 1970, and where it is certain.

    On most days it does not change, so that each day is looked up once, at both its ends. On the others it changes at a quarter of an hour.
    """
    offsets, certain = _offsets_of_spans(zone, seconds, _DAY_S)
    if not certain.all():
        places = np.flatnonzero(~certain)
        offsets[places], certain[places] = _offsets_of_spans(zone, seconds[places], _QUARTER_S)
    return offsets, certain


def _offsets_of_spans(zone: tzinfo, seconds: IntArray, span_s: int) -> tuple[IntArray, BoolArray]:
    """The offset of each local time, looked up once for each span of time, and where it is the same at both ends of the span."""
    spans, places = np.unique(seconds // span_s, return_inverse=True)
    firsts = [_offset_at(zone, span * span_s) for span in spans.tolist()]
    lasts = [_offset_at(zone, span * span_s + span_s - 1) for span in spans.tolist()]
    offsets = np.array([first or 0 for first in firsts], np.int64)
    certain = np.array([first is not None and first == last for first, last in zip(firsts, lasts, strict=True)], np.bool_)
    return offsets[places], certain[places]


def _offset_at(zone: tzinfo, local_s: int) -> int | None:
    """The offset of a local time in whole seconds; None if it is not whole."""
    distance = (EPOCH + timedelta(seconds=local_s)).replace(tzinfo=zone).utcoffset()
    return None if distance is None or distance.microseconds else distance.days * 86_400 + distance.seconds


class TimestampPattern:
    """Reads texts of one pattern. Pure."""

    def __init__(self, pattern: str, zone: tzinfo) -> None:
        """`pattern_fault(pattern)` must be empty. `zone`: of texts without an offset."""
        self._regex: Final = compiled_pattern(pattern)
        self._zone: Final = zone

    def read(self, text: str) -> int | None:
        """The instant of one text, perhaps beyond 64 bits; None if it does not have this form."""
        match = self._regex.fullmatch(text)
        if match is None:
            return None
        found = {name: said for name, said in match.groupdict().items() if said is not None}
        date = _date(found)
        zone = self._zone_of(found)
        if date is None or zone is None:
            return None
        hour = int(found.get("H", "0"))
        if "I" in found:
            hour = int(found["I"])
            if not 1 <= hour <= 12:
                return None
            hour = hour % 12 + (12 if found["p"].lower() == "pm" else 0)
        fraction = found.get("f", "0")[:_FRACTION_DIGITS_MAX].ljust(_FRACTION_DIGITS_MAX, "0")
        return ns_since_epoch(date, (hour, int(found.get("M", "0")), int(found.get("S", "0"))), int(fraction), zone)

    def read_alike(self, table: NDArray[np.uint8]) -> tuple[IntArray, BoolArray]:
        """Reads texts of one length, one per row: the instants (n,), and which were read. The others are to be read alone."""
        ns = np.zeros(len(table), np.int64)
        good = np.zeros(len(table), np.bool_)
        rest = np.arange(len(table))
        for _ in range(_FORMS_MAX):
            part = table if len(rest) == len(table) else table[rest]
            match = self._regex.fullmatch(part[0].tobytes().decode("ascii", "replace"))
            if match is None:
                break
            found, are_read = self._read_form(part, match)
            ns[rest[are_read]] = found[are_read]
            good[rest[are_read]] = True
            if are_read.all() or not are_read.any():
                break
            rest = rest[~are_read]
        return ns, good

    def _zone_of(self, found: dict[str, str]) -> tzinfo | None:
        if "z" in found:
            return offset_zone(found["z"])
        return UTC if "Z" in found else self._zone

    def _read_form(self, table: NDArray[np.uint8], match: re.Match[str]) -> tuple[IntArray, BoolArray]:
        """Reads the rows whose parts are at the same places as those of the first one."""
        groups = {name: match.span(name) for name, said in match.groupdict().items() if said is not None}
        zone = self._zone_of({name: match[name] for name in groups})
        good = np.ones(len(table), np.bool_)
        if zone is None:
            return np.zeros(len(table), np.int64), ~good
        variable = [groups[name] for name in groups if name not in ("z", "Z")]
        fixed = np.ones(table.shape[1], np.bool_)
        for begin, end in variable:
            fixed[begin:end] = False
        good &= (table[:, fixed] == table[0, fixed]).all(axis=1)
        numbers = {name: _number(table, *groups[name], good) for name in NUMBERS if name in groups}
        for name in ("b", "B", "a", "A", "p"):
            if name in groups:
                numbers[name] = _name(table, *groups[name], name, good)
        seconds = _local_seconds(numbers, good)
        if zone is UTC or isinstance(zone, timezone):
            distance = zone.utcoffset(None)
            assert distance is not None, "it has a fixed offset"
            seconds -= int(distance.total_seconds())
        else:
            offsets, certain = local_offsets(zone, np.where(good, seconds, 0))
            seconds, good = seconds - offsets, good & certain
        found = np.where(good, seconds, 0) * NS_PER_S
        if "f" in groups:
            begin, end = groups["f"]
            end = min(end, begin + _FRACTION_DIGITS_MAX)
            found += _number(table, begin, end, good) * 10 ** (_FRACTION_DIGITS_MAX - (end - begin))
            _number(table, end, groups["f"][1], good)
        return found, good


def _date(found: dict[str, str]) -> tuple[int, int, int] | None:
    """Year, month and day of the parts of a text; None if a day of the year does not exist."""
    year = int(found["Y"]) if "Y" in found else _full_year(int(found["y"]))
    if "j" in found:
        if not 1 <= year <= 9999:
            return None
        ordinal = int(found["j"])
        try:
            day = datetime(year, 1, 1, tzinfo=UTC) + timedelta(days=ordinal - 1)
        except OverflowError:
            return None
        return (day.year, day.month, day.day) if ordinal >= 1 and day.year == year else None
    if "m" in found:
        month = int(found["m"])
    else:
        month = [name[:_NAME_LETTERS] for name in MONTHS].index(found.get("b", found.get("B", ""))[:_NAME_LETTERS].lower()) + 1
    return year, month, int(found["d"])


def _full_year(year: int) -> int:
    return year + (1900 if year >= _CENTURY_PIVOT else 2000)


def _number(table: NDArray[np.uint8], begin: int, end: int, good: BoolArray) -> IntArray:
    """The number in these columns. Clears `good` where there is another character."""
    number = np.zeros(len(table), np.int64)
    for place in range(begin, end):
        digit = table[:, place] - np.uint8(ord("0"))  # any other character wraps around, beyond nine
        good &= digit <= 9
        number = number * 10 + digit
    return number


def _codes(names: Sequence[str]) -> IntArray:
    return np.array(
        [int.from_bytes(name.encode()[:_NAME_LETTERS].ljust(_NAME_LETTERS, b"\0"), "big") for name in names], np.int64
    )


_NAME_CODES: Final = {
    "b": _codes(MONTHS),
    "B": _codes(MONTHS),
    "a": _codes(DAYS),
    "A": _codes(DAYS),
    "p": _codes(["am", "pm"]),
}
_NAMES: Final = {"B": MONTHS, "A": DAYS}
_LOWER_CASE: Final = np.uint8(0x20)


def _name(table: NDArray[np.uint8], begin: int, end: int, directive: str, good: BoolArray) -> IntArray:
    """The number of the name in these columns, from 0. Clears `good` where there is no such name."""
    width = min(end - begin, _NAME_LETTERS)
    letters = [(table[:, begin + place] | _LOWER_CASE).astype(np.int64) for place in range(width)]
    code = sum(
        (letter << (8 * (_NAME_LETTERS - 1 - place)) for place, letter in enumerate(letters)), np.zeros(len(table), np.int64)
    )
    codes = _NAME_CODES[directive]
    order = np.argsort(codes)
    found = order[np.minimum(np.searchsorted(codes[order], code), len(codes) - 1)]
    good &= codes[found] == code
    # A letter has a bit that a digit or a mark may lack.
    for place in range(begin, end):
        lower = table[:, place] | _LOWER_CASE
        good &= (lower >= ord("a")) & (lower <= ord("z"))
    if directive in _NAMES:
        # The other letters of a full name: those of the name that the first three letters say.
        for number in np.unique(found).tolist():
            expected = np.frombuffer(_NAMES[directive][number].encode(), np.uint8)
            mine = found == number
            if len(expected) != end - begin:
                good &= ~mine
            else:
                good &= ~mine | ((table[:, begin:end] | _LOWER_CASE) == expected).all(axis=1)
    return np.asarray(found, np.int64)


def _local_seconds(numbers: dict[str, IntArray], good: BoolArray) -> IntArray:
    """Seconds since 1970 of local dates and times. Clears `good` where they are not valid, or beyond 64 bits of nanoseconds."""
    zero = np.zeros(len(good), np.int64)
    year = numbers["Y"] if "Y" in numbers else numbers["y"] + np.where(numbers["y"] >= _CENTURY_PIVOT, 1900, 2000)
    good &= (year >= _FIRST_YEAR) & (year <= _LAST_YEAR)
    month = numbers["m"] if "m" in numbers else next((numbers[name] + 1 for name in ("b", "B") if name in numbers), zero + 1)
    good &= (month >= 1) & (month <= 12)
    months = np.where(good, (year - 1970) * 12 + month - 1, 0)
    first, following = _day_of(months), _day_of(months + (12 if "j" in numbers else 1))
    day = numbers["j"] if "j" in numbers else numbers["d"]
    good &= (day >= 1) & (day <= following - first)
    hour = numbers.get("H", zero)
    if "I" in numbers:
        good &= (numbers["I"] >= 1) & (numbers["I"] <= 12)
        hour = numbers["I"] % 12 + 12 * numbers["p"]
    minute, second = numbers.get("M", zero), numbers.get("S", zero)
    good &= (hour <= 23) & (minute <= 59) & (second <= 59)
    return (first + day - 1) * 86_400 + (hour * 60 + minute) * 60 + second


def _day_of(months: IntArray) -> IntArray:
    """The day since 1970 on which each month begins, counted from January 1970."""
    return months.astype("datetime64[M]").astype("datetime64[D]").astype(np.int64)
