"""The aggregates of several shards as those of one process.

Owns: which aggregates can be merged, the entries of windows that are read for it, and the rows that follow.
Always: an aggregate that cannot be merged is left out, and a note says why.
Never: reads beyond a committed length.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

import msgspec
import orjson

from event_processor.aggregation.aggregates import AggregateDocument
from event_processor.aggregation.documents import WindowSummary
from event_processor.aggregation.groups import GroupTotalsDocument
from event_processor.aggregation.measures import EventMeasurer
from event_processor.aggregation.merged_groups import merged_groups
from event_processor.aggregation.windows.entry_lines import line_beginning
from event_processor.aggregation.windows.merged import Cells, MergedWindows
from event_processor.aggregation.windows.rows import RowForm, RowPieces
from event_processor.configuration.aggregates import AggregateOptions
from event_processor.configuration.configuration import AGGREGATES, EventOptions
from event_processor.engine.checkpoint_document import StateDocument
from event_processor.model.errors import StateError
from event_processor.model.event import Json
from event_processor.model.file_system import FileSystem
from event_processor.model.options import Section
from event_processor.storage.replaced_file import CLOSED_FOLDER, WINDOWS_FOLDER, held_lines

__all__ = ["MergedAggregates", "merged_aggregates"]

_Options = TypeVar("_Options", bound=Section)
_HINT: Final = "rebuild the state from the log: event-processor replay"


@dataclass(slots=True)
class MergedAggregates:
    """The aggregates in the merged checkpoint, the rows of their windows by name, and notes on what is not there."""

    documents: dict[str, AggregateDocument] = field(default_factory=dict)
    rows: dict[str, Iterable[bytes]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def merged_aggregates(shards: Sequence[tuple[str, StateDocument]], parts: Mapping[str, Json], fs: FileSystem) -> MergedAggregates:
    """Merges the aggregates of shards: pairs of a directory and its state. `parts`: the configuration that made them.

    Raises `StateError` if the files of a shard do not have what its checkpoint counts, `StorageError`.
    """
    merged, event = MergedAggregates(), _options(EventOptions, _below("event", parts))
    for name, document in sorted(shards[0][1].aggregates.items()):
        said = _below(f"{AGGREGATES}.{name}", parts)
        options = _options(AggregateOptions, {**said, "measures": dict(said["measures"])})
        if isinstance(document, GroupTotalsDocument):
            groups = [each for _, state in shards if isinstance(each := state.aggregates[name], GroupTotalsDocument)]
            merged.documents[name] = merged_groups(options, EventMeasurer(options, event), groups)
            _note_limit(
                merged, name, options, merged.documents[name].rows or 0, over_limit=merged.documents[name].counts.over_limit
            )
            continue
        windows = _Windows(name, options, event, fs)
        if reason := windows.obstacle(shards, parts):
            merged.notes.append(f"aggregate {name} is left out: {reason}")
        else:
            windows.merge(shards, merged)
    return merged


def _note_limit(merged: MergedAggregates, name: str, options: AggregateOptions, groups: int, *, over_limit: int) -> None:
    if groups > options.groups_max or over_limit:
        limit = f"groups_max = {options.groups_max:,} holds for each shard"
        merged.notes.append(f"aggregate {name}: {limit}: one process would have left out other groups")


class _Windows:
    """One aggregate with windows."""

    def __init__(self, name: str, options: AggregateOptions, event: EventOptions, fs: FileSystem) -> None:
        self._name: Final = name
        self._options: Final = options
        self._fs: Final = fs
        self._form: Final = RowForm(options, event.timestamp_zone)
        self._merged: Final = MergedWindows(name, options, EventMeasurer(options, event), self._form)

    def obstacle(self, shards: Sequence[tuple[str, StateDocument]], parts: Mapping[str, Json]) -> str:
        """Why the windows cannot be merged; "" if they can."""
        if parts.get("order.by") != "timestamp":
            return 'order.by is not "timestamp", so what came late depends on the other shards'
        for directory, state in shards:
            summary = self._summary(state)
            if state.order.held or not self._merged.is_finished_as(summary):
                return f"the input is not finished in {directory} (run --once --drain, or process)"
            if summary.counts.late_window or state.counts.late:
                return f"events came late in {directory}, and one process would have left out others"
        return ""

    def merge(self, shards: Sequence[tuple[str, StateDocument]], merged: MergedAggregates) -> None:
        """Adds the windows to `merged`. Raises `StateError`, `StorageError`."""
        cells = Cells(self._options)
        for directory, state in shards:
            self._read(cells, directory, state)
        summaries = [self._summary(state) for _, state in shards]
        runs, summary = self._merged.merge(cells, summaries)
        merged.documents[self._name] = summary
        merged.rows[self._name] = RowPieces(self._form, runs)
        _note_limit(merged, self._name, self._options, 0, over_limit=summary.counts.over_limit)
        if cells.ties:
            merged.notes.append(
                f"aggregate {self._name}: {cells.ties:,} first or last values have the same time in two shards: one process may show the other"
            )

    def _read(self, cells: Cells, directory: str, state: StateDocument) -> None:
        summary, beginning = self._summary(state), line_beginning(self._name)

        def lines(folder: str) -> Iterable[bytes]:
            found = held_lines(self._fs, directory, folder, state.appended)
            return (line for line in found if line.startswith(beginning))

        try:
            events = cells.add_shard(summary, lines(CLOSED_FOLDER), lines(WINDOWS_FOLDER))
        except (msgspec.DecodeError, msgspec.ValidationError) as error:
            raise StateError(f"{directory}/{CLOSED_FOLDER}: cannot be read: {error}", hint=_HINT) from error
        expected = summary.counts.events - summary.counts.over_limit
        if events > expected or (events < expected and cells.is_gapless):
            raise StateError(
                f"{directory}/{CLOSED_FOLDER}: has {events:,} events of aggregate {self._name!r}, but the checkpoint counts {expected:,}",
                hint=_HINT,
            )

    def _summary(self, state: StateDocument) -> WindowSummary:
        summary = state.aggregates[self._name]
        assert isinstance(summary, WindowSummary), "the aggregate has a window"
        return summary


def _below(section: str, parts: Mapping[str, Json]) -> dict[str, Any]:
    """The keys of a section in the recorded configuration."""
    return {key.removeprefix(f"{section}."): value for key, value in parts.items() if key.startswith(f"{section}.")}


def _options(model: type[_Options], values: Mapping[str, Json]) -> _Options:
    """The options as they were recorded."""
    return model.model_validate_json(orjson.dumps(dict(values)))
