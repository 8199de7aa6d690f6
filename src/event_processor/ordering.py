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
from typing import TypeAlias

from event_processor.id_order import SortableId

__all__ = ["HeldEvent", "OrderStage", "Ordered", "SortKey"]

SortKey: TypeAlias = tuple[int, SortableId, int]
"""(kind, value, sequence): kind and value as `id_key` gives them; a timestamp is of kind 0. The sequence settles ties."""
HeldEvent: TypeAlias = tuple[int, SortableId, int, bytes]
"""A sort key and the event's record. The sequence is unique, so that records are never compared."""


@dataclass(frozen=True, slots=True)
class Ordered:
    """The stage after some events, what it released, in that order, and how many of those were late."""

    stage: OrderStage
    released: Sequence[bytes]
    late: int


@dataclass(frozen=True, slots=True)
class OrderStage:
    """What is held, ascending, and the key of the last event that was released in order."""

    buffer_events: int
    held: tuple[HeldEvent, ...] = field(default=())
    last_released: SortKey | None = None
    released_count: int = 0

    def push(self, events: list[HeldEvent]) -> Ordered:
        """Takes the events in log order; sequences are above every one held."""
        if self.buffer_events == 0:
            return Ordered(self._after(self.held, self.last_released, len(events)), [event[3] for event in events], 0)
        if self._nothing_can_be_late(events):
            return self._push_ascending(events)
        return self._push_each(events)

    def release_all(self) -> Ordered:
        """Lets everything go, in order."""
        if not self.held:
            return Ordered(self, [], 0)
        stage = self._after((), self.held[-1][:3], len(self.held))
        return Ordered(stage, [event[3] for event in self.held], 0)

    def _after(self, held: tuple[HeldEvent, ...], last: SortKey | None, released: int) -> OrderStage:
        return OrderStage(self.buffer_events, held, last, self.released_count + released)

    def _nothing_can_be_late(self, events: list[HeldEvent]) -> bool:
        """Whether the events rise and begin ahead of the last released.

        Then none is late: an event is released only as the least of a heap that its predecessor was pushed into, so
        the last released is never ahead of the predecessor, nor of the event itself.
        """
        if events and self.last_released is not None and events[0][:3] < self.last_released:
            return False
        return events == sorted(events)

    def _push_ascending(self, events: list[HeldEvent]) -> Ordered:
        """The same as `_push_each` where nothing is late: then the least of all of them go."""
        everything = sorted([*self.held, *events])
        count = max(0, len(everything) - self.buffer_events)
        if not count:
            return Ordered(self._after(tuple(everything), self.last_released, 0), [], 0)
        released = everything[:count]
        stage = self._after(tuple(everything[count:]), released[-1][:3], count)
        return Ordered(stage, [event[3] for event in released], 0)

    def _push_each(self, events: list[HeldEvent]) -> Ordered:
        """The definition, event by event."""
        heap = list(self.held)
        last = self.last_released
        room = self.buffer_events - len(heap)
        released: list[bytes] = []
        late = 0
        for event in events:
            if last is not None and event[:3] < last:
                late += 1
                released.append(event[3])
            elif room > 0:
                room -= 1
                heappush(heap, event)
            else:
                least = heappushpop(heap, event)
                last = least[:3]
                released.append(least[3])
        return Ordered(self._after(tuple(sorted(heap)), last, len(released)), released, late)
