"""What windows should say, by the definition and nothing else: every event is kept, every row is computed from all of them.

An independent model: fractions for sums, a look at every event for every row.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

NS = 1_000_000_000


@dataclass
class Occurrence:
    """An event: when, of what group, with what value (None for none, a text for what is no number)."""

    ns: int
    group: str
    value: float | str | None


@dataclass
class WindowModel:
    """The definition, event by event. A row is (end in steps, group, count, sum, least, greatest, first, last)."""

    size_s: int
    every_s: int
    closed: str
    groups_max: int = 10**9
    shows_empty: bool = False
    highest: int | None = None
    next_row: int | None = None
    kept: list[tuple[int, Occurrence]] = field(default_factory=list)
    rows: list[tuple[Any, ...]] = field(default_factory=list)
    late_window: int = 0
    over_limit: int = 0
    added: int = 0
    first_over_limit: int = 0
    """The number of that event, from 1; 0: none."""

    def holds(self, row: int, ns: int) -> bool:
        end, start = row * self.every_s * NS, (row * self.every_s - self.size_s) * NS
        above = ns >= start if self.closed in ("left", "both") else ns > start
        below = ns <= end if self.closed in ("right", "both") else ns < end
        return above and below

    def is_closed_by(self, row: int, ns: int) -> bool:
        """Whether an event at `ns` is past the end of the row's window."""
        end = row * self.every_s * NS
        return ns > end if self.closed in ("right", "both") else ns >= end

    def add(self, event: Occurrence) -> None:
        self.added += 1
        if self.next_row is None:
            self.next_row = event.ns // (self.every_s * NS)
        # A window that this event is past is closed before it is added, unless it is in the window: it never is.
        if self.highest is None or event.ns > self.highest:
            self.highest = event.ns
        while self.is_closed_by(self.next_row, self.highest):
            self.emit()
        first = next(
            row
            for row in range(event.ns // (self.every_s * NS), event.ns // (self.every_s * NS) + 3)
            if self.holds(row, event.ns) or row * self.every_s * NS > event.ns
        )
        if first < self.next_row:
            self.late_window += 1
        open_now = {other.group for entered, other in self.kept if self.is_seen(other, self.next_row)}
        if not self.is_seen(event, self.next_row):
            return
        if event.group not in open_now and len(open_now) >= self.groups_max:
            self.over_limit += 1
            self.first_over_limit = self.first_over_limit or self.added
            return
        self.kept.append((self.next_row, event))

    def is_seen(self, event: Occurrence, row: int) -> bool:
        """Whether a row from `row` on may still hold the event."""
        # They are one behind the other, and the start of the last lies within a step of the event.
        near = (event.ns + self.size_s * NS) // (self.every_s * NS)
        return any(self.holds(each, event.ns) for each in range(max(row, near - 2), near + 3))

    def emit(self) -> None:
        assert self.next_row is not None
        row = self.next_row
        # `kept` holds what had come when the row closed: nothing else.
        inside = [event for _, event in self.kept if self.holds(row, event.ns)]
        for group in sorted({event.group for event in inside}):
            self.rows.append((row, group, *measured([event for event in inside if event.group == group])))
        if not inside and self.shows_empty:
            self.rows.append((row, None))
        self.next_row += 1

    def finish(self) -> None:
        if self.next_row is None or self.highest is None:
            return
        while self.next_row <= self.highest // (self.every_s * NS) + 1:
            self.emit()


def measured(events: list[Occurrence]) -> tuple[Any, ...]:
    """Count, number of values, sum, least, greatest, first, last, mean."""
    with_value = [event for event in events if event.value is not None]
    values = [event.value for event in events if isinstance(event.value, int | float)]
    first = min(with_value, key=lambda event: event.ns).value if with_value else None
    last = max(enumerate(with_value), key=lambda item: (item[1].ns, item[0]))[1].value if with_value else None
    total = sum(map(Fraction, values), Fraction(0))
    shown = None if with_value and not values else float(total)
    mean = float(total / len(values)) if values else None
    return len(events), len(with_value), shown, min(values, default=None), max(values, default=None), first, last, mean
