"""JSON numbers by where they stand in a chunk -> doubles and 64-bit integers, many at once.

Always: a double is the one nearest to the decimal, as a parser of single numbers gives it; -0.0 is 0.0. What is no JSON number, or
not of the ordinary kind, is marked as not good, and nothing is said about it.
The way: numbers of one layout (sign, digits before and behind the point) are read together, by eight digits a step.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import msgspec
import numpy as np

from event_processor.byte_words import WORD_BYTES, WordArray, Words, digits_of
from event_processor.contracts import BoolArray, FloatArray, IntArray
from event_processor.event import VALUE_MAGNITUDE_END

__all__ = ["doubles_at", "integers_at"]

_WIDTH_MAX: Final = 40
"""A longer number is left to others."""
_LAYOUTS_MAX: Final = 6
"""So many layouts of one width are read together; numbers of others one by one."""
_EXACT_DIGITS_MAX: Final = 15
"""An integer of so many digits is below 2^53, hence exact in a double."""
_INTEGER_DIGITS_MAX: Final = 18
"""An integer of so many digits fits into 64 bits."""
_LAYOUT: Final = re.compile(rb"(-?)(0|[1-9][0-9]*)(?:\.([0-9]+))?")
_NUMBERS: Final = msgspec.json.Decoder(list[float])
_NUMBER: Final = msgspec.json.Decoder(float)
_MINUS, _POINT, _ZERO = (np.uint64(character) for character in b"-.0")
_LOW_BYTE: Final = np.uint64(0xFF)


@dataclass(frozen=True, slots=True)
class _Layout:
    """How a number is written: 0 or 1 minus signs, digits before the point and behind it (0: no point)."""

    minus: int
    whole: int
    fraction: int

    @property
    def digits(self) -> int:
        return self.whole + self.fraction

    @property
    def width(self) -> int:
        return self.minus + self.digits + bool(self.fraction)


def doubles_at(words: Words, begins: IntArray, ends: IntArray) -> tuple[FloatArray, BoolArray]:
    """The numbers between `begins` and `ends`, and which are good: finite and below 2**960 in magnitude. All (m,)."""
    values = np.zeros(len(begins))
    good = np.zeros(len(begins), np.bool_)
    others: list[IntArray] = []
    for places, layout, found in _by_layout(words, begins, ends, _EXACT_DIGITS_MAX, others):
        doubles = found / 10.0**layout.fraction if layout.fraction else found.astype(np.float64)
        values[places] = 0.0 - doubles if layout.minus else doubles
        good[places] = True
    rest = np.concatenate([np.zeros(0, np.int64), *others])
    if len(rest):
        values[rest], good[rest] = _read_others(words, begins[rest], ends[rest])
    return values, good


def integers_at(words: Words, begins: IntArray, ends: IntArray) -> tuple[IntArray, BoolArray]:
    """The integers between `begins` and `ends`, and which are good: without point and exponent, of 18 digits at most. All (m,)."""
    values = np.zeros(len(begins), np.int64)
    good = np.zeros(len(begins), np.bool_)
    for places, layout, found in _by_layout(words, begins, ends, _INTEGER_DIGITS_MAX, []):
        if not layout.fraction:
            values[places] = -found if layout.minus else found
            good[places] = True
    return values, good


def _by_layout(
    words: Words, begins: IntArray, ends: IntArray, digits_max: int, others: list[IntArray]
) -> Iterator[tuple[IntArray, _Layout, IntArray]]:
    """Numbers of one layout at a time: their places, the layout, all their digits as one integer. The rest goes to `others`."""
    for places in _by_width(ends - begins, others):
        left = places
        for _ in range(_LAYOUTS_MAX):
            if not len(left):
                break
            layout = _layout_of(words.text(int(begins[left[0]]), int(ends[left[0]])))
            if layout is None or layout.digits > digits_max:
                others.append(left[:1])
                left = left[1:]
                continue
            found, good = _read_alike(words, begins if len(left) == len(begins) else begins[left], layout)
            if good.all():
                yield left, layout, found
                left = left[:0]
            else:
                yield left[good], layout, found[good]
                left = left[~good]
        others.append(left)


def _by_width(widths: IntArray, others: list[IntArray]) -> Iterator[IntArray]:
    """The places of the numbers of each width; those too wide, or of no width at all, go to `others`."""
    if not len(widths):
        return
    least, most = int(widths.min()), int(widths.max())
    if least == most and 0 < least <= _WIDTH_MAX:
        yield np.arange(len(widths))
        return
    for width in range(max(1, least), min(most, _WIDTH_MAX) + 1):
        places = (widths == width).nonzero()[0]
        if len(places):
            yield places
    others.append(((widths < 1) | (widths > _WIDTH_MAX)).nonzero()[0])


def _layout_of(text: bytes) -> _Layout | None:
    """The layout of one number; None where it has none: an exponent, or no number at all."""
    match = _LAYOUT.fullmatch(text)
    return None if match is None else _Layout(len(match[1]), len(match[2]), len(match[3] or b""))


def _read_alike(words: Words, begins: IntArray, layout: _Layout) -> tuple[IntArray, BoolArray]:
    """All digits of each number as one integer, and which numbers have the layout indeed. Both (n,)."""
    if layout.width <= WORD_BYTES:
        return _read_word(words.at(begins), layout)
    good = np.ones(len(begins), np.bool_)
    if layout.minus:
        good &= (words.at(begins) & _LOW_BYTE) == _MINUS
        begins = begins + 1
    if layout.whole > 1:
        good &= (words.at(begins) & _LOW_BYTE) != _ZERO
    found = _add_digits(np.zeros(len(begins), np.int64), good, words, begins, layout.whole)
    if layout.fraction:
        begins = begins + layout.whole
        good &= (words.at(begins) & _LOW_BYTE) == _POINT
        found = _add_digits(found, good, words, begins + 1, layout.fraction)
    return found, good


def _add_digits(found: IntArray, good: BoolArray, words: Words, begins: IntArray, count: int) -> IntArray:
    """Writes `count` more digits behind those found; takes out of `good` where they are none."""
    for offset in range(0, count, WORD_BYTES):
        step = min(count - offset, WORD_BYTES)
        more, fine = digits_of(words.at(begins + offset), step)
        found = found * np.int64(10**step) + more
        good &= fine
    return found


def _read_word(word: WordArray, layout: _Layout) -> tuple[IntArray, BoolArray]:
    """`_read_alike` for numbers of at most eight characters: each stands in one word."""
    good = np.ones(len(word), np.bool_)
    if layout.minus:
        good &= (word & _LOW_BYTE) == _MINUS
        word = word >> np.uint64(8)
    if layout.whole > 1:
        good &= (word & _LOW_BYTE) != _ZERO
    found, fine = digits_of(word, layout.whole)
    good &= fine
    if layout.fraction:
        good &= (word >> np.uint64(8 * layout.whole)) & _LOW_BYTE == _POINT
        behind, fine = digits_of(word >> np.uint64(8 * layout.whole + 8), layout.fraction)
        good &= fine
        found = found * np.int64(10**layout.fraction) + behind
    return found, good


def _read_others(words: Words, begins: IntArray, ends: IntArray) -> tuple[FloatArray, BoolArray]:
    """Numbers of any form, read as a JSON array of them; where that is refused, one by one."""
    texts = [words.text(begin, end) for begin, end in zip(begins.tolist(), ends.tolist(), strict=True)]
    fits = [0 < len(text) <= _WIDTH_MAX for text in texts]
    try:
        found = _NUMBERS.decode(b"[" + b",".join(texts) + b"]") if all(fits) else []
    except (msgspec.MsgspecError, UnicodeDecodeError):
        found = []
    if len(found) != len(texts):
        found = [_double(text) if fit else np.inf for text, fit in zip(texts, fits, strict=True)]
    doubles = np.array(found) + 0.0
    return doubles, np.abs(doubles) < VALUE_MAGNITUDE_END


def _double(text: bytes) -> float:
    """One number; infinite where it is none."""
    try:
        return _NUMBER.decode(text)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return float("inf")
