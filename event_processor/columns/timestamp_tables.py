"""Dates and times of RFC 3339 in tables of bytes: many texts of one length at once.

Owns: the seconds and the fraction of texts that begin with a date and a time.
Always: a text that is marked as good is what its digits say. Any other is left to the caller, who reads it alone.
Never: reads an offset or a zone.
"""

from __future__ import annotations

from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from event_processor.model.columns import BoolArray, IntArray

__all__ = ["FRACTION_DIGITS_MAX", "SECONDS_LENGTH", "read_fraction", "read_seconds"]

WordArray: TypeAlias = NDArray[np.uint64]
"""Eight bytes each, little-endian: the first byte is the lowest."""
WORD_BYTES: Final = 8
SECONDS_LENGTH: Final = len("2026-01-31T23:59:59")
FRACTION_DIGITS_MAX: Final = 9
_DATE_DIGITS: Final = [0, 1, 2, 3, 5, 6, 8, 9]
_DATE_ENDS: Final = np.frombuffer(b"Tt ", np.uint8)
_DATE_TAIL: Final = np.uint64(0xFF_FFFF)
"""Mask of the second word of a text: the day, and the separator before the time."""
_TIME_PLACE: Final = len("2026-01-31T")
_MIDNIGHT: Final = np.uint64(int.from_bytes(b"00:00:00", "little"))
_ABOVE_TIME: Final = np.uint64(int.from_bytes(b"\x76\x76\x7f\x76\x76\x7f\x76\x76", "little"))
"""Added to digits, and to zeros for colons, it sets the high bit of any other byte."""
_ABOVE_LATEST: Final = np.uint64(sum((0x7F - most) << shift for most, shift in ((23, 0), (59, 24), (59, 48))))
"""Added to hours, minutes and seconds in their bytes, it sets the high bit of any that is out of range."""
_HIGH_BITS: Final = np.uint64(0x8080_8080_8080_8080)
_ZEROS: Final = np.uint64(0x3030_3030_3030_3030)
_ABOVE_NINE: Final = np.uint64(0x4646_4646_4646_4646)
_LOW_NIBBLES: Final = np.uint64(0x0F0F_0F0F_0F0F_0F0F)
_DIGIT_STEPS: Final = tuple(
    (np.uint64(factor), np.uint64(width), np.uint64(mask))
    for factor, width, mask in (
        (10, 8, 0x00FF_00FF_00FF_00FF),
        (100, 16, 0x0000_FFFF_0000_FFFF),
        (10_000, 32, 0x0000_0000_FFFF_FFFF),
    )
)
_PAIR_HIGH_BITS: Final = np.uint64(0x80 | 0x80 << 24 | 0x80 << 48)
_FIRST_YEAR: Final = 1678
_MONTH_STARTS: Final = np.arange(f"{_FIRST_YEAR}-01", "2262-02", dtype="datetime64[M]").astype("datetime64[D]").astype(np.int64)
"""The day since the epoch on which each month begins, over all whole years that signed 64-bit nanoseconds hold."""


def read_seconds(table: NDArray[np.uint8]) -> tuple[IntArray, BoolArray]:
    """Seconds from the epoch to the local date and time at the start of each text, and whether they are valid and in range.

    `table` (n, 19 or more) holds the bytes of one text per row. Neighbours mostly share a day, so a date is read only where it
    changes.
    """
    is_new = np.ones(len(table), np.bool_)
    first, second = _words(table, 0), _words(table, WORD_BYTES) & _DATE_TAIL
    is_new[1:] = (first[1:] != first[:-1]) | (second[1:] != second[:-1])
    begins = np.flatnonzero(is_new)
    days, good = _read_days(table[begins])
    if len(begins) == 1:
        days, good = days[0], good[0]
    else:
        lengths = np.diff(np.append(begins, len(table)))
        days, good = np.repeat(days, lengths), np.repeat(good, lengths)
    # "12:34:56" as eight digits, with a colon as zero: clearing the upper half of a digit's byte leaves its number.
    time = _words(table, _TIME_PLACE) ^ _MIDNIGHT
    pairs = time * np.uint64(10) + (time >> np.uint64(8))
    beyond = ((time | (time + _ABOVE_TIME)) & _HIGH_BITS) | ((pairs + _ABOVE_LATEST) & _PAIR_HIGH_BITS)
    hours, minutes, seconds = (((pairs >> np.uint64(shift)) & np.uint64(0xFF)).view(np.int64) for shift in (0, 24, 48))
    return days * 86_400 + (hours * 60 + minutes) * 60 + seconds, good & (beyond == 0)


