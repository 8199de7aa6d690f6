"""Accepted events between the chunk and the order stage: as columns, until the stage has to hold one.

Owns: what the order stage needs from a batch: its sort keys, whether they rise, its lines.
Always: an event becomes a Python object only if a caller asks for it alone. In an ordered log only the held events do.
Never: sorts anything.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import repeat
from typing import Final, TypeAlias, overload

import numpy as np

from event_processor.columns.ids import SortableId, id_key
from event_processor.model.columns import BoolArray, CategoryColumn, Columns, FloatArray, IdColumn, IntArray

__all__ = [
    "Arrivals",
    "EventSlice",
    "HeldEvent",
    "KnownColumns",
    "LateEvents",
    "Origin",
    "Place",
    "SortKey",
    "lines_between",
    "lines_of",
]

SortKey: TypeAlias = tuple[int, SortableId, int]
"""(kind, value, sequence): kind and value as in `id_key`; a timestamp has kind 0. The sequence breaks ties."""
Place: TypeAlias = tuple[str, int, int, int]
"""(source, generation, offset, line) of a record; line 0: a state of version 1 did not keep the place."""
UNKNOWN_PLACE: Final[Place] = ("", 0, 0, 0)
HeldEvent: TypeAlias = tuple[int, SortableId, int, bytes, Place]
"""A sort key, the event's record and its place. The sequence is unique, so records and places are never compared."""

_TIMESTAMP_KIND: Final = 0


