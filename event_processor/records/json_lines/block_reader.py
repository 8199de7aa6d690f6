"""Reads many records at once: decoded blocks become columns. Uncertain records go to the judge.

Owns: the types with which msgspec keeps the contract of `judge.py`, the checks on whole columns, and the collection of columns
from blocks and single records.
Always: if a record passes here, the judge would accept it with the same fields. If it does not pass, it is a suspect, and the
judge decides. msgspec accepts wrong types, and the check of the column finds them, because a refusal costs the whole block. A
wrong length or an integer out of range is rarer, so msgspec refuses it.
Never: no record is rejected here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import compress
from typing import Annotated, Any, Final, TypeVar, cast

import numpy as np
from msgspec import Meta, Raw, Struct
from numpy.typing import NDArray

from event_processor.columns.field_paths import Absent, BlockDecoder, field_path
from event_processor.columns.ids import typed_ids
from event_processor.columns.number_texts import written_number
from event_processor.columns.timestamps import TimestampReader
from event_processor.configuration.configuration import EventOptions
from event_processor.model.columns import BoolArray, CategoryColumn, FloatArray, IntArray, Lines
from event_processor.model.event import CATEGORY_CHARACTERS_MAX, ID_CHARACTERS_MAX, VALUE_MAGNITUDE_END, EventId
from event_processor.records.json_lines.event_columns import EventColumns
from event_processor.records.json_lines.judge import INT64_MAX, INT64_MIN, TIMESTAMP_CHARACTERS_MAX, EventFields, id_names

__all__ = ["ColumnBuilder", "EventReader"]

_Scalar = TypeVar("_Scalar", bound=np.generic)
_NUMBERS: Final = frozenset({float, int})
_ALLOWED: Final = {"id": frozenset({str, int}), "category": frozenset({str}), "value": _NUMBERS}
_CHARACTERS_MAX: Final = {
    "id": ID_CHARACTERS_MAX,
    "category": CATEGORY_CHARACTERS_MAX,
    "timestamp": TIMESTAMP_CHARACTERS_MAX,
}


class EventReader:
    """Knows the fields of an event, decodes them, and checks each column."""

    def __init__(self, event: EventOptions, timestamps: TimestampReader | None) -> None:
        """`timestamps` reads timestamps, or is None if they are not used.

        Raises `ConfigurationError` if the fields cannot be read.
        """
        named = [("id", name) for name in id_names(event)]
        named += [(role, name) for role in ("category", "value", "timestamp") if (name := getattr(event, role))]
        names = list(dict.fromkeys(name for _, name in named))
        roles = {name: {role for role, other in named if other == name} for name in names}
        self.decoder: Final = BlockDecoder([(field_path(name), _kind(roles[name])) for name in names])
        self.places: Final = {role: [names.index(name) for other, name in named if other == role] for role, _ in named}
        """For each role, the numbers of its decoded fields. A field may have several roles."""
        self._number_texts: Final = BlockDecoder([(field_path(event.timestamp), Raw)]) if event.timestamp else None
        self.is_plain_id: Final = isinstance(event.id, str)
        self.timestamps: Final = timestamps
        allowed = _ALLOWED if event.category_numbers == "reject" else {**_ALLOWED, "category": frozenset({str, int})}
        self._allowed: Final = [(place, allowed[role]) for role in allowed for place in self.places.get(role, ())]
        self.may_miss_value: Final = event.value_missing == "count_only"

    def read(self, lines: Lines, rows: IntArray, decoded: list[Struct], into: ColumnBuilder) -> list[int]:
        """Adds the valid records of a block to `into`. `rows` are the block's rows. Returns the rows of the suspects."""
        fields = self.decoder.columns(decoded)
        self._write_numbers(lines, rows, fields)
        found = sorted({index for place, allowed in self._allowed for index in self._odd(fields[place], allowed)})
        for index in reversed(found):  # a block is small, so deleting is cheaper than copying
            for column in fields:
                del column[index]
        suspects: list[int] = rows[found].tolist() if found else []
        if found:
            valid = np.ones(len(rows), np.bool_)
            valid[found] = False
            rows = rows[valid]
        into.add_block(rows, fields)
        return suspects

    def _write_numbers(self, lines: Lines, rows: IntArray, fields: list[list[object]]) -> None:
        """Replaces timestamps that are floats by numbers with their own digits, which the decoder has rounded."""
        if self._number_texts is None:
            return
        column = fields[self.places["timestamp"][0]]
        floats = [place for place, raw in enumerate(column) if type(raw) is float]
        if not floats:
            return
        decoded = self._number_texts.decode(b"".join([record + b"\n" for record in lines.records(rows[floats].tolist())]))
        for place, raw in zip(floats, self._number_texts.columns(decoded)[0], strict=True):
            column[place] = written_number(bytes(cast("Raw", raw)).decode())

    def _odd(self, column: list[object], allowed: frozenset[type]) -> list[int]:
        """The places of values whose type is not allowed."""
        if (str in allowed and _are_strings(column)) or allowed.issuperset(map(type, column)):
            return []
        odd = [index for index, kind in enumerate(map(type, column)) if kind not in allowed]
        if self.may_miss_value and allowed is _NUMBERS:
            odd = [index for index in odd if column[index] is not None and column[index] is not Absent.MISSING]
        return odd


