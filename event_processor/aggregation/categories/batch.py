"""Computes what a batch adds to the totals of its categories, in columns.

Owns: the way from events to one row per category.
Always: numpy and the kernels give rows with the same meaning: the terms may differ, but their exact sum is the same. A kernel
needs one pass where numpy needs a dozen.
Never: makes a row for a category without events in the batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from event_processor.aggregation.categories.first_and_last import (
    Extremes,
    Groups,
    comparable,
    extremes_of,
    find_extremes,
    one_group,
)
from event_processor.aggregation.exact_sum import sum_by_group
from event_processor.columns.numbered_texts import picked_texts
from event_processor.kernels.totals import total_groups
from event_processor.model.columns import BoolArray, CategoryColumn, FloatArray, IdColumn, IntArray, TimestampColumn

__all__ = ["AcceptedEvents", "BatchTotals", "batch_totals", "batch_totals_by_kernel", "batch_totals_by_numpy"]

ONE_TOTAL: Final = ""
"""The name of the only category if the configuration names no category field."""
BYTE_CODES, SHORT_CODES = 2**8, 2**16
"""numpy uses a stable radix sort for integers of up to 16 bits, ten times faster than for wider ones."""
LONG_RUN: Final = 64


@dataclass(frozen=True, slots=True)
class AcceptedEvents:
    """n accepted events in columns, in log order. A column is None if the configuration names no such field.

    `categories` may contain names without events. `values` hold 0.0 for events without a value (`has_value` False), and never
    -0.0. `has_value` is None if every event has a value. `timestamps` are as written in the records.
    """

    ids: IdColumn
    categories: CategoryColumn | None
    values: FloatArray | None
    has_value: BoolArray | None
    timestamps: TimestampColumn | None


@dataclass(frozen=True, slots=True)
class BatchTotals:
    """The totals of the g categories that have events; each column (g,).

    sizes: the number of events. values: the number of events with a value. least, greatest: inf and -inf if no event has one.
    terms: their sum is the exact sum of the values; they are not canonical. If the events have no values at all
    (`AcceptedEvents.values` is None), `least`, `greatest` and `terms` have no meaning.
    """

    names: Sequence[str]
    sizes: IntArray
    values: IntArray
    least: FloatArray
    greatest: FloatArray
    terms: Sequence[FloatArray]
    extremes: Extremes


def batch_totals(events: AcceptedEvents) -> BatchTotals:
    """Computes the totals of the events (at least one)."""
    found = batch_totals_by_kernel(events)
    return batch_totals_by_numpy(events) if found is None else found


def batch_totals_by_kernel(events: AcceptedEvents) -> BatchTotals | None:
    """As `batch_totals`, in one or two passes. None without the library, or if it cannot sum exactly."""
    categories, count = events.categories, len(events.ids)
    names, codes = ([ONE_TOTAL], None) if categories is None else (categories.names, categories.codes)
    found = total_groups(codes, events.values, events.has_value, count, len(names))
    if found is None:
        return None
    ids = comparable(events.ids)
    extremes: Extremes | None = Extremes(found.first, found.last, count - 1, rising=True)
    if not ids.is_ascending():
        extremes = extremes_of(ids, codes, len(names))
    if extremes is None:
        return None
    value_counts = _value_counts(events, codes, found.sizes)
    totals = BatchTotals(names, found.sizes, value_counts, found.least, found.greatest, list(found.terms), extremes)
    return totals if found.sizes.all() else _with_events(totals)


def batch_totals_by_numpy(events: AcceptedEvents) -> BatchTotals:
    """As `batch_totals`, with numpy."""
    names, groups = _group(events.categories, len(events.ids))
    nothing = np.zeros(0)
    least, greatest, terms = nothing, nothing, [nothing]
    if events.values is not None:
        lower = upper = events.values
        if events.has_value is not None:
            lower, upper = np.where(events.has_value, lower, np.inf), np.where(events.has_value, upper, -np.inf)
        least = _best_by_group(lower, groups, np.minimum, np.inf)
        greatest = _best_by_group(upper, groups, np.maximum, -np.inf)
        terms = sum_by_group(events.values, groups.numbers, groups.sizes)
    value_counts = _value_counts(events, groups.numbers, groups.sizes)
    return BatchTotals(names, groups.sizes, value_counts, least, greatest, terms, find_extremes(events.ids, groups))


def _value_counts(events: AcceptedEvents, codes: IntArray | None, sizes: IntArray) -> IntArray:
    """The number of events with a value, by group. `codes`: the group of each event; None if there is one group."""
    if events.values is None:
        return np.zeros(len(sizes), np.int64)
    if events.has_value is None:
        return sizes
    if codes is None:
        return np.array([np.count_nonzero(events.has_value)], np.int64)
    return np.bincount(codes[events.has_value], minlength=len(sizes))


def _with_events(totals: BatchTotals) -> BatchTotals:
    """Removes the categories without events."""
    kept = np.flatnonzero(totals.sizes)
    extremes = totals.extremes
    return BatchTotals(
        picked_texts(totals.names, kept),
        totals.sizes[kept],
        totals.values[kept],
        totals.least[kept],
        totals.greatest[kept],
        [term[kept] for term in totals.terms],
        Extremes(extremes.first[kept], extremes.last[kept], extremes.greatest, extremes.rising),
    )


def _group(categories: CategoryColumn | None, count: int) -> tuple[Sequence[str], Groups]:
    """The categories that have events, and the events of each."""
    if categories is None:
        return [ONE_TOTAL], one_group(np.arange(count))
    names, codes = categories.names, categories.codes
    sizes = np.bincount(codes, minlength=len(names))
    narrow = np.uint8 if len(names) <= BYTE_CODES else np.uint16 if len(names) <= SHORT_CODES else np.int64
    order = np.argsort(codes.astype(narrow), kind="stable")
    used = np.flatnonzero(sizes)
    if len(used) < len(names):
        codes = (np.cumsum(sizes > 0) - 1)[codes]
        names, sizes = [names[code] for code in used.tolist()], sizes[used]
    return names, Groups(codes, order, np.cumsum(sizes) - sizes, sizes)


def _best_by_group(values: FloatArray, groups: Groups, best_of: np.ufunc, worst: float) -> FloatArray:
    """The least or greatest value of each group. `reduceat` is faster for long runs, but slow to start each run."""
    if len(values) >= LONG_RUN * len(groups.sizes):
        return np.asarray(best_of.reduceat(values[groups.order], groups.starts), np.float64)
    best = np.full(len(groups.sizes), worst)
    best_of.at(best, groups.numbers, values)
    return best
