"""What a window holds now, of one group: entries are added by their cell, and removed in the order of cells.

Owns: the running totals of the fields, and `Best`, the queue of candidates for least, greatest, first and last.
Always: sums are exact, so removed entries leave no trace. A queue keeps only the entries that may still become the best
(a monotonic queue), so the next best is known at once when one leaves.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from typing import Any, Final

from event_processor.aggregation.exact_sum import add_exactly, exact_mean
from event_processor.aggregation.windows.entries import Entry, FieldPlan, FieldTotal, shown_sum
from event_processor.configuration.aggregates import Measure

__all__ = ["Best", "Running", "RunningField"]

COMPACT_FROM: Final = 1024


class Best:
    """Of entries by cell, the one with the least key; and the candidates to follow it."""

    __slots__ = ("_cells", "_keys", "_latest_wins", "_start", "_values")

    def __init__(self, *, latest_wins: bool = False) -> None:
        """With `latest_wins`, the later of two entries with equal keys is best, else the earlier."""
        self._cells: list[int] = []
        self._keys: list[float] = []
        self._values: list[Any] = []
        self._start = 0
        self._latest_wins: Final = latest_wins

    def add(self, cell: int, key: float, value: Any) -> None:
        """Adds an entry. Most come after all others."""
        cells, keys = self._cells, self._keys
        place = len(cells)
        if place > self._start and cells[-1] > cell:
            place = bisect_right(cells, cell, self._start)
            if keys[place] < key or (keys[place] == key and not self._latest_wins):
                return
        if place > self._start and cells[place - 1] == cell and self._is_kept(keys[place - 1], key):
            return
        first = place
        while first > self._start and keys[first - 1] >= key:
            first -= 1
        cells[first:place] = [cell]
        keys[first:place] = [key]
        self._values[first:place] = [value]

    def _is_kept(self, present: float, key: float) -> bool:
        """Whether the present entry of a cell is kept before a new one with `key`."""
        return present < key or (present == key and not self._latest_wins)

    def drop_before(self, cell: int) -> None:
        """Discards the entries of earlier cells."""
        start, cells = self._start, self._cells
        while start < len(cells) and cells[start] < cell:
            start += 1
        self._start = start
        if start > COMPACT_FROM and 2 * start > len(cells):
            del self._cells[:start], self._keys[:start], self._values[:start]
            self._start = 0

    def value(self) -> Any:
        """The value of the best entry; None if there is none."""
        return self._values[self._start] if self._start < len(self._values) else None


class RunningField:
    """One field of a group within the window."""

    __slots__ = ("_bests", "numbers", "parts", "present")

    def __init__(self, plan: FieldPlan) -> None:
        self.present = 0
        self.numbers = 0
        self.parts: tuple[float, ...] = ()
        self._bests: Final[dict[str, Best]] = {
            **({"min": Best(), "max": Best()} if plan.extremes else {}),
            **({"first": Best(), "last": Best(latest_wins=True)} if plan.ends else {}),
        }

    def add(self, cell: int, total: FieldTotal) -> None:
        if not total.count:
            return
        self.present += total.present
        self.numbers += total.numbers
        if total.parts:
            self.parts = add_exactly(self.parts, list(total.parts))
        if not self._bests:
            return
        if total.least is not None and total.greatest is not None:
            self._bests["min"].add(cell, total.least, total.least)
            self._bests["max"].add(cell, -total.greatest, total.greatest)
        if total.first is not None and total.last is not None:
            self._bests["first"].add(cell, total.first[0], total.first[1])
            self._bests["last"].add(cell, -total.last[0], total.last[1])

    def remove(self, total: FieldTotal, first_cell: int) -> None:
        self.present -= total.present
        self.numbers -= total.numbers
        if total.parts:
            self.parts = add_exactly(self.parts, [-part for part in total.parts])
        for best in self._bests.values():
            best.drop_before(first_cell)

    def value(self, function: str) -> Any:
        """The value of a function of the field; None if there is none."""
        if function == "count":
            return self.present
        if function == "sum":
            return shown_sum(self.parts, self.present, self.numbers)
        if function == "mean":
            return exact_mean(self.parts, self.numbers) if self.numbers else None
        return self._bests[function].value()


class Running:
    """One group within the window. `tail` caches the text of its row; code that changes the content clears it."""

    __slots__ = ("_fields", "count", "tail")

    def __init__(self, plans: Sequence[FieldPlan]) -> None:
        self.count = 0
        self.tail: bytes | None = None
        self._fields: Final = [RunningField(plan) for plan in plans]

    def add(self, cell: int, entry: Entry) -> None:
        """Adds the entry of some events of a cell."""
        self.count += entry.count
        for field, total in zip(self._fields, entry.fields, strict=True):
            field.add(cell, total)

    def remove(self, entry: Entry, first_cell: int) -> None:
        """Removes an entry that was added. Its cell is before `first_cell`, the first that stays."""
        self.count -= entry.count
        for field, total in zip(self._fields, entry.fields, strict=True):
            field.remove(total, first_cell)

    def value(self, measure: Measure, place: int | None) -> Any:
        """The value of a measure; `place` is its field's place in the plan, None to count events."""
        return self.count if place is None else self._fields[place].value(measure.function)
