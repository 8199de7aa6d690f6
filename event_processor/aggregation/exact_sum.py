"""Sums without rounding error. A sum is an exact expansion of doubles; its shown value is that expansion, rounded once.

Owns: adding values exactly, for one sum or for many groups at once, and making the result canonical.
Always: the parts are canonical, so equal totals have equal parts. The first part is the total rounded to the nearest double, the
second is the remainder, rounded, and so on until nothing remains. A total of zero has no parts. Values are finite, below 2**960
in magnitude and never -0.0, so no total of fewer than 2**63 of them overflows.

Sources of the methods. One sum: every double is a multiple of 2^-1074, and `math.fsum` rounds an exact sum once. Subtracting the
rounded part and summing again leaves the exact remainder (Shewchuk, "Adaptive Precision Floating-Point Arithmetic", 1997).
Many groups at once: heads are cut from all values at one power of two, so that plain addition of heads is exact in any order
(Rump, Ogita, Oishi, "Accurate Floating-Point Summation, Part I", 2008). This leaves a few terms per group. Error-free additions
(Knuth's TwoSum) make them canonical, in C or in numpy. If that takes too many rounds, `fsum` does it, group by group.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from itertools import chain, zip_longest
from math import frexp, fsum, ldexp, ulp
from typing import Final, TypeVar

import numpy as np

from event_processor.kernels.totals import add_sums, settle
from event_processor.model.columns import BoolArray, FloatArray, IntArray

__all__ = [
    "add_exactly",
    "added_by_group",
    "added_by_numpy",
    "canonical_by_group",
    "canonical_by_numpy",
    "exact_mean",
    "exact_means",
    "sum_by_group",
]

_Number = TypeVar("_Number", float, FloatArray)
_SPLIT: Final = 2.0**27 + 1
_POWER: Final = 0.5
"""The mantissa of a power of two, as `frexp` gives it."""
_CLEAR_SHARE: Final = 0.49
"""Of the distance to the next double: a rest below this was not rounded the wrong way."""
_SIZE_MIN: Final = 2.0**-900
_SIZE_MAX: Final = 2.0**900
"""Between these no product or remainder of a mean overflows or loses bits."""
HEAD_ROUNDS_MAX: Final = 6
"""Each round covers at least 53 bits, less the bits of the greatest group's size: all rounds together cover some 200 bits."""
SETTLING_ROUNDS_MAX: Final = 8
FEW_GROUPS: Final = 32
"""Up to this number of groups, `fsum` of their few terms costs less than some hundred calls of numpy."""


def add_exactly(parts: Sequence[float], values: list[float]) -> tuple[float, ...]:
    """The canonical parts of the total of `parts` and `values`, in any order."""
    if len(parts) == 1 and len(values) == 1:
        one, other = parts[0], values[0]
        total = one + other
        if total - one == other and total - other == one:
            # Nothing was rounded off, as TwoSum would find. Mostly these are whole numbers.
            return (total,) if total else ()
    terms = [*parts, *values]
    canonical: list[float] = []
    while remainder := fsum(terms):
        canonical.append(remainder)
        terms.append(-remainder)
    return tuple(canonical)


def exact_mean(parts: Sequence[float], count: int) -> float:
    """The exact total of canonical `parts`, divided by `count` (1 to 2^53) and rounded once."""
    if len(parts) <= 1:
        return parts[0] / count if parts else 0.0
    quotient = parts[0] / count
    if _SIZE_MIN < abs(parts[0]) < _SIZE_MAX:
        # As in `exact_means`.
        product, error = _exact_product(quotient, float(count))
        correction = (((parts[0] - product) - error) + parts[1]) / count
        mean = quotient + correction
        if abs(correction - (mean - quotient)) <= _clear_share(frexp(abs(mean))[0]) * ulp(mean):
            return mean
    total = sum(map(Fraction, parts))
    return total.numerator / (total.denominator * count)  # division of integers rounds once