class ColumnBuilder:
    """Collects the valid records of one chunk. Call `add_block`, then `settle` once, then `add_event`, then `finish`."""

    def __init__(self, reader: EventReader) -> None:
        self._reader: Final = reader
        self._rows: list[IntArray] = []
        self._fields: list[list[object]] = []
        self._values: FloatArray | None = None
        self._has_value: BoolArray | None = None
        self._timestamps_ns: IntArray | None = None
        self._singles: Final[list[tuple[int, EventFields]]] = []

    def add_block(self, rows: IntArray, fields: list[list[object]]) -> None:
        """Adds records that were decoded together. Blocks must come in ascending order."""
        self._rows.append(rows)
        if not self._fields:
            self._fields = fields
            return
        for whole, part in zip(self._fields, fields, strict=True):
            whole.extend(part)

    def settle(self) -> list[int]:
        """Reads values and timestamps as numbers.

        Removes the records for which this fails, and returns their rows as suspects.
        """
        rows = _joined(self._rows, np.int64)
        bad = np.zeros(len(rows), np.bool_)
        for place in self._reader.places.get("value", ()):
            self._values, self._has_value = _doubles(self._column(place), may_miss=self._reader.may_miss_value)
            bad |= ~(np.abs(self._values) < VALUE_MAGNITUDE_END)
        if self._reader.timestamps is not None:
            column = self._column(self._reader.places["timestamp"][0])
            self._timestamps_ns, unread = self._reader.timestamps.read_all(column)
            bad |= unread
        self._rows = [rows]
        if bad.any():
            self._keep(~bad)
        suspects: list[int] = rows[bad].tolist()
        return suspects

    def add_event(self, row: int, event: EventFields) -> None:
        """Adds a record that the judge accepted."""
        self._singles.append((row, event))

    def finish(self) -> EventColumns:
        """All collected events, in the order of their records."""
        singles = [event for _, event in self._singles]
        rows = _joined([*self._rows, np.array([row for row, _ in self._singles], np.int64)], np.int64)
        order = np.argsort(rows) if singles else None
        places = self._reader.places
        categories = [event.category for event in singles]
        timestamps = self._merged_list("timestamp", [event.timestamp for event in singles], order)
        return EventColumns(
            rows=rows if order is None else rows[order],
            # The ids get their types once here. Otherwise the index, the order stage and the totals would each do it again.
            ids=typed_ids(self._ids(singles, order)) if "id" in places else None,
            categories=_coded(self._merged_list("category", categories, order)) if "category" in places else None,
            values=_merged(self._values, [event.value or 0.0 for event in singles], order),
            has_value=_merged(self._has_value, [event.value is not None for event in singles], order),
            timestamps=_Timestamps(timestamps) if "timestamp" in places else None,
            timestamps_ns=_merged(self._timestamps_ns, [event.timestamp_ns or 0 for event in singles], order),
        )

    def _column(self, place: int) -> list[object]:
        """The decoded field of all records so far; empty if no block was added."""
        return self._fields[place] if self._fields else []

    def _keep(self, keep: BoolArray) -> None:
        """Removes the records that `keep` does not mark from every column."""
        self._rows = [self._rows[0][keep]]
        self._fields = [list(compress(column, keep)) for column in self._fields]
        if self._values is not None and self._has_value is not None:
            self._values, self._has_value = self._values[keep], self._has_value[keep]
        if self._timestamps_ns is not None:
            self._timestamps_ns = self._timestamps_ns[keep]

    def _merged_list(self, role: str, singles: Sequence[object], order: IntArray | None, number: int = 0) -> list[object]:
        """The column of a role, with the single records at their places; empty if no field has the role."""
        if role not in self._reader.places:
            return []
        column = self._column(self._reader.places[role][number])
        if order is None:
            return column
        whole = [*column, *singles]
        return [whole[index] for index in order.tolist()]

    def _ids(self, singles: list[EventFields], order: IntArray | None) -> Sequence[EventId]:
        """The ids: plain values if one field is the id, tuples if several fields are."""
        numbers = range(len(self._reader.places["id"]))
        columns = [self._merged_list("id", [event.ids[number] for event in singles], order, number) for number in numbers]
        return cast("list[EventId]", columns[0] if self._reader.is_plain_id else list(zip(*columns, strict=True)))


