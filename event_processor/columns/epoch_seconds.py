"""Seconds since 1970-01-01 UTC as numbers, or milliseconds and so on: from their decimal digits to nanoseconds.

Owns: the instant of a number. Its digits decide, not its nearest double, so 1704067200.001 is exactly one millisecond after the
second. It is read to the nearest nanosecond, ties to even. A unit is said as `digits`: how many digits after the point of a number are
nanoseconds. Seconds have 9, milliseconds 6, microseconds 3, nanoseconds 0.
Always: a float stands for its shortest decimal text, as `repr` writes it. Many numbers read at once are read as each alone.
Never: reads a date. The caller checks that an instant fits into 64 bits.
"""

from __future__ import annotations

import decimal
from collections.abc import Sequence
from decimal import Decimal
from typing import Final

import numpy as np
from numpy.typing import NDArray

from event_processor.model.columns import BoolArray, IntArray

__all__ = ["NUMBER_LENGTH_MAX", "read_alike", "read_floats", "seconds_ns"]

_SECONDS_DIGITS: Final = 9
_DIGITS_NOW: Final = 19
"""From 2001 to 2286, nanoseconds have 19 digits; seconds have ten before the point."""
NUMBER_LENGTH_MAX: Final = 1 + _DIGITS_NOW + 1
"""Longer texts are read one by one."""
_EXPONENT_MAX: Final = 20
"""A number of nanoseconds with a greater exponent is centuries beyond the year 9999."""
_NEAREST: Final = decimal.Context(
    prec=40,
    rounding=decimal.ROUND_HALF_EVEN,
    Emin=decimal.MIN_EMIN,
    Emax=decimal.MAX_EMAX,
    traps=[decimal.InvalidOperation],
)
_MILLIONTHS_END: Final = 2.0**33
"""Below, doubles are less than a millionth apart, so at most one decimal number with six digits after the point is nearest to each."""
_SEVEN_DIGITS_FROM: Final = 2.0**30
"""From here to `_MILLIONTHS_END`, a double needs at most seven digits after the point, and their product with it is exact."""


def seconds_ns(text: str, digits: int = _SECONDS_DIGITS) -> int | None:
    """The nanoseconds of a number of JSON; None if they are far beyond the year 9999."""
    try:
        exact = Decimal(text)
    except decimal.InvalidOperation:  # the exponent is too large for Decimal
        return 0 if float(text) == 0 else None
    if exact.is_zero():
        return 0
    if exact.adjusted() + digits > _EXPONENT_MAX:
        return None
    return int(exact.quantize(Decimal((0, (1,), -digits)), context=_NEAREST).scaleb(digits, context=_NEAREST))


def read_floats(raw: Sequence[object], ns: IntArray, rest: BoolArray) -> None:
    """Reads floats whose shortest decimal text is known without writing it; `rest` keeps the unread ones marked.

    If the nearest double of a number with six digits after the point is the float, that number is its shortest text, because no
    other such number is as near. Otherwise the text has seven digits, if the float is in the range where seven are enough.
    """
    seconds = np.array(raw, np.float64)
    places = np.flatnonzero(np.abs(seconds) < _MILLIONTHS_END)
    size = np.abs(seconds[places])
    whole = np.floor(size)
    fraction = size - whole
    units = whole.astype(np.int64)
    millionths = units * 10**6 + np.rint(fraction * 1e6).astype(np.int64)
    is_short = millionths.astype(np.float64) / 1e6 == size
    tenths = units * 10**7 + np.rint(fraction * 1e7).astype(np.int64)
    found = np.where(is_short, millionths * 1000, tenths * 100)
    known = is_short | (size >= _SEVEN_DIGITS_FROM)
    ns[places[known]] = np.where(seconds[places] < 0, -found, found)[known]
    rest[places[known]] = False


def read_alike(table: NDArray[np.uint8], digits: int = _SECONDS_DIGITS) -> tuple[IntArray, BoolArray]:
    """Reads numbers of JSON of one length, one per row of `table`, if they have the first one's form: nanoseconds (n,), and which were read.

    Only digits with a point between them are read here, perhaps after a minus sign.
    """
    nothing = np.zeros(len(table), np.int64), np.zeros(len(table), np.bool_)
    first = table[0].tobytes()
    is_negative = first.startswith(b"-")
    whole, point, fraction = first[int(is_negative) :].partition(b".")
    if not 0 < len(whole) <= _DIGITS_NOW - digits or len(fraction) > digits or (point and not fraction):
        return nothing
    characters = np.ascontiguousarray(table.T)[int(is_negative) :]
    found = characters - np.uint8(ord("0"))  # any other character wraps around, beyond nine
    places = [*range(len(whole)), *range(len(whole) + 1, len(whole) + 1 + len(fraction))]
    good = np.asarray((found[places] <= 9).all(axis=0), np.bool_)
    if is_negative:
        good &= table[:, 0] == ord("-")
    if point:
        good &= characters[len(whole)] == ord(".")
    if len(whole) == _DIGITS_NOW - digits:
        # Nineteen digits of nanoseconds may be beyond 64 bits.
        good &= found[0] < 9
    number = np.zeros(len(table), np.int64)
    for place in places:
        number *= 10
        number += found[place]
    number *= 10 ** (digits - len(fraction))
    return np.where(good, -number if is_negative else number, 0), good
