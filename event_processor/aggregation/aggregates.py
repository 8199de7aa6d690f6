"""All aggregates of a pipeline: accepted events go to those without a window, released ones to those with one.

Owns: which aggregate sees which events, what a commit has to write of all of them, and when that is worth writing anew.
Always: what they hold after a step is a function of the events alone. What `take` gives does not change any more.
Never: nothing is written here. Used by the loop's thread, but for `released`, which a commit may call.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

import numpy as np

from event_processor.aggregation.groups import GroupTotals, GroupTotalsDocument
from event_processor.aggregation.measures import EventMeasurer, LineFields
from event_processor.aggregation.windows.entry_lines import line_beginning
from event_processor.aggregation.windows.rows import RowForm, RowPieces, WindowRun
from event_processor.aggregation.windows.windows import SlidingWindows, WindowSummary
from event_processor.columns.event_slices import EventSlice
from event_processor.columns.timestamps import TimestampReader
from event_processor.configuration.aggregates import AggregateOptions
from event_processor.configuration.configuration import EventOptions, OrderOptions
from event_processor.model.columns import IntArray
from event_processor.model.contracts import Released
from event_processor.storage.replaced_file import is_worth_replacing

__all__ = ["AggregateDocument", "Aggregates", "AggregatesCommit", "WindowRows"]

AggregateDocument: TypeAlias = WindowSummary | GroupTotalsDocument
"""An aggregate in the checkpoint: what its windows hold, by content, or its groups."""
WindowRows: TypeAlias = Mapping[str, Sequence[WindowRun]]
"""The rows of the windows that closed, by aggregate."""


@dataclass(frozen=True, slots=True)
class AggregatesCommit:
    """What a commit writes. `documents` are for the checkpoint, by aggregate.

    `lines` are to be appended to what is held on disk, or, `anew`, all there is to be held; without `holds` nothing is.
    """

    documents: Mapping[str, AggregateDocument]
    lines: Sequence[bytes]
    anew: bool
    holds: bool


class Aggregates:
    """The aggregates by name. None of them need be there."""

    def __init__(
        self,
        options: Mapping[str, AggregateOptions],
        event: EventOptions,
        order: OrderOptions,
        documents: Mapping[str, AggregateDocument],
        held: Callable[[], Iterable[bytes]] = tuple,
    ) -> None:
        """As `documents` say, which are a checkpoint's; one that is not there is empty. `held` gives the lines of its file, in the order in which they were added.

        Raises `ConfigurationError` where fields cannot be read, `msgspec.DecodeError` where a line is none of ours.
        """
        self._totals: Final[dict[str, GroupTotals]] = {}
        self._windows: Final[dict[str, SlidingWindows]] = {}
        self._forms: Final[dict[str, RowForm]] = {}
        for name, each in options.items():
            measurer, said = EventMeasurer(each, event), documents.get(name)
            if each.window is None:
                groups = said if isinstance(said, GroupTotalsDocument) else GroupTotalsDocument()
                self._totals[name] = GroupTotals(each, measurer, groups)
                continue
            self._forms[name] = RowForm(each, event.timestamp_zone)
            summary = said if isinstance(said, WindowSummary) else WindowSummary()
            self._windows[name] = SlidingWindows(name, each, measurer, self._forms[name], summary)
        self._file_bytes = self._restore(held)
        self._held_by_timestamp: Final = order.by == "timestamp"
        self._timestamps: Final = TimestampReader(event.timestamp_zone)
        self._timestamp_fields: Final = LineFields([event.timestamp]) if self._windows else None

    def _restore(self, held: Callable[[], Iterable[bytes]]) -> int:
        """Gives each aggregate its lines; how many bytes all of them are. They are read once for each, and never all at hand."""
        for name, windows in self._windows.items():
            beginning = line_beginning(name)
            windows.restore(line for line in held() if line.startswith(beginning))
        return sum(len(line) + 1 for line in held())

    def torn(self, documents: Mapping[str, AggregateDocument]) -> str:
        """The aggregate that does not hold what its document says, or ""."""
        summaries = {name: windows.summary() for name, windows in self._windows.items()}
        return next((name for name, summary in summaries.items() if summary != documents.get(name, WindowSummary())), "")

    def accept(self, events: EventSlice) -> None:
        """Takes accepted events, in the order of the log."""
        for totals in self._totals.values():
            totals.add(events)

    @property
    def accepts(self) -> bool:
        """Whether `accept` does anything."""
        return bool(self._totals)

    def release(self, slices: Iterable[EventSlice]) -> WindowRows:
        """Takes released events, in the order of their release."""
        rows: dict[str, list[WindowRun]] = {name: [] for name in self._windows}
        if rows:
            for events in slices:
                timestamps_ns = self._timestamps_of(events)
                for name, windows in self._windows.items():
                    rows[name] += windows.add(events, timestamps_ns)
        return {name: runs for name, runs in rows.items() if runs}

    def finish(self) -> WindowRows:
        """The rows that are left at the end of finished input."""
        rows = {name: windows.finish() for name, windows in self._windows.items()}
        return {name: runs for name, runs in rows.items() if runs}

    @property
    def is_finished(self) -> bool:
        """Whether `finish` would change nothing."""
        return all(windows.is_finished for windows in self._windows.values())

    def released(self, name: str, runs: Sequence[WindowRun]) -> Released:
        """Rows as a sink sees them; they are written out only as it reads them."""
        return Released(RowPieces(self._forms[name], runs), sum(run.row_count for run in runs))

    def documents(self) -> dict[str, AggregateDocument]:
        """What the checkpoint says of each."""
        totals: dict[str, AggregateDocument] = {name: each.document() for name, each in self._totals.items()}
        return {**totals, **{name: windows.summary() for name, windows in self._windows.items()}}

    def take(self) -> AggregatesCommit:
        """What changed since the last call. Whoever asks writes it."""
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
        return AggregatesCommit(documents, lines, anew=anew, holds=holds)

    def _timestamps_of(self, events: EventSlice) -> IntArray:
        """When each event was. Each has a timestamp: one without is none where there are windows."""
        if events.columns is not None and events.columns.timestamps_ns is not None:
            return events.columns.timestamps_ns
        if self._held_by_timestamp and events.sort_values is not None:
            return np.array(events.sort_values, np.int64)
        assert self._timestamp_fields is not None, "there are windows"
        (raw,) = self._timestamp_fields.read(events)
        return self._timestamps.read_all(raw)[0]
