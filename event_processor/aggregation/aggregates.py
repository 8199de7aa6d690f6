"""All aggregates of a pipeline. Aggregates without a window get accepted events; those with a window get released events.

Owns: which aggregate gets which events, what a commit writes of them, and when the file is worth rewriting.
Always: the content after a step is a function of the events alone. The result of `take` never changes. Only the loop's thread
uses this, except for `released`, which a commit may call.
Never: writes to disk.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

import numpy as np

from event_processor.aggregation.documents import AggregateDocument, GroupTotalsDocument, LeftOut, WindowSummary
from event_processor.aggregation.groups import GroupTotals
from event_processor.aggregation.measures import EventMeasurer
from event_processor.aggregation.windows.entry_lines import line_beginning
from event_processor.aggregation.windows.rows import RowForm, RowPieces, RowPlaces, WindowRun
from event_processor.aggregation.windows.windows import SlidingWindows
from event_processor.columns.event_slices import EventSlice
from event_processor.columns.timestamp_lines import TimestampLines
from event_processor.columns.timestamps import TimestampReader
from event_processor.configuration.aggregates import AggregateOptions
from event_processor.configuration.configuration import EventOptions, OrderOptions
from event_processor.model.columns import IntArray
from event_processor.model.contracts import Released
from event_processor.storage.replaced_file import is_worth_replacing

__all__ = ["AggregateDocument", "Aggregates", "AggregatesCommit", "WindowRows"]

WindowRows: TypeAlias = Mapping[str, Sequence[WindowRun]]
"""The rows of the closed windows, by aggregate."""


@dataclass(frozen=True, slots=True)
class AggregatesCommit:
    """What a commit writes. `documents`: for the checkpoint, by aggregate.

    `lines` are appended to the file on disk. If `anew`, they replace its whole content. If `holds` is False, no file is needed.
    `closed`: the lines of entries that left the windows, if these are kept.
    """

    documents: Mapping[str, AggregateDocument]
    lines: Sequence[bytes]
    anew: bool
    holds: bool
    closed: Sequence[bytes] = ()


class Aggregates:
    """The aggregates by name. There may be none."""

    def __init__(
        self,
        options: Mapping[str, AggregateOptions],
        event: EventOptions,
        order: OrderOptions,
        documents: Mapping[str, AggregateDocument],
        held: Callable[[], Iterable[bytes]] = tuple,
        *,
        keeps_closed: bool = False,
    ) -> None:
        """Restores the aggregates from a checkpoint's `documents`; an aggregate without one is empty.

        `held` yields the lines of the checkpoint's file, in the order in which they were added. `keeps_closed`: of a shard, whose
        entries are added to those of other shards after the windows closed. Raises `ConfigurationError` if
        fields cannot be read, `msgspec.DecodeError` if a line is not in our form.
        """
        self._totals: Final[dict[str, GroupTotals]] = {}
        self._windows: Final[dict[str, SlidingWindows]] = {}
        self._forms: Final[dict[str, RowForm]] = {}
        self._summaries: Final[dict[str, WindowSummary]] = {}
        """The windows as they were restored."""
        for name, each in options.items():
            measurer, said = EventMeasurer(each, event), documents.get(name)
            nothing = LeftOut(fields_absent=tuple(measurer.expected_names))
            if each.window is None:
                groups = said if isinstance(said, GroupTotalsDocument) else GroupTotalsDocument(left_out=nothing)
                self._totals[name] = GroupTotals(each, measurer, groups)
                continue
            self._forms[name] = RowForm(each, event.timestamp_zone)
            self._summaries[name] = said if isinstance(said, WindowSummary) else WindowSummary(left_out=nothing)
            summary = self._summaries[name]
            self._windows[name] = SlidingWindows(name, each, measurer, self._forms[name], summary, keeps_closed=keeps_closed)
        self._file_bytes = self._restore(held)
        self._held_by_timestamp: Final = order.by == "timestamp"
        reader = TimestampReader(event.timestamp_zone, event.timestamp_formats)
        self._timestamps: Final = TimestampLines(event.timestamp, reader) if self._windows else None

    def _restore(self, held: Callable[[], Iterable[bytes]]) -> int:
        """Gives each aggregate its lines.

        Returns their size in bytes. Reads the file once per aggregate, so it is never in memory as a whole.
        """
        for name, windows in self._windows.items():
            beginning = line_beginning(name)
            windows.restore(line for line in held() if line.startswith(beginning))
        return sum(len(line) + 1 for line in held())

    def torn(self) -> str:
        """The name of an aggregate whose content differs from its document, or "". Call it before anything is added."""
        summaries = {name: windows.summary() for name, windows in self._windows.items()}
        return next((name for name, summary in summaries.items() if summary != self._summaries[name]), "")

    def accept(self, events: EventSlice, sequences: IntArray | None = None) -> None:
        """Adds accepted events (n), in log order. `sequences` (n,): see `GroupTotals.add`."""
        for totals in self._totals.values():
            totals.add(events, sequences)

    @property
    def accepts(self) -> bool:
        """Whether `accept` does anything."""
        return bool(self._totals)

    def release(self, slices: Iterable[EventSlice]) -> WindowRows:
        """Adds released events, in the order of release. Returns the rows of windows that this closes."""
        rows: dict[str, list[WindowRun]] = {name: [] for name in self._windows}
        if rows:
            for events in slices:
                timestamps_ns = self._timestamps_of(events)
                for name, windows in self._windows.items():
                    rows[name] += windows.add(events, timestamps_ns)
        return {name: runs for name, runs in rows.items() if runs}

    def finish(self) -> WindowRows:
        """Closes all windows at the end of finished input. Returns their rows."""
        rows = {name: windows.finish() for name, windows in self._windows.items()}
        return {name: runs for name, runs in rows.items() if runs}

    @property
    def is_finished(self) -> bool:
        """Whether `finish` would change nothing."""
        return all(windows.is_finished for windows in self._windows.values())

    def released(self, name: str, runs: Sequence[WindowRun]) -> Released:
        """Rows in the form for a sink. They become bytes only when the sink reads them."""
        form = self._forms[name]
        return Released(RowPieces(form, runs), sum(run.row_count for run in runs), RowPlaces(name, form, runs))

    def documents(self) -> dict[str, AggregateDocument]:
        """The checkpoint's entry for each aggregate."""
        totals: dict[str, AggregateDocument] = {name: each.document() for name, each in self._totals.items()}
        return {**totals, **{name: windows.summary() for name, windows in self._windows.items()}}

    def take(self) -> AggregatesCommit:
        """What changed since the last call. The caller must write it."""
        documents = self.documents()
        lines = [line for windows in self._windows.values() for line in windows.take_changes()]
        new_bytes = sum(len(line) + 1 for line in lines)
        live_bytes = sum(windows.size_bytes() for windows in self._windows.values())
        anew = is_worth_replacing(self._file_bytes + new_bytes, live_bytes)
        if anew:
            lines = [line for windows in self._windows.values() for line in windows.lines()]
        self._file_bytes = sum(len(line) + 1 for line in lines) + (0 if anew else self._file_bytes)
        holds = any(isinstance(each, WindowSummary) and each.held for each in documents.values())
        if not holds:
            self._file_bytes = 0
        closed = [line for windows in self._windows.values() for line in windows.take_closed()]
        return AggregatesCommit(documents, lines, anew=anew, holds=holds, closed=closed)

    def _timestamps_of(self, events: EventSlice) -> IntArray:
        """The time of each event, in ns since 1970-01-01 UTC.

        With windows, a record without a timestamp is rejected, so each event has one.
        """
        if events.columns is not None and events.columns.timestamps_ns is not None:
            return events.columns.timestamps_ns
        if self._held_by_timestamp and events.sort_values is not None:
            return np.array(events.sort_values, np.int64)
        assert self._timestamps is not None, "there are windows"
        return self._timestamps.read(events.lines)
