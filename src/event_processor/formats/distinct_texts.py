"""Texts by where they stand in a chunk -> the distinct ones among them, without a Python object for each.

Always: two texts get one code exactly if their bytes are equal; the hash only finds candidates.
Never: it does not matter how the texts collide, but for time.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from event_processor.byte_words import WORD_BYTES, WordArray, Words
from event_processor.contracts import CategoryColumn, IntArray

__all__ = ["distinct_texts"]

_WORDS_WIDTH_MAX: Final = 2 * WORD_BYTES
"""Two words hold a text of this width; a longer one is looked at as a Python value."""
_TABLE_BITS: Final = (12, 18)
_MULTIPLIERS: Final = np.array([0x9E37_79B9_7F4A_7C15, 0xC2B2_AE3D_27D4_EB4F], np.uint64)


def distinct_texts(content: bytes, words: Words, begins: IntArray, ends: IntArray) -> CategoryColumn:
    """The texts `content[begins[i]:ends[i]]`, none of them empty. Both (m,)."""
    widths = ends - begins
    column = _Column(len(begins))
    if len(begins) and int(widths.max()) <= _WORDS_WIDTH_MAX:
        head, tail = words.short(begins, widths)
        for bits in _TABLE_BITS:
            column.group(head, tail, bits)
    firsts, codes = column.numbered()
    names = [content[begin:end] for begin, end in zip(begins[firsts].tolist(), ends[firsts].tolist(), strict=True)]
    return _named(names, codes)


class _Column:
    """For each text the place of one that is equal to it: its representative. At first each is its own."""

    def __init__(self, count: int) -> None:
        self._representatives: IntArray = np.arange(count)
        self._left: IntArray = np.arange(count)

    def group(self, head: WordArray, tail: WordArray, bits: int) -> None:
        """Finds representatives for those that have none yet, in a table of 2^`bits` slots; of two texts in a slot only one gets any."""
        left = self._left
        if not len(left):
            return
        if len(left) < len(head):
            head, tail = head[left], tail[left]
        # No text contains a NUL, so that the words alone tell its width.
        key = head * _MULTIPLIERS[0]
        key ^= tail
        key *= _MULTIPLIERS[1]
        slots = (key >> np.uint64(64 - bits)).view(np.int64)
        table = np.empty(1 << bits, np.int64)
        table[slots] = np.arange(len(slots))
        found = table[slots]
        same = (head[found] == head) & (tail[found] == tail)
        if same.all():
            self._representatives[left] = left[found]
            self._left = left[:0]
        else:
            self._representatives[left[same]] = left[found[same]]
            self._left = left[~same]

    def numbered(self) -> tuple[IntArray, IntArray]:
        """The places of the representatives, and for each text which of them is its own."""
        own = np.arange(len(self._representatives))
        firsts = (self._representatives == own).nonzero()[0]
        numbers = np.empty(len(own), np.int64)
        numbers[firsts] = np.arange(len(firsts))
        codes: IntArray = numbers[self._representatives]
        return firsts, codes


def _named(names: list[bytes], codes: IntArray) -> CategoryColumn:
    """The column, once names that came up more than once have become one."""
    numbers = {name: number for number, name in enumerate(dict.fromkeys(names))}
    texts = [name.decode() for name in numbers]
    if len(numbers) == len(names):
        return CategoryColumn(codes, texts)
    renumbered = np.fromiter(map(numbers.__getitem__, names), np.int64, len(names))
    return CategoryColumn(renumbered[codes], texts)
