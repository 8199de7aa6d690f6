"""The windows of several shards as one aggregate.

Owns: adding the entries of shards by cell and group, and the rows and the summary that follow.
Always: for finished input that was released by time, rows and summary are those of one process: every entry is there, none came late,
and sums are exact. `ties` counts what one process may see otherwise: first or last values of one instant, in different shards.
Never: reads a file.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import msgspec

from event_processor.aggregation.documents import WindowSummary
from event_processor.aggregation.measures import EventMeasurer, GroupKey
from event_processor.aggregation.merged_groups import merged_left_out, summed
from event_processor.aggregation.windows.entries import Entry, FieldTotal, merge_entries
from event_processor.aggregation.windows.entry_lines import Place, decode_line
from event_processor.aggregation.windows.grid import WindowGrid
from event_processor.aggregation.windows.rows import RowForm, WindowRun
from event_processor.aggregation.windows.windows import Contribution, SlidingWindows
from event_processor.configuration.aggregates import AggregateOptions

__all__ = ["Cells", "MergedWindows"]

_HALF: Final = 2
"""A cell is an instant, or what follows it until the next one: see `grid.py`."""


class Cells:
    """The entries of all shards, by cell and group. `ties`: how many first and last values only the order of shards decided."""

    def __init__(self, options: AggregateOptions) -> None:
        assert options.window is not None, "cells are of windows"
        self.by_cell: Final[dict[int, dict[GroupKey, Entry]]] = {}
        self.ties = 0
        self._grid: Final = WindowGrid.of(options.window)
        has_gaps = self._grid.step_ns > self._grid.size_ns
        self.is_gapless: Final = not has_gaps and (options.window.closed != "none" or self._grid.step_ns < self._grid.size_ns)
        """Whether each instant is in some window."""

    def add_shard(self, summary: WindowSummary, closed: Iterable[bytes], held: Iterable[bytes]) -> int:
        """Adds the entries of a shard: the lines of those that left the windows, and the lines of the file of open windows.

        Returns the number of their events. Raises `msgspec.DecodeError` for a line that we did not write.
        """
        first_cell = None if summary.next_row is None else self._grid.first_cell(summary.next_row)
        still_open: dict[Place, Entry] = {}
        for row in map(decode_line, held):
            # Of several lines of one entry the last counts. Earlier cells are among the closed ones.
            if first_cell is not None and row.cell >= first_cell:
                still_open[row.is_behind, row.cell, row.group] = row.entry
        events = 0
        for row in map(decode_line, closed):
            events += self._add(row.cell, row.group, row.entry)
        for (_, cell, group), entry in still_open.items():
            events += self._add(cell, group, entry)
        return events

    def _add(self, cell: int, group: GroupKey, entry: Entry) -> int:
        groups = self.by_cell.setdefault(cell, {})
        present = groups.get(group)
        if present is not None:
            self.ties += sum(map(_ties, present.fields, entry.fields))
        groups[group] = entry if present is None else merge_entries(present, entry)
        return entry.count


def _ties(one: FieldTotal, other: FieldTotal) -> int:
    """How many of the first and the last values have one instant and differ."""
    pairs = ((one.first, other.first), (one.last, other.last))
    return sum(a is not None and b is not None and a[0] == b[0] and a[1] != b[1] for a, b in pairs)


class MergedWindows(SlidingWindows):
    """One aggregate's windows, made from the entries of all shards instead of events."""

    def __init__(self, name: str, options: AggregateOptions, measurer: EventMeasurer, form: RowForm) -> None:
        super().__init__(name, options, measurer, form, WindowSummary())

    def is_finished_as(self, summary: WindowSummary) -> bool:
        """Whether the input of the windows that `summary` describes has ended, so that all of them are closed."""
        return summary.next_row is None or summary.highest_ns is None or summary.next_row >= self._end_row(summary.highest_ns)

    def merge(self, cells: Cells, summaries: Sequence[WindowSummary]) -> tuple[list[WindowRun], WindowSummary]:
        """The rows of finished input, and the summary after them. Call it once."""
        runs: list[WindowRun] = []
        for cell in sorted(cells.by_cell):
            runs += self._add_cell(cell, cells.by_cell[cell])
        latest_cell = max((each.latest_cell for each in summaries if each.latest_cell is not None), default=None)
        if latest_cell != self._latest_cell:
            # Its events are in no window.
            self._settle_latest()
            self._latest_cell = latest_cell
        self._highest_ns = max((each.highest_ns for each in summaries if each.highest_ns is not None), default=None)
        over_limit = self._counts.over_limit
        self._counts = summed([each.counts for each in summaries])
        self._counts = msgspec.structs.replace(self._counts, over_limit=self._counts.over_limit + over_limit)
        runs += self.finish()
        left_out = merged_left_out([each.left_out for each in summaries])
        return runs, msgspec.structs.replace(self.summary(), left_out=left_out)

    def _add_cell(self, cell: int, groups: Mapping[GroupKey, Entry]) -> list[WindowRun]:
        """Adds all entries of the next cell, as if their events came now. Returns the rows that this closes."""
        # No window cuts a cell, so any instant in it stands for all.
        instant_ns = cell // _HALF * self._grid.cell_ns + cell % _HALF
        if self._next_row is None:
            self._next_row = self._grid.row_of(instant_ns)
        row = max(self._grid.first_row(instant_ns), self._next_row)
        runs = self._emit(row)
        for group in sorted(groups):
            if groups[group].count:
                self._place(Contribution(row, cell, is_behind=False, group=group, entry=groups[group], first=0))
        return runs
