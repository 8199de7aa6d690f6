"""Reads events with the C kernel: in one walk through a chunk's bytes, however the lines are written.

Owns: what the kernel gets from the configuration, the columns of what it read, and `RawTimestamps`: timestamps as places in a
chunk. Most of these are never read; only the last one of each category is shown.
Always: if a line is read here, the judge would accept it with the same fields. A raw timestamp is what the judge keeps of the
same record (`kept_timestamp`). Lines that need a closer look are left to the other readers.
Never: this file does not write the reason of a rejection. The judge describes what the kernel found.
"""

from __future__ import annotations

from typing import Final

import msgspec
import numpy as np

from event_processor.columns.field_paths import Keys, field_path
from event_processor.columns.ids import IntegerIds, TextIds
from event_processor.columns.number_texts import written_number
from event_processor.columns.numbered_texts import NumberedTexts
from event_processor.columns.timestamps import TimestampReader
from event_processor.configuration.configuration import EventOptions
from event_processor.kernels.lines import (
    NODES_MAX,
    TEXT,
    Field,
    KnownCategories,
    LineFault,
    LineKernels,
    ReadEvents,
    Role,
    Wanted,
)
from event_processor.model.columns import BoolArray, CategoryColumn, IntArray
from event_processor.model.rejections import Fault, Rejections
from event_processor.records.json_lines.event_columns import EventColumns
from event_processor.records.json_lines.judge import (
    POSITION_ID,
    TIMESTAMP_CHARACTERS_MAX,
    Judge,
    kept_timestamp,
    not_a_number,
    open_text,
)
from event_processor.records.json_lines.lines import Lines

__all__ = ["RawTimestamps", "WalkedReader", "raw_values"]

_NUMBER_DECODER: Final = msgspec.json.Decoder(int | float)


class RawTimestamps:
    """m timestamps at begins[i] to ends[i] of the content: texts without escapes (inside their quotes), or numbers.

    If the content is empty, no event has a timestamp.
    """

    def __init__(self, content: bytes, begins: IntArray, ends: IntArray, *, is_text: bool) -> None:
        self._content: Final = content
        self._begins: Final = begins
        self._ends: Final = ends
        self._is_text: Final = is_text

    @classmethod
    def none(cls, count: int) -> RawTimestamps:
        """For `count` events without a timestamp."""
        places = np.zeros(count, np.int64)
        return cls(b"", places, places, is_text=True)

    def picked(self, places: IntArray) -> RawTimestamps:
        return RawTimestamps(self._content, self._begins[places], self._ends[places], is_text=self._is_text)

    def to_list(self) -> list[object]:
        if not self._content:
            return [None] * len(self._begins)
        return list(map(kept_timestamp, raw_values(self._content, self._begins, self._ends, is_text=self._is_text)))

    def spans(self) -> tuple[bytes, IntArray, IntArray] | None:
        if not self._content or not self._is_text or int((self._ends - self._begins).max(initial=0)) > TIMESTAMP_CHARACTERS_MAX:
            return None
        return self._content, self._begins, self._ends


def raw_values(content: bytes, begins: IntArray, ends: IntArray, *, is_text: bool) -> list[object]:
    """The texts or numbers at these places, as Python values. A float keeps its digits, as a `WrittenNumber` if needed."""
    spans = zip(begins.tolist(), ends.tolist(), strict=True)
    if is_text:
        return [content[begin:end].decode() for begin, end in spans]
    return [_number(content[begin:end]) for begin, end in spans]


def _number(text: bytes) -> float | int:
    number = _NUMBER_DECODER.decode(text)
    return written_number(text.decode()) if isinstance(number, float) else number


_ROLE_NAMES: Final = {Role.ID: "id_0", Role.CATEGORY: "category", Role.VALUE: "value"}
"""The judge's names of the roles."""
_UNREAD: Final = "unread"


