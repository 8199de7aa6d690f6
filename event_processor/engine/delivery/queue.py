"""What a lane has read and not had answered: fresh records, and requests that wait to be tried again.

Owns: `Waiting` records, `Attempt`s (requests with their tries), and the choice of the next one to send.
Always: a request keeps its records and its key over all its tries. Only *bad* and *too large* split it. Retries that are due and
fresh records take turns, so that neither starves the other.
Never: sends, or knows what an answer means.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from heapq import heappop, heappush
from itertools import count
from typing import Final

import msgspec
from xxhash import xxh3_128_hexdigest

from event_processor.engine.delivery.figures import Figures
from event_processor.model.delivery import OutboxRecord

__all__ = ["Attempt", "Queue", "Waiting", "request_key"]


@dataclass(frozen=True, slots=True)
class Waiting:
    """A record that was read and not answered. `size_bytes`: of its line in the outbox. `groups`: where its figures are counted.

    `record` is as it was released, so that a failed record is not enriched twice. `enriched`: its object, if an enricher set fields.
    """

    record: OutboxRecord
    key: str
    size_bytes: int
    groups: tuple[Figures, ...] = ()
    enriched: msgspec.Raw | None = None

    @property
    def sent(self) -> OutboxRecord:
        """The record as it is sent."""
        return self.record if self.enriched is None else msgspec.structs.replace(self.record, object=self.enriched)

    def with_object(self, object_: msgspec.Raw) -> Waiting:
        """The same, to be sent with another object: an enricher has set fields."""
        return replace(self, enriched=object_)


@dataclass(slots=True)
class Attempt:
    """A request: its records, how often it was tried, and when it may be tried next.

    `lonely_waits`: how often it had to wait while nearly all others passed. `passes_seen`: the lane's number of passes at its last
    try.
    """

    waiting: Sequence[Waiting]
    tries: int = 0
    lonely_waits: int = 0
    passes_seen: int = 0

    @property
    def first(self) -> int:
        """The sequence of its first record."""
        return self.waiting[0].record.sequence

    @property
    def size_bytes(self) -> int:
        """The size of its records in the outbox."""
        return sum(each.size_bytes for each in self.waiting)

    def halves(self) -> tuple[Attempt, Attempt]:
        """Its two halves, as requests of their own that were never tried. It has at least two records."""
        middle = (len(self.waiting) + 1) // 2
        return Attempt(self.waiting[:middle]), Attempt(self.waiting[middle:])


def request_key(keys: Sequence[str]) -> str:
    """The key of a request: its record's key, or a hash of all keys in order. No key has a line feed in it."""
    return keys[0] if len(keys) == 1 else xxh3_128_hexdigest("\n".join(keys).encode())


class Queue:
    """The records that a lane has read and not had answered, except those in requests that run now. Used by one thread."""

    def __init__(self, events_max: int, bytes_max: int, *, strict: bool) -> None:
        """At most `events_max` records and about `bytes_max` bytes per request. `strict`: only the oldest is ever next."""
        self.bytes_max: Final = bytes_max
        self._events_max: Final = events_max
        self._strict: Final = strict
        self._fresh: Final[deque[Waiting]] = deque()
        self._again: Final[list[tuple[float, int, int, Attempt]]] = []
        """Due time, first sequence, a tie-breaker, the request: a heap. With `strict` all due times are 0, so that the order rules."""
        self._held_until: Final[dict[int, float]] = {}
        self._ties: Final = count()
        self._bytes_limit = float(bytes_max)
        self._was_again = False

    def __len__(self) -> int:
        return len(self._fresh) + sum(len(entry[3].waiting) for entry in self._again)

    def add(self, waiting: Waiting) -> None:
        """Adds a record that was just read; its sequence is above all others'."""
        self._fresh.append(waiting)

    def again(self, attempt: Attempt, due_s: float) -> None:
        """Puts a request back: it may be sent again from `due_s` on."""
        if self._strict:
            self._held_until[attempt.first] = due_s
            due_s = 0.0
        heappush(self._again, (due_s, attempt.first, next(self._ties), attempt))

    def hurry(self) -> None:
        """All requests that were put back may be sent at once: an outage ended."""
        self._held_until.clear()
        self._again[:] = [(0.0, first, tie, attempt) for _, first, tie, attempt in self._again]
        self._again.sort()

    def due_s(self) -> float | None:
        """From when on `take` has a request; None if the queue is empty."""
        if self._fresh and not (self._strict and self._again):
            return 0.0
        if not self._again:
            return None
        due_s, first, *_ = self._again[0]
        return self._held_until.get(first, due_s)

    def take(self, now_s: float, *, alone: bool = False) -> Attempt | None:
        """Takes the request to send next; None if none is due. `alone`: one of a single record, if it is a fresh one."""
        due_s = self.due_s()
        if due_s is None or due_s > now_s:
            return None
        is_again = bool(self._again) and (self._strict or self._again[0][0] <= now_s)
        if is_again and not (self._was_again and self._fresh and not self._strict):
            self._was_again = True
            attempt = heappop(self._again)[3]
            self._held_until.pop(attempt.first, None)
            return attempt
        self._was_again = False
        return Attempt(list(self._fresh_records(alone=alone)))

    def _fresh_records(self, *, alone: bool) -> Iterator[Waiting]:
        """Removes and yields the records of the next fresh request: at least one."""
        size_bytes = 0
        for number in range(1 if alone else self._events_max):
            if not self._fresh or (number and size_bytes + self._fresh[0].size_bytes > self._bytes_limit):
                return
            size_bytes += self._fresh[0].size_bytes
            yield self._fresh.popleft()

    def was_too_large(self, attempt: Attempt) -> None:
        """A request of several records was too large: fresh ones become half as large."""
        self._bytes_limit = max(1.0, min(self._bytes_limit, attempt.size_bytes) / 2)

    def passed(self) -> None:
        """A request passed: fresh ones may grow back slowly."""
        self._bytes_limit = min(float(self.bytes_max), self._bytes_limit * 1.02)

    def clear(self) -> list[Waiting]:
        """Removes everything, and returns it."""
        found = [*self._fresh, *(each for entry in self._again for each in entry[3].waiting)]
        self._fresh.clear()
        self._again.clear()
        self._held_until.clear()
        return found

    def drop(self, sequences: frozenset[int]) -> list[tuple[Waiting, int]]:
        """Removes the records with these sequences, if they are here. Returns them, each with the tries of its request."""
        found = [(each, 0) for each in self._fresh if each.record.sequence in sequences]
        kept = [each for each in self._fresh if each.record.sequence not in sequences]
        self._fresh.clear()
        self._fresh.extend(kept)
        entries, self._again[:] = list(self._again), []
        for due_s, _, _, attempt in entries:
            found += [(each, attempt.tries) for each in attempt.waiting if each.record.sequence in sequences]
            rest = [each for each in attempt.waiting if each.record.sequence not in sequences]
            if rest:
                same = attempt if len(rest) == len(attempt.waiting) else Attempt(rest)
                heappush(self._again, (due_s, same.first, next(self._ties), same))
        return found
