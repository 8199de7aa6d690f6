"""A column of Python objects of which those written last are made when somebody first looks.

Between two checkpoints a batch after the other may replace the last id of every category, and only the last of all is ever
shown: what is replaced unseen is never made.

Always: a value: what `resolved` gives does not change, whoever asks first. May be read by several threads.
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
"""Each holds what its objects are made of, the content of a whole chunk among it: so many at the most."""
LOOKED_OVER: Final = 4
"""Each time so many wait, those of which no row shows anything any more are dropped."""


class _Written:
    """What one batch wrote: `count` objects, made by their places as they are asked for, and each once."""

    def __init__(self, make: Callable[[IntArray], Sequence[object]], count: int) -> None:
        self._make: Final = make
        self._count: Final = count
        self._made: tuple[ObjectArray, BoolArray] | None = None

    def at(self, places: IntArray) -> ObjectArray:
        # Most are overwritten before anybody asks. Two threads may ask at once, and make the same.
        objects, is_made = self._made = self._made or (np.full(self._count, None, np.object_), np.zeros(self._count, np.bool_))
        missing = places[~is_made[places]]
        if len(missing):
            # In this order: who finds that one is made finds the object.
            objects[missing] = _objects(self._make(missing))
            is_made[missing] = True
        return objects[places]


@dataclass(frozen=True, slots=True)
class _Form:
    """The column: row i is `made[i]` where `writers[i]` is 0; else the object at `places[i]` of `written[writers[i] - 1]`. All (count,)."""

    made: ObjectArray
    written: tuple[_Written, ...]
    writers: NDArray[np.uint8]
    places: IntArray

    @classmethod
    def of(cls, made: ObjectArray) -> _Form:
        return cls(made, (), np.zeros(len(made), np.uint8), np.zeros(len(made), np.int64))

    def widened(self, count: int) -> _Form:
        """With None in the rows behind, and the two arrays to be written to."""
        writers, places = np.zeros(count, np.uint8), np.zeros(count, np.int64)
        writers[: len(self.writers)], places[: len(self.places)] = self.writers, self.places
        made = self.made
        if len(made) < count:
            made = np.full(count, None, np.object_)
            made[: len(self.made)] = self.made
        return _Form(made, self.written, writers, places)

    def without_overwritten(self) -> _Form:
        """Without what no row shows any more: it would only hold its chunk."""
        left = np.bincount(self.writers, minlength=len(self.written) + 1)
        left[0] = 1
        if left.all():
            return self
        writers = (np.cumsum(left > 0) - 1).astype(np.uint8)[self.writers]
        written = tuple(each for each, rows in zip(self.written, left[1:].tolist(), strict=True) if rows)
        return _Form(self.made, written, writers, self.places)

    def with_made(self, count: int) -> _Form:
        """With the objects of the first `count` that wrote."""
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
    """A column of objects, None where nothing was written."""

    __slots__ = ("_form",)

    def __init__(self, values: Sequence[object]) -> None:
        self._form = _Form.of(_objects(values))

    def __len__(self) -> int:
        return len(self._form.made)

    def written(self, rows: IntArray, make: Callable[[IntArray], Sequence[object]], count: int) -> LateObjects:
        """This column, widened to `count`, with other objects in `rows` (each once): `make(places)` gives those of `rows[places]`.

        `make` may be called in any thread, and later: what it reads must not change.
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
        """All of them. Nobody may change the array."""
        form = self._form
        if form.written:
            self._form = form = form.with_made(len(form.written))
        return form.made


def _objects(values: Sequence[object]) -> ObjectArray:
    # numpy would make columns of tuples.
    return np.fromiter(values, np.object_, len(values))
