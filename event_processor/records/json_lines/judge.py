"""Decides on one record: it is an event, or it has a fault that is described for people.

Owns: the contract of a record. It is a JSON object in UTF-8. The fields of the event satisfy the pydantic model that is built
here from the configuration. The whole record satisfies the user's own model, if there is one. All other fields may be any JSON.
Always: for any bytes the answer is an `EventFields` or a `Fault`. If a key is given twice, the last one wins.
Never: values that a user's model computes are not used. The event is what the record says.
"""

from __future__ import annotations

import json
import math
import re
from functools import lru_cache
from types import NoneType
from typing import Annotated, Any, Final, NoReturn

from msgspec import Struct
from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model

from event_processor.columns.field_paths import Absent, FieldPath, field_path, reach
from event_processor.columns.number_texts import written_number
from event_processor.columns.timestamps import TimestampReader
from event_processor.configuration.configuration import EventOptions
from event_processor.model.event import (
    CATEGORY_CHARACTERS_MAX,
    ID_CHARACTERS_MAX,
    NESTING_DEPTH_MAX,
    VALUE_MAGNITUDE_END,
    SimpleId,
)
from event_processor.model.messages import cut, printable, shown
from event_processor.model.rejections import Fault
from event_processor.records.json_lines.lines import BYTE_ORDER_MARK, nesting_depth
from event_processor.records.user_model import load_model

__all__ = [
    "INT64_MAX",
    "INT64_MIN",
    "POSITION_ID",
    "TIMESTAMP_CHARACTERS_MAX",
    "EventFields",
    "Fault",
    "Judge",
    "id_names",
    "kept_timestamp",
    "not_a_number",
    "open_text",
]

POSITION_ID: Final = "@position"
INT64_MIN: Final = -(2**63)
INT64_MAX: Final = 2**63 - 1
TIMESTAMP_CHARACTERS_MAX: Final = 64
"""A timestamp that is not used is kept as written, for people. A longer one counts as missing, so that it cannot make the state
grow."""
_NAMES_SHOWN_MAX: Final = 8
_INTEGER_DIGITS_MAX: Final = 300
"""An integer with more digits is beyond every limit here. Reading it exactly would cost the square of its length."""
_LONE_SURROGATE: Final = re.compile(
    r"\\u[dD][89abAB][0-9a-fA-F]{2}(?!\\u[dD][c-fC-F])|(?<!\\u[dD][89abAB][0-9a-fA-F]{2})\\u[dD][c-fC-F]"
)

_StringId = Annotated[str, Field(min_length=1, max_length=ID_CHARACTERS_MAX)]
_IntegerId = Annotated[int, Field(ge=INT64_MIN, le=INT64_MAX)]
_Category = Annotated[str, Field(min_length=1, max_length=CATEGORY_CHARACTERS_MAX)]
_Value = Annotated[float, Field(gt=-VALUE_MAGNITUDE_END, lt=VALUE_MAGNITUDE_END, allow_inf_nan=False)]

_MISSING, _NOT_INSIDE = Absent.MISSING, Absent.NOT_INSIDE
"""Short names, because looking up a member of an enumeration costs more than all its uses here."""
_WANTED: Final = {"id": "a string or an integer", "category": "a string", "value": "a number"}


class EventFields(Struct, frozen=True):
    """The fields of a valid event. `ids` has one entry for each configured field (none if the position is the id).

    `value` is None if the record has none. `timestamp` is as written. `timestamp_ns` is None unless timestamps are used.
    """

    ids: tuple[SimpleId, ...]
    category: str
    value: float | None
    timestamp: object
    timestamp_ns: int | None


class _NumberText(str):
    """A number as written in the record."""

    __slots__ = ()


def id_names(event: EventOptions) -> tuple[str, ...]:
    """The dotted names of the id's fields; none if the position is the id."""
    if isinstance(event.id, tuple):
        return event.id
    return () if event.id == POSITION_ID else (event.id,)


