"""Sums without rounding error: a sum is an exact expansion of doubles, and what is shown is that expansion, rounded once.

Always: the parts are canonical, so that equal totals have equal parts: the first is the total rounded to the nearest double,
the second what remains of it, rounded, and so on until nothing remains. A total of zero has no parts.
Source of the method: every double is a multiple of 2^-1074 and `math.fsum` rounds an exact sum once (Shewchuk, "Adaptive
Precision Floating-Point Arithmetic", 1997); to take the rounded part away and sum again leaves the exact remainder.
"""

from __future__ import annotations

from math import fsum

__all__ = ["add_exactly"]


def add_exactly(parts: tuple[float, ...], values: list[float]) -> tuple[float, ...]:
    """The canonical parts of the total of `parts` and `values`, whatever their order.

    Values are finite and below 2**960 in magnitude, so that no total of fewer than 2**63 of them overflows.
    """
    terms = [*parts, *values]
    canonical: list[float] = []
    while remainder := fsum(terms):
        canonical.append(remainder)
        terms.append(-remainder)
    return tuple(canonical)
