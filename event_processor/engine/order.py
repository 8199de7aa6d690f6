"""The order stage: a heap of bounded size that releases its least event when it is over its size.

If the stage sorts (`process`, see `sorting/runs.py`), it holds nothing and no event is late: events wait in sorted runs, and are
released when the whole input was read.

Owns: the order in which accepted events are released, and which of them are late.
Always: what is released, and what is late, depends only on the sequence of events, not on how it was cut into batches. An
accepted event that sorts before the last released one is late, and is released at once. Any other event is pushed; if more than
`buffer_events` are held then, the least is released. Held events are kept sorted, and a sorted list is a heap.
Never: waits or knows the time; the loop notices when the log is idle.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from heapq import heappush, heappushpop

import numpy as np

from event_processor.columns.event_slices import Arrivals, EventSlice, HeldEvent, LateEvents, SortKey
from event_processor.columns.event_tables import EventTable
from event_processor.columns.places import place_texts
from event_processor.engine.sorting.kinds import Sorting
from event_processor.model.columns import IntArray
from event_processor.model.contracts import NOTHING_RELEASED, Released

__all__ = ["OrderStage", "Ordered", "Sorting"]


@dataclass(frozen=True, slots=True)
class Ordered:
    """The stage after some events, the released events in order, how many of those were late, and the events for the runs."""

    stage: OrderStage
    slices: tuple[EventSlice, ...] = ()
    late: int = 0
    waiting: tuple[EventTable, ...] = ()

    @property
    def released(self) -> Released:
        """The released events as sinks see them."""
        if not self.slices:
            return NOTHING_RELEASED
        return Released(SlicePieces(self.slices), sum(each.count for each in self.slices), SlicePlaces(self.slices))


@dataclass(frozen=True, slots=True)
class SlicePieces:
    """The lines of slices, made only when they are read: if no sink reads events, none are made."""

    slices: tuple[EventSlice, ...]

    def __iter__(self) -> Iterator[bytes]:
        return (each.lines for each in self.slices)


@dataclass(frozen=True, slots=True)
class SlicePlaces:
    """The places of the events of slices, made only when they are read."""

    slices: tuple[EventSlice, ...]

    def __iter__(self) -> Iterator[list[bytes]]:
        return (place_texts(each.places()) for each in self.slices)


@dataclass(frozen=True, slots=True)
class OrderStage:
    """The held events, ascending, and the key of the last event that was released in order.

    `waiting`: the number of events in runs that were not released yet; 0 unless the stage is `sorting`.
    """

    buffer_events: int
    held: Sequence[HeldEvent] = field(default=())
    last_released: SortKey | None = None
    released_count: int = 0
    sorting: Sorting = ""
    waiting: int = 0

    def push(self, arrivals: Arrivals) -> Ordered:
        """Takes events. Their sequences must be above every held one."""
        count = len(arrivals)
        if not count:
            return Ordered(self)
        if self.sorting:
            table = EventTable.of(arrivals, keeps_lines=self.sorting == "lines")
            return Ordered(replace(self, waiting=self.waiting + count), waiting=(table,))
        return self._push(arrivals, count)

    def _push(self, arrivals: Arrivals, count: int) -> Ordered:
        """As `push`, for at least one event and a stage that does not sort."""
        if self.buffer_events == 0:
            return self._ordered(self.held, self.last_released, (arrivals.between(0, count),))
        if arrivals.is_rising() and self._is_behind(arrivals.events(0, 1)[0][:3]):
            return self._push_behind(arrivals)
        if arrivals.timestamps_ns is not None and (ordered := self._push_sorted(arrivals, arrivals.timestamps_ns)):
            return ordered
        events = arrivals.events(0, count)
        if self._nothing_can_be_late(events):
            return self._push_ascending(events)
        return self._push_each(events)

    def release(self, table: EventTable) -> Ordered:
        """Releases the next events of the merged runs."""
        count = len(table)
        last = table.keys.at(count - 1)
        after = replace(self, waiting=self.waiting - count, released_count=self.released_count + count, last_released=last)
        return Ordered(after, (table.slice(),))

    def release_all(self) -> Ordered:
        """Releases everything, in order. Events in runs are released to no reader."""
        if self.waiting:
            return Ordered(replace(self, waiting=0, released_count=self.released_count + self.waiting))
        if not self.held:
            return Ordered(self)
        return self._ordered((), _last_key(self.held), _sliced(self.held))

    def _ordered(self, held: Sequence[HeldEvent], last: SortKey | None, slices: tuple[EventSlice, ...], late: int = 0) -> Ordered:
        count = self.released_count + sum(each.count for each in slices)
        return Ordered(OrderStage(self.buffer_events, held, last, count), slices, late)

    def _is_behind(self, key: SortKey) -> bool:
        """Whether `key` is above everything that was ever held or released in order: always, if the log is in order."""
        latest = _last_key(self.held) if self.held else self.last_released
        return latest is None or latest < key

    def _push_behind(self, arrivals: Arrivals) -> Ordered:
        """As `_push_each`, if the events rise and the first of them is above every held one: then the order is the log's."""
        count = max(0, len(self.held) + len(arrivals) - self.buffer_events)
        if count <= len(self.held):
            return self._released_from((*self.held, *arrivals.events(0, len(arrivals))), count)
        end = count - len(self.held)
        last = arrivals.events(end - 1, end)[0][:3]
        held = LateEvents(arrivals, end, len(arrivals))
        return self._ordered(held, last, (*_sliced(self.held), arrivals.between(0, end)))

    def _push_sorted(self, arrivals: Arrivals, values: IntArray) -> Ordered | None:
        """As `_push_each`, if no event is late: sorts all events at once. None if an event may be late.

        Release j takes place when k + j events came, counting those held before, with k = `buffer_events`. Assume that for each
        j, the j-th event in sorted order is among these k + j. Then it is the least of the heap at that time: everything below it
        was released before it. So no event is late, and all are released in order.
        """
        if self.last_released is not None and int(values.min()) < self.last_released[1]:  # type: ignore[operator]  # timestamps
            return None
        held_count = len(self.held)
        everything = np.concatenate([np.array([event[1] for event in self.held], np.int64), values])
        order = _stable_order(everything)
        count = max(0, len(everything) - self.buffer_events)
        if (order[:count] > np.arange(count) + self.buffer_events).any():
            return None
        # The held events are released first, mixed with some new ones. After the last held one, the columns still have
        # everything.
        waited = (order[:count] < held_count).nonzero()[0]
        mixed_count = int(waited[-1]) + 1 if len(waited) else 0
        mixed = [*order[:mixed_count].tolist(), *order[count:].tolist()]
        events = self._events_at(arrivals, mixed)
        slices = _sliced(events[:mixed_count])
        if mixed_count < count:
            slices = (*slices, arrivals.picked(order[mixed_count:count] - held_count))
        last = self.last_released
        if count:
            last = self._events_at(arrivals, [int(order[count - 1])])[0][:3]
        return self._ordered(tuple(events[mixed_count:]), last, slices)

    def _events_at(self, arrivals: Arrivals, places: list[int]) -> list[HeldEvent]:
        """The events at `places`, which count the held events first."""
        held_count = len(self.held)
        came = iter(arrivals.events_at(np.array([place - held_count for place in places if place >= held_count], np.int64)))
        return [self.held[place] if place < held_count else next(came) for place in places]

    def _nothing_can_be_late(self, events: list[HeldEvent]) -> bool:
        """Whether the events rise, and the first sorts after the last released event.

        Then none is late. An event is released only as the least of a heap that its predecessor was pushed into. So the last
        released event never sorts after the predecessor, nor after the event itself.
        """
        if self.last_released is not None and events[0][:3] < self.last_released:
            return False
        return events == sorted(events)

    def _push_ascending(self, events: list[HeldEvent]) -> Ordered:
        """As `_push_each`, if no event is late: releases the least of all of them."""
        everything = sorted([*self.held, *events])
        return self._released_from(everything, max(0, len(everything) - self.buffer_events))

    def _released_from(self, everything: Sequence[HeldEvent], count: int) -> Ordered:
        """Releases the first `count` of these ascending events, and holds the others."""
        released, held = everything[:count], tuple(everything[count:])
        return self._ordered(held, released[-1][:3] if released else self.last_released, _sliced(released))

    def _push_each(self, events: list[HeldEvent]) -> Ordered:
        """The definition, one event after the other."""
        heap = list(self.held)
        last = self.last_released
        room = self.buffer_events - len(heap)
        released: list[HeldEvent] = []
        late = 0
        for event in events:
            if last is not None and event[:3] < last:
                late += 1
                released.append(event)
            elif room > 0:
                room -= 1
                heappush(heap, event)
            else:
                least = heappushpop(heap, event)
                last = least[:3]
                released.append(least)
        return self._ordered(tuple(sorted(heap)), last, _sliced(released), late)


def _last_key(held: Sequence[HeldEvent]) -> SortKey:
    return held.last_key if isinstance(held, LateEvents) else held[-1][:3]


def _sliced(events: Sequence[HeldEvent]) -> tuple[EventSlice, ...]:
    if isinstance(events, LateEvents):
        return (events.slice(),)
    return (EventSlice.of_held(events),) if events else ()


def _stable_order(values: IntArray) -> IntArray:
    """`np.argsort(values, kind="stable")`, in a third of its time if few values are equal.

    The fast sort is not stable.
    """
    order = np.argsort(values)
    ordered = values[order]
    is_new = ordered[1:] != ordered[:-1]
    if is_new.all():
        return order
    # Within equal values the places must rise. They do if we sort numbers made of the value's rank, then the place.
    firsts = np.concatenate([[0], np.cumsum(is_new)]) * len(values)
    return np.asarray(np.sort(firsts + order) - firsts, np.int64)
