"""Decimal numbers as text: a number keeps the digits of its record.

Owns: which texts are numbers, and their form in JSON; `WrittenNumber`, a float with its own digits.
Always: no digit is added, dropped or rounded. Only a plus sign, leading zeros and a point without digits behind it go away.
Never: guesses a decimal mark, or reads spaces or separators between digits.
"""

from __future__ import annotations

import math
import re
from decimal import Decimal, InvalidOperation
from typing import Final

__all__ = ["WrittenNumber", "json_number", "whole_number", "written_number"]

_NUMBER: Final = re.compile(rb"([+-]?)(?:([0-9]+)(?:\.([0-9]*))?|\.([0-9]+))([eE][+-]?[0-9]+)?")
_EXACT_CHARACTERS_MAX: Final = 15
"""A double gives back every decimal number of so many digits, unless an exponent makes it very small."""
_INT64_DIGITS_MAX: Final = 19
_INT64_END: Final = 2**63


def json_number(text: bytes) -> bytes | None:
    """A decimal number as a number of JSON, with the same digits; None if it is not one, or beyond every double.

    These are accepted: an optional sign; digits, perhaps with a point between, before or after them; an optional exponent.
    """
    found = _NUMBER.fullmatch(text)
    if found is None or not math.isfinite(float(text)):
        return None
    sign, whole, fraction, only_fraction, exponent = found.groups()
    digits = (whole or b"").lstrip(b"0") or b"0"
    after = fraction or only_fraction
    return b"%b%b%b%b" % (b"-" if sign == b"-" else b"", digits, b"." + after if after else b"", exponent or b"")


def whole_number(text: str) -> int | None:
    """A number of JSON as a signed 64-bit integer; None if it is not one. The digits decide, not the nearest double."""
    try:
        exact = Decimal(text)
    except InvalidOperation:  # the exponent is too large for Decimal
        return None
    is_small = exact.is_zero() or exact.adjusted() < _INT64_DIGITS_MAX
    if not is_small or exact != exact.to_integral_value() or not -_INT64_END <= exact < _INT64_END:
        return None
    return int(exact)


class WrittenNumber(float):
    """A float that was read from more digits than a double keeps. `text` is its number in JSON."""

    __slots__ = ("text",)
    text: str


def written_number(text: str) -> float:
    """The nearest double of a number of JSON, as a `WrittenNumber` if it would lose digits. Raises `ValueError` beyond doubles."""
    number = float(text)
    if not math.isfinite(number):
        raise ValueError("Number out of range")
    is_short = len(text) <= _EXACT_CHARACTERS_MAX and "e" not in text and "E" not in text
    if is_short or Decimal(repr(number)) == _decimal(text):
        return number
    written = WrittenNumber(number)
    written.text = text
    return written


def _decimal(text: str) -> Decimal | None:
    try:
        return Decimal(text)
    except InvalidOperation:  # the exponent is too large for Decimal
        return None
