"""The windows of one aggregate: takes released events, and returns a row for each window that they have passed.

Owns: the content of the open windows, when a window closes, and which event is too late for one.
Always: depends only on the sequence of released events, not on their batches. An event counts in every open window that holds
it; it is `late_window` if another window that holds it is already closed. A window closes when the highest timestamp of the events
that move the time (`time_from`) is past its end. One entry is kept for each cell and group with events: a gap costs nothing.
Never: writes to disk. Like the index of ids, this object keeps state, and that state is an input of the step.

Entries are in a queue by cell, and leave in that order. Entries of the latest cell, and of events that came after a later cell,
still change, and are kept apart. An entry's line on disk is made when it is first needed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from heapq import heappop, heappush
from typing import Final

import msgspec
import numpy as np
from msgspec import Struct

from event_processor.aggregation.documents import WindowCounts, WindowSummary
from event_processor.aggregation.left_out import LeftOutTracker
from event_processor.aggregation.measures import ALL, EventMeasurer, GroupKey, Measured
from event_processor.aggregation.windows.entries import Entry, merge_entries, nothing_of, segments_of, summarise
from event_processor.aggregation.windows.entry_lines import EntryLines, EntryRow, Place, decode_line, encode_line
from event_processor.aggregation.windows.grid import WindowGrid
from event_processor.aggregation.windows.rows import RowForm, WindowRun
from event_processor.aggregation.windows.running import Running
from event_processor.columns.event_slices import EventSlice
from event_processor.configuration.aggregates import AggregateOptions
from event_processor.model.columns import IntArray

__all__ = ["Contribution", "SlidingWindows", "WindowCounts", "WindowSummary"]

_Restored = tuple[bytes, Entry]
_BEFORE_ALL: Final = -(2**63)


class Contribution(Struct, frozen=True, gc=False):
    """Some events of one group and cell that came while `row` was the first open row; `first` is the index of the first of them.

    `is_behind`: each of them came after an event of a later cell.
    """

    row: int
    cell: int
    is_behind: bool
    group: GroupKey
    entry: Entry
    first: int


class SlidingWindows:
    """One aggregate's windows. Used by one thread."""

    def __init__(
        self,
        name: str,
        options: AggregateOptions,
        measurer: EventMeasurer,
        form: RowForm,
        summary: WindowSummary,
        *,
        keeps_closed: bool = False,
    ) -> None:
        """Restores `summary`; `restore` adds the entries. `keeps_closed`: `take_closed` gets the entries that leave the windows."""
        assert options.window is not None, "there are windows"
        self._name: Final = name
        self._measurer: Final = measurer
        self._form: Final = form
        self._grid: Final = WindowGrid.of(options.window)
        self._groups_max: Final = options.groups_max
        self._shows_empty: Final = options.window.empty is not None
        self._time_from_measured: Final = options.window.time_from == "measured"
        self._measures: Final = [
            (measure, next((place for place, plan in enumerate(measurer.plans) if plan.name == measure.field), None))
            for measure in options.columns()
        ]
        self._wants_keys: Final = any(plan.ends for plan in measurer.plans)
        self._counts = summary.counts
        self._highest_ns = summary.highest_ns
        self._next_row = summary.next_row
        self._latest_cell = summary.latest_cell
        self._rows = summary.rows
        self._left_out: Final = LeftOutTracker(summary.left_out)
        self._running: Final[dict[GroupKey, Running]] = {}
        self._groups: list[GroupKey] | None = None
        """The keys of `_running`, sorted; None if one was added or removed since."""
        self._lines: Final = EntryLines()
        self._latest: dict[GroupKey, Entry] = {}
        self._behind: Final[dict[Place, Entry]] = {}
        self._behind_order: Final[list[Place]] = []
        self._changed: Final[set[Place]] = set()
        self._stale: Final[set[Place]] = set()
        """The entries whose lines are out of date."""
        self._closed: list[bytes] | None = [] if keeps_closed else None
        self._settled: list[bytes] = []
        """The written lines of entries that left the latest cell since the last `take_changes`."""

    # Events in, rows out.

    def add(self, events: EventSlice, timestamps_ns: IntArray) -> list[WindowRun]:
        """Adds released events in their order. Returns the rows of the windows that they close."""
        measured = self._measurer.measure(events, self._left_out.fields_absent)
        self._left_out.note(measured)
        kept = timestamps_ns if measured.kept is None else timestamps_ns[measured.kept]
        before = _BEFORE_ALL if self._highest_ns is None else self._highest_ns
        moving = kept if self._time_from_measured else timestamps_ns
        highest = np.maximum(np.maximum.accumulate(moving), before)
        runs: list[WindowRun] = []
        if measured.count:
            is_picked = measured.kept is not None and not self._time_from_measured
            rows = self._grid.first_rows(highest[measured.kept] if is_picked else highest)
            if self._next_row is None:
                self._next_row = self._begin(int(kept[0]))
            rows = np.maximum(rows, self._next_row)
            runs = self._add_measured(measured, kept, rows)
        unfit = self._counts.unfit + measured.unfit
        self._counts = msgspec.structs.replace(self._counts, events=self._counts.events + measured.count, unfit=unfit)
        if len(highest):
            self._highest_ns = int(highest[-1])
        if self._next_row is not None and self._highest_ns is not None:
            runs += self._emit(self._grid.first_row(self._highest_ns))
        return runs

    def _begin(self, first_ns: int) -> int:
        """The first row, from the first event that is measured."""
        if self._closed is not None:
            # No window may hold it. But the rows begin here, also those that are merged of all shards.
            cell = int(self._grid.cells(np.array([first_ns]))[0])
            self._closed.append(encode_line(self._name, (False, cell, ALL), nothing_of(self._measurer.plans)))
        return self._grid.row_of(first_ns)

    def finish(self) -> list[WindowRun]:
        """Ends the input. Returns the rows up to the first that ends after the last event."""
        if self._next_row is None or self._highest_ns is None:
            return []
        return self._emit(self._end_row(self._highest_ns))

    @property
    def is_finished(self) -> bool:
        """Whether `finish` would return no row."""
        return self._next_row is None or self._highest_ns is None or self._next_row >= self._end_row(self._highest_ns)

    def _end_row(self, highest_ns: int) -> int:
        """The row after the last one of finished input."""
        return self._grid.row_of(highest_ns) + 2

    def _add_measured(self, measured: Measured, timestamps_ns: IntArray, rows: IntArray) -> list[WindowRun]:
        late_count = int(np.count_nonzero(self._grid.first_rows(timestamps_ns) < rows))
        if late_count:
            self._counts = msgspec.structs.replace(self._counts, late_window=self._counts.late_window + late_count)
        runs: list[WindowRun] = []
        for each in self._contributions(measured, timestamps_ns, rows):
            runs += self._emit(each.row)
            if not self._place(each) and self._left_out.wants_over_limit:
                self._left_out.over_limit(measured.place(each.first))
        return runs

    def _place(self, new: Contribution) -> bool:
        """Adds events to the windows that are open. Returns whether there was room for their group."""
        if not new.is_behind and new.cell != self._latest_cell:
            self._settle_latest()
            self._latest_cell = new.cell
        return new.cell < self._grid.first_cell(new.row) or self._admit(new)

    def _contributions(self, measured: Measured, timestamps_ns: IntArray, rows: IntArray) -> Iterator[Contribution]:
        """The events by row, cell and group, in the order of rows, and within a row in the order of each one's first event.

        The rows rise with the events, since each is the row of the highest timestamp so far. Events that came after a later cell
        are kept apart from the others of their cell. So nothing depends on the batch.
        """
        cells = self._grid.cells(timestamps_ns)
        latest = np.maximum.accumulate(cells)
        if self._latest_cell is not None:
            latest = np.maximum(latest, self._latest_cell)
        is_behind = cells < latest
        keys = timestamps_ns if self._wants_keys else None
        segments, firsts = segments_of([rows, 2 * cells + is_behind, measured.codes], keys)
        entries = summarise(self._measurer.plans, measured.values, keys, segments)
        places = np.argsort(firsts, kind="stable").tolist() if segments.order is not None else range(len(entries))
        at_rows, at_cells, behind = rows[firsts].tolist(), cells[firsts].tolist(), is_behind[firsts].tolist()
        codes = measured.codes[firsts].tolist()
        for place in places:
            group = measured.names[codes[place]]
            yield Contribution(at_rows[place], at_cells[place], behind[place], group, entries[place], int(firsts[place]))

    def _admit(self, new: Contribution) -> bool:
        """Adds events to the open windows, if there is room for their group. Returns whether there is."""
        if new.group not in self._running and len(self._running) >= self._groups_max:
            over_limit = self._counts.over_limit + new.entry.count
            self._counts = msgspec.structs.replace(self._counts, over_limit=over_limit)
            return False
        running = self._running_of(new.group)
        running.add(new.cell, new.entry)
        running.tail = None
        if not new.is_behind:
            present = self._latest.get(new.group)
            self._latest[new.group] = new.entry if present is None else merge_entries(present, new.entry)
            self._touch((False, new.cell, new.group))
            return True
        place = True, new.cell, new.group
        present = self._behind.get(place)
        if present is None:
            heappush(self._behind_order, place)
        self._behind[place] = new.entry if present is None else merge_entries(present, new.entry)
        self._touch(place)
        return True

    def _touch(self, place: Place) -> None:
        self._changed.add(place)
        self._stale.add(place)

    def _settle_latest(self) -> None:
        """The latest cell is no longer the latest: queues its entries, which no longer change."""
        for group, entry in self._latest.items():
            assert self._latest_cell is not None, "its entries are of a cell"
            place = False, self._latest_cell, group
            if place in self._changed:
                self._forget(place)
                self._lines.settle(EntryRow(self._name, *place, entry))
            else:
                # Its line on disk is up to date, and so are the lines of earlier cells.
                self._lines.settle_put(place)
        self._latest = {}

    # Rows.

    def _emit(self, end: int) -> list[WindowRun]:
        """Returns the rows before `end` that were not returned yet."""
        runs: list[WindowRun] = []
        assert self._next_row is not None, "the first event sets it"
        while self._next_row < end:
            row, oldest = self._next_row, self._oldest_cell()
            until = end if oldest is None else min(end, self._grid.last_row(oldest) + 1)
            tails = self._tails()
            if tails:
                runs.append(WindowRun(row, until - row, tails))
                if self._rows is not None:
                    self._rows += runs[-1].row_count
            self._next_row = until
            self._evict(self._grid.first_cell(until))
        return runs

    def _tails(self) -> tuple[bytes, ...]:
        """The text of the open window's rows, as of now."""
        if not self._running and self._shows_empty:
            nothing = Running(self._measurer.plans)
            return (self._tail(ALL, nothing, is_empty=True),)
        if self._groups is None:
            self._groups = sorted(self._running)
        tails: list[bytes] = []
        for group in self._groups:
            # Most groups have the same values in two consecutive rows: these then share the text.
            running = self._running[group]
            if running.tail is None:
                running.tail = self._tail(group, running)
            tails.append(running.tail)
        return tuple(tails)

    def _tail(self, group: GroupKey, running: Running, *, is_empty: bool = False) -> bytes:
        values = [running.value(measure, place) for measure, place in self._measures]
        if is_empty:
            values = [
                value if measure.function == "count" else None for (measure, _), value in zip(self._measures, values, strict=True)
            ]
        return self._form.tail(group, values)

    def _evict(self, first_cell: int) -> None:
        """Removes the entries before `first_cell`."""
        while (head := self._lines.oldest) is not None and head.cell < first_cell:
            self._lines.drop_oldest()
            self._take_out((head.is_behind, head.cell, head.group), head.entry, first_cell)
        while self._behind_order and self._behind_order[0][1] < first_cell:
            place = heappop(self._behind_order)
            self._forget(place)
            self._take_out(place, self._behind.pop(place), first_cell)
        if self._latest and self._latest_cell is not None and self._latest_cell < first_cell:
            for group, entry in self._latest.items():
                place = False, self._latest_cell, group
                self._forget(place)
                self._take_out(place, entry, first_cell)
            self._latest = {}

    def _oldest_cell(self) -> int | None:
        """The oldest cell with an entry."""
        head = self._lines.oldest
        # The queue holds no cell later than the latest cell.
        oldest = head.cell if head is not None else self._latest_cell if self._latest else None
        if self._behind_order and (oldest is None or self._behind_order[0][1] < oldest):
            return self._behind_order[0][1]
        return oldest

    def _take_out(self, place: Place, entry: Entry, first_cell: int) -> None:
        if self._closed is not None:
            self._closed.append(encode_line(self._name, place, entry))
        group = place[2]
        running = self._running[group]
        running.remove(entry, first_cell)
        running.tail = None
        if not running.count:
            del self._running[group]
            self._groups = None

    # What is kept on disk.

    def summary(self) -> WindowSummary:
        """The state for the checkpoint."""
        self._refresh()
        lines = self._lines
        return WindowSummary(
            counts=self._counts,
            highest_ns=self._highest_ns,
            next_row=self._next_row,
            latest_cell=self._latest_cell,
            held=len(lines),
            held_hash=lines.digest,
            rows=self._rows,
            left_out=self._left_out.document(),
        )

    def take_changes(self) -> list[bytes]:
        """The lines of the entries that were added or changed since the last call.

        Such an entry may have left the windows since; `restore` ignores it.
        """
        self._refresh()
        lines = [*self._settled, *self._lines.unsettled(sorted(self._changed))]
        self._settled = []
        self._changed.clear()
        return lines

    def take_closed(self) -> list[bytes]:
        """The lines of the entries that left the windows since the last call, if they are kept."""
        closed, self._closed = self._closed or [], None if self._closed is None else []
        return closed

    def lines(self) -> list[bytes]:
        """The lines of all entries."""
        self._refresh()
        return self._lines.all()

    def size_bytes(self) -> int:
        """The size of these lines."""
        self._refresh()
        return self._lines.size_bytes

    def restore(self, lines: Iterable[bytes]) -> None:
        """Restores the entries held when the summary was made. Of several lines of one entry the last counts.

        Raises `msgspec.DecodeError` for a line that we did not write.
        """
        first_cell = _BEFORE_ALL if self._next_row is None else self._grid.first_cell(self._next_row)
        cell, of_cell, behind = first_cell, dict[GroupKey, _Restored](), dict[Place, _Restored]()
        for line in lines:
            row = decode_line(line)
            if row.cell < first_cell:
                continue
            if row.is_behind:
                behind[row.is_behind, row.cell, row.group] = line, row.entry
                continue
            if row.cell != cell:
                # Lines were appended in the order in which their cells became the latest, so one cell at a time is in memory.
                self._restore_cell(cell, of_cell)
                cell, of_cell = row.cell, {}
            of_cell[row.group] = line, row.entry
        self._restore_cell(cell, of_cell)
        for place, (line, entry) in sorted(behind.items()):
            self._running_of(place[2]).add(place[1], entry)
            self._behind[place] = entry
            heappush(self._behind_order, place)
            self._lines.put(place, line)

    def _restore_cell(self, cell: int, entries: Mapping[GroupKey, _Restored]) -> None:
        for group, (line, entry) in entries.items():
            self._running_of(group).add(cell, entry)
            if cell == self._latest_cell:
                self._latest[group] = entry
                self._lines.put((False, cell, group), line)
            else:
                self._lines.settle_line(line)

    def _running_of(self, group: GroupKey) -> Running:
        if group not in self._running:
            self._running[group] = Running(self._measurer.plans)
            self._groups = None
        return self._running[group]

    def _refresh(self) -> None:
        """Writes the lines that are missing or out of date."""
        self._settled += self._lines.write()
        for place in self._stale:
            self._lines.put(place, self._line(place))
        self._stale.clear()

    def _forget(self, place: Place) -> None:
        """Removes an entry from the entries that may change."""
        self._changed.discard(place)
        self._stale.discard(place)
        self._lines.drop(place)

    def _line(self, place: Place) -> bytes:
        """The line of an entry as of now."""
        is_behind, _, group = place
        entry = self._behind[place] if is_behind else self._latest[group]
        return encode_line(self._name, place, entry)
