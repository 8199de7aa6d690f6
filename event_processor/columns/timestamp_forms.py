"""The forms of timestamps that are written as text.

Owns: which text each form reads: "auto", the units of an epoch, and patterns of strptime.
Always: texts read together are read as each alone.
Never: reads a number; `timestamps.py` does.
"""

from __future__ import annotations

import re
from datetime import UTC, tzinfo
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from event_processor.columns.epoch_seconds import NUMBER_LENGTH_MAX, read_alike, seconds_ns
from event_processor.columns.timestamp_patterns import TimestampPattern, local_offsets, ns_since_epoch, offset_zone
from event_processor.columns.timestamp_tables import FRACTION_DIGITS_MAX, SECONDS_LENGTH, read_fraction, read_seconds
from event_processor.model.columns import BoolArray, IntArray

__all__ = ["AUTO", "EPOCH_DIGITS", "TextForm", "text_form"]

AUTO: Final = "auto"
EPOCH_DIGITS: Final = {"epoch_s": 9, "epoch_ms": 6, "epoch_us": 3, "epoch_ns": 0}
"""By form: how many digits after the point of a number are nanoseconds."""
_NS_PER_S: Final = 1_000_000_000
_SPELLING: Final = re.compile(
    r"([0-9]{4})-([0-9]{2})-([0-9]{2})"
    r"(?:[Tt ]([0-9]{2}):([0-9]{2}):([0-9]{2})(?:[.,]([0-9]+))?([Zz]|[+-][0-9]{2}:?[0-9]{2})?)?"
)
_NUMBER: Final = re.compile(r"-?[0-9]{1,30}(?:\.[0-9]{1,30})?")
_WEB_SERVER: Final = "%d/%b/%Y:%H:%M:%S %z"
_WEB_SERVER_LENGTH: Final = len("31/Jan/2026:23:59:59 +0100")
_DATE_LENGTH: Final = len("2026-01-31")


class TextForm(Protocol):
    """One form of a text."""

    def read(self, text: str) -> int | None:
        """The instant in nanoseconds since 1970, perhaps beyond 64 bits; None if the text does not have this form."""
        ...

    def read_alike(self, table: NDArray[np.uint8]) -> tuple[IntArray, BoolArray]:
        """Reads texts of one length, one per row: the instants (n,), and which were read. The others are to be read alone."""
        ...


def text_form(form: str, zone: tzinfo) -> TextForm:
    """The form of this name, or of this pattern, which is valid. `zone`: of texts without an offset."""
    if form == AUTO:
        return _Auto(zone)
    return _EpochText(EPOCH_DIGITS[form]) if form in EPOCH_DIGITS else TimestampPattern(form, zone)


class _Auto:
    """Dates and times of RFC 3339 and what is near it, and of the logs of web servers. No two of them can be confused."""

    def __init__(self, zone: tzinfo) -> None:
        self._zone: Final = zone
        self._web_server: Final = TimestampPattern(_WEB_SERVER, zone)
        self._date: Final = TimestampPattern("%Y-%m-%d", zone)

    def read(self, text: str) -> int | None:
        match = _SPELLING.fullmatch(text)
        if match is None:
            return self._web_server.read(text) if len(text) == _WEB_SERVER_LENGTH else None
        *numbers, fraction, offset = match.groups()
        year, month, day, hour, minute, second = (int(number or "0") for number in numbers)
        zone = self._zone if offset is None else offset_zone(offset)
        if zone is None:
            return None
        nanoseconds = int((fraction or "0")[:FRACTION_DIGITS_MAX].ljust(FRACTION_DIGITS_MAX, "0"))
        return ns_since_epoch((year, month, day), (hour, minute, second), nanoseconds, zone)

    def read_alike(self, table: NDArray[np.uint8]) -> tuple[IntArray, BoolArray]:
        match = _SPELLING.fullmatch(table[0].tobytes().decode("latin-1"))
        if match is None or match[4] is None:
            others = {_WEB_SERVER_LENGTH: self._web_server, _DATE_LENGTH: self._date}
            other = others.get(table.shape[1])
            return other.read_alike(table) if other else (np.zeros(len(table), np.int64), np.zeros(len(table), np.bool_))
        digits = len(match[7] or "")
        zone = self._zone if match[8] is None else offset_zone(match[8])
        if digits > FRACTION_DIGITS_MAX or zone is None:
            return np.zeros(len(table), np.int64), np.zeros(len(table), np.bool_)
        seconds, good = read_seconds(table)
        if zone is self._zone and zone is not UTC:
            offsets, certain = local_offsets(zone, np.where(good, seconds, 0))
            found, good = (seconds - offsets) * _NS_PER_S, good & certain
        else:
            distance = zone.utcoffset(None)
            assert distance is not None, "it has a fixed offset"
            found = (seconds - int(distance.total_seconds())) * _NS_PER_S
        tail = SECONDS_LENGTH
        if digits:
            fraction, fine = read_fraction(table, digits)
            found += fraction
            good &= fine
            tail += 1 + digits
        if table.shape[1] > tail:
            good &= (table[:, tail:] == table[0, tail:]).all(axis=1)
        return np.where(good, found, 0), good


class _EpochText:
    """A number in a text."""

    def __init__(self, digits: int) -> None:
        self._digits: Final = digits

    def read(self, text: str) -> int | None:
        return seconds_ns(text, self._digits) if _NUMBER.fullmatch(text) else None

    def read_alike(self, table: NDArray[np.uint8]) -> tuple[IntArray, BoolArray]:
        if table.shape[1] > NUMBER_LENGTH_MAX:
            return np.zeros(len(table), np.int64), np.zeros(len(table), np.bool_)
        return read_alike(table, self._digits)
