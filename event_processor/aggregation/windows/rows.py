"""The rows of windows: runs of windows with equal content, and their text.

Owns: the text of a row: its times, its group, its measures.
Always: a run is expanded only when it is read, so a gap of a million windows is one run in memory. Numbers have full precision;
whole numbers have no point.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from operator import add
from typing import Any, Final
from zoneinfo import ZoneInfo

import msgspec
from msgspec import Struct

from event_processor.aggregation.measures import GroupKey, group_values, number_text
from event_processor.configuration.aggregates import AggregateOptions, WindowOptions

__all__ = ["RowForm", "RowPieces", "RowPlaces", "WindowRun", "group_line"]

PIECE_ROWS: Final = 1024
DAY_S: Final = 86_400
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_ENCODER: Final = msgspec.json.Encoder()
_MEMBERS: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])


class WindowRun(Struct, frozen=True):
    """`count` windows from row `first` on. `tails`: per group, the text of its row after start and end, with the line feed."""

    first: int
    count: int
    tails: tuple[bytes, ...]

    @property
    def row_count(self) -> int:
        return self.count * len(self.tails)


def _text(value: Any) -> str:
    if type(value) is float:
        return number_text(value)
    return str(value) if type(value) is int else _ENCODER.encode(value).decode()


def group_line(group: Sequence[tuple[str, Any]], measures: Sequence[tuple[str, Any]]) -> bytes:
    """A group of an aggregate without a window, in the form of a window's row. A missing value is null."""
    return f"{{{', '.join(f'{_text(name)}: {_text(value)}' for name, value in (*group, *measures))}}}\n".encode()


class RowForm:
    """The form of the rows of one aggregate."""

    def __init__(self, options: AggregateOptions, zone: str) -> None:
        """`zone`: the zone of times that are written without one."""
        assert options.window is not None, "rows are of windows"
        self._window: Final[WindowOptions] = options.window
        self._zone: Final = UTC if zone == "UTC" else ZoneInfo(zone)
        self._members: Final = [f"{_text(measure.name)}: " for measure in options.columns()]
        self._empty: Final = _text(options.window.empty)
        self._starts: Final = f"{_text(options.window.start_as)}: " if options.window.start_as else ""
        self._ends: Final = f"{_text(options.window.end_as)}: " if options.window.end_as else ""
        self._group_by: Final = options.group_by
        self._day: int | None = None
        """The day of `_day_text`, in days since 1970-01-01; None before the first. Every number is a day: -1 is 1969-12-31."""
        self._day_text = ""
        self._times: Final[dict[int, str]] = {}

    def tail(self, key: GroupKey, values: Sequence[Any]) -> bytes:
        """The text after start and end: the group's fields and the measures. None becomes the configured empty value."""
        texts = [self._empty if value is None else _text(value) for value in values]
        measures = ", ".join(map(add, self._members, texts))
        if not self._group_by:
            return f"{measures}}}\n".encode()
        return f"{self.group(key)}, {measures}}}\n".encode()

    def group(self, key: GroupKey) -> str:
        """A group's fields as members of a JSON object."""
        named = zip(self._group_by, group_values(key), strict=True)
        return ", ".join(f"{_text(name)}: {_text(value)}" for name, value in named)

    def head(self, row: int) -> bytes:
        """The start of a row."""
        window, end_s = self._window, row * self._window.step_s
        start = f"{self._starts}{self._time(end_s - window.size_s)}, " if self._starts else ""
        end = f"{self._ends}{self._time(end_s)}, " if self._ends else ""
        return f"{{{start}{end}".encode()

    def end(self, row: int) -> str:
        """The window's end as in the row, as JSON; if a local time stands there, which may occur twice, the time in UTC."""
        end_s = row * self._window.step_s
        if self._window.timestamp_format == "datetime" and self._zone is not UTC:
            return f'"{(_EPOCH + timedelta(seconds=end_s)).isoformat()}"'
        return self._time(end_s)

    def group_of(self, tail: bytes) -> str:
        """The values of the group of a row, as a JSON array, from the text of the row after start and end."""
        members = _MEMBERS.decode(b"{" + tail)
        return f"[{','.join(bytes(members[name]).decode() for name in self._group_by)}]"

    @property
    def has_groups(self) -> bool:
        """Whether a window may have several rows."""
        return bool(self._group_by)

    def _time(self, seconds: int) -> str:
        form = self._window.timestamp_format
        if form == "epoch_s":
            return str(seconds)
        if form == "datetime" and self._zone is not UTC:
            return f'"{(_EPOCH + timedelta(seconds=seconds)).astimezone(self._zone):%Y-%m-%d %H:%M:%S}"'
        day, time_s = divmod(seconds, DAY_S)
        if day != self._day:
            self._day, self._day_text = day, _day_text(day)
        time = self._times.get(time_s)
        if time is None:
            time = self._times[time_s] = f"{time_s // 3600:02}:{time_s // 60 % 60:02}:{time_s % 60:02}"
        return f'"{self._day_text} {time}"' if form == "datetime" else f'"{self._day_text}T{time}Z"'


def _day_text(day: int) -> str:
    date = _EPOCH + timedelta(days=day)
    return f"{date.year:04}-{date.month:02}-{date.day:02}"


class RowPieces:
    """The text of consecutive runs, in pieces. It is made again each time it is read."""

    def __init__(self, form: RowForm, runs: Sequence[WindowRun]) -> None:
        self._form: Final = form
        self._runs: Final = runs

    def __iter__(self) -> Iterator[bytes]:
        lines: list[bytes] = []
        for run in self._runs:
            for row in range(run.first, run.first + run.count):
                head = self._form.head(row)
                lines += [head + tail for tail in run.tails]
                if len(lines) >= PIECE_ROWS:
                    yield b"".join(lines)
                    lines = []
        if lines:
            yield b"".join(lines)


class RowPlaces:
    """The places of the same rows, in the same pieces: {"aggregate", "end", "group"}. `group`: the values; none without groups."""

    def __init__(self, name: str, form: RowForm, runs: Sequence[WindowRun]) -> None:
        self._beginning: Final = f'{{"aggregate":{_text(name)},"end":'
        self._form: Final = form
        self._runs: Final = runs

    def __iter__(self) -> Iterator[list[bytes]]:
        places: list[bytes] = []
        for run in self._runs:
            groups = [f',"group":{self._form.group_of(tail)}}}' if self._form.has_groups else "}" for tail in run.tails]
            for row in range(run.first, run.first + run.count):
                beginning = f"{self._beginning}{self._form.end(row)}"
                places += [f"{beginning}{group}".encode() for group in groups]
                if len(places) >= PIECE_ROWS:
                    yield places
                    places = []
        if places:
            yield places
