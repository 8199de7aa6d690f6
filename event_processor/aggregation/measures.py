"""From events to what an aggregate measures: their groups, their numbers, and which of them count.

Owns: how the fields of an aggregate are read: from columns if these are known, else from the events' lines; the key of a group;
and which events `where` selects.
Always: a key is the JSON array of the group's values. A whole number is written there as an integer, so 1 and 1.0 are one group,
and "1" is another. What is read of one event does not depend on the events around it: if a block cannot be decoded, it is halved
until the line at fault is alone. That line may hold a number beyond every double, which is valid JSON: it is read as infinity.
Never: refuses an event. An event that cannot be measured is counted as unfit.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import inf, isfinite
from typing import Any, Final, TypeAlias

import msgspec
import numpy as np

from event_processor.aggregation.windows.entries import FieldPlan, FieldValues, field_plans
from event_processor.columns.event_slices import EventSlice, Place
from event_processor.columns.field_paths import Absent, BlockDecoder, field_path, reach
from event_processor.configuration.aggregates import AggregateOptions, Scalar
from event_processor.configuration.configuration import EventOptions
from event_processor.model.columns import BoolArray, CategoryColumn, FloatArray, IntArray
from event_processor.model.event import VALUE_MAGNITUDE_END

__all__ = ["ALL", "EventMeasurer", "GroupKey", "LineFields", "Measured", "group_key", "group_values", "number_text"]

_INTEGER_DIGITS_MAX: Final = 300
"""A longer integer is beyond every limit here. Reading it exactly would cost the square of its length."""


def _integer(digits: str) -> int | float:
    return int(digits) if len(digits) <= _INTEGER_DIGITS_MAX else inf


_READER: Final = json.JSONDecoder(parse_int=_integer)


class LineFields:
    """Reads the same fields of any events. Pure."""

    def __init__(self, names: Sequence[str]) -> None:
        """`names` are dotted. Raises `ConfigurationError` if a field would be inside another."""
        self._paths: Final = [field_path(name) for name in names]
        self._decoder: Final = BlockDecoder([(path, Any) for path in self._paths])

    def read(self, events: EventSlice) -> list[list[object]]:
        """For each field the values of all events, unchanged: an `Absent` if there is none, infinity if too great for a double."""
        columns = self._decoded(events.lines, events.count)
        return self._halved(events.lines.split(b"\n")[:-1]) if columns is None else columns

    def _decoded(self, lines: bytes, count: int) -> list[list[object]] | None:
        """The columns; None if the fast decoder refuses one of the lines."""
        try:
            decoded = self._decoder.decode(lines)
        except (msgspec.MsgspecError, RecursionError):
            return None
        assert len(decoded) == count, "a line is an object"
        return self._decoder.columns(decoded)

    def _halved(self, lines: Sequence[bytes]) -> list[list[object]]:
        """The columns of a block, one half after the other."""
        if len(lines) == 1:
            document = _READER.decode(lines[0].decode())
            return [[reach(document, path)] for path in self._paths]
        columns: list[list[object]] = [[] for _ in self._paths]
        half = len(lines) // 2
        for part in (lines[:half], lines[half:]):
            found = self._decoded(b"\n".join([*part, b""]), len(part))
            for column, more in zip(columns, self._halved(part) if found is None else found, strict=True):
                column.extend(more)
        return columns


GroupKey: TypeAlias = str
"""A group's values as a JSON array."""
ALL: Final = "[]"
"""The key of the only group if nothing is grouped."""
GROUP_CHARACTERS_MAX: Final = 1024
"""Of a text that names a group: the same limit as for an id."""
INTEGER_END: Final = 2**63
"""Integers of this magnitude and above cannot name a group."""
_ENCODER: Final = msgspec.json.Encoder()
_NUMBERS: Final = {int, float}


def number_text(number: float) -> str:
    """A number as JSON, in full precision; whole numbers without a point."""
    return repr(number).removesuffix(".0")


def group_values(key: GroupKey) -> list[Any]:
    """The values of a group's fields, from its key."""
    values: list[Any] = msgspec.json.decode(key)
    return values


@dataclass(frozen=True, slots=True)
class Measured:
    """n events, as far as an aggregate needs them. `kept` marks which of the `events` are here; None if all are.

    `codes` (n,) are indices into `names`, which may also hold groups without an event. `unfit` counts the events of which
    something could not be measured, or whose group cannot be named; `first_unfit` is the field of the first one, and its index in
    `events`. `seen` are the fields that were looked for and found.
    """

    events: EventSlice
    count: int
    kept: BoolArray | None
    codes: IntArray
    names: Sequence[GroupKey]
    values: Sequence[FieldValues]
    unfit: int = 0
    first_unfit: tuple[str, int] | None = None
    seen: Sequence[str] = ()

    def place(self, index: int) -> Place:
        """The place of an event that is here."""
        return self.events.place_at(index if self.kept is None else int(np.flatnonzero(self.kept)[index]))


