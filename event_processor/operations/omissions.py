"""What a result leaves out: each kind with its number, and where it began.

Owns: `Omission`, the list of them from a state's counts, and `AbsentColumns`, which collects them from the sinks.
Always: each event that a result does not contain, and that is neither duplicate nor rejected nor blank, is covered by one of them.
Never: reads a file.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from event_processor.aggregation.documents import AggregateDocument, CategoryTotal, FirstLeftOut, WindowSummary
from event_processor.configuration.configuration import Configuration
from event_processor.engine.state import Counts
from event_processor.model.telemetry import Telemetry

__all__ = ["AbsentColumns", "Omission", "Outcome", "omissions"]

Outcome: TypeAlias = Literal["late", "late_window", "unfit", "over_limit", "absent_field"]


@dataclass(frozen=True, slots=True)
class Omission:
    """`count` events of which a result does not contain everything; or a field that none of them has (`absent_field`).

    `aggregate`, `sink`: empty if it is about all events. `field`: the field that did not fit, or that is absent. `place`: where the first of
    the events is; None if it is not known.
    """

    outcome: Outcome
    count: int
    aggregate: str = ""
    field: str = ""
    place: str | None = None
    groups_max: int = 0
    sink: str = ""

    def __str__(self) -> str:
        events = "1 event" if self.count == 1 else f"{self.count} events"
        of = f"aggregate {self.aggregate}: " if self.aggregate else ""
        first = f"; the first: {self.place}" if self.place else ""
        if self.sink:
            rows = "the only row" if self.count == 1 else f"none of {self.count} rows"
            return f'sink {self.sink}: {rows} has {"no" if self.count == 1 else "the"} field "{self.field}"'
        if self.outcome == "absent_field":
            return f'{of}none of {events} has the field "{self.field}"'
        if self.outcome == "unfit":
            field = f', field "{self.field}"' if self.field else ""
            return f"{of}{events} had a value that a measure or a group cannot use (unfit){first}{field}"
        if self.outcome == "over_limit":
            return f"{of}groups_max = {self.groups_max} was reached: {events} of further groups left out (over_limit){first}"
        if self.outcome == "late_window":
            return f"{of}{events} came too late for a window that was closed (late_window)"
        return f"{events} came too late to be released in order (late)"


class AbsentColumns(Telemetry):
    """Collects the columns that no row of their sink had."""

    def __init__(self) -> None:
        self.found: Final[list[Omission]] = []

    def column_absent(self, *, sink: str, field: str, rows: int) -> None:
        self.found.append(Omission("absent_field", rows, field=field, sink=sink))


def omissions(
    configuration: Configuration,
    counts: Counts,
    categories: Mapping[str, CategoryTotal],
    aggregates: Mapping[str, AggregateDocument],
) -> list[Omission]:
    """What a result with this state leaves out; empty if it leaves out nothing."""
    found = [Omission("late", counts.late)] if counts.late else []
    value = configuration.event.value
    if value and counts.accepted and not any(total.values is None or total.values for total in categories.values()):
        found.append(Omission("absent_field", counts.accepted, field=value))
    for name, document in sorted(aggregates.items()):
        found += _of_aggregate(configuration, name, document, counts.accepted)
    return found


def _of_aggregate(configuration: Configuration, name: str, document: AggregateDocument, accepted: int) -> Iterator[Omission]:
    counts, left_out = document.counts, document.left_out
    if isinstance(document, WindowSummary) and document.counts.late_window:
        yield Omission("late_window", document.counts.late_window, name)
    if counts.unfit:
        first = left_out.first_unfit if left_out else None
        yield Omission("unfit", counts.unfit, name, first.field if first else "", _place(configuration, first))
    if counts.over_limit:
        first = left_out.first_over_limit if left_out else None
        groups_max = configuration.aggregates[name].groups_max
        yield Omission("over_limit", counts.over_limit, name, "", _place(configuration, first), groups_max)
    if left_out and accepted:
        for field in left_out.fields_absent:
            yield Omission("absent_field", accepted, name, field)


def _place(configuration: Configuration, first: FirstLeftOut | None) -> str | None:
    """The place for people; None if it is not known."""
    if first is None or not first.line:
        return None
    if not first.source:
        return f"record {first.line} of the input"
    from event_processor.assembly.inputs import input_name  # noqa: PLC0415 - only if there is such a place

    return f"{input_name(configuration, first.source, first.generation)}:{first.line} (byte {first.offset})"