def exact_means(parts: FloatArray, counts: IntArray) -> FloatArray:
    """`exact_mean` of each column of `parts` (p, k) by `counts` (k,); NaN if the count is not positive.

    The quotient of the first parts has an exact remainder (T. Dekker's product, 1971). It and the other parts correct the quotient. Only
    if that lies too near the middle of two doubles, or too near the ends of their range, is it divided as integers.
    """
    divisors = np.where(counts > 0, counts, 1).astype(np.float64)
    if len(parts) <= 1:
        means = (parts[0] if len(parts) else np.zeros(len(counts))) / divisors
        return np.where(counts > 0, means, np.nan)
    upper = parts[0]
    quotients = upper / divisors
    with np.errstate(over="ignore", invalid="ignore"):
        product, error = _exact_product(quotients, divisors)
        corrections = (((upper - product) - error) + parts[1]) / divisors
        means = quotients + corrections
        rest = corrections - (means - quotients)
        is_power = np.frexp(np.abs(means))[0] == _POWER
        doubtful = np.abs(rest) > np.where(is_power, _CLEAR_SHARE / 2, _CLEAR_SHARE) * np.spacing(np.abs(means))
        size = np.abs(upper)
        doubtful |= (size != 0.0) & ((size < _SIZE_MIN) | (size > _SIZE_MAX)) | ~np.isfinite(means)
    for place in np.flatnonzero(doubtful & (counts > 0)).tolist():
        means[place] = exact_mean([part for part in parts[:, place].tolist() if part], int(counts[place]))
    return np.where(counts > 0, means, np.nan)


def _clear_share(mantissa: float) -> float:
    """Below a power of two the next double is half as far as above it."""
    return _CLEAR_SHARE / 2 if mantissa == _POWER else _CLEAR_SHARE


def _exact_product(one: _Number, other: _Number) -> tuple[_Number, _Number]:
    """The product, rounded, and what was rounded off."""
    product = one * other
    one_high, other_high = _upper_half(one), _upper_half(other)
    one_low, other_low = one - one_high, other - other_high
    error = one_low * other_low - (((product - one_high * other_high) - one_low * other_high) - one_high * other_low)
    return product, error


def _upper_half(values: _Number) -> _Number:
    """The first 26 bits of each."""
    scaled = values * _SPLIT
    return scaled - (scaled - values)


def sum_by_group(values: FloatArray, groups: IntArray, sizes: IntArray) -> list[FloatArray]:
    """The exact total of each group as terms, (g,) each: the total of group i is the sum of `term[i]` over the returned terms.

    `groups` (n,) is the group of each value, from 0; `sizes` (g,) is the number of values in each group. The terms are not
    canonical.
    """
    terms: list[FloatArray] = []
    rest = values
    size_bits = int(sizes.max()).bit_length()
    for _ in range(HEAD_ROUNDS_MAX):
        exponent = frexp(float(np.abs(rest).max()))[1]
        # With |v| < 2^e and n < 2^b values, a head is a multiple of 2^(e+b-53), and no sum of heads exceeds 2^(e+b): all are
        # doubles, in any order. The rest of a value is exact too, since the cut is above it.
        # Near 2^-1074 nothing is cut off: every double is a multiple of that.
        cut = ldexp(1.0, exponent + size_bits)
        heads = (rest + cut) - cut
        terms.append(np.asarray(np.bincount(groups, heads, len(sizes)), np.float64))
        rest = rest - heads
        if not rest.any():
            return terms
    return [*terms, *_sum_each(rest, groups, len(sizes))]


def added_by_group(parts: FloatArray, rows: IntArray, terms: Sequence[FloatArray]) -> FloatArray:
    """Adds the sum of `term[i]` over the terms, (g,) each, to sum `rows[i]`. Each row is named at most once.

    `parts` (p, k) are the canonical parts of k sums. Returns theirs, with the terms added.
    """
    used = [term for term in terms if term.any()]
    if not used:
        return parts
    added = add_sums(parts, rows, np.array(used))
    if added is None:
        return added_by_numpy(parts, rows, used)
    result, unsettled = added
    left = rows[unsettled]
    if len(left):
        result = _replaced(result, left, _add_each(result[:, left]))
    return without_empty_rows(result)


def added_by_numpy(parts: FloatArray, rows: IntArray, terms: Sequence[FloatArray]) -> FloatArray:
    """As `added_by_group`, in numpy."""
    # Great terms before small ones settle soonest.
    changed = canonical_by_numpy(np.array([term for term in chain(*zip_longest(parts[:, rows], terms)) if term is not None]))
    return without_empty_rows(_replaced(parts, rows, changed))


