"""The screen of `top`: from one moment and what the keys chose to lines of text.

Owns: what is where, what is left out if there is no room, and what a key changes.
Always: pure. No line is wider than the screen, and there are no more lines than it has. Nothing from a log can control the terminal.
Never: reads, or writes to the terminal.
"""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from rich.cells import cell_len, set_cell_size

from event_processor.aggregation.categories.totals import CategoryTotal
from event_processor.cli.lanes import lane_group_facts
from event_processor.cli.output import one_line
from event_processor.engine.delivery.reports import LaneReport
from event_processor.operations.conditions import Condition
from event_processor.operations.live import Live
from event_processor.operations.status import CommittedStatus

__all__ = ["SORTS", "View", "pressed", "screen"]

SORTS: Final = ("count", "rate", "sum", "mean", "min", "max", "category")
"""What categories can be sorted by, in the order of the key."""
CONDITIONS_MAX: Final = 3
SINKS_MAX: Final = 6
CATEGORY_ROWS_MIN: Final = 3
_BARS: Final = "▁▂▃▄▅▆▇█"
_ASCII_BARS: Final = "_.-:=+*#"
_CUT: Final = "…"
_ASCII_CUT: Final = "~"
_BOLD: Final = "\x1b[1m"
_REVERSED: Final = "\x1b[7m"
HELP: Final = "s sort   r reverse   d figures of sinks   up, down, PgUp, PgDn scroll   q quit"


@dataclass(frozen=True, slots=True)
class View:
    """What the keys chose. `first`: how many categories are scrolled over. `is_reversed`: the smallest first; of names, the last first.

    `has_details`: the figures of sinks are shown too.
    """

    sort: str = SORTS[0]
    is_reversed: bool = False
    first: int = 0
    has_details: bool = False


def pressed(view: View, key: str, *, rows: int, page: int) -> View | None:
    """What is chosen after a key; None to end. `rows`: how many categories there are; `page`: how many are shown."""
    if key in ("q", "Q"):
        return None
    if key == "s":
        return replace(view, sort=SORTS[(SORTS.index(view.sort) + 1) % len(SORTS)], first=0)
    if key == "r":
        return replace(view, is_reversed=not view.is_reversed, first=0)
    if key == "d":
        return replace(view, has_details=not view.has_details)
    moves = {"up": -1, "k": -1, "down": 1, "j": 1, "page up": -page, "page down": page, " ": page, "home": -rows, "end": rows}
    return replace(view, first=max(0, min(view.first + moves.get(key, 0), rows - page)))


def screen(live: Live, view: View, *, width: int, height: int, is_unicode: bool = True) -> tuple[list[str], int]:
    """The lines, and how many categories they show."""
    head = [_fit(each, width) for each in _head(live, width, is_unicode=is_unicode)]
    head[1] = f"{_BOLD}{head[1]}"
    body = [_fit(each, width) for each in (*_sinks(live, view, width), *_conditions(live))]
    room = height - len(head) - 2
    body = body[: max(0, room - CATEGORY_ROWS_MIN)]
    page = max(0, room - len(body))
    table = _categories(live, view, page, width)
    lines = [*head, *body, *table][: height - 1]
    lines += [""] * (height - 1 - len(lines))
    lines.append(f"{_REVERSED}{_fit(HELP, width)}")
    return lines if is_unicode else [each.replace(_CUT, _ASCII_CUT) for each in lines], page


def _head(live: Live, width: int, *, is_unicode: bool) -> Iterator[str]:
    status, committed = live.status, live.status.committed
    yield f"event-processor  {status.state_directory}  {status.owner or 'not running'}"
    shortfalls = live.shortfalls
    if not shortfalls:
        yield "Keeping up."
    else:
        yield f"Needs you: {shortfalls[0]}" + (
            f" (and {len(shortfalls) - 1} more: event-processor status)" if len(shortfalls) > 1 else ""
        )
    yield from textwrap.wrap(one_line(live.bottleneck.words), max(10, width), max_lines=2, placeholder=" …")
    yield ""
    if committed is None:
        yield "Nothing is committed yet."
        return
    yield from _counts(live, committed)
    label = "last 5 min  "
    yield label + _sparkline(live, max(2, width - len(label) - 20), is_unicode=is_unicode)
    yield ""


def _counts(live: Live, committed: CommittedStatus) -> Iterator[str]:
    counts = committed.counts
    outcomes = (counts.accepted, counts.duplicate, counts.rejected, counts.blank)
    parts = " + ".join(
        f"{count:,} {name}" for count, name in zip(outcomes, ("accepted", "duplicate", "rejected", "blank"), strict=True)
    )
    yield f"{counts.records:,} records = {parts}"
    age = "unknown" if committed.age_s is None else f"{committed.age_s:,.1f} s ago"
    yield (
        f"{_rate(live.rate_per_s)} now, {_rate(live.minute_rate_per_s)} in the last minute; "
        f"{committed.lag_bytes:,} bytes behind{'' if live.lag_s is None else f', {live.lag_s:,.1f} s'}; last commit {age}"
    )
    yield (
        f"{counts.late:,} late, {committed.held_events:,} in the order buffer, {committed.dead_letters:,} dead letters, "
        f"{committed.lost:,} lost, {committed.categories:,} categories"
    )


def _rate(value: float | None) -> str:
    return "-" if value is None else f"{value:,.0f}/s"


