"""Where windows lie on the axis of time, and which instants they hold. Arithmetic only, on whole nanoseconds.

A row is a window by the number of its end: row r ends at r times the step. A cell is a piece of time that no window cuts: with a
grid whose distance divides step and size, cell 2k is the instant k times that distance, and cell 2k + 1 the open interval behind it.
So whether a window holds its own ends is only a question of which cells it begins and ends with.

Always: the cells of a row are consecutive; both the first and the last of them rise from row to row.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import gcd
from typing import Final

import numpy as np

from event_processor.configuration.aggregates import WindowOptions
from event_processor.model.columns import BoolArray, IntArray

__all__ = ["WindowGrid"]

NS_PER_S: Final = 1_000_000_000


@dataclass(frozen=True, slots=True)
class WindowGrid:
    """Windows of `size_ns`, one every `step_ns`. `holds_start`, `holds_end`: whether an event at that very instant is in it.

    `cell_ns` is the distance of the grid.
    """

    size_ns: int
    step_ns: int
    cell_ns: int
    holds_start: bool
    holds_end: bool

    @classmethod
    def of(cls, options: WindowOptions) -> WindowGrid:
        """As it is configured."""
        size_ns, step_ns = options.size_s * NS_PER_S, options.step_s * NS_PER_S
        return cls(
            size_ns,
            step_ns,
            gcd(size_ns, step_ns),
            holds_start=options.closed in ("left", "both"),
            holds_end=options.closed in ("right", "both"),
        )

    def cells(self, timestamps_ns: IntArray) -> IntArray:
        """The cell of each instant."""
        numbers, is_behind = _divided(timestamps_ns, self.cell_ns)
        return np.asarray(2 * numbers + is_behind, np.int64)

    def first_rows(self, timestamps_ns: IntArray) -> IntArray:
        """The first row that holds each instant; it is also the first that is still open once events have come that far."""
        if not self.holds_end:
            return np.asarray(timestamps_ns // self.step_ns + 1, np.int64)
        numbers, is_behind = _divided(timestamps_ns, self.step_ns)
        return np.asarray(numbers + is_behind, np.int64)

    def first_row(self, timestamp_ns: int) -> int:
        """`first_rows` of one."""
        number, rest = divmod(timestamp_ns, self.step_ns)
        return number + (rest > 0 if self.holds_end else 1)

    def row_of(self, timestamp_ns: int) -> int:
        """The row whose end is at this instant, or the last before it."""
        return timestamp_ns // self.step_ns

    def first_cell(self, row: int) -> int:
        """The first cell that a row holds."""
        start = (row * self.step_ns - self.size_ns) // self.cell_ns
        return 2 * start + (not self.holds_start)

    def last_row(self, cell: int) -> int:
        """The last row that holds a cell."""
        start = (cell // 2 if self.holds_start else (cell - 1) // 2) * self.cell_ns
        return (start + self.size_ns) // self.step_ns


def _divided(timestamps_ns: IntArray, distance_ns: int) -> tuple[IntArray, BoolArray]:
    """The last multiple of a distance that each instant is not before, and whether it is behind it. Half the time of `divmod`."""
    numbers: IntArray = timestamps_ns // distance_ns
    return numbers, timestamps_ns != numbers * distance_ns