class WalkedReader:
    """Reads ordinary lines. It remembers the categories of a chunk, only to save time in the next one."""

    def __init__(
        self, kernels: LineKernels, event: EventOptions, timestamps: TimestampReader | None, judge: Judge | None = None
    ) -> None:
        """`timestamps` reads timestamps, or is None if they are not used.

        `judge` (for the same configuration) describes faults.
        """
        self._kernels: Final = kernels
        self._judge: Final = judge or Judge(event, record_bytes_max=0, timestamps=timestamps)
        self._timestamps: Final = timestamps
        self._shows_timestamps: Final = bool(event.timestamp)
        fields = _fields(event)
        self.is_able: Final = len(fields) <= NODES_MAX and not isinstance(event.id, tuple) and not event.model
        """Whether the kernel can read events of this configuration. It cannot if there are several id fields or a user's
        model."""
        required = sum({role for field in fields for role in (Role.ID, Role.CATEGORY, Role.VALUE) if field.roles & role})
        if timestamps is not None:
            required |= Role.TIMESTAMP
        self._wanted: Final = Wanted(fields if self.is_able else [], required)
        self._categories: Final = KnownCategories()
        self._may_miss_value: Final = event.value_missing != "reject"

    def read(self, lines: Lines) -> tuple[EventColumns | None, Rejections]:
        """The events of ordinary lines (None if there are none), and the rejections of records whose fault is certain."""
        if not self.is_able or not len(lines.starts) or not self._categories.make_room(len(lines.content)):
            return None, Rejections.of([])
        found = self._kernels.read_events(
            lines.content, lines.starts, lines.ends, lines.readable, wanted=self._wanted, categories=self._categories
        )
        events = self._with_instants(lines.content, found) if len(found.rows) else None
        return events, self._rejections(lines, found.faults)

    def _rejections(self, lines: Lines, found: IntArray) -> Rejections:
        """The rejections, described by the judge. `found` are the kernel's columns of faults."""
        content = lines.content
        faults: list[Fault] = []
        numbers_of: dict[object, int] = {_UNREAD: -1}
        numbers = []
        for row, kind, begin, end in zip(*found.tolist(), strict=True):
            key: object = kind
            held: tuple[str, ...] = ()
            if kind == LineFault.TEXT_VALUE:
                key = content[begin:end]
            elif kind == LineFault.OPEN_TEXT:
                key = (kind, end)
            elif kind in _ROLE_NAMES:
                held, key = self._held(kind, lines.record(row))
            number = numbers_of.get(key)
            if number is None:
                verdict = self._verdict(kind, content[begin:end], end, held)
                number = numbers_of[key] = -1 if verdict is None else len(faults)
                faults += [] if verdict is None else [verdict]
            numbers.append(number)
        fault_numbers = np.array(numbers, np.int64)
        certain = fault_numbers >= 0
        if certain.all():
            return Rejections(found[0], fault_numbers, faults)
        return Rejections(found[0][certain], fault_numbers[certain], faults)

    def _held(self, kind: int, record: bytes) -> tuple[tuple[str, ...], object]:
        """The names beside a missing field, and the key of the fault; `_UNREAD` if only the judge reads this record."""
        try:
            held = self._judge.held_names(_ROLE_NAMES[kind], msgspec.json.decode(record))
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return (), _UNREAD
        return held, (kind, held)

    def _verdict(self, kind: int, text: bytes, characters: int, held: tuple[str, ...]) -> Fault | None:
        """The fault, described by the judge; None if it may not be a fault. `held`: the names beside a field that is missing."""
        if kind in _ROLE_NAMES:
            return None if kind == Role.VALUE and self._may_miss_value else self._judge.missing(_ROLE_NAMES[kind], held)
        if kind == LineFault.TEXT_VALUE:
            return self._judge.refused("value", str(text, "utf-8"))
        return open_text(characters) if kind == LineFault.OPEN_TEXT else not_a_number("NaN")

    def _with_instants(self, content: bytes, found: ReadEvents) -> EventColumns | None:
        """The columns, without events whose timestamps are used but cannot be read here."""
        if self._timestamps is None:
            return self._columns(content, found, None)
        spans = found.timestamp_spans
        if found.timestamp_kind == TEXT:
            instants, bad = self._timestamps.read_spans(content, *spans)
        else:
            instants, bad = self._timestamps.read_numbers(content, *spans)
        if not bad.any():
            return self._columns(content, found, instants)
        good = np.flatnonzero(~bad)
        return _picked(self._columns(content, found, instants), good) if len(good) else None

    def _columns(self, content: bytes, found: ReadEvents, instants: IntArray | None) -> EventColumns:
        ids: TextIds | IntegerIds | None = None
        if found.id_numbers is not None:
            ids = IntegerIds(found.id_numbers)
        elif found.id_spans is not None:
            ids = TextIds(content, *found.id_spans)
        timestamps = None
        if self._shows_timestamps and found.timestamp_kind:
            timestamps = RawTimestamps(content, *found.timestamp_spans, is_text=found.timestamp_kind == TEXT)
        elif self._shows_timestamps:
            timestamps = RawTimestamps.none(len(found.rows))
        return EventColumns(
            rows=found.rows,
            ids=ids,
            categories=None
            if found.codes is None or found.names is None
            else CategoryColumn(found.codes, NumberedTexts(*found.names)),
            values=found.values,
            has_value=None,
            timestamps=timestamps,
            timestamps_ns=instants,
        )


def _fields(event: EventOptions) -> list[Field]:
    """The keys that lead to the fields of an event, outer keys before inner ones.

    A key that is written with the dots of a name is one too: a line with such a key is left to the other readers.
    """
    own_id = event.id if isinstance(event.id, str) and event.id != POSITION_ID else ""
    roles = {Role.ID: own_id, Role.CATEGORY: event.category, Role.VALUE: event.value, Role.TIMESTAMP: event.timestamp}
    paths = [(role, field_path(name)) for role, name in roles.items() if name]
    wanted = [(keys, role) for role, (*_, keys) in paths]
    numbers: dict[Keys, int] = {}
    fields: list[Field] = []
    for keys, role in [*wanted, *((keys, Role.NOT_HERE) for _, (*others, _) in paths for keys in others)]:
        for depth in range(1, len(keys) + 1):
            number = numbers.setdefault(keys[:depth], len(fields))
            if number == len(fields):
                fields.append(Field(keys[depth - 1].encode(), numbers.get(keys[: depth - 1], -1), 0))
        last = fields[numbers[keys]]
        fields[numbers[keys]] = Field(last.name, last.parent, last.roles | role)
    return fields


def _picked(events: EventColumns, places: IntArray) -> EventColumns:
    """The events at these places."""
    return EventColumns(
        rows=events.rows[places],
        ids=None if events.ids is None else events.ids.picked(places),
        categories=None if events.categories is None else events.categories.picked(places),
        values=None if events.values is None else events.values[places],
        has_value=_picked_marks(events.has_value, places),
        timestamps=None if events.timestamps is None else events.timestamps.picked(places),
        timestamps_ns=None if events.timestamps_ns is None else events.timestamps_ns[places],
    )


def _picked_marks(marks: BoolArray | None, places: IntArray) -> BoolArray | None:
    return None if marks is None else marks[places]
