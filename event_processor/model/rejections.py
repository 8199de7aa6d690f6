"""Why records are no events, by column: of the thousands in a bad log most share few reasons, and nobody looks at one alone.

Always: one rejection a record, in the order of the log. Never: a rejection becomes an object before somebody looks at it.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import Final, TypeAlias, overload

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

__all__ = ["Fault", "Rejection", "Rejections"]

_Numbers: TypeAlias = NDArray[np.int64]


class Fault(Struct, frozen=True):
    """Why a record is no event: `field` is the dotted name of the field at fault, or empty.

    `stage` is "decode" where the record is no JSON object, "validate" where it is one.
    """

    reason: str
    field: str = ""
    stage: str = "validate"


class Rejection(Struct, frozen=True):
    """Why one record of a chunk is no event: `row` is its index among the chunk's records, from 0."""

    row: int
    stage: str
    reason: str
    field: str


class Rejections(Sequence[Rejection]):
    """Record `rows[i]` is no event because of `faults[numbers[i]]`; k of them, `rows` ascending. `rows` and `numbers` (k,)."""

    __slots__ = ("faults", "numbers", "rows")

    def __init__(self, rows: _Numbers, numbers: _Numbers, faults: Sequence[Fault]) -> None:
        self.rows: Final = rows
        self.numbers: Final = numbers
        self.faults: Final = faults

    @classmethod
    def of(cls, rejections: Sequence[Rejection]) -> Rejections:
        """These, in whatever form and order they are."""
        return rejections if isinstance(rejections, cls) else cls.joined([rejections])

    @classmethod
    def joined(cls, several: Sequence[Sequence[Rejection]]) -> Rejections:
        """All of these, in the order of the log. No record may be in two of them."""
        if sum(map(bool, several)) == 1:
            (only,) = filter(None, several)
            if isinstance(only, cls):
                return only
        columns = [each if isinstance(each, cls) else _by_column(each) for each in several]
        rows = np.concatenate([np.zeros(0, np.int64), *(each.rows for each in columns)])
        shifts = np.cumsum([0, *(len(each.faults) for each in columns)])
        numbers = np.concatenate(
            [np.zeros(0, np.int64), *(each.numbers + shift for each, shift in zip(columns, shifts, strict=False))]
        )
        order = np.argsort(rows, kind="stable")
        return cls(rows[order], numbers[order], list(chain.from_iterable(each.faults for each in columns)))

    def __len__(self) -> int:
        return len(self.rows)

    @overload
    def __getitem__(self, place: int, /) -> Rejection: ...
    @overload
    def __getitem__(self, place: slice, /) -> Rejections: ...
    def __getitem__(self, place: int | slice, /) -> Rejection | Rejections:
        if isinstance(place, slice):
            return Rejections(self.rows[place], self.numbers[place], self.faults)
        fault = self.faults[self.numbers[place]]
        return Rejection(int(self.rows[place]), fault.stage, fault.reason, fault.field)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]  # equal to lists, which have none

    def __repr__(self) -> str:
        return f"Rejections({list(self)!r})"


def _by_column(rejections: Sequence[Rejection]) -> Rejections:
    rows = np.array([each.row for each in rejections], np.int64)
    faults = [Fault(each.reason, each.field, each.stage) for each in rejections]
    return Rejections(rows, np.arange(len(faults)), faults)