class EventMeasurer:
    """Reads the fields of one aggregate. Pure."""

    def __init__(self, options: AggregateOptions, event: EventOptions) -> None:
        """Raises `ConfigurationError` if a field would be inside another."""
        self.plans: Final = field_plans(options.columns())
        self._group_by: Final = options.group_by
        self._where: Final = {name: _wanted(values) for name, values in options.where.items()}
        self._takes_missing: Final = options.where_missing == "measure"
        self._value: Final = event.value
        # A number is known as a text in the columns. Here it stays a number, as in any other field.
        self._category: Final = event.category if event.category_numbers == "reject" else ""
        self.names: Final = list(dict.fromkeys([*options.group_by, *options.where, *(plan.name for plan in self.plans)]))
        optional = set(options.where if self._takes_missing else ()).difference(
            options.group_by, (plan.name for plan in self.plans)
        )
        self.expected_names: Final = [name for name in self.names if name not in optional]
        """The fields that some event should have."""
        self._fields: Final = LineFields(self.names)
        self._by_category: Final = options.group_by == (self._category,) and bool(self._category)

    def measure(self, events: EventSlice, absent: Sequence[str] = ()) -> Measured:
        """Measures the events for the aggregate, in their order. `absent`: the fields to look for, of `names`."""
        raw: Mapping[str, Sequence[object]] | None = None
        if not self._is_known(events):
            raw = dict(zip(self.names, self._fields.read(events), strict=True))
        kept = self._kept(events, raw)
        codes, names, nameless = self._groups(events, raw)
        values, odd = self._values(events, raw)
        if nameless is not None:
            odd = [(self._culprit(raw, nameless), nameless), *odd]
        if kept is not None:
            odd = [(field, marks & kept) for field, marks in odd]
        if nameless is not None:
            kept = ~nameless if kept is None else kept & ~nameless
        seen = [name for name in absent if self._is_seen(name, events, raw)]
        measured = Measured(events, events.count, None, codes, names, values, *_unfit(odd), seen)
        return measured if kept is None or kept.all() else _picked(measured, kept)

    def _culprit(self, raw: Mapping[str, Sequence[object]] | None, nameless: BoolArray) -> str:
        """The field for which the first nameless group has no name."""
        assert raw is not None, "a known category is a name"
        first = int(nameless.argmax())
        return next(name for name in self._group_by if not _is_plain(raw[name][first]))

    def _is_seen(self, name: str, events: EventSlice, raw: Mapping[str, Sequence[object]] | None) -> bool:
        """Whether one of the events has the field."""
        if raw is not None:
            return set(map(type, raw[name])) != {Absent}
        assert events.columns is not None, "known values are in columns"
        has_value = events.columns.has_value
        return name != self._value or has_value is None or bool(has_value.any())

    @property
    def reads_lines(self) -> bool:
        """Whether it needs more of an event than the columns of its format hold."""
        numbers_known = all(plan.name == self._value and not plan.ends for plan in self.plans)
        groups_known = self._by_category or not self._group_by
        return not (numbers_known and groups_known and all(name == self._category for name in self._where))

    def _is_known(self, events: EventSlice) -> bool:
        """Whether the columns hold everything needed."""
        return events.columns is not None and not self.reads_lines

    def _kept(self, events: EventSlice, raw: Mapping[str, Sequence[object]] | None) -> BoolArray | None:
        kept: BoolArray | None = None
        for name, wanted in self._where.items():
            if raw is None:
                column = _categories(events)
                mark = np.array([(False, each) in wanted for each in column.names], np.bool_)[column.codes]
            else:
                mark = np.array([self._takes(value, wanted) for value in raw[name]], np.bool_)
            kept = mark if kept is None else kept & mark
        return kept

    def _takes(self, value: object, wanted: frozenset[tuple[bool, object]]) -> bool:
        """Whether `where` selects an event with this value. A field that cannot be reached is missing."""
        if value is None or isinstance(value, Absent):
            return self._takes_missing
        return _is_wanted(value, wanted)

    def _groups(
        self, events: EventSlice, raw: Mapping[str, Sequence[object]] | None
    ) -> tuple[IntArray, Sequence[GroupKey], BoolArray | None]:
        """The group of each event, and the events whose group cannot be named."""
        if not self._group_by:
            return np.zeros(events.count, np.int64), [ALL], None
        if raw is None:
            column = _categories(events)
            return column.codes, [group_key((name,)) for name in column.names], None
        columns = [raw[name] for name in self._group_by]
        if len(columns) == 1 and set(map(type, columns[0])) == {str} and max(map(len, columns[0])) <= GROUP_CHARACTERS_MAX:  # type: ignore[arg-type]
            texts: dict[object, int] = {}
            coded = np.fromiter((texts.setdefault(text, len(texts)) for text in columns[0]), np.int64, events.count)
            return coded, [group_key((text,)) for text in texts], None
        numbers: dict[GroupKey, int] = {}
        codes = np.zeros(events.count, np.int64)
        nameless = np.zeros(events.count, np.bool_)
        seen: dict[tuple[object, ...], int] = {}
        for place, values in enumerate(zip(*columns, strict=True)):
            known = (*values, *map(type, values)) if all(map(_is_plain, values)) else None
            if known is None:
                nameless[place] = True
            elif (code := seen.get(known)) is not None:
                codes[place] = code
            else:
                codes[place] = seen[known] = numbers.setdefault(group_key(values), len(numbers))
        return codes, list(numbers), nameless if nameless.any() else None

    def _values(
        self, events: EventSlice, raw: Mapping[str, Sequence[object]] | None
    ) -> tuple[list[FieldValues], list[tuple[str, BoolArray]]]:
        """The values of each planned field; and the fields with values that do not fit, with marks on their events."""
        found: list[FieldValues] = []
        unfit: list[tuple[str, BoolArray]] = []
        for plan in self.plans:
            if raw is None:
                assert events.columns is not None, "known values are in columns"
                numbers = events.columns.values
                found.append(FieldValues(events.columns.has_value, numbers))
                continue
            values, odd = _field_values(plan, raw[plan.name])
            found.append(values)
            if odd is not None:
                unfit.append((plan.name, odd))
        return found, unfit


