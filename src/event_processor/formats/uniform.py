"""The way of lines that are spelt alike: whole columns are read from the bytes, with no Python object for a record.

Owns: which lines of a chunk follow a template, and the columns of their events.
Always: a line that is read here is accepted by the judge with the same fields. Whatever does not follow the
template to the byte, or holds anything that needs a closer look (an escape, a control character, a number out of the
ordinary), is left to the others, and nothing is said about it.
Never: no record is rejected here.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain
from typing import Final

import msgspec

from event_processor.byte_words import Words
from event_processor.config import EventOptions
from event_processor.contracts import BoolArray, IntArray
from event_processor.event import CATEGORY_CHARACTERS_MAX, ID_CHARACTERS_MAX, NESTING_DEPTH_MAX
from event_processor.formats.decimals import doubles_at, integers_at
from event_processor.formats.distinct_texts import DistinctTexts
from event_processor.formats.event_columns import EventColumns
from event_processor.formats.lines import Lines, are_plain
from event_processor.formats.matching import Match, layout_of
from event_processor.formats.raw_timestamps import RawTimestamps, raw_values
from event_processor.formats.template import NUMBER, TEXT, Template, template_of
from event_processor.formats.verdict import POSITION_ID
from event_processor.id_columns import IntegerIds, TextIds
from event_processor.schema import FieldPath, field_path
from event_processor.timestamps import TimestampReader

__all__ = ["AlikeReader"]

_RECORDS_MIN: Final = 64
"""A chunk of fewer records is decoded sooner than it is looked at."""
_LOOKED_AT: Final = 16
"""So many of the first records say whether a template fits."""
_SAMPLES: Final = (0, 5, 13)
"""Those of them that a template is taken from, until one fits."""
_SHARE_MIN: Final = 0.5
"""Where fewer of the first records follow the template, the chunk is left to the others."""
_ID_NUMBERS, _VALUES, _INSTANTS = "id", "value", "timestamp"
"""The columns that are read while lines are still left out."""
_ANY_DECODER: Final = msgspec.json.Decoder()


@dataclass(frozen=True, slots=True)
class _Plan:
    """A template, and which of its slots are the event's fields (None: no such field is configured)."""

    template: Template
    id_slot: int | None
    category_slot: int | None
    value_slot: int | None
    timestamp_slot: int | None

    @property
    def other_numbers(self) -> list[int]:
        """The slots with numbers that are neither the id nor the value: only their spelling counts."""
        numbers = [number for number, slot in enumerate(self.template.slots) if slot.kind == NUMBER]
        return [number for number in numbers if number not in (self.id_slot, self.value_slot)]

    @property
    def kept(self) -> frozenset[int]:
        """The slots whose place is asked for later."""
        fields = (self.id_slot, self.category_slot, self.value_slot, self.timestamp_slot)
        return frozenset([slot for slot in fields if slot is not None] + self.other_numbers)