def _sparkline(live: Live, width: int, *, is_unicode: bool) -> str:
    """A bar for each stretch of the last seconds, as high as their mean; a space where nothing ran. The highest mean is said after it.

    Stretches begin at multiples of their length, so that a bar moves without another shape.
    """
    values = live.past["records"]
    size = -(-len(values) // (width - 1))
    begins = [0, *range(-live.begin_s % size or size, len(values), size)]
    stretches = [values[begin:end] for begin, end in zip(begins, [*begins[1:], len(values)], strict=True)]
    means: list[float | None] = []
    for each in stretches:
        known = [value for value in each if value is not None]
        means.append(sum(known) / len(known) if known else None)
    # The first and the last stretch may be short, and one second of them may be far from the mean.
    highest = max((each for each in (means[1:-1] or means) if each is not None), default=0.0)
    bars = _BARS if is_unicode else _ASCII_BARS
    top = len(bars) - 1
    line = "".join(" " if each is None else bars[min(top, round(each / highest * top)) if highest else 0] for each in means)
    return f"{line}  max {highest:,.0f}/s"


def _sinks(live: Live, view: View, width: int) -> Iterator[str]:
    lanes = live.status.lanes
    for lane in lanes.lanes[:SINKS_MAX]:
        promised = lanes.guarantees.get(lane.sink)
        yield _sink(lane, promised.words if promised else "")
    if len(lanes.lanes) > SINKS_MAX:
        yield f"and {len(lanes.lanes) - SINKS_MAX} more sinks: event-processor sinks list"
    for snapshot in lanes.snapshots[:SINKS_MAX]:
        yield f"sink {snapshot.sink}: {snapshot.state}; {snapshot.behind:,} records behind; {snapshot.words}".rstrip("; ")
    for name, figures in lane_group_facts(lanes).items() if view.has_details else ():
        yield from textwrap.wrap(one_line(f"{name}: {figures}"), max(10, width), initial_indent="  ", subsequent_indent="    ")
    if lanes.lanes or lanes.snapshots:
        yield ""


def _sink(lane: LaneReport, promise: str) -> str:
    counts = f"{lane.pending:,} pending, {lane.rate_per_s:,.1f}/s, {lane.delivered:,} delivered, {lane.failed:,} failed"
    return (
        f"sink {lane.sink}: {lane.state}; {counts}"
        + (f"; {promise}" if promise else "")
        + (f"; {lane.words}" if lane.words else "")
    )


def _conditions(live: Live) -> Iterator[str]:
    found: Sequence[Condition] = sorted(live.status.conditions, key=lambda each: not each.fails)
    for each in found[:CONDITIONS_MAX]:
        yield f"{'!' if each.fails else 'note:'} {each}"
    if len(found) > CONDITIONS_MAX:
        yield f"and {len(found) - CONDITIONS_MAX} more: event-processor status"
    if found:
        yield ""


@dataclass(frozen=True, slots=True)
class _Field:
    """A column of categories. `width_from`: the least width of a screen that has it."""

    name: str
    width: int
    width_from: int
    text: Callable[[CategoryTotal, float | None], str]


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:,.6g}" if abs(value) < 1e6 else f"{value:.6g}"


_FIELDS: Final = (
    _Field("count", 13, 0, lambda total, _: f"{total.count:,}"),
    _Field("rate", 9, 0, lambda _, rate: "-" if rate is None else f"{rate:,.1f}/s"),
    _Field("sum", 14, 60, lambda total, _: _number(total.sum)),
    _Field("mean", 12, 76, lambda total, _: _number(total.mean)),
    _Field("min", 12, 100, lambda total, _: _number(total.min)),
    _Field("max", 12, 112, lambda total, _: _number(total.max)),
)
NAME_WIDTH_MIN: Final = 8


def _categories(live: Live, view: View, page: int, width: int) -> Iterator[str]:
    """The names of the columns, and at most `page` rows."""
    fields = [each for each in _FIELDS if width >= each.width_from]
    name_width = max(NAME_WIDTH_MIN, width - sum(each.width + 1 for each in fields))
    mark = "<" if view.is_reversed else ">"
    titles = "".join(f" {_right(f'{mark} {each.name}' if each.name == view.sort else each.name, each.width)}" for each in fields)
    name = f"{mark} category" if view.sort == "category" else "category"
    yield _fit(_fit(name, name_width) + titles, width)
    for row, total in _sorted(live, view)[view.first : view.first + page]:
        rate = live.rates.get(row) if live.rates else None
        cells = "".join(f" {_right(each.text(total, rate), each.width)}" for each in fields)
        yield _fit(_fit(row or "(all events)", name_width) + cells, width)


def _sorted(live: Live, view: View) -> list[tuple[str, CategoryTotal]]:
    """The categories in the chosen order: the largest first, names from A on; without a value last in both."""
    rows = sorted(live.categories.items())
    if view.sort == "category":
        return rows[::-1] if view.is_reversed else rows
    value = _values(view.sort, live.rates)
    with_value = [row for row in rows if value(row) is not None]
    without = [row for row in rows if value(row) is None]
    return sorted(with_value, key=lambda row: value(row) or 0.0, reverse=not view.is_reversed) + without


def _values(sort: str, rates: Mapping[str, float]) -> Callable[[tuple[str, CategoryTotal]], float | None]:
    if sort == "rate":
        return lambda row: rates.get(row[0], 0.0)
    return lambda row: getattr(row[1], sort)


def _fit(text: str, width: int) -> str:
    """`text` in exactly `width` cells, with a mark if it is cut."""
    shown = one_line(text)
    return f"{set_cell_size(shown, width - 1)}{_CUT}" if cell_len(shown) > width > 1 else set_cell_size(shown, width)


def _right(text: str, width: int) -> str:
    return text[:width].rjust(width)
