"""A column of Python objects that are made only when they are first read.

Between two checkpoints, each batch may replace the last id of every category, but only the latest one is shown. Objects that are
replaced before a read are never made.

Owns: which batch wrote which row, and when its objects are made.
Always: a value: the result of `resolved` never changes. Several threads may read it.
Never: holds the content of more than `WAITING_MAX` batches.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from event_processor.model.columns import BoolArray, IntArray

__all__ = ["LateObjects", "ObjectArray"]

ObjectArray: TypeAlias = NDArray[np.object_]
WAITING_MAX: Final = 16
"""The maximum number of batches whose objects are not made yet: each one holds the content of a whole chunk."""
LOOKED_OVER: Final = 4
"""After every this many batches, those without any remaining row are dropped."""


class _Written:
    """The `count` objects that one batch wrote. Each is made once, when it is first read."""

    def __init__(self, make: Callable[[IntArray], Sequence[object]], count: int) -> None:
        self._make: Final = make
        self._count: Final = count
        self._made: tuple[ObjectArray, BoolArray] | None = None

    def at(self, places: IntArray) -> ObjectArray:
        # Most are replaced before they are read. Two threads may read at once, and make equal objects.
        objects, is_made = self._made = self._made or (np.full(self._count, None, np.object_), np.zeros(self._count, np.bool_))
        missing = places[~is_made[places]]
        if len(missing):
            # In this order: if a thread sees the mark, it finds the object.
            objects[missing] = _objects(self._make(missing))
            is_made[missing] = True
        return objects[places]


@dataclass(frozen=True, slots=True)
class _Form:
    """The arrays of the column.

    Row i is `made[i]` if `writers[i]` is 0, else object `places[i]` of `written[writers[i] - 1]`. Arrays (count,).
    """

    made: ObjectArray
    written: tuple[_Written, ...]
    writers: NDArray[np.uint8]
    places: IntArray

    @classmethod
    def of(cls, made: ObjectArray) -> _Form:
        return cls(made, (), np.zeros(len(made), np.uint8), np.zeros(len(made), np.int64))

    def widened(self, count: int) -> _Form:
        """Widens to `count` rows; new rows are None. `writers` and `places` are copies that may be written to."""
        writers, places = np.zeros(count, np.uint8), np.zeros(count, np.int64)
        writers[: len(self.writers)], places[: len(self.places)] = self.writers, self.places
        made = self.made
        if len(made) < count:
            made = np.full(count, None, np.object_)
            made[: len(self.made)] = self.made
        return _Form(made, self.written, writers, places)

    def without_overwritten(self) -> _Form:
        """Drops batches without any remaining row: they would only hold their chunks in memory."""
        left = np.bincount(self.writers, minlength=len(self.written) + 1)
        left[0] = 1
        if left.all():
            return self
        writers = (np.cumsum(left > 0) - 1).astype(np.uint8)[self.writers]
        written = tuple(each for each, rows in zip(self.written, left[1:].tolist(), strict=True) if rows)
        return _Form(self.made, written, writers, self.places)

    def with_made(self, count: int) -> _Form:
        """Makes the objects of the first `count` batches."""
        if not count:
            return self
        made = self.made.copy()
        for number, written in enumerate(self.written[:count], start=1):
            rows = np.flatnonzero(self.writers == number)
            if len(rows):
                made[rows] = written.at(self.places[rows])
        writers = np.where(self.writers > count, self.writers - np.uint8(count), np.uint8(0))
        return _Form(made, self.written[count:], writers, self.places)


class LateObjects:
    """A column of objects; None in rows that were not written."""

    __slots__ = ("_form",)

    def __init__(self, values: Sequence[object]) -> None:
        self._form = _Form.of(_objects(values))

    def __len__(self) -> int:
        return len(self._form.made)

    def written(self, rows: IntArray, make: Callable[[IntArray], Sequence[object]], count: int) -> LateObjects:
        """Returns this column, widened to `count`, with new objects in `rows` (each row once).

        `make(places)` returns the objects of `rows[places]`. `make` may be called later and in any thread, so its inputs must
        not change.
        """
        if not len(rows) and count == len(self):
            return self
        form = self._form
        if len(form.written) == WAITING_MAX:
            form = form.with_made(1)
        form = form.widened(count)
        form.writers[rows] = len(form.written) + 1
        form.places[rows] = np.arange(len(rows))
        written = (*form.written, _Written(make, len(rows)))
        column = LateObjects(())
        form = _Form(form.made, written, form.writers, form.places)
        column._form = form if len(written) % LOOKED_OVER else form.without_overwritten()
        return column

    def resolved(self) -> ObjectArray:
        """All objects. The caller must not change the array."""
        form = self._form
        if form.written:
            self._form = form = form.with_made(len(form.written))
        return form.made


def _objects(values: Sequence[object]) -> ObjectArray:
    # `np.array` would turn tuples into columns.
    return np.fromiter(values, np.object_, len(values))