def _are_strings(column: list[object]) -> bool:
    """Whether all values are strings. Joining them takes a third of the time of a check of their types."""
    try:
        "".join(column)  # type: ignore[arg-type]
    except TypeError:
        return False
    return True


def _kind(roles: set[str]) -> object:
    """The msgspec type of a field with these roles: the tightest limits. It accepts all wrong types, except for a timestamp."""
    limit = min((_CHARACTERS_MAX[role] for role in roles if role in _CHARACTERS_MAX), default=None)
    text = Annotated[str, Meta(min_length=int(bool(roles & {"id", "category"})), max_length=limit)]
    integer = Annotated[int, Meta(ge=INT64_MIN, le=INT64_MAX)]
    if roles == {"value"}:
        return text | float | None | bool | list[Any] | dict[str, Any]  # integers become the nearest double
    if roles == {"timestamp"}:
        return text | integer | float | None
    return text | integer | float | None | bool | list[Any] | dict[str, Any]


def _doubles(column: list[object], *, may_miss: bool) -> tuple[FloatArray, BoolArray]:
    """The nearest double of each number (never -0.0; 0.0 if there is no number), and which records have a number."""
    has_value = np.ones(len(column), np.bool_)
    if may_miss and not _NUMBERS.issuperset(map(type, column)):
        has_value = np.fromiter((type(value) in _NUMBERS for value in column), np.bool_, len(column))
        column = [value if has else 0.0 for value, has in zip(column, has_value.tolist(), strict=True)]
    return np.array(column, np.float64) + 0.0, has_value


@dataclass(frozen=True, slots=True)
class _Timestamps:
    """The timestamps as decoded. A missing one is given as None."""

    values: list[object]

    def picked(self, places: IntArray) -> _Timestamps:
        return _Timestamps([self.values[place] for place in places.tolist()])

    def to_list(self) -> list[object]:
        return [None if isinstance(raw, Absent) else raw for raw in self.values]

    def spans(self) -> None:
        """None: these are values, not places in a content."""


def _coded(categories: list[object]) -> CategoryColumn:
    names = cast("list[str]", categories)
    if not _are_strings(categories):
        names = [str(each) for each in categories]  # integers; a number with a point goes to the judge
    numbers = {name: number for number, name in enumerate(dict.fromkeys(names))}
    return CategoryColumn(np.fromiter(map(numbers.__getitem__, names), np.int64, len(names)), list(numbers))


def _joined(parts: list[NDArray[_Scalar]], kind: type[_Scalar]) -> NDArray[_Scalar]:
    """One array of all parts."""
    return np.concatenate([np.zeros(0, kind), *parts])


def _merged(column: NDArray[_Scalar] | None, singles: Sequence[object], order: IntArray | None) -> NDArray[_Scalar] | None:
    """The array with the single records at their places; None if there is no array."""
    if column is None or order is None:
        return column
    return np.concatenate([column, np.array(singles, column.dtype)])[order]
