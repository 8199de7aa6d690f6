"""Strings interned in a shared table, so callers can cache lookups by index.

Always: one number in one table keeps the same text for the table's life.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final, overload

import numpy as np
from numpy.typing import NDArray

from event_processor.model.columns import IntArray

__all__ = ["NumberedTexts", "no_numbers", "picked_texts"]


class NumberedTexts(Sequence[str]):
    """The texts `table[numbers]`, n of them. `table` holds Python strings; more may be added after the numbers in use."""

    __slots__ = ("numbers", "table")

    def __init__(self, table: NDArray[Any], numbers: IntArray) -> None:
        self.table: Final = table
        self.numbers: Final = numbers

    def __len__(self) -> int:
        return len(self.numbers)

    @overload
    def __getitem__(self, place: int, /) -> str: ...
    @overload
    def __getitem__(self, place: slice, /) -> NumberedTexts: ...
    def __getitem__(self, place: int | slice, /) -> str | NumberedTexts:
        if isinstance(place, slice):
            return NumberedTexts(self.table, self.numbers[place])
        text: str = self.table[self.numbers[place]]
        return text

    def __iter__(self) -> Iterator[str]:
        return iter(self.table[self.numbers].tolist())

    def picked(self, places: IntArray) -> NumberedTexts:
        """The texts at these places."""
        return NumberedTexts(self.table, self.numbers[places])

    def __reduce__(self) -> tuple[type[list[str]], tuple[list[str]]]:
        # Another process has no such table.
        return list, (list(self),)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]  # equal to lists, which have none


def picked_texts(texts: Sequence[str], places: IntArray) -> Sequence[str]:
    """The texts at these places."""
    if isinstance(texts, NumberedTexts):
        return texts.picked(places)
    return [texts[place] for place in places.tolist()]


def no_numbers(count: int) -> IntArray:
    """An empty cache for `count` numbers: -1 each."""
    return np.full(count, -1, np.int64)
