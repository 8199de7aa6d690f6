"""A column of Python objects of which those written last are made when somebody first looks.

Between two checkpoints a batch after the other may replace the last id of every category, and only the last of all is ever
shown: what is replaced unseen is never made.

Always: a value: what `resolved` gives does not change, whoever asks first. May be read by several threads.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias, cast

import numpy as np
from numpy.typing import NDArray

from event_processor.contracts import IntArray

__all__ = ["LateObjects", "ObjectArray"]

ObjectArray: TypeAlias = NDArray[np.object_]
WAITING_MAX: Final = 16
"""Each holds what its objects are made of, the content of a whole chunk among it: so many at the most."""


@dataclass(frozen=True, slots=True)
class _Written:
    """Rows of another column that are written over: `make` gives the objects at some places of `rows`."""

    onto: LateObjects
    rows: IntArray
    make: Callable[[IntArray], Sequence[object]]
    waiting: int


class LateObjects:
    """`count` objects, None where nothing was written."""

    __slots__ = ("_column", "_count", "_written")

    def __init__(self, values: Sequence[object], count: int = 0, written: _Written | None = None) -> None:
        """With `values`; or `written` over another column, `count` long."""
        # numpy would make columns of tuples.
        self._column: ObjectArray | None = None if written else np.fromiter(values, np.object_, len(values))
        self._count: Final = count if written else len(values)
        self._written = written

    def __len__(self) -> int:
        return self._count

    def written(self, rows: IntArray, make: Callable[[IntArray], Sequence[object]], count: int) -> LateObjects:
        """This column, widened to `count`, with other objects in `rows` (each once): `make(places)` gives those of `rows[places]`.

        `make` may be called in any thread, and later: what it reads must not change.
        """
        if not len(rows) and count == self._count:
            return self
        before = self._written
        waiting = 0 if before is None else before.waiting
        if waiting == WAITING_MAX:
            self.resolved()
            waiting = 0
        return LateObjects((), count, _Written(self, rows, make, waiting + 1))

    def resolved(self) -> ObjectArray:
        """All of them. Nobody may change the array."""
        chain, column = self._unmade()
        if chain:
            column = self._made(chain, column)
            # In this order: a reader in another thread that finds nothing written finds the column.
            self._column = column
            self._written = None
        return column

    def _unmade(self) -> tuple[list[_Written], ObjectArray]:
        """What is written over the nearest column that is made, the latest first, and that column."""
        chain: list[_Written] = []
        node = self
        while node._column is None and (written := node._written) is not None:
            chain.append(written)
            node = written.onto
        return chain, cast("ObjectArray", node._column)  # noqa: SLF001 -- another of this class

    def _made(self, chain: Sequence[_Written], before: ObjectArray) -> ObjectArray:
        column = np.full(self._count, None, np.object_)
        column[: len(before)] = before
        is_made = np.zeros(self._count, np.bool_)
        for written in chain:
            places = np.flatnonzero(~is_made[written.rows])
            rows = written.rows[places]
            if len(rows):
                column[rows] = np.fromiter(written.make(places), np.object_, len(rows))
                is_made[rows] = True
        return column
