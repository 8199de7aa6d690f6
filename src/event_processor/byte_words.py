"""Bytes of a chunk read eight at a time, at any place, for many places at once; and the numbers that stand there.

Always: a word is little-endian: the first byte is the lowest. Nothing is read behind the content.
Source of the arithmetic: eight digits become a number in three multiplications within one word (D. Lemire, "Number parsing at a
gigabyte per second", 2021); the quotient of an integer below 2^53 and a power of ten up to 10^22 is the nearest double to the
decimal, since both are exact and division rounds once (W. Clinger, "How to read floating point numbers accurately", 1990).
"""

from __future__ import annotations

from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from event_processor.contracts import BoolArray, IntArray

__all__ = ["HIGH_BITS", "WORD_BYTES", "WordArray", "Words", "digits_of"]

WordArray: TypeAlias = NDArray[np.uint64]

WORD_BYTES: Final = 8
_BIT: Final = np.uint64(1)
_ZEROS: Final = np.uint64(0x3030_3030_3030_3030)
_ABOVE_NINE: Final = np.uint64(0x4646_4646_4646_4646)
HIGH_BITS: Final = np.uint64(0x8080_8080_8080_8080)
_LOW_NIBBLES: Final = np.uint64(0x0F0F_0F0F_0F0F_0F0F)


class Words:
    """The 64-bit words of `content`, one at each byte; bytes behind its end count as zero."""

    def __init__(self, content: bytes) -> None:
        """`content` has at least sixteen bytes."""
        self._content: Final = content
        self._last: Final = len(content) - WORD_BYTES
        self._words: Final[WordArray] = np.ndarray((self._last + 1,), "<u8", content, strides=(1,))
        self._last_pair: Final = self._last - WORD_BYTES
        self._pairs: Final[NDArray[np.void]] = np.ndarray((self._last_pair + 1,), "V16", content, strides=(1,))

    def at(self, places: IntArray) -> WordArray:
        """The word at each place."""
        if not len(places) or places.max() <= self._last:
            whole: WordArray = self._words[places]
            return whole
        words: WordArray = self._words[np.minimum(places, self._last)]
        for index in np.flatnonzero(places > self._last).tolist():
            words[index] = self._number(int(places[index]))
        return words

    def pairs_at(self, places: IntArray) -> tuple[WordArray, WordArray]:
        """The word at each place, and the one eight bytes on: in one go, which costs as much as one of them."""
        if not len(places) or places.max() > self._last_pair:
            return self.at(places), self.at(places + WORD_BYTES)
        pairs = self._pairs[places].view("<u8").reshape(-1, 2)
        return pairs[:, 0], pairs[:, 1]

    def short(self, places: IntArray, widths: IntArray) -> tuple[WordArray, WordArray]:
        """The first `widths` bytes at each place in two words, all sixteen where there are more; zeros above."""
        head, tail = self.pairs_at(places)
        least, most = int(widths.min(initial=0)), int(widths.max(initial=0))
        if least == most:
            return head & _MASKS[min(least, WORD_BYTES)], tail & _MASKS[min(max(least - WORD_BYTES, 0), WORD_BYTES)]
        return (
            head & _MASKS[np.minimum(widths, WORD_BYTES)],
            tail & _MASKS[np.clip(widths - WORD_BYTES, 0, WORD_BYTES)],
        )

    def text(self, begin: int, end: int) -> bytes:
        """The bytes in between."""
        return self._content[begin:end]

    def _number(self, place: int) -> int:
        return int.from_bytes(self._content[place : place + WORD_BYTES], "little")


_MASKS: Final[WordArray] = np.array([(1 << (8 * width)) - 1 for width in range(WORD_BYTES + 1)], np.uint64)


def digits_of(word: WordArray, count: int) -> tuple[IntArray, BoolArray]:
    """The number that the first `count` bytes (1 to 8) of each word make as decimal digits, and where they are digits indeed. Both (n,)."""
    shift = np.uint64(8 * (WORD_BYTES - count))
    word = word << shift
    # What was shifted in stands for leading zeros.
    word |= _ZEROS & ~(~np.uint64(0) << shift)
    good: BoolArray = ((word + _ABOVE_NINE) | (word - _ZEROS)) & HIGH_BITS == 0
    word &= _LOW_NIBBLES
    for factor, width, mask in _STEPS if count > 1 else ():
        word = (word * factor + (word >> width)) & mask
    if count == 1:
        word >>= np.uint64(56)
    return word.view(np.int64), good


_STEPS: Final = tuple(
    (np.uint64(factor), np.uint64(width), np.uint64(mask))
    for factor, width, mask in (
        (10, 8, 0x00FF_00FF_00FF_00FF),
        (100, 16, 0x0000_FFFF_0000_FFFF),
        (10_000, 32, 0x0000_0000_FFFF_FFFF),
    )
)