def kept_timestamp(raw: object) -> str | int | float | None:
    """An unused timestamp as written; None if it cannot be shown as a timestamp."""
    if isinstance(raw, str):
        return raw if len(raw) <= TIMESTAMP_CHARACTERS_MAX else None
    if isinstance(raw, float):
        return raw if math.isfinite(raw) else None
    return raw if type(raw) is int and INT64_MIN <= raw <= INT64_MAX else None


def not_a_number(written: str) -> Fault:
    """The fault of a record with NaN or an infinity, if nothing before it is wrong."""
    return Fault(f"not JSON: {written} is not a number", stage="decode")


def open_text(characters: int) -> Fault:
    """The fault of a record that ends within a string. The `characters` before the string are good JSON."""
    return Fault(_not_json(_OPEN_TEXT, characters), stage="decode")


def _not_json(message: str, character: int) -> str:
    return f"not JSON: {message[0].lower()}{message[1:]} (character {character + 1})"


class Judge:
    """Judges records one by one, at about 10 microseconds a record. `block_reader.py` reads many at once."""

    def __init__(self, event: EventOptions, *, record_bytes_max: int, timestamps: TimestampReader | None) -> None:
        """`timestamps` reads timestamps, or is None if they are not used.

        Raises `ConfigurationError` if `event.model` is not a model.
        """
        self._record_bytes_max: Final = record_bytes_max
        self._timestamps: Final = timestamps
        self._timestamp: Final = event.timestamp
        self._timestamp_path: Final = field_path(event.timestamp) if event.timestamp else None
        self._names: Final = _field_names(event)
        self._paths: Final[dict[str, FieldPath]] = {role: field_path(name) for role, name in self._names.items()}
        self._model: Final = _event_model(tuple(self._names), event.value_missing)
        self._kinds: Final = {role: _kinds(role, event) for role in self._names}
        self._takes_numbers: Final = event.category_numbers == "text"
        self.own_model: Final = load_model(event.model) if event.model else None

    def judge(self, record: bytes) -> EventFields | Fault:
        """The event of this record, or its first fault."""
        parsed = self._parse(record)
        if isinstance(parsed, Fault):
            return parsed
        text, document = parsed
        if self.own_model is not None and (fault := self.refusal(record)):
            return fault
        found: dict[str, object] = {}
        for role, path in self._paths.items():
            value = reach(document, path)
            if value is _NOT_INSIDE:
                name = self._names[role]
                return Fault(f'"{name}" is missing: its parent is not an object', name)
            if value is not _MISSING:
                found[role] = value
        if self._takes_numbers and type(found.get("category")) in {int, float}:
            found["category"] = self._number_text("category", found["category"], text)
        for role, kinds in self._kinds.items():
            # This finds the most common faults without the model. A refusal by the model is slower than everything else here.
            if type(found.get(role, _MISSING)) not in kinds:
                return self._describe(role, found, text, document)
        try:
            fields = self._model.model_validate(found)
        except ValidationError as error:
            first = error.errors(include_url=False, include_context=False, include_input=False)[0]
            return self._describe(str(first["loc"][0]), found, text, document)
        return self._with_timestamp(vars(fields), document, text)

    def refusal(self, record: bytes) -> Fault | None:
        """Why the user's own model refuses a record that is JSON; None if it accepts the record, or if there is no such model."""
        if self.own_model is None:
            return None
        try:
            self.own_model.model_validate_json(record)
        except ValidationError as error:
            first = error.errors(include_url=False, include_context=False)[0]
            name = ".".join(map(str, first["loc"]))
            of = f'"{name}"' if name else "the record"
            return Fault(f"{of} is refused by the model: {first['msg']}: {shown(first['input'])}", name)
        except Exception as error:  # noqa: BLE001 -- a user's validator may raise anything; that is a refusal too
            return Fault(f"the model failed: {type(error).__name__}: {printable(str(error))}")
        return None

    def missing(self, role: str, held: tuple[str, ...]) -> Fault:
        """The fault of an object without the field of this role ("id_0", "category", "value"), if all earlier roles are good.

        `held`: `held_names` of the object and the field.
        """
        name = self._names[role]
        return Fault(f'"{name}" is missing; {_what_is_there(held)}', name)

    def held_names(self, role: str, document: object) -> tuple[str, ...]:
        """The names of the fields beside the field of this role, in their order, of those that are not null."""
        here, above = document if isinstance(document, dict) else {}, ""
        for key in self._paths[role][-1][:-1]:
            if not isinstance(inner := here.get(key), dict) or not inner:
                break
            here, above = inner, f"{above}{key}."
        return tuple(f"{above}{name}" for name, value in here.items() if value is not None)

    def refused(self, role: str, given: str) -> Fault:
        """The fault of an object with a string in this role that the role does not allow, if all earlier roles are good."""
        return self._describe(role, {role: given}, "", {})

    def _parse(self, record: bytes) -> tuple[str, dict[str, object]] | Fault:
        """The record's text and its object, or why it is not an object."""
        try:
            text = record.decode()
        except UnicodeDecodeError as error:
            place = error.start
            text, reason = "", f"not UTF-8: byte 0x{record[place]:02x} at offset {place} of the record"
        else:
            reason = _bytes_fault(record)
        if len(record) > self._record_bytes_max:
            reason = f"longer than {self._record_bytes_max} bytes"
        if reason:
            return Fault(reason, stage="decode")
        try:
            document = _read(text)
        except json.JSONDecodeError as error:
            reason = _not_json(error.msg, error.pos)
        except _NotANumberError as error:
            reason = not_a_number(str(error)).reason
        else:
            if "\\u" in text and _LONE_SURROGATE.search(text.replace("\\\\", "--")):
                reason = "contains half a surrogate pair, which is not a character"
            elif not isinstance(document, dict):
                reason = f"not a JSON object: {shown(document)}"
        return Fault(reason, stage="decode") if reason else (text, document)

    def _with_timestamp(self, fields: dict[str, Any], document: dict[str, object], text: str) -> EventFields | Fault:
        """The event. Reads its timestamp if timestamps are used. `text` is the record: its digits are those of the timestamp."""
        value = fields.get("value")
        raw = reach(document, self._timestamp_path) if self._timestamp_path else None
        if self._timestamp_path and isinstance(raw, float) and math.isfinite(raw):
            raw = written_number(str(reach(_NUMBER_TEXT_READER.decode(text), self._timestamp_path)))
        ns = None
        if self._timestamps is not None:
            if raw is _MISSING or raw is _NOT_INSIDE:
                return Fault(f'"{self._timestamp}" is missing', self._timestamp)
            ns = self._timestamps.read(raw)
            if ns is None:
                return Fault(f'"{self._timestamp}" {self._timestamps.explain(raw)}: {shown(raw)}', self._timestamp)
        return EventFields(
            ids=tuple(fields[role] for role in self._names if role.startswith("id")),
            category=fields.get("category", ""),
            value=None if value is None else value + 0.0,  # -0.0 becomes 0.0
            timestamp=kept_timestamp(raw),
            timestamp_ns=ns,
        )

    def _number_text(self, role: str, number: object, text: str) -> str:
        """A number as the record has it; an integer in its shortest form, as the blocks write it."""
        return str(number) if type(number) is int else str(reach(_NUMBER_TEXT_READER.decode(text), self._paths[role]))

    def _describe(self, role: str, found: dict[str, object], text: str, document: dict[str, object]) -> Fault:
        """Describes why the event's model refuses the field of this role."""
        name, given = self._names[role], found.get(role)
        if role not in found:
            return self.missing(role, self.held_names(role, document))
        if isinstance(given, str):
            return Fault(f'"{name}" {_string_fault(role, given)}', name)
        seen = shown(given)
        if isinstance(given, (int, float)) and not isinstance(given, bool):
            written = str(reach(_NUMBER_TEXT_READER.decode(text), self._paths[role]))
            seen = cut(written)
            if role == "value" or (role.startswith("id") and written.lstrip("-").isdigit()):
                return Fault(f'"{name}" is out of range: {seen}', name)
            if role == "category":
                return Fault(f'"{name}" is not a string: {seen}; event.category_numbers = "text" counts it as "{seen}"', name)
        return Fault(f'"{name}" is not {_WANTED[role.partition("_")[0]]}: {seen}', name)