class AlikeReader:
    """Reads what is spelt alike. What it remembers of one chunk, the template and the categories, is only the first guess at the next."""

    def __init__(self, event: EventOptions, timestamps: TimestampReader | None) -> None:
        """`timestamps` reads them where they are used."""
        self._id: Final = field_path(event.id) if isinstance(event.id, str) and event.id != POSITION_ID else None
        self._category: Final = field_path(event.category) if event.category else None
        self._value: Final = field_path(event.value) if event.value else None
        self._timestamp: Final = field_path(event.timestamp) if event.timestamp else None
        self._timestamps: Final = timestamps
        self._latest: _Plan | None = None
        self._category_texts: Final = DistinctTexts()
        self.is_able: Final = not isinstance(event.id, tuple) and not event.model
        """Whether events of this configuration can be read here: not those of several id fields, nor of a user's model."""

    def read(self, lines: Lines) -> EventColumns | None:
        """The events of the lines that are spelt alike; None where too few are."""
        if not self.is_able or len(lines.starts) < _RECORDS_MIN:
            return None
        candidates = lines.readable.nonzero()[0]
        words = Words(lines.content)
        plan = self._plan(lines, candidates)
        if plan is None:
            return None
        match = Match(lines, words, plan.template, plan.kept, candidates)
        match.run()
        # Numbers first: what has a text in the place of one follows the template too, and its quotes are too many.
        self._read_numbers(plan, match)
        if not len(match.rows):
            return None
        match.keep(are_plain(lines, match.rows, plan.template.quotes))
        self._read_texts(plan, match)
        return self._gathered(plan, match) if len(match.rows) else None

    def _plan(self, lines: Lines, candidates: IntArray) -> _Plan | None:
        """A template that enough of the first lines follow, and that has all fields of an event."""
        first = [lines.record(row) for row in candidates[:_LOOKED_AT].tolist()]
        if not first:
            return None
        samples = (self._plan_of(first[sample]) for sample in _SAMPLES if sample < len(first))
        for plan in chain([self._latest], samples):
            if plan is not None and sum(layout_of(plan.template, line) is not None for line in first) >= _SHARE_MIN * len(first):
                self._latest = plan
                return plan
        return None

    def _plan_of(self, line: bytes) -> _Plan | None:
        """The plan that `line` gives, if it is an event of the ordinary kind."""
        template = template_of(line) if _is_json_object(line) else None
        if template is None or sum(map(_brackets, template.literals)) > NESTING_DEPTH_MAX:
            return None
        plan = _Plan(template, *(_slot_at(template, path) for path in (self._id, self._category, self._value, self._timestamp)))
        wanted = (
            (self._id, plan.id_slot, ""),
            (self._category, plan.category_slot, TEXT),
            (self._value, plan.value_slot, NUMBER),
        )
        for path, slot, kind in wanted:
            if path is not None and (slot is None or (kind and template.slots[slot].kind != kind)):
                return None
        if self._timestamp is not None and plan.timestamp_slot is None:
            is_unclear = self._timestamps is not None or _is_hidden(template, self._timestamp)
            return None if is_unclear else plan
        return plan

    def _read_numbers(self, plan: _Plan, match: Match) -> None:
        """Reads the slots with numbers, and leaves out the lines in which one is no number, or out of the ordinary."""
        for number in plan.other_numbers:
            match.keep(doubles_at(match.words, *match.span(number))[1])
        if plan.id_slot is not None and plan.template.slots[plan.id_slot].kind == NUMBER:
            match.read(_ID_NUMBERS, *integers_at(match.words, *match.span(plan.id_slot)))
        if plan.value_slot is not None:
            match.read(_VALUES, *doubles_at(match.words, *match.span(plan.value_slot)))

    def _read_texts(self, plan: _Plan, match: Match) -> None:
        """Leaves out the lines in which a text has not the length of an id or a category, or is no timestamp where one is needed."""
        if plan.id_slot is not None and plan.template.slots[plan.id_slot].kind == TEXT:
            match.keep(_has_width(*match.span(plan.id_slot), ID_CHARACTERS_MAX))
        if plan.category_slot is not None:
            match.keep(_has_width(*match.span(plan.category_slot), CATEGORY_CHARACTERS_MAX))
        if self._timestamps is not None and plan.timestamp_slot is not None:
            slot = plan.template.slots[plan.timestamp_slot]
            content, span = match.lines.content, match.span(plan.timestamp_slot)
            if slot.kind == TEXT:
                instants, bad = self._timestamps.read_spans(content, *span)
            else:
                instants, bad = self._timestamps.read_all(raw_values(content, *span, is_text=False))
            match.read(_INSTANTS, instants, ~bad)

    def _gathered(self, plan: _Plan, match: Match) -> EventColumns:
        """The columns of what is left."""
        content, category = match.lines.content, plan.category_slot
        numbers = match.columns.get(_ID_NUMBERS)
        ids: TextIds | IntegerIds | None = None
        if numbers is not None:
            ids = IntegerIds(numbers)
        elif plan.id_slot is not None:
            ids = TextIds(content, *match.span(plan.id_slot))
        return EventColumns(
            rows=match.rows,
            ids=ids,
            categories=None if category is None else self._category_texts.of(content, match.words, *match.span(category)),
            values=match.columns.get(_VALUES),
            has_value=None,
            timestamps=None if self._timestamp is None else self._shown_timestamps(plan, match),
            timestamps_ns=match.columns.get(_INSTANTS),
        )

    @staticmethod
    def _shown_timestamps(plan: _Plan, match: Match) -> RawTimestamps:
        number = plan.timestamp_slot
        if number is None:
            return RawTimestamps.none(len(match.rows))
        is_text = plan.template.slots[number].kind == TEXT
        return RawTimestamps(match.lines.content, *match.span(number), is_text=is_text)


def _is_json_object(line: bytes) -> bool:
    try:
        _ANY_DECODER.decode(line)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return False
    return line.startswith(b"{")


def _brackets(literal: bytes) -> int:
    return literal.count(b"{") + literal.count(b"[")


def _slot_at(template: Template, path: FieldPath | None) -> int | None:
    return None if path is None else template.slot_at(path)


def _is_hidden(template: Template, path: FieldPath) -> bool:
    """Whether something else than a string or a number stands at the path, or where an object should lead to it."""
    leads = {path[:depth] for depth in range(1, len(path) + 1)}
    return bool(leads & template.constants) or any(slot.path in leads for slot in template.slots)


def _has_width(begins: IntArray, ends: IntArray, characters_max: int) -> BoolArray:
    """Whether each text has from one to `characters_max` bytes; it has no more characters than bytes."""
    widths = ends - begins
    width: BoolArray = (widths > 0) & (widths <= characters_max)
    return width