@dataclass(frozen=True, slots=True)
class KnownColumns:
    """What the format has already read of n events, as in `model.columns.Columns`."""

    timestamps_ns: IntArray | None
    values: FloatArray | None
    has_value: BoolArray | None
    categories: CategoryColumn | None


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a chunk's records come from: the place of its first byte, `line` records of its generation and `records` of all sources before it.

    `places`: as in `Chunk`.
    """

    source: str
    generation: int
    offset: int
    line: int
    records: int
    places: IntArray | None = None


class EventSlice:
    """`count` consecutive events, at least one: their JSON objects, and what else is known of them.

    If some of the events were held, `columns` is None and `sort_values` has the values of their sort keys; else `sort_values`
    is None. `place_at` gives the place of an event by its index; `places` those of all events, in order.
    """

    __slots__ = ("_lines", "_make_lines", "_make_places", "columns", "count", "place_at", "sort_values")

    def __init__(
        self,
        count: int,
        make_lines: Callable[[], bytes],
        columns: KnownColumns | None,
        sort_values: Sequence[SortableId] | None = None,
        *,
        place_at: Callable[[int], Place] = lambda _index: UNKNOWN_PLACE,
        make_places: Callable[[], Iterable[Place]] | None = None,
    ) -> None:
        """`make_lines` and `make_places` may be called later and in any thread: what they read must not change.

        Without `make_places`, the places are asked for one by one.
        """
        self.place_at: Final = place_at
        self.count: Final = count
        self.columns: Final = columns
        self.sort_values: Final = sort_values
        self._make_lines: Final = make_lines
        self._make_places: Final = make_places
        self._lines: bytes | None = None

    @property
    def lines(self) -> bytes:
        """The objects, each with a line feed after it. Made on first use: never, if only columns are read."""
        if self._lines is None:
            self._lines = self._make_lines()
        return self._lines

    def places(self) -> Iterable[Place]:
        """The places of all events, in order. Made again at each call: never, if no lane reads the events."""
        if self._make_places is None:
            return [self.place_at(index) for index in range(self.count)]
        return self._make_places()

    @classmethod
    def of_held(cls, events: Sequence[HeldEvent]) -> EventSlice:
        """Wraps events that were held, or that came out of order."""
        values = [event[1] for event in events]
        return cls(
            len(events),
            lambda: lines_of([event[3] for event in events]),
            None,
            values,
            place_at=lambda index: events[index][4],
            make_places=lambda: [event[4] if event[4][3] else _place_by_number(event) for event in events],
        )


def _place_by_number(event: HeldEvent) -> Place:
    """The place of an event whose state did not keep it: the number of records before it, so that no two places are equal."""
    return "", 0, event[2], 0


class LateEvents(Sequence[HeldEvent]):
    """Events of one chunk, at least one, in log order. They become objects when a caller reads one; most never do.

    Several threads may read it.
    """

    __slots__ = ("_count", "_made", "_source", "last_key")

    def __init__(self, source: Arrivals, begin: int, end: int) -> None:
        """The events of `source` from `begin` up to `end`."""
        self._count: Final = end - begin
        self._source: tuple[Arrivals, int, int] | None = (source, begin, end)
        self._made: tuple[HeldEvent, ...] = ()
        self.last_key: Final[SortKey] = source.events(end - 1, end)[0][:3]

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, place: int, /) -> HeldEvent: ...
    @overload
    def __getitem__(self, place: slice, /) -> tuple[HeldEvent, ...]: ...
    def __getitem__(self, place: int | slice, /) -> HeldEvent | tuple[HeldEvent, ...]:
        return self.all()[place]

    def __iter__(self) -> Iterator[HeldEvent]:
        return iter(self.all())

    def all(self) -> tuple[HeldEvent, ...]:
        """Returns the events, and drops the reference to the chunk."""
        if (source := self._source) is not None:
            arrivals, begin, end = source
            self._made = tuple(arrivals.events(begin, end))
            # In this order: if a reader in another thread finds no source, it finds the events.
            self._source = None
        return self._made

    def slice(self) -> EventSlice:
        """The same events as a slice, for release."""
        if (source := self._source) is None:
            return EventSlice.of_held(self._made)
        arrivals, begin, end = source
        return arrivals.between(begin, end)


class Arrivals:
    """The accepted events of a chunk, n of them, in log order."""

    def __init__(self, columns: Columns, accepted: BoolArray, ids: IdColumn, origin: Origin, *, by_timestamp: bool) -> None:
        """`accepted` marks them among the chunk's valid events; `ids` (n,) are their ids; `origin` is the chunk's.

        With `by_timestamp` they are ordered by
        `columns.timestamps_ns`, else by id.
        """
        rows: IntArray = columns.rows[accepted]
        self._columns: Final = columns
        self._accepted: Final = accepted
        events = columns.events
        self._content: Final = columns.content if events is None else events.content
        self._starts: Final = columns.starts[rows] if events is None else events.starts[accepted]
        self._ends: Final = columns.ends[rows] if events is None else events.ends[accepted]
        # An array of its own: the columns of the chunk are valid only until the next one, and places may be read later.
        self._record_starts: Final = self._starts if events is None else columns.starts[rows]
        self._rows: Final = rows
        self._origin: Final = origin
        self._ids: Final = ids
        self._timestamps_ns: IntArray | None = None
        if by_timestamp:
            assert columns.timestamps_ns is not None, "an order by timestamp makes the format read them"
            self._timestamps_ns = columns.timestamps_ns[accepted]

    def __len__(self) -> int:
        return len(self._starts)

    def is_rising(self) -> bool:
        """Whether the sort keys are known to rise; False means unknown."""
        if self._timestamps_ns is None:
            return self._ids.is_ascending()
        return bool((self._timestamps_ns[1:] >= self._timestamps_ns[:-1]).all())

    def events(self, begin: int, end: int) -> list[HeldEvent]:
        """The events from `begin` up to `end`, each with its sort key."""
        return self.events_at(np.arange(begin, end))

    def events_at(self, places: IntArray) -> list[HeldEvent]:
        """The events at these places, each with its sort key."""
        spans = zip(self._starts[places].tolist(), self._ends[places].tolist(), strict=True)
        records = [self._content[start:stop] for start, stop in spans]
        rows: IntArray = self._rows[places]
        sequences: list[int] = (rows + self._origin.records).tolist()
        record_places = list(self._places(places))
        if self._timestamps_ns is not None:
            values: list[int] = self._timestamps_ns[places].tolist()
            return list(zip(repeat(_TIMESTAMP_KIND), values, sequences, records, record_places, strict=False))
        ids = self._ids.picked(places).to_list()
        kinds = set(map(type, ids))
        if len(kinds) == 1 and kinds <= {int, str}:
            # Ids are nearly always of one simple kind; then no call per event is needed.
            kind, _ = id_key(ids[0])
            return list(zip(repeat(kind), ids, sequences, records, record_places, strict=False))  # type: ignore[arg-type]  # one kind
        rest = zip(map(id_key, ids), sequences, records, record_places, strict=True)
        return [(kind, value, sequence, record, place) for (kind, value), sequence, record, place in rest]

    def _places(self, chosen: slice | IntArray) -> Iterator[Place]:
        """The places of these events' records in their source, one after the other.

        A list of them all would be a tuple each, which the interpreter's garbage collector would look at again and again.
        """
        origin = self._origin
        numbered = origin.places
        found = self._record_starts[chosen] + origin.offset if numbered is None else numbered[self._rows[chosen]]
        offsets: list[int] = found.tolist()
        lines: list[int] = (self._rows[chosen] + (origin.line + 1)).tolist()
        return zip(repeat(origin.source), repeat(origin.generation), offsets, lines, strict=False)

    @property
    def timestamps_ns(self) -> IntArray | None:
        """The sort values, if these are timestamps."""
        return self._timestamps_ns

    @property
    def ids(self) -> IdColumn:
        """The ids (n,)."""
        return self._ids

    @property
    def sequences(self) -> IntArray:
        """The number of records of all sources before each event (n,)."""
        return self._rows + self._origin.records

    @property
    def spans(self) -> tuple[bytes, IntArray, IntArray]:
        """A content, and the starts and ends of the events' objects in it, (n,) each."""
        return self._content, self._starts, self._ends

    def known(self) -> KnownColumns:
        """What the format has read of all events, in arrays of their own."""
        return self._known(np.flatnonzero(self._accepted))

    def between(self, begin: int, end: int) -> EventSlice:
        """The events from `begin` up to `end`, with everything known of them."""
        content, starts, ends = self._content, self._starts[begin:end], self._ends[begin:end]
        places: slice | IntArray = slice(begin, end) if self._accepted.all() else np.flatnonzero(self._accepted)[begin:end]
        return EventSlice(
            end - begin,
            lambda: lines_between(content, starts, ends),
            self._known(places),
            place_at=lambda index: next(self._places(slice(begin + index, begin + index + 1))),
            make_places=lambda: self._places(slice(begin, end)),
        )

    def picked(self, order: IntArray) -> EventSlice:
        """The events at these places, in this order."""
        content, starts, ends = self._content, self._starts[order], self._ends[order]
        places = order if self._accepted.all() else np.flatnonzero(self._accepted)[order]
        return EventSlice(
            len(order),
            lambda: lines_between(content, starts, ends),
            self._known(places),
            place_at=lambda index: next(self._places(order[index : index + 1])),
            make_places=lambda: self._places(order),
        )

    def _known(self, places: slice | IntArray) -> KnownColumns:
        columns, categories = self._columns, self._columns.categories
        return KnownColumns(
            timestamps_ns=None if columns.timestamps_ns is None else columns.timestamps_ns[places],
            values=None if columns.values is None else columns.values[places],
            has_value=None if columns.has_value is None else columns.has_value[places],
            categories=None if categories is None else CategoryColumn(categories.codes[places], categories.names),
        )


def lines_between(content: bytes, starts: IntArray, ends: IntArray) -> bytes:
    """The records at these places, each with a line feed after it. Copies adjacent records together."""
    if not len(starts):
        return b""
    # A gap of one byte between two records is the line feed. A larger gap is a carriage return, or another record.
    breaks = (starts[1:] != ends[:-1] + 1).nonzero()[0]
    firsts, lasts = starts[np.append(0, breaks + 1)].tolist(), ends[np.append(breaks, -1)].tolist()
    return lines_of([content[first:last] for first, last in zip(firsts, lasts, strict=True)])


def lines_of(records: Sequence[bytes]) -> bytes:
    """Joins the records, each with a line feed after it."""
    return b"\n".join([*records, b""])