def _field_names(event: EventOptions) -> dict[str, str]:
    """Role -> dotted name, for each field that the event's model reads."""
    names = {f"id_{number}": name for number, name in enumerate(id_names(event))}
    if event.category:
        names["category"] = event.category
    if event.value:
        names["value"] = event.value
    return names


def _kinds(role: str, event: EventOptions) -> frozenset[type]:
    """The types of which the model accepts some values in this role. `Absent` is included if the field may be missing."""
    if role == "category":
        return frozenset({str})
    if role == "value":
        return frozenset({int, float} if event.value_missing == "reject" else {int, float, NoneType, Absent})
    return frozenset({str, int})


@lru_cache
def _event_model(roles: tuple[str, ...], value_missing: str) -> type[BaseModel]:
    """The contract of an event's fields, by role. Strict: a number is not a string, and true is not a number.

    Cached: to make one takes milliseconds, and there are few.
    """
    fields: dict[str, Any] = {}
    for role in roles:
        if role == "category":
            fields[role] = (_Category, ...)
        elif role == "value":
            fields[role] = (_Value, ...) if value_missing == "reject" else (_Value | None, None)
        else:
            fields[role] = (_StringId | _IntegerId, ...)
    return create_model("EventModel", __config__=ConfigDict(strict=True), **fields)


