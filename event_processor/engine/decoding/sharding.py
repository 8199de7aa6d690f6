"""A format of one shard: decodes everything, and keeps what belongs to the shard.

Owns: the columns without the records of other shards.
Always: valid events belong by the hash of their id. Rejected and blank records belong by the hash of their place, because they have no
id that can be trusted. So each record of a log is kept in exactly one shard.
Never: changes a record or its outcome. The records of other shards keep their lines and offsets; only their number is left.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Final

import numpy as np

from event_processor.deduplication.shards import Shard
from event_processor.model.columns import BoolArray, Columns, EventLines, IntArray
from event_processor.model.contracts import Format
from event_processor.model.event import Chunk
from event_processor.model.rejections import Rejections

__all__ = ["ShardFormat", "columns_of_shard"]


class ShardFormat:
    """A `contracts.Format` that decodes as `make()` does, and keeps what belongs to `shard`."""

    def __init__(self, make: Callable[[], Format], shard: Shard) -> None:
        self._format: Final = make()
        self._shard: Final = shard

    @property
    def lets_others_run(self) -> bool:
        return self._format.lets_others_run

    def decode(self, chunk: Chunk) -> Columns:
        return columns_of_shard(self._format.decode(chunk), chunk, self._shard)


def columns_of_shard(columns: Columns, chunk: Chunk, shard: Shard) -> Columns:
    """The records of a chunk that belong to the shard; `foreign_count` counts the others."""
    rejections = Rejections.of(columns.rejections)
    rejected = np.flatnonzero(_owned(columns, chunk, shard, rejections.rows))
    events = np.flatnonzero(shard.owns(columns.ids))
    blank_count = int(np.count_nonzero(_owned(columns, chunk, shard, _blank_rows(columns, rejections))))
    kept = _events_at(columns, events) if len(events) < len(columns.ids) else columns
    return replace(
        kept,
        blank_count=blank_count,
        rejections=Rejections(rejections.rows[rejected], rejections.numbers[rejected], rejections.faults),
        foreign_count=columns.record_count - len(events) - len(rejected) - blank_count,
    )


def _owned(columns: Columns, chunk: Chunk, shard: Shard, rows: IntArray) -> BoolArray:
    """Marks the records at `rows`, which have no id, that belong to the shard."""
    return shard.owns_places(chunk.source, chunk.generation, chunk.offsets(columns.starts, rows))


def _blank_rows(columns: Columns, rejections: Rejections) -> IntArray:
    """The rows of the blank records: all that are neither valid nor rejected."""
    if not columns.blank_count:
        return np.zeros(0, np.int64)
    is_blank = np.ones(columns.record_count, np.bool_)
    is_blank[columns.rows] = False
    is_blank[rejections.rows] = False
    return np.flatnonzero(is_blank)


def _events_at(columns: Columns, places: IntArray) -> Columns:
    """The columns with the valid events at these places only."""
    categories, timestamps, events = columns.categories, columns.timestamps, columns.events
    return replace(
        columns,
        rows=columns.rows[places],
        ids=columns.ids.picked(places),
        categories=None if categories is None else categories.picked(places),
        values=None if columns.values is None else columns.values[places],
        has_value=None if columns.has_value is None else columns.has_value[places],
        timestamps=None if timestamps is None else timestamps.picked(places),
        timestamps_ns=None if columns.timestamps_ns is None else columns.timestamps_ns[places],
        prepared_ids=None,
        events=None if events is None else EventLines(events.content, events.starts[places], events.ends[places]),
    )
