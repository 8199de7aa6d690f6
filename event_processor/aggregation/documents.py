"""What a checkpoint says of the totals, windows and groups: the forms alone.

Owns: `CategoryTotal`, and `AggregateDocument` with everything in it.
Always: a value. To read a checkpoint needs this file and nothing else of the room, so a command that only reads is quick.
Never: computes anything; imports an array.
"""

from __future__ import annotations

from typing import Any, TypeAlias

from msgspec import Struct

__all__ = [
    "AggregateDocument",
    "CategoryTotal",
    "Entry",
    "FieldTotal",
    "FirstLeftOut",
    "GroupCounts",
    "GroupTotal",
    "GroupTotalsDocument",
    "Keyed",
    "LeftOut",
    "MixedCount",
    "WindowCounts",
    "WindowSummary",
]


class CategoryTotal(Struct, frozen=True):
    """The totals of one category. `sum` is the exact total of `sum_parts`, rounded once.

    `values` is the number of events with a value. `mean` is the exact sum divided by `values`, rounded once. `min`, `max` and
    `mean` are None if no event had a value. If a state of version 1 did not keep the number of values, `values` and `mean` are
    None. `last_timestamp` is the timestamp of the event with `last_id`, in RFC 3339 and UTC; None if that event has no readable
    one.
    """

    count: int
    sum: float
    sum_parts: tuple[float, ...]
    min: float | None
    max: float | None
    mean: float | None
    first_id: int | str | tuple[int | str, ...]
    last_id: int | str | tuple[int | str, ...]
    last_timestamp: str | None
    values: int | None


class FirstLeftOut(Struct, frozen=True):
    """The place of an event's record, and the field that did not fit; empty if no field is at fault. `line` counts from 1.

    Of sorted input only the number of the record in all sources is known: then `source` is empty, and `line` is that number.
    """

    field: str
    source: str
    generation: int
    line: int
    offset: int


class LeftOut(Struct, frozen=True):
    """`fields_absent`: the fields of the aggregate that no event had so far, in the order of the configuration.

    `first_unfit` and `first_over_limit`: the first events that the counts of these names cover; None if there is none.
    """

    fields_absent: tuple[str, ...] = ()
    first_unfit: FirstLeftOut | None = None
    first_over_limit: FirstLeftOut | None = None


class WindowCounts(Struct, frozen=True):
    """`events` came to the aggregate; `late_window` of them were too late for at least one window.

    `over_limit` of them had a group beyond the limit. `unfit` events had a field that could not be measured, or a group that
    cannot be named; they are not among the `events`.
    """

    events: int = 0
    late_window: int = 0
    unfit: int = 0
    over_limit: int = 0


class WindowSummary(Struct, frozen=True, tag_field="kind", tag="windows"):
    """The content of the windows. None means unknown: no event came yet.

    `highest_ns`: the highest released timestamp. `next_row`: the first row not returned yet. `latest_cell`: the latest cell of
    any event so far. `held`: the number of entries. `held_hash`: a hash of them that does not depend on their order. `rows`: the
    number of rows returned; None if a state of version 1 did not keep it. `left_out`: None if an earlier version did not keep it.
    """

    counts: WindowCounts = WindowCounts()
    highest_ns: int | None = None
    next_row: int | None = None
    latest_cell: int | None = None
    held: int = 0
    held_hash: str = ""
    rows: int | None = 0
    left_out: LeftOut | None = None


Keyed = tuple[int, Any]
"""A key that orders events, and a field's value as in the JSON."""


class MixedCount(Struct, frozen=True, array_like=True):
    """The number of events with a field, and how many of their values are `numbers`."""

    present: int
    numbers: int


class FieldTotal(Struct, frozen=True, array_like=True):
    """One field's values of some events. Members that the plan does not need keep their default.

    `count`: the events with the field; a `MixedCount` if numbers are measured and some values are not numbers. `parts` is the
    exact sum, canonical. `first` and `last` are the scalars with the least and the greatest key.
    """

    count: int | MixedCount = 0
    parts: tuple[float, ...] = ()
    least: float | None = None
    greatest: float | None = None
    first: Keyed | None = None
    last: Keyed | None = None

    @property
    def present(self) -> int:
        """The number of events with the field."""
        return self.count.present if type(self.count) is MixedCount else self.count  # type: ignore[return-value]

    @property
    def numbers(self) -> int:
        """The number of events whose value is a number, if numbers are measured."""
        return self.count.numbers if type(self.count) is MixedCount else self.count  # type: ignore[return-value]


class Entry(Struct, frozen=True, array_like=True):
    """Some events of a group: their number, and the totals of the measured fields, in the order of the plan."""

    count: int
    fields: tuple[FieldTotal, ...]


class GroupCounts(Struct, frozen=True):
    """Accepted events that came to the aggregate. `over_limit` counts events of groups beyond the limit.

    `unfit` are not among the `events`: see `WindowCounts`.
    """

    events: int = 0
    unfit: int = 0
    over_limit: int = 0


class GroupTotal(Struct, frozen=True):
    """One group: its fields, its measures as of now, and the entry they come from."""

    group: dict[str, Any]
    measures: dict[str, Any]
    entry: Entry


class GroupTotalsDocument(Struct, frozen=True, tag_field="kind", tag="groups"):
    """The aggregate in the checkpoint: its groups, sorted by their values as JSON. `rows`: how many there are.

    `left_out`: None if an earlier version did not keep it.
    """

    counts: GroupCounts = GroupCounts()
    groups: tuple[GroupTotal, ...] = ()
    rows: int = 0
    left_out: LeftOut | None = None


AggregateDocument: TypeAlias = WindowSummary | GroupTotalsDocument
"""An aggregate in the checkpoint: a summary of its windows, or its groups."""
