"""Why records were rejected, kept in columns. A bad log has thousands of rejections that share a few reasons.

Owns: `Fault` (a reason), `Rejection` (a reason and its record), and `Rejections` (a sequence of them in columns).
Always: a record has at most one rejection. Rejections are in the order of the log.
Never: no `Rejection` object is made until a caller asks for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import TYPE_CHECKING, Final, TypeAlias, overload

from msgspec import Struct

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["Fault", "Rejection", "Rejections"]

_Numbers: TypeAlias = "NDArray[np.int64]"


class Fault(Struct, frozen=True):
    """Why a record is not an event. `field` is the dotted name of the bad field, or empty.

    `stage` is "decode" if the record is not a JSON object, or else "validate".
    """

    reason: str
    field: str = ""
    stage: str = "validate"


class Rejection(Struct, frozen=True):
    """Why one record of a chunk is not an event. `row` is its index in the chunk's records, from 0."""

    row: int
    stage: str
    reason: str
    field: str


class Rejections(Sequence[Rejection]):
    """A sequence of k rejections. Record `rows[i]` was rejected because of `faults[numbers[i]]`.

    `rows` and `numbers` have the shape (k,). `rows` is ascending.
    """

    __slots__ = ("faults", "numbers", "rows")

    def __init__(self, rows: _Numbers, numbers: _Numbers, faults: Sequence[Fault]) -> None:
        self.rows: Final = rows
        self.numbers: Final = numbers
        self.faults: Final = faults

    @classmethod
    def of(cls, rejections: Sequence[Rejection]) -> Rejections:
        """Converts `rejections`, in any form and any order."""
        return rejections if isinstance(rejections, cls) else cls.joined([rejections])

    @classmethod
    def joined(cls, several: Sequence[Sequence[Rejection]]) -> Rejections:
        """Joins `several`, in the order of the log. No record may be in more than one of them."""
        if sum(map(bool, several)) == 1:
            (only,) = filter(None, several)
            if isinstance(only, cls):
                return only
        import numpy as np  # noqa: PLC0415 - a command that reads no record needs no arrays

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
    import numpy as np  # noqa: PLC0415

    rows = np.array([each.row for each in rejections], np.int64)
    faults = [Fault(each.reason, each.field, each.stage) for each in rejections]
    return Rejections(rows, np.arange(len(faults)), faults)