def _bytes_fault(record: bytes) -> str:
    """The fault of a UTF-8 record that its bytes show before they are read as JSON; "" if there is none."""
    if record.startswith(BYTE_ORDER_MARK):
        return "begins with a byte order mark; only a file may begin with one"
    if b"\0" in record:
        return "contains a NUL byte"
    # A short record needs no count: it has no room for that many brackets.
    is_deep = len(record) > NESTING_DEPTH_MAX and record.count(b"{") + record.count(b"[") > NESTING_DEPTH_MAX
    if is_deep and nesting_depth(record) > NESTING_DEPTH_MAX:
        return f"nested deeper than {NESTING_DEPTH_MAX}"
    return ""


def _what_is_there(names: tuple[str, ...]) -> str:
    """The names of a record's fields, for a message."""
    if not names:
        return "the record has no other field"
    shown_names = ", ".join(f'"{cut(name)}"' for name in names[:_NAMES_SHOWN_MAX])
    more = len(names) - _NAMES_SHOWN_MAX
    return f"the record has {shown_names}{f' and {more} more' if more > 0 else ''}"


def _string_fault(role: str, given: str) -> str:
    """Why a string is wrong in this role."""
    if role == "value":
        return f"is not a number: {shown(given)}"
    if not given:
        return "is empty"
    limit = CATEGORY_CHARACTERS_MAX if role == "category" else ID_CHARACTERS_MAX
    return f"is longer than {limit} characters: {shown(given)}"


class _NotANumberError(Exception):
    """A record contains NaN or an infinity. The message names it."""


def _refuse_constant(name: str) -> NoReturn:
    raise _NotANumberError(name)


def _integer(digits: str) -> int | float:
    """The integer, or an infinity if it has more digits than any limit here allows."""
    return int(digits) if len(digits) <= _INTEGER_DIGITS_MAX else float(digits)


def _read(text: str) -> Any:
    """The JSON value of the text. Raises `json.JSONDecodeError`, `_NotANumberError`."""
    if text.startswith("{"):
        document, end = _READER.raw_decode(text)
        if end == len(text):  # almost always: this saves the two searches for spaces around the object
            return document
    return _READER.decode(text)


def _message_on(text: str) -> str:
    """The message of this Python's parser for a text that is not JSON."""
    try:
        json.loads(text)
    except json.JSONDecodeError as error:
        return error.msg
    raise ValueError(f"{text} is JSON")


_OPEN_TEXT: Final = _message_on('"')
_READER: Final = json.JSONDecoder(parse_int=_integer, parse_constant=_refuse_constant)
_NUMBER_TEXT_READER: Final = json.JSONDecoder(parse_int=_NumberText, parse_float=_NumberText)
