"""Columns of ids, and the order of ids.

Owns: each form in which ids come (Python values, texts within a chunk, 64-bit integers), and the key that sorts them.
Always: `column[i]` is the id of the record at place i, in every form; equal ids are equal in every form.
The order is total over every possible id: integers by value, then strings by code point, then ids of several fields, part by
part. The order stage and the totals share it. Python compares strings by code point too, so a list of ids of one kind needs
no key.
Never: makes a text or an integer a Python object before a caller asks for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from functools import cached_property
from typing import Any, Final, TypeAlias, cast

import numpy as np
from numpy.typing import NDArray

from event_processor.kernels.first_and_last import leading_words, text_peaks, texts_rise
from event_processor.model.columns import BoolArray, IdColumn, Ids, IntArray
from event_processor.model.event import EventId

__all__ = [
    "WORD_BYTES",
    "IntegerIds",
    "OrderKey",
    "PlainIds",
    "SortableId",
    "TextIds",
    "WordArray",
    "id_key",
    "is_ascending",
    "text_ids",
    "typed_ids",
]

SortableId: TypeAlias = "int | str | tuple[tuple[int, int | str], ...]"
OrderKey: TypeAlias = tuple[int, SortableId]
"""(kind, value): the kind is compared first, so values are compared only with values of their kind."""

INTEGER, STRING, SEVERAL = 0, 1, 2


def id_key(event_id: EventId) -> OrderKey:
    """Returns the key that sorts this id."""
    if isinstance(event_id, str):
        return STRING, event_id
    if isinstance(event_id, int):
        return INTEGER, event_id
    return SEVERAL, tuple((STRING if isinstance(part, str) else INTEGER, part) for part in event_id)


def is_ascending(ids: Sequence[EventId]) -> bool:
    """Whether the ids are known to rise, without a key per id. Also False if they are of several kinds."""
    if not ids or isinstance(ids[0], tuple):
        return not ids
    try:
        return list(ids) == sorted(ids)
    except TypeError:
        return False


WordArray: TypeAlias = NDArray[np.uint64]
WORD_BYTES: Final = 8
PEAKS_FROM: Final = 2048
"""For fewer ids the peaks cost more, some 6 microseconds, than they save the index and the order later."""
FIRST_WORDS: Final = 8
"""The number of words gathered at once and cached."""
_WORD_MASKS: Final = np.array([2**64 - 2 ** (64 - 8 * length) for length in range(WORD_BYTES + 1)], np.uint64)
"""By length in bytes: the bits of a word that belong to a text of that length."""


class PlainIds:
    """Ids of any kind, as Python values."""

    def __init__(self, values: Sequence[EventId]) -> None:
        self.values: Final = values

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, place: int, /) -> EventId:
        return self.values[place]

    def to_list(self) -> list[EventId]:
        return list(self.values)

    def picked(self, places: IntArray) -> PlainIds:
        return PlainIds([self.values[place] for place in places.tolist()])

    def is_ascending(self) -> bool:
        return is_ascending(self.values)


class IntegerIds:
    """Ids that are 64-bit integers, as `numbers` (m,)."""

    def __init__(self, numbers: IntArray) -> None:
        self.numbers: Final = numbers

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, place: int, /) -> EventId:
        return int(self.numbers[place])

    def to_list(self) -> list[EventId]:
        return cast("list[EventId]", self.numbers.tolist())

    def picked(self, places: IntArray) -> IntegerIds:
        return IntegerIds(self.numbers[places])

    def is_ascending(self) -> bool:
        return bool((self.numbers[1:] >= self.numbers[:-1]).all())


class TextIds:
    """Ids that are strings, by the place of their UTF-8: id i is `content[begins[i]:ends[i]]`, without escapes. Both (m,)."""

    def __init__(self, content: bytes, begins: IntArray, ends: IntArray) -> None:
        self.content: Final = content
        self.begins: Final = begins
        self.ends: Final = ends

    def __len__(self) -> int:
        return len(self.begins)

    def __getitem__(self, place: int, /) -> EventId:
        return self.content[self.begins[place] : self.ends[place]].decode()

    @cached_property
    def encoded(self) -> list[bytes]:
        """Each id in UTF-8."""
        if not len(self.begins):
            return []
        widths = self.ends - self.begins
        width = int(widths[0])
        if (widths == width).all():
            return cast("list[bytes]", _windows(self.content, width)[self.begins].tolist())
        return [self.content[begin:end] for begin, end in zip(self.begins.tolist(), self.ends.tolist(), strict=True)]

    def to_list(self) -> list[EventId]:
        least, most = self.widths
        if least == most > 0:
            joined = _windows(self.content, most)[self.begins].tobytes().decode()
            if joined.isascii():  # slicing one text costs half as much as decoding each id
                return [joined[begin : begin + most] for begin in range(0, len(joined), most)]
        return [text.decode() for text in self.encoded]

    def picked(self, places: IntArray) -> TextIds:
        found = TextIds(self.content, self.begins[places], self.ends[places])
        if "_first_words" in self.__dict__ and found.widths[1] == self.widths[1]:
            # Here they lie together; in the content they lie far apart.
            found.__dict__["_first_words"] = self._first_words[places]
        peaks = self.__dict__.get("peaks")
        # Peaks rise in their own order, not in any order of `places`.
        if peaks is not None and (places[1:] >= places[:-1]).all() and peaks[places].all():
            found.__dict__["_is_rising"] = True
        return found

    @cached_property
    def peaks(self) -> BoolArray | None:
        """Which ids are greater than all before them (m,); None unless all have one length in bytes and most rise.

        The decoder computes this first, so later users of the column get it for free.
        """
        return text_peaks(self.content, self.begins, self.ends) if len(self) >= PEAKS_FROM else None

    def is_ascending(self) -> bool:
        return self._is_rising

    @cached_property
    def _is_rising(self) -> bool:
        """`is_ascending`, cached for several callers. The order of UTF-8 is the order of code points."""
        found = texts_rise(self.content, self.begins, self.ends)
        return self.rises_in_words() if found is None else found

    def rises_in_words(self) -> bool:
        """`is_ascending` in numpy."""
        # Only pairs that are equal in all words so far need the next word.
        tied = np.arange(max(len(self) - 1, 0))
        for number in range(self.word_count):
            if 2 * len(tied) > len(self):
                words = self.words(number)
                words, following = words[tied], words[tied + 1]
            else:
                words, following = self.words(number, tied), self.words(number, tied + 1)
            if (words > following).any():
                return False
            tied = tied[words == following]
            if not len(tied):
                return True
        return True

    def leading_words(self) -> WordArray:
        """`words(0)`, for callers that need no other word."""
        found = leading_words(self.content, self.begins, self.ends)
        return self.words(0) if found is None else found

    @cached_property
    def word_count(self) -> int:
        """The number of words that distinguish any two of these ids, compared word by word as numbers."""
        least, most = self.widths
        return -(-most // WORD_BYTES) + (least < most)

    def words(self, number: int, places: IntArray | None = None) -> WordArray:
        """Word `number` of the ids at `places` (default: all), (n,): eight bytes each, zeros after the end of the id.

        As numbers they sort like the texts. The last word is the length: it decides if one text is another plus NULs.
        """
        begins, ends = (self.begins, self.ends) if places is None else (self.begins[places], self.ends[places])
        least, most = self.widths
        if WORD_BYTES * number >= most:
            return (ends - begins).astype(np.uint64)
        if number < FIRST_WORDS:
            column = self._first_words[:, number]
            words = (column if places is None else column[places]).astype(np.uint64)
        else:
            words = _words_at(self.content, begins + WORD_BYTES * number, 1)[:, 0].astype(np.uint64)
        if WORD_BYTES * (number + 1) > least:
            # If all have one width, one mask is enough.
            widths = np.int64(most) if least == most else ends - begins
            words &= _WORD_MASKS[np.clip(widths - WORD_BYTES * number, 0, WORD_BYTES)]
        return words

    @cached_property
    def _first_words(self) -> NDArray[Any]:
        """The first words of all ids, (m, w), big-endian. Gathering them together costs little more than gathering one."""
        return _words_at(self.content, self.begins, min(-(-self.widths[1] // WORD_BYTES), FIRST_WORDS))

    @cached_property
    def widths(self) -> tuple[int, int]:
        """The least and the greatest length in bytes; zeros if there are no ids."""
        widths = self.ends - self.begins
        return (int(widths.min()), int(widths.max())) if len(widths) else (0, 0)


def typed_ids(ids: Ids) -> IdColumn:
    """Converts ids to a form that numpy can read: all strings with UTF-8, or all integers. Others come back as `PlainIds`."""
    if isinstance(ids, (TextIds, IntegerIds)):
        return ids
    values = ids.values if isinstance(ids, PlainIds) else cast("Sequence[EventId]", ids)
    kinds = set(map(type, values))
    if kinds == {int}:
        return IntegerIds(np.array(values, np.int64))
    if kinds == {str}:
        with suppress(UnicodeEncodeError):
            return text_ids(cast("Sequence[str]", values))
    return PlainIds(values)


def text_ids(texts: Sequence[str]) -> TextIds:
    """Joins the texts into one content. Raises `UnicodeEncodeError` if a text has no UTF-8."""
    joined = "".join(texts)
    if joined.isascii():
        content, lengths = joined.encode(), np.fromiter(map(len, texts), np.int64, len(texts))
    else:
        encoded = list(map(str.encode, texts))
        content, lengths = b"".join(encoded), np.fromiter(map(len, encoded), np.int64, len(encoded))
    ends = np.cumsum(lengths)
    return TextIds(content, ends - lengths, ends)


def _words_at(content: bytes, begins: IntArray, count: int) -> NDArray[Any]:
    """The bytes from each begin as `count` big-endian words, (m, count): what follows in `content`, then zeros."""
    width = WORD_BYTES * count
    if len(content) < width:
        content = content.ljust(width, b"\0")
    last = len(content) - width
    found = _windows(content, width)[np.minimum(begins, last)]
    for place in np.flatnonzero(begins > last).tolist():  # few ids are so near the end
        begin = int(begins[place])
        found[place] = content[begin : begin + width].ljust(width, b"\0")
    return found.view(">u8").reshape(len(begins), count)


def _windows(content: bytes, width: int) -> NDArray[np.void]:
    """Every run of `width` bytes in `content`, by its begin. Copies nothing until a caller picks some."""
    return np.ndarray((len(content) - width + 1,), f"V{width}", content, strides=(1,))
