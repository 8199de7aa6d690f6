"""The greatest id of each kind that was observed: an id above it is new, and need not be searched for.

Owns: which ids are of one kind, and how those of a kind compare. Integers are one kind; strings of one length in bytes, 1 to
`WIDTH_MAX`, are one kind a length. Longer strings, those that have no UTF-8, and ids of several fields are of none.
Always: equal ids are of one kind, and every id of a kind that was observed is not above its mark; so what is above it was never observed.
Never: an id is called seen here. Where ids do not rise, nothing is said of most of them, and they are searched for as ever.

Numbers that rise, texts of a fixed length that begin with a time (ULID, UUIDv7), numbers as text with leading zeros or without: of
such ids nearly all are above, and what is not are the duplicates and the late.
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
"""In bytes. It bounds the marks, which stand in the checkpoint: 64 texts of 2 KiB in all, six times that if JSON escapes every byte."""
INTEGER: Final = 0
"""The kind of integers."""
COLUMN_MIN: Final = 64
"""Fewer ids are passed over sooner one by one."""


class HighWaterMarks:
    """The marks, as of the last id that was observed. Used by one thread."""

    def __init__(self, greatest: Iterable[int | str] | None) -> None:
        """`greatest`: what `to_list` gave, empty for an index without ids; None where ids are held whose greatest is not known."""
        self._integer: int | None = None
        self._texts: dict[int, bytes] = {}
        self._is_known: Final = greatest is not None
        for event_id in greatest or ():
            if isinstance(event_id, int):
                self._integer = event_id
            else:
                self._texts[len(event_id.encode())] = event_id.encode()

    def to_list(self) -> list[int | str] | None:
        """The greatest ids, one a kind; None where they are not known."""
        if not self._is_known:
            return None
        integers = [] if self._integer is None else [self._integer]
        return [*integers, *(self._texts[width].decode() for width in sorted(self._texts))]

    def pass_over(self, ids: Ids) -> BoolArray:
        """For each id, whether it is above its kind's mark as it was before this call; then raises the marks to these ids.

        An id that stands in `ids` twice is above both times.
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
        """Ids of several types: those of each type by themselves."""
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
        """The kernel's twin: for each text whether it is above the mark of its width; raises the marks."""
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
        """Texts that are all of this width."""
        if not 1 <= width <= WIDTH_MAX:
            return np.zeros(len(texts), dtype=np.bool_)
        mark, greatest = self._texts.get(width), _greatest(texts)
        if mark is None:
            self._texts[width] = greatest
            return np.ones(len(texts), dtype=np.bool_)
        self._texts[width] = max(mark, greatest)
        return _above(texts, mark) if greatest > mark else np.zeros(len(texts), dtype=np.bool_)


def kind_of(event_id: EventId) -> int | None:
    """The kind of one id: `INTEGER`, else the width of the text; None where it has no mark."""
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
    """The greatest of the texts, which are of one width and at least one. The order of UTF-8 is that of its bytes."""
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
    """For each of the texts, whether it is greater than `mark`, which is as wide as they are."""
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
