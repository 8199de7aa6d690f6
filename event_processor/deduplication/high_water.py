"""The greatest id of each kind so far: an id above it is new, and needs no search.

Owns: which ids are of one kind, and how ids of a kind compare. Integers are one kind. Strings are one kind per length in bytes,
1 to `WIDTH_MAX`. Longer strings, strings without UTF-8, and ids of several fields have no kind.
Always: equal ids are of one kind, and no observed id is above the mark of its kind. So an id above the mark was never observed.
Never: decides that an id was seen. If ids do not rise, most stay undecided, and are searched as usual.

Ids that rise are numbers, texts of a fixed length that begin with a time (ULID, UUIDv7), and numbers as text, with leading zeros
or without. Nearly all of these are above the mark; the rest are duplicates and late events.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, cast

import numpy as np

from event_processor.columns.ids import WORD_BYTES, IntegerIds, PlainIds, TextIds, text_ids, typed_ids
from event_processor.kernels.fingerprints import KERNELS
from event_processor.model.columns import BoolArray, Ids, IntArray
from event_processor.model.event import EventId

__all__ = ["WIDTH_MAX", "HighWaterMarks", "kind_of"]

WIDTH_MAX: Final = 64
"""In bytes. It limits the marks in the checkpoint: 64 texts, 2 KiB in all, six times that if JSON escapes every byte."""
INTEGER: Final = 0
"""The kind of integers."""
COLUMN_MIN: Final = 64
"""Fewer ids are faster one by one."""


class HighWaterMarks:
    """The marks, as of the last observed id. Used by one thread."""

    def __init__(self, greatest: Iterable[int | str] | None) -> None:
        """`greatest`: the result of `to_list`; empty for an index without ids; None if the greatest of its ids is unknown."""
        self._integer: int | None = None
        self._texts: dict[int, bytes] = {}
        self._is_known: Final = greatest is not None
        for event_id in greatest or ():
            if isinstance(event_id, int):
                self._integer = event_id
            else:
                self._texts[len(event_id.encode())] = event_id.encode()

    def to_list(self) -> list[int | str] | None:
        """The greatest ids, one per kind; None if they are unknown."""
        if not self._is_known:
            return None
        integers = [] if self._integer is None else [self._integer]
        return [*integers, *(self._texts[width].decode() for width in sorted(self._texts))]

    def pass_over(self, ids: Ids) -> BoolArray:
        """Marks each id that is above its kind's mark, as it was before this call; then raises the marks to these ids.

        An id that is twice in `ids` is above both times.
        """
        above = np.zeros(len(ids), dtype=np.bool_)
        if not self._is_known:
            return above
        if len(ids) < COLUMN_MIN:
            self._pass_over_few(ids if isinstance(ids, Sequence) else ids.to_list(), above)
            return above
        column = typed_ids(ids)
        if isinstance(column, IntegerIds):
            return self._pass_over_integers(column.numbers)
        if isinstance(column, TextIds):
            return self._pass_over_texts(column)
        if isinstance(column, PlainIds):
            self._pass_over_mixed(column.values, above)
        return above

    def _pass_over_few(self, ids: Sequence[EventId], above: BoolArray) -> None:
        """One by one."""
        integer, texts = self._integer, dict(self._texts)
        for place, event_id in enumerate(ids):
            kind = kind_of(event_id)
            if kind == INTEGER:
                number = cast("int", event_id)
                above[place] = integer is None or number > integer
                self._integer = number if self._integer is None else max(self._integer, number)
            elif kind is not None:
                encoded = cast("str", event_id).encode()
                above[place] = kind not in texts or encoded > texts[kind]
                self._texts[kind] = max(self._texts.get(kind, b""), encoded)

    def _pass_over_mixed(self, ids: Sequence[EventId], above: BoolArray) -> None:
        """Ids of several types: each type separately."""
        integers = [place for place, event_id in enumerate(ids) if isinstance(event_id, int)]
        texts = [place for place, event_id in enumerate(ids) if isinstance(event_id, str) and _has_utf8(event_id)]
        above[integers] = self._pass_over_integers(np.array([ids[place] for place in integers], np.int64))
        above[texts] = self._pass_over_texts(text_ids([cast("str", ids[place]) for place in texts]))

    def _pass_over_integers(self, numbers: IntArray) -> BoolArray:
        mark = self._integer
        if not len(numbers):
            return np.zeros(0, dtype=np.bool_)
        greatest = int(numbers.max())
        self._integer = greatest if mark is None else max(mark, greatest)
        return np.ones(len(numbers), dtype=np.bool_) if mark is None else numbers > mark

    def _pass_over_texts(self, texts: TextIds) -> BoolArray:
        if KERNELS is not None:
            found = KERNELS.texts_above(texts.content, texts.begins, texts.ends, self._texts, texts.peaks)
            if found is not None:
                self._texts |= found[1]
                return found[0]
        return self.pass_over_texts_by_numpy(texts)

    def pass_over_texts_by_numpy(self, texts: TextIds) -> BoolArray:
        """Marks each text above the mark of its width, and raises the marks. As the kernel does."""
        least, most = texts.widths
        if least == most:
            return self._pass_over_width(texts, most)
        above = np.zeros(len(texts), dtype=np.bool_)
        widths = texts.ends - texts.begins
        for width in np.flatnonzero(np.bincount(widths)).tolist():
            places = np.flatnonzero(widths == width)
            above[places] = self._pass_over_width(texts.picked(places), width)
        return above

    def _pass_over_width(self, texts: TextIds, width: int) -> BoolArray:
        """Texts that all have this width."""
        if not 1 <= width <= WIDTH_MAX:
            return np.zeros(len(texts), dtype=np.bool_)
        mark, greatest = self._texts.get(width), _greatest(texts)
        if mark is None:
            self._texts[width] = greatest
            return np.ones(len(texts), dtype=np.bool_)
        self._texts[width] = max(mark, greatest)
        return _above(texts, mark) if greatest > mark else np.zeros(len(texts), dtype=np.bool_)


def kind_of(event_id: EventId) -> int | None:
    """The kind of one id: `INTEGER`, or the width of the text; None if ids like it have no mark."""
    if isinstance(event_id, int):
        return INTEGER
    if not isinstance(event_id, str) or not _has_utf8(event_id):
        return None
    width = len(event_id.encode())
    return width if 1 <= width <= WIDTH_MAX else None


def _has_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _greatest(texts: TextIds) -> bytes:
    """The greatest of at least one text, all of one width. The order of UTF-8 is the order of its bytes."""
    places: IntArray | None = None
    for number in range(texts.word_count):
        words = texts.words(number, places)
        tied = words == words.max()
        if places is not None or not tied.all():
            places = np.flatnonzero(tied) if places is None else places[tied]
            if len(places) == 1:
                break
    place = 0 if places is None else int(places[0])
    return texts.content[texts.begins[place] : texts.ends[place]]


def _above(texts: TextIds, mark: bytes) -> BoolArray:
    """Marks each text that is greater than `mark`, which has their width."""
    above = np.zeros(len(texts), dtype=np.bool_)
    places: IntArray | None = None
    for number in range(texts.word_count):
        begin = WORD_BYTES * number
        bound = np.uint64(int.from_bytes(mark[begin : begin + WORD_BYTES].ljust(WORD_BYTES, b"\0"), "big"))
        words = texts.words(number, places)
        if places is None:
            np.greater(words, bound, out=above)
        else:
            above[places[words > bound]] = True
        tied = words == bound
        if places is not None or not tied.all():
            places = np.flatnonzero(tied) if places is None else places[tied]
            if not len(places):
                break
    return above
