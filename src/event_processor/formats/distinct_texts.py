"""Texts by where they stand in chunks -> the distinct ones among them, without a Python object for each.

Always: two texts get one code exactly if their bytes are equal; the hash only finds candidates.
Never: it does not matter how the texts collide, nor what is remembered of chunks before, but for time.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from event_processor.byte_words import WORD_BYTES, WordArray, Words
from event_processor.contracts import CategoryColumn, IntArray

__all__ = ["DistinctTexts"]

_WORDS_WIDTH_MAX: Final = 2 * WORD_BYTES
"""Two words hold a text of this width; a longer one is looked at as a Python value."""
_TABLE_BITS: Final = (12, 18)
_KNOWN_BITS: Final = 18
_KNOWN_MAX: Final = 32_768
"""So many texts are remembered; with a table of eight times that, few share a slot."""
_MULTIPLIERS: Final = np.array([0x9E37_79B9_7F4A_7C15, 0xC2B2_AE3D_27D4_EB4F], np.uint64)


class DistinctTexts:
    """Finds the distinct texts of one chunk after the other, and remembers them: most texts of the next chunk are the same."""

    def __init__(self) -> None:
        self._names: Final[list[str]] = [""]
        """The texts that are known, by number. The first stands for none: no text is empty."""
        self._numbers: Final[dict[str, int]] = {}
        self._heads: WordArray = np.zeros(1, np.uint64)
        self._tails: WordArray = np.zeros(1, np.uint64)
        self._table: Final = np.zeros(1 << _KNOWN_BITS, np.int32)
        """For each slot the number of the known text that it leads to, 0 for none."""

    def of(self, content: bytes, words: Words, begins: IntArray, ends: IntArray) -> CategoryColumn:
        """The texts `content[begins[i]:ends[i]]`, none of them empty. Both (m,)."""
        widths = ends - begins
        if not len(begins) or int(widths.max()) > _WORDS_WIDTH_MAX:
            return _named(content, begins, ends, _Column(len(begins)))
        head, tail = words.short(begins, widths)
        numbers = self._table[_slots(head, tail, _KNOWN_BITS)]
        same = self._heads[numbers] == head
        same &= self._tails[numbers] == tail
        if same.all():
            return _borne(numbers, self._names)
        left = np.flatnonzero(~same)
        others = _grouped(content, head[left], tail[left], begins[left], ends[left])
        known = len(self._names)
        # A known text is among the others where another one holds its slot.
        others_numbers = [self._numbers.get(name, known + number) for number, name in enumerate(others.names)]
        numbers[left] = np.array(others_numbers, np.int32)[others.codes]
        column = _borne(numbers, [*self._names, *others.names])
        if known <= _KNOWN_MAX:
            self._learn([name for name in others.names if name not in self._numbers])
        return column

    def _learn(self, names: list[str]) -> None:
        """Remembers texts that are not known yet, of sixteen bytes at the most."""
        first = len(self._names)
        pairs = np.frombuffer(b"".join(name.encode().ljust(_WORDS_WIDTH_MAX, b"\0") for name in names), "<u8").reshape(-1, 2)
        heads, tails = pairs[:, 0].astype(np.uint64), pairs[:, 1].astype(np.uint64)
        slots = _slots(heads, tails, _KNOWN_BITS)
        free = self._table[slots] == 0
        self._table[slots[free]] = np.arange(first, first + len(names), dtype=np.int32)[free]
        self._heads, self._tails = np.concatenate([self._heads, heads]), np.concatenate([self._tails, tails])
        self._numbers.update(zip(names, range(first, first + len(names)), strict=True))
        self._names.extend(names)


def _slots(head: WordArray, tail: WordArray, bits: int) -> IntArray:
    """Where each text leads to in a table of 2^`bits` slots. No text contains a NUL, so that the words alone tell its width."""
    key = head * _MULTIPLIERS[0]
    key ^= tail
    key *= _MULTIPLIERS[1]
    key >>= np.uint64(64 - bits)
    slots: IntArray = key.view(np.int64)
    return slots


def _borne(numbers: NDArray[np.int32], texts: list[str]) -> CategoryColumn:
    """The column of the texts with these numbers (m,), without those that none has."""
    is_borne = np.bincount(numbers, minlength=len(texts)) > 0
    borne = np.flatnonzero(is_borne)
    codes: IntArray = (np.cumsum(is_borne) - 1)[numbers]
    return CategoryColumn(codes, [texts[number] for number in borne.tolist()])


def _grouped(content: bytes, head: WordArray, tail: WordArray, begins: IntArray, ends: IntArray) -> CategoryColumn:
    """The column of texts of whose words all bytes are known."""
    column = _Column(len(begins))
    for bits in _TABLE_BITS:
        column.group(head, tail, bits)
    return _named(content, begins, ends, column)


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
        slots = _slots(head, tail, bits)
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


def _named(content: bytes, begins: IntArray, ends: IntArray, column: _Column) -> CategoryColumn:
    """The column, once representatives that are equal have become one."""
    firsts, codes = column.numbered()
    names = [content[begin:end] for begin, end in zip(begins[firsts].tolist(), ends[firsts].tolist(), strict=True)]
    numbers = {name: number for number, name in enumerate(dict.fromkeys(names))}
    texts = [name.decode() for name in numbers]
    if len(numbers) == len(names):
        return CategoryColumn(codes, texts)
    renumbered = np.fromiter(map(numbers.__getitem__, names), np.int64, len(names))
    return CategoryColumn(renumbered[codes], texts)
