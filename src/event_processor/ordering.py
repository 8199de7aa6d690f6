"""The order stage: a heap of bounded size that lets the least event go when it is over its size.

Always: what is released, and what is late, is a function of the events' sequence alone, not of how it was cut into
batches. Each accepted event: behind the last released it is late and passed on at once; else it is pushed, and when more
than `buffer_events` are held the least is released. Held events are kept sorted, which is a heap too.
Never: nothing here waits or knows the time; silence is somebody else's to notice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from heapq import heappush, heappushpop

from event_processor.arrivals import Arrivals, HeldEvent, SortKey, lines_of
from event_processor.contracts import NOTHING_RELEASED, Released

__all__ = ["OrderStage", "Ordered"]


@dataclass(frozen=True, slots=True)
class Ordered:
    """The stage after some events, what it released, and how many of those were late."""

    stage: OrderStage
    released: Released
    late: int


@dataclass(frozen=True, slots=True)
class OrderStage:
    """What is held, ascending, and the key of the last event that was released in order."""

    buffer_events: int
    held: tuple[HeldEvent, ...] = field(default=())
    last_released: SortKey | None = None
    released_count: int = 0

    def push(self, arrivals: Arrivals) -> Ordered:
        """Takes the events; their sequences are above every one held."""
        count = len(arrivals)
        if self.buffer_events == 0:
            return self._ordered(self.held, self.last_released, Released([arrivals.lines(0, count)], count))
        if not count:
            return Ordered(self, NOTHING_RELEASED, 0)
        if arrivals.is_rising() and self._is_behind(arrivals.events(0, 1)[0][:3]):
            return self._push_behind(arrivals)
        events = arrivals.events(0, count)
        if self._nothing_can_be_late(events):
            return self._push_ascending(events)
        return self._push_each(events)

    def release_all(self) -> Ordered:
        """Lets everything go, in order."""
        if not self.held:
            return Ordered(self, NOTHING_RELEASED, 0)
        return self._ordered((), self.held[-1][:3], _released(self.held))

    def _ordered(self, held: tuple[HeldEvent, ...], last: SortKey | None, released: Released, late: int = 0) -> Ordered:
        return Ordered(OrderStage(self.buffer_events, held, last, self.released_count + released.count), released, late)

    def _is_behind(self, key: SortKey) -> bool:
        """Whether everything that was ever held or released in order is below this key: all of a log in order, in its turn."""
        latest = self.held[-1][:3] if self.held else self.last_released
        return latest is None or latest < key

    def _push_behind(self, arrivals: Arrivals) -> Ordered:
        """The same as `_push_each` where the events rise, the first of them above all that is held: then the order is that of the log."""
        count = max(0, len(self.held) + len(arrivals) - self.buffer_events)
        if count <= len(self.held):
            return self._released_from((*self.held, *arrivals.events(0, len(arrivals))), count)
        end = count - len(self.held)
        last, *held = arrivals.events(end - 1, len(arrivals))
        pieces = [lines_of([event[3] for event in self.held]), arrivals.lines(0, end)]
        return self._ordered(tuple(held), last[:3], Released(pieces, count))

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
        return self._ordered(held, released[-1][:3] if released else self.last_released, _released(released))

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
        return self._ordered(tuple(sorted(heap)), last, _released(released), late)


def _released(events: Sequence[HeldEvent]) -> Released:
    return Released([lines_of([event[3] for event in events])], len(events)) if events else NOTHING_RELEASED
