"""The order stage: a heap of bounded size that lets the least event go when it is over its size.

Always: what is released, and what is late, is a function of the events' sequence alone, not of how it was cut into
batches. Each accepted event: behind the last released it is late and passed on at once; else it is pushed, and when more
than `buffer_events` are held the least is released. Held events are kept sorted, which is a heap too.
Never: nothing here waits or knows the time; silence is somebody else's to notice.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from heapq import heappush, heappushpop

import numpy as np

from event_processor.columns.event_slices import Arrivals, EventSlice, HeldEvent, LateEvents, SortKey
from event_processor.model.columns import IntArray
from event_processor.model.contracts import NOTHING_RELEASED, Released

__all__ = ["OrderStage", "Ordered"]


@dataclass(frozen=True, slots=True)
class Ordered:
    """The stage after some events, what it released, in that order, and how many of those were late."""

    stage: OrderStage
    slices: tuple[EventSlice, ...] = ()
    late: int = 0

    @property
    def released(self) -> Released:
        """The released events as sinks see them."""
        if not self.slices:
            return NOTHING_RELEASED
        return Released(SlicePieces(self.slices), sum(each.count for each in self.slices))


@dataclass(frozen=True, slots=True)
class SlicePieces:
    """The lines of slices, made as they are read: where no sink reads events, none are."""

    slices: tuple[EventSlice, ...]

    def __iter__(self) -> Iterator[bytes]:
        return (each.lines for each in self.slices)


@dataclass(frozen=True, slots=True)
class OrderStage:
    """What is held, ascending, and the key of the last event that was released in order."""

    buffer_events: int
    held: Sequence[HeldEvent] = field(default=())
    last_released: SortKey | None = None
    released_count: int = 0

    def push(self, arrivals: Arrivals) -> Ordered:
        """Takes the events; their sequences are above every one held."""
        count = len(arrivals)
        if not count:
            return Ordered(self)
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

    def release_all(self) -> Ordered:
        """Lets everything go, in order."""
        if not self.held:
            return Ordered(self)
        return self._ordered((), _last_key(self.held), _sliced(self.held))

    def _ordered(self, held: Sequence[HeldEvent], last: SortKey | None, slices: tuple[EventSlice, ...], late: int = 0) -> Ordered:
        count = self.released_count + sum(each.count for each in slices)
        return Ordered(OrderStage(self.buffer_events, held, last, count), slices, late)

    def _is_behind(self, key: SortKey) -> bool:
        """Whether everything that was ever held or released in order is below this key: all of a log in order, in its turn."""
        latest = _last_key(self.held) if self.held else self.last_released
        return latest is None or latest < key

    def _push_behind(self, arrivals: Arrivals) -> Ordered:
        """The same as `_push_each` where the events rise, the first of them above all that is held: then the order is that of the log."""
        count = max(0, len(self.held) + len(arrivals) - self.buffer_events)
        if count <= len(self.held):
            return self._released_from((*self.held, *arrivals.events(0, len(arrivals))), count)
        end = count - len(self.held)
        last = arrivals.events(end - 1, end)[0][:3]
        held = LateEvents(arrivals, end, len(arrivals))
        return self._ordered(held, last, (*_sliced(self.held), arrivals.between(0, end)))

    def _push_sorted(self, arrivals: Arrivals, values: IntArray) -> Ordered | None:
        """The same as `_push_each` where no event is late, by sorting them all at once; None where one may be.

        Release j takes place when k + j events came, those that were held before counted, with k = `buffer_events`. If the j-th of
        all in order is among these, for each j, then it is the least of the heap at that time: what is below it went before it.
        So nothing is late, and what is released is released in order.
        """
        if self.last_released is not None and int(values.min()) < self.last_released[1]:  # type: ignore[operator]  # timestamps
            return None
        held_count = len(self.held)
        everything = np.concatenate([np.array([event[1] for event in self.held], np.int64), values])
        order = _stable_order(everything)
        count = max(0, len(everything) - self.buffer_events)
        if (order[:count] > np.arange(count) + self.buffer_events).any():
            return None
        # What waited goes first, mixed with some that came; behind the last of it the columns still know everything.
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
        """The events at places that count those which are held first."""
        held_count = len(self.held)
        came = iter(arrivals.events_at(np.array([place - held_count for place in places if place >= held_count], np.int64)))
        return [self.held[place] if place < held_count else next(came) for place in places]

    def _nothing_can_be_late(self, events: list[HeldEvent]) -> bool:
        """Whether the events rise and begin ahead of the last released.

        Then none is late: an event is released only as the least of a heap that its predecessor was pushed into, so
        the last released is never ahead of the predecessor, nor of the event itself.
        """
        if self.last_released is not None and events[0][:3] < self.last_released:
            return False
        return events == sorted(events)

    def _push_ascending(self, events: list[HeldEvent]) -> Ordered:
        """The same as `_push_each` where nothing is late: then the least of all of them go."""
        everything = sorted([*self.held, *events])
        return self._released_from(everything, max(0, len(everything) - self.buffer_events))

    def _released_from(self, everything: Sequence[HeldEvent], count: int) -> Ordered:
        """Lets the first `count` of these, ascending, go, and holds the others."""
        released, held = everything[:count], tuple(everything[count:])
        return self._ordered(held, released[-1][:3] if released else self.last_released, _sliced(released))

    def _push_each(self, events: list[HeldEvent]) -> Ordered:
        """The definition, event by event."""
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
    """`np.argsort(values, kind="stable")`, in a third of its time where few values are equal: the fast sort is not a stable one."""
    order = np.argsort(values)
    ordered = values[order]
    is_new = ordered[1:] != ordered[:-1]
    if is_new.all():
        return order
    # Within equal values the places are to rise: sorted as numbers behind that of their value, they do.
    firsts = np.concatenate([[0], np.cumsum(is_new)]) * len(values)
    return np.asarray(np.sort(firsts + order) - firsts, np.int64)
