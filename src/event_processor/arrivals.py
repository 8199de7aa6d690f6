"""Accepted events on their way into the order stage: by column, until one has to be held.

Owns: what the order stage asks of a batch: its sort keys, whether they rise, its lines.
Always: an event becomes a Python object only where it is asked for alone. Of a log in order that is what is still held behind it.
Never: nothing is ordered here.
"""

from __future__ import annotations

from itertools import repeat
from typing import Final, TypeAlias

import numpy as np

from event_processor.contracts import BoolArray, Columns, IdColumn, IntArray
from event_processor.id_order import SortableId, id_key

__all__ = ["Arrivals", "HeldEvent", "SortKey", "lines_of"]

SortKey: TypeAlias = tuple[int, SortableId, int]
"""(kind, value, sequence): kind and value as `id_key` gives them; a timestamp is of kind 0. The sequence settles ties."""
HeldEvent: TypeAlias = tuple[int, SortableId, int, bytes]
"""A sort key and the event's record. The sequence is unique, so that records are never compared."""

_TIMESTAMP_KIND: Final = 0


class Arrivals:
    """The accepted events of a chunk, n of them, in log order."""

    def __init__(self, columns: Columns, accepted: BoolArray, ids: IdColumn, first_sequence: int, *, by_timestamp: bool) -> None:
        """`accepted` marks them among the chunk's valid events; `ids` (n) are theirs. `first_sequence` is that of the chunk's first record.

        `by_timestamp`: they are ordered by `columns.timestamps_ns`, not by id.
        """
        rows: IntArray = columns.rows[accepted]
        events = columns.events
        self._content: Final = columns.content if events is None else events.content
        self._starts: Final = columns.starts[rows] if events is None else events.starts[accepted]
        self._ends: Final = columns.ends[rows] if events is None else events.ends[accepted]
        self._sequences: Final = rows + first_sequence
        self._ids: Final = ids
        self._timestamps_ns: IntArray | None = None
        if by_timestamp:
            assert columns.timestamps_ns is not None, "an order by timestamp makes the format read them"
            self._timestamps_ns = columns.timestamps_ns[accepted]

    def __len__(self) -> int:
        return len(self._starts)

    def is_rising(self) -> bool:
        """Whether the sort keys are known to rise; False says nothing."""
        if self._timestamps_ns is None:
            return self._ids.is_ascending()
        return bool((self._timestamps_ns[1:] >= self._timestamps_ns[:-1]).all())

    def events(self, begin: int, end: int) -> list[HeldEvent]:
        """The events from `begin` up to `end`, each with its sort key."""
        spans = zip(self._starts[begin:end].tolist(), self._ends[begin:end].tolist(), strict=True)
        records = [self._content[start:stop] for start, stop in spans]
        sequences: list[int] = self._sequences[begin:end].tolist()
        if self._timestamps_ns is not None:
            return list(zip(repeat(_TIMESTAMP_KIND), self._timestamps_ns[begin:end].tolist(), sequences, records, strict=False))
        ids = self._ids.picked(np.arange(begin, end)).to_list()
        kinds = set(map(type, ids))
        if len(kinds) == 1 and kinds <= {int, str}:
            # Ids of one simple kind, which is the rule, need no call an event.
            kind, _ = id_key(ids[0])
            return list(zip(repeat(kind), ids, sequences, records, strict=False))  # type: ignore[arg-type]  # one kind
        keys = map(id_key, ids)
        return [(kind, value, sequence, record) for (kind, value), sequence, record in zip(keys, sequences, records, strict=True)]

    def lines(self, begin: int, end: int) -> bytes:
        """The records from `begin` up to `end`, each with a line feed behind it. What stands together is copied together."""
        starts, ends = self._starts[begin:end], self._ends[begin:end]
        if not len(starts):
            return b""
        # One byte between two records is the line feed; more is a carriage return, or a record that is not ours.
        breaks = (starts[1:] != ends[:-1] + 1).nonzero()[0]
        firsts, lasts = starts[np.append(0, breaks + 1)].tolist(), ends[np.append(breaks, -1)].tolist()
        return lines_of([self._content[first:last] for first, last in zip(firsts, lasts, strict=True)])


def lines_of(records: list[bytes]) -> bytes:
    """Records, each with a line feed behind it."""
    return b"\n".join([*records, b""])
