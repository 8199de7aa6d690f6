"""Numbers with a fixed number of digits: `numeric(p,s)`.

Owns: the form of such a type, and which numbers fit it.
Always: the digits come from the number's own text, never from a double. What fits is written with exactly `s` digits after the point.
Never: rounds, unless it is asked to.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Context, Decimal, DecimalException
from typing import Final

__all__ = ["DIGITS_MAX", "NUMBER", "Precision", "numeric_fit"]

DIGITS_MAX: Final = 1000
"""The most that PostgreSQL takes."""
NUMBER: Final = re.compile(rb"-?\d[-+.\deE]*")
"""The text of a number of JSON, as far as it must be told from other JSON values."""
_TYPE: Final = re.compile(r"numeric\( ?([1-9]\d{0,3}) ?(?:, ?(\d{1,4}) ?)?\)")
_WIDE: Final = Context(prec=DIGITS_MAX + 1)
"""Enough for every number that fits. A rounded number that needs more digits is an error."""


@dataclass(frozen=True, slots=True)
class Precision:
    """`numeric(digits,scale)`: at most `digits` digits, of which `scale` are after the point."""

    digits: int
    scale: int

    @classmethod
    def of(cls, type_: str) -> Precision | None:
        """The precision that a column's type names; None if it is another type, or out of bounds."""
        found = _TYPE.fullmatch(type_)
        if found is None:
            return None
        digits, scale = int(found[1]), int(found[2] or 0)
        return cls(digits, scale) if digits <= DIGITS_MAX and scale <= digits else None

    def __str__(self) -> str:
        return f"numeric({self.digits},{self.scale})"


def numeric_fit(precision: Precision, *, rounds: bool) -> Callable[[bytes], str]:
    """What checks the text of a JSON value, and returns its digits. It raises `ValueError` with words that follow the column's name.

    `rounds`: a number with more digits after the point is rounded, half to even; otherwise it does not fit.
    """
    unit = Decimal(1).scaleb(-precision.scale)
    before = precision.digits - precision.scale

    def fit(value: bytes) -> str:
        if not NUMBER.fullmatch(value):
            raise ValueError("is not a number")
        try:
            # Exact, however long the text is. An exponent beyond all limits is an error, or infinite.
            number = Decimal(value.decode())
            if number.adjusted() >= before and number:
                raise ValueError(f"has more than {before} digits before the point")
            rounded = number.quantize(unit, context=_WIDE)
        except DecimalException:
            raise ValueError(f"does not fit {precision}") from None
        if rounded != number and not rounds:
            raise ValueError(f"has more than {precision.scale} digits after the point")
        if rounded and rounded.adjusted() >= before:
            raise ValueError(f"has more than {before} digits before the point")
        return f"{abs(rounded) if rounded.is_zero() else rounded:f}"

    return fit
