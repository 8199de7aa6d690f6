"""One aggregate without a window: everything that was ever accepted, by group.

Owns: the entry of each group. `documents.py` has its form in the checkpoint.
Always: depends only on the sequence of accepted events, not on their batches. An admitted group stays.
Never: writes to disk. Like the index of ids, this object keeps state, and that state is an input of the step.
"""

from __future__ import annotations

from bisect import insort
from typing import Any, Final

import numpy as np

from event_processor.aggregation.documents import Entry, GroupCounts, GroupTotal, GroupTotalsDocument
from event_processor.aggregation.exact_sum import exact_mean
from event_processor.aggregation.left_out import LeftOutTracker
from event_processor.aggregation.measures import EventMeasurer, GroupKey, Measured, group_key, group_values
from event_processor.aggregation.windows.entries import merge_entries, segments_of, shown_sum, summarise
from event_processor.columns.event_slices import EventSlice
from event_processor.configuration.aggregates import AggregateOptions
from event_processor.model.columns import IntArray

__all__ = ["GroupCounts", "GroupTotal", "GroupTotals", "GroupTotalsDocument"]


class GroupTotals:
    """The groups of one aggregate. Used by one thread."""

    def __init__(self, options: AggregateOptions, measurer: EventMeasurer, document: GroupTotalsDocument) -> None:
        self._options: Final = options
        self._measurer: Final = measurer
        self._measures: Final = options.columns()
        self._places: Final = {plan.name: place for place, plan in enumerate(measurer.plans)}
        self._wants_keys: Final = any(plan.ends for plan in measurer.plans)
        self._counts = document.counts
        self._left_out: Final = LeftOutTracker(document.left_out)
        self._totals: Final[dict[GroupKey, GroupTotal]] = {}
        # Measured again: an earlier version may have rounded otherwise.
        self._changed: Final = {
            group_key([each.group[name] for name in options.group_by]): each.entry for each in document.groups
        }
        self._sorted: Final = sorted(self._changed)

    def add(self, events: EventSlice, sequences: IntArray | None = None) -> None:
        """Adds accepted events (n), in the order of the log.

        `sequences` (n,), rising, decide which value is first and last; None: the number of the event. Shards have the number of the
        record in the whole log, so that their groups can be merged.
        """
        measured = self._measurer.measure(events, self._left_out.fields_absent)
        self._left_out.note(measured)
        before, over_limit = self._counts, 0
        if measured.count:
            keys = self._keys(measured, sequences) if self._wants_keys else None
            segments, firsts = segments_of([measured.codes], keys)
            entries = summarise(self._measurer.plans, measured.values, keys, segments)
            codes = measured.codes[firsts].tolist()
            for place in np.argsort(firsts, kind="stable").tolist():
                beyond = self._add(measured.names[codes[place]], entries[place])
                if beyond and self._left_out.wants_over_limit:
                    self._left_out.over_limit(measured.place(int(firsts[place])))
                over_limit += beyond
        self._counts = GroupCounts(before.events + measured.count, before.unfit + measured.unfit, before.over_limit + over_limit)

    def _keys(self, measured: Measured, sequences: IntArray | None) -> IntArray:
        """The keys by which the measured events are first and last."""
        if sequences is None:
            return self._counts.events + np.arange(measured.count)
        return sequences if measured.kept is None else sequences[measured.kept]

    def _add(self, key: GroupKey, entry: Entry) -> int:
        """Adds an entry. Returns how many of its events are not counted because their group is beyond the limit."""
        present = self._changed.get(key)
        if present is None and key in self._totals:
            present = self._totals[key].entry
        if present is None and len(self._sorted) >= self._options.groups_max:
            return entry.count
        if present is None:
            insort(self._sorted, key)
        self._changed[key] = entry if present is None else merge_entries(present, entry)
        return 0

    def document(self) -> GroupTotalsDocument:
        """The form for the checkpoint. It does not change afterwards."""
        for key, entry in self._changed.items():
            group = dict(zip(self._options.group_by, group_values(key), strict=True))
            measures = {measure.name: self._value(measure.function, measure.field, entry) for measure in self._measures}
            self._totals[key] = GroupTotal(group, measures, entry)
        self._changed.clear()
        groups = tuple(self._totals[key] for key in self._sorted)
        return GroupTotalsDocument(self._counts, groups, len(groups), self._left_out.document())

    def _value(self, function: str, field: str, entry: Entry) -> Any:
        """The value of a measure; None if there is none."""
        if not field:
            return entry.count
        total = entry.fields[self._places[field]]
        if function == "sum":
            return shown_sum(total.parts, total.present, total.numbers)
        if function == "mean":
            return exact_mean(total.parts, total.numbers) if total.numbers else None
        values = {"count": total.present, "min": total.least, "max": total.greatest}
        if function in values:
            return values[function]
        end = total.first if function == "first" else total.last
        return None if end is None else end[1]