def _read_days(table: NDArray[np.uint8]) -> tuple[IntArray, BoolArray]:
    """The day since the epoch at the start of each text, and whether it is valid, in range and followed by a separator."""
    digits = table[:, _DATE_DIGITS].astype(np.int64) - ord("0")
    good = np.asarray(((digits >= 0) & (digits <= 9)).all(axis=1), np.bool_)
    good &= (table[:, 4] == ord("-")) & (table[:, 7] == ord("-")) & np.isin(table[:, 10], _DATE_ENDS)
    century, year, month, day = (digits[:, place] * 10 + digits[:, place + 1] for place in range(0, 8, 2))
    months = (century * 100 + year - _FIRST_YEAR) * 12 + month - 1
    good &= (months >= 0) & (months < len(_MONTH_STARTS) - 1) & (month >= 1) & (month <= 12)
    months = np.where(good, months, 0)
    first = _MONTH_STARTS[months]
    good &= (day >= 1) & (day <= _MONTH_STARTS[months + 1] - first)
    return first + day - 1, good


def read_fraction(table: NDArray[np.uint8], digits: int) -> tuple[IntArray, BoolArray]:
    """The nanoseconds of a point or a comma, and `digits` digits (1 to 9), after the seconds, and whether they are valid."""
    mark = table[:, SECONDS_LENGTH]
    good = np.asarray((mark == ord(".")) | (mark == ord(",")), np.bool_)
    end = SECONDS_LENGTH + 1 + digits
    found: IntArray = np.zeros(len(table), np.int64)
    if digits > WORD_BYTES:
        last = table[:, end - 1].astype(np.int64) - ord("0")
        good &= (last >= 0) & (last <= 9)
        found = last
        end, digits = end - 1, digits - 1
        scale = 10
    else:
        scale = 10 ** (FRACTION_DIGITS_MAX - digits)
    # The word that ends with the last digit; the shift removes the bytes before the first digit.
    word = _words(table, end - WORD_BYTES) >> np.uint64(8 * (WORD_BYTES - digits))
    number, fine = _digits_of(word, digits)
    return found + number * scale, good & fine


def _words(table: NDArray[np.uint8], place: int) -> WordArray:
    """The word at `place` of each row."""
    return np.ndarray((len(table),), "<u8", table, offset=place, strides=table.strides[:1])


def _digits_of(word: WordArray, count: int) -> tuple[IntArray, BoolArray]:
    """The decimal number in the first `count` bytes (1 to 8) of each word, and whether all are digits. Both (n,).

    Source: eight digits become a number in three multiplications (D. Lemire, "Number parsing at a gigabyte per second", 2021).
    """
    shift = np.uint64(8 * (WORD_BYTES - count))
    word = word << shift
    # The shift leaves zero bytes; make them leading zeros.
    word |= _ZEROS & ~(~np.uint64(0) << shift)
    good: BoolArray = ((word + _ABOVE_NINE) | (word - _ZEROS)) & _HIGH_BITS == 0
    word &= _LOW_NIBBLES
    for factor, width, mask in _DIGIT_STEPS if count > 1 else ():
        word = (word * factor + (word >> width)) & mask
    if count == 1:
        word >>= np.uint64(56)
    return word.view(np.int64), good