def _categories(events: EventSlice) -> CategoryColumn:
    assert events.columns is not None, "known values are in columns"
    assert events.columns.categories is not None, "a category is named"
    return events.columns.categories


def _unfit(odd: Sequence[tuple[str, BoolArray]]) -> tuple[int, tuple[str, int] | None]:
    """How many events have a field that does not fit; and the first of them, with its first such field."""
    marked = np.logical_or.reduce([marks for _, marks in odd]) if odd else np.zeros(0, np.bool_)
    if not marked.any():
        return 0, None
    first = int(marked.argmax())
    return int(np.count_nonzero(marked)), (next(field for field, marks in odd if marks[first]), first)


def _picked(measured: Measured, kept: BoolArray) -> Measured:
    """The events that are kept."""
    values = [each.picked(kept) for each in measured.values]
    return replace(measured, count=int(np.count_nonzero(kept)), kept=kept, codes=measured.codes[kept], values=values)


def _wanted(values: Scalar | tuple[Scalar, ...]) -> frozenset[tuple[bool, object]]:
    """The values, each with a flag for booleans: 1 is not true."""
    return frozenset((isinstance(value, bool), value) for value in (values if isinstance(values, tuple) else (values,)))


def _is_wanted(value: object, wanted: frozenset[tuple[bool, object]]) -> bool:
    return _is_plain(value) and (isinstance(value, bool), value) in wanted


def _is_plain(value: object) -> bool:
    """Whether a value can name a group, or be kept as first or last: a scalar of limited size."""
    if isinstance(value, str):
        return len(value) <= GROUP_CHARACTERS_MAX
    if isinstance(value, int):
        return abs(value) < INTEGER_END
    if isinstance(value, float):
        return isfinite(value)
    return not isinstance(value, (dict, list))


def group_key(values: Sequence[object]) -> GroupKey:
    """The key of the group with these values; each of them can name a group."""
    return _ENCODER.encode([_canonical(value) for value in values]).decode()


def _canonical(value: object) -> object:
    """Makes an absent value null, and a whole number an integer."""
    if isinstance(value, Absent):
        return None
    return int(value) if isinstance(value, float) and value.is_integer() and abs(value) < INTEGER_END else value


def _field_values(plan: FieldPlan, raw: Sequence[object]) -> tuple[FieldValues, BoolArray | None]:
    """Reads one field as its plan says. Also marks the events whose value does not fit one of the measures; None if there are none."""
    present = np.fromiter((value is not None and not isinstance(value, Absent) for value in raw), np.bool_, len(raw))
    numbers, is_number = _numbers(raw, present) if plan.is_number else (None, present)
    is_scalar = present & np.fromiter(map(_is_plain, raw), np.bool_, len(raw)) if plan.ends else present
    odd = present & ~(is_number & is_scalar)
    values = FieldValues(
        None if present.all() else present, numbers, _unless(is_number, present), _unless(is_scalar, present), raw
    )
    return values, odd if odd.any() else None


def _unless(marks: BoolArray, present: BoolArray) -> BoolArray | None:
    """The marks; None if exactly the present values are marked."""
    return None if np.array_equal(marks, present) else marks


def _numbers(raw: Sequence[object], present: BoolArray) -> tuple[FloatArray, BoolArray]:
    """The values as doubles (0.0 if they are none), and marks on those that can be summed."""
    if set(map(type, raw)) <= _NUMBERS and (all_of_them := _doubles(raw)) is not None:
        return all_of_them, present
    numbers = np.zeros(len(raw))
    is_number = np.zeros(len(raw), np.bool_)
    for place in np.flatnonzero(present).tolist():
        number = _doubles([raw[place]]) if type(raw[place]) in _NUMBERS else None
        is_number[place] = number is not None
        numbers[place] = 0.0 if number is None else number[0]
    return numbers, is_number


def _doubles(raw: Sequence[object]) -> FloatArray | None:
    """Numbers as the nearest doubles, -0.0 as 0.0; None if one is too great to be summed."""
    try:
        numbers = np.array(raw, np.float64) + 0.0
    except (OverflowError, ValueError, TypeError):
        return None
    return numbers if bool((np.abs(numbers) < VALUE_MAGNITUDE_END).all()) else None