def canonical_by_group(terms: Sequence[FloatArray]) -> FloatArray:
    """The canonical parts of each group's total, (p, g): `[:, i]` are the parts of group i, followed by zeros.

    `terms`, at least one, are (g,) each: the total of group i is the sum of `term[i]`.
    """
    used = [term for term in terms if term.any()]
    if not used:
        return np.zeros((0, len(terms[0])))
    settled = np.array(used)
    unsettled = settle(settled)
    if unsettled is None:
        return canonical_by_numpy(settled)
    left = np.flatnonzero(unsettled)
    if len(left):
        settled = _replaced(settled, left, _add_each(settled[:, left]))
    return without_empty_rows(settled)


def canonical_by_numpy(settled: FloatArray) -> FloatArray:
    """As `canonical_by_group`, in numpy. Overwrites the terms (m, g)."""
    if settled.shape[1] <= FEW_GROUPS:
        return _add_each(settled)
    changing = np.ones(settled.shape[1], np.bool_)
    for _ in range(SETTLING_ROUNDS_MAX):
        before = settled.copy()
        _pass_up(settled)
        changing = (before != settled).any(axis=0)
        if not changing.any():
            break
    left = np.flatnonzero(changing | _halfway(settled))
    if len(left):
        settled = _replaced(settled, left, _add_each(settled[:, left]))
    return without_empty_rows(settled + 0.0)


def without_empty_rows(parts: FloatArray) -> FloatArray:
    """Removes the rows at the end that are all zero."""
    used = len(parts)
    while used and not parts[used - 1].any():
        used -= 1
    return parts[:used]


def _pass_up(terms: FloatArray) -> None:
    """Adds each term to the one above it, from the last to the first, and replaces it by what was rounded off.

    No total changes. Once no term changes any more, each is at most the rounding error of the one above it.
    """
    total = terms[-1]
    for place in range(len(terms) - 2, -1, -1):
        upper = terms[place]
        rounded = upper + total
        back = rounded - upper
        terms[place + 1] = (upper - (rounded - back)) + (total - back)
        total = rounded
    terms[0] = total


def _halfway(terms: FloatArray) -> BoolArray:
    """Marks the groups whose settled terms may not be canonical.

    In these a term is half the distance from the term above it to the next double, and another term follows. That one decides
    which of the two doubles is nearest.
    """
    upper, lower, below = terms[:-2], terms[1:-1], terms[2:]
    twice = lower + lower
    found = (lower != 0.0) & (below != 0.0) & ((upper + twice) - upper == twice)
    return np.asarray(found.any(axis=0), np.bool_)


def _sum_each(values: FloatArray, groups: IntArray, group_count: int) -> list[FloatArray]:
    """As `sum_by_group`, for the values that are not zero, one group after the other."""
    left: list[list[float]] = [[] for _ in range(group_count)]
    places = np.flatnonzero(values)
    for group, value in zip(groups[places].tolist(), values[places].tolist(), strict=True):
        left[group].append(value)
    return list(_padded([add_exactly((), each) for each in left]))


def _add_each(terms: FloatArray) -> FloatArray:
    """As `canonical_by_group`, one group after the other; `terms` (m, g)."""
    return _padded([add_exactly((), column) for column in terms.T.tolist()])


def _padded(expansions: Sequence[tuple[float, ...]]) -> FloatArray:
    """(p, g), the shorter expansions padded with zeros."""
    parts = np.zeros((max(map(len, expansions)), len(expansions)))
    for place, expansion in enumerate(expansions):
        parts[: len(expansion), place] = expansion
    return parts


def _replaced(parts: FloatArray, groups: IntArray, others: FloatArray) -> FloatArray:
    """`parts` (p, g) with the columns `groups` replaced by `others`, which may have more rows or fewer."""
    replaced = np.zeros((max(len(parts), len(others)), parts.shape[1]))
    replaced[: len(parts)] = parts
    replaced[:, groups] = 0.0
    replaced[: len(others), groups] = others
    return replaced
