"""The options of one transform: `[[transforms]]`.

Owns: the keys of the table and their checks.
Always: names are dotted, on both sides. A table inside a table means the same as a dotted name. No name of a table is inside
another name of it. Constants are JSON values, as plain Python objects.
Never: nothing is transformed here.
"""

from __future__ import annotations

import math
import re
import uuid
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Final, Literal, Self, TypeAlias

from pydantic import AfterValidator, BeforeValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from event_processor.model.event import Json
from event_processor.model.field_names import name_keys
from event_processor.model.options import Section

__all__ = ["UUID5_NAMESPACE", "Conversion", "TransformOptions", "is_among", "kept_fields", "plain_table"]

UUID5_NAMESPACE: Final = "d5d65ec9-07bc-5a2f-a965-0ac359daf1da"
"""Our namespace: the UUID of the name "event-processor" in the DNS namespace. It never changes, so the text alone decides a
uuid5."""
Conversion: TypeAlias = Literal["string", "integer", "number", "boolean", "uuid", "timestamp"]

_UUID: Final = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_INTEGER_END: Final = 2**63
_CLASS: Final = re.compile(r"[^\W\d][\w.]*:[^\W\d][\w.]*")


def _flat(table: object) -> object:
    """Turns tables inside tables into dotted names. A value that is not a table is returned unchanged."""
    if not isinstance(table, Mapping):
        return table
    found: dict[str, object] = {}
    for name, value in table.items():
        inner = _flat(value)
        pairs = {f"{name}.{below}": each for below, each in inner.items()} if isinstance(inner, dict) and inner else {name: inner}
        if found.keys() & pairs.keys():
            raise PydanticCustomError("names", "each name once")
        found |= pairs
    return found


def _plain(value: object) -> Json:
    """A TOML value as a JSON value. Raises `_NotJsonError` if JSON does not have it."""
    if isinstance(value, str):
        return str(value)
    if isinstance(value, Mapping):
        return {str(name): _plain(each) for name, each in value.items()}
    if isinstance(value, (tuple, list)):
        return [_plain(each) for each in value]
    if isinstance(value, bool) or (isinstance(value, int) and -_INTEGER_END <= value < _INTEGER_END):
        return value
    if isinstance(value, float) and math.isfinite(value):
        return value
    raise _NotJsonError


class _NotJsonError(Exception):
    """JSON does not have this value."""


def plain_table(table: object) -> object:
    """`table` with JSON values and plain strings. A value that is not a table is returned unchanged."""
    if not isinstance(table, Mapping):
        return table
    found = {}
    for name, value in table.items():
        try:
            found[str(name)] = _plain(value)
        except _NotJsonError as error:
            wanted = '"{name}" as a string, a finite 64-bit number, true or false, an array or a table'
            raise PydanticCustomError("json", wanted, {"name": str(name)}) from error
    return found


def _apart(names: Iterable[str]) -> None:
    """Raises if a name is not a dotted name, or is inside another one."""
    known = {name_keys(name) for name in names}
    for keys in known:
        if not all(keys):
            raise PydanticCustomError("dotted", "names with text before and after each dot")
        for length in range(1, len(keys)):
            if keys[:length] in known:
                raise PydanticCustomError("inside", "names that are not inside one another")


def _names_apart(names: tuple[str, ...]) -> tuple[str, ...]:
    _apart(names)
    if len(set(names)) < len(names):
        raise PydanticCustomError("names", "each name once")
    return names


def _keys_apart(table: Mapping[str, object]) -> Mapping[str, object]:
    _apart(table)
    return table


def _both_apart(table: Mapping[str, str]) -> Mapping[str, str]:
    _apart(table)
    _apart(table.values())
    return table


def _is_uuid(text: str) -> str:
    if not _UUID.fullmatch(text):
        raise PydanticCustomError("uuid", "a UUID, such as {example}", {"example": f'"{UUID5_NAMESPACE}"'})
    return str(uuid.UUID(text))


def _is_class(reference: str) -> str:
    if not _CLASS.fullmatch(reference):
        raise PydanticCustomError("reference", '"package.module:Class"')
    return reference


_Names = Annotated[tuple[str, ...], AfterValidator(_names_apart)]


class TransformOptions(Section):
    """Changes every record of every source before its fields are read.

    There may be any number of tables. Each works on the result of the table before it. The keys of a table work in the order of
    this list, in whatever order they are written.
    """

    rename: Annotated[Mapping[str, str], BeforeValidator(_flat), AfterValidator(_both_apart)] = Field(
        default={}, examples=[{"payload.size": "bytes"}]
    )
    """New name = old name. Dotted names reach inside objects: `"user.name" = "userName"` moves a field in, `city =
    "address.city"` moves it out. All renames happen at once. A missing field is not renamed. A field that already has the new
    name is replaced."""
    null_if_empty: _Names = Field(default=(), examples=[["merchant"]])
    """Fields whose empty string becomes null, such as the empty cells of a CSV. Any other value stays as it is."""
    join: Annotated[Mapping[str, Annotated[_Names, Field(min_length=2)]], BeforeValidator(_flat), AfterValidator(_keys_apart)] = (
        Field(default={}, examples=[{"at": ["date", "time"]}])
    )
    """New field = fields with strings or integers. The new field is their texts, with a space between, such as a timestamp that was written in
    two columns. If one of them is null or missing, the field is not made."""
    convert: Annotated[Mapping[str, Conversion], BeforeValidator(_flat), AfterValidator(_keys_apart)] = Field(
        default={}, examples=[{"amount": "number"}]
    )
    """Field = its new type: "string", "integer", "number", "boolean", "uuid" (an integer becomes the UUID of that number) or
    "timestamp" (RFC 3339 in UTC). If a value cannot be converted, the record is rejected. Null and missing fields stay as they
    are."""
    uuid5: Annotated[Mapping[str, str], BeforeValidator(_flat), AfterValidator(_keys_apart)] = Field(
        default={}, examples=[{"external_id": "id"}]
    )
    """New field = a field with a string or an integer. The new field is the UUID (version 5) of that value: the same value gives
    the same UUID in every run."""
    uuid5_namespace: Annotated[str, AfterValidator(_is_uuid)] = UUID5_NAMESPACE
    """The namespace of these UUIDs."""
    set: Annotated[Mapping[str, object], BeforeValidator(_flat), BeforeValidator(plain_table), AfterValidator(_keys_apart)] = (
        Field(default={}, examples=[{"origin": "import"}])
    )
    """Field = a constant. It replaces any value of the field."""
    drop: _Names = Field(default=(), examples=[["password"]])
    """Fields to remove."""
    keep: _Names = Field(default=(), examples=[["id", "category", "value"]])
    """The fields of the result, in this order. All other fields are dropped; a missing field is null. If names reach inside an
    object that is missing or null, the object is null. If the object is present, the objects inside it are present too. Empty:
    every field is kept."""
    class_: Annotated[str, AfterValidator(_is_class)] | None = Field(
        default=None, alias="class", examples=["package.module:Class"]
    )
    """ "package.module:Class": your own transform, instead of all keys above."""
    options: Annotated[Mapping[str, object], BeforeValidator(plain_table)] = Field(default={}, examples=[{"currency": "EUR"}])
    """The options for your own transform. The class is called with this table."""

    @model_validator(mode="after")
    def _class_stands_alone(self) -> Self:
        if self.class_ and self.parts().keys() - {"class", "options"}:
            raise ValueError("only class and options: put the other keys into another [[transforms]] table")
        if self.options and not self.class_:
            raise ValueError("options only together with class")
        return self

    def parts(self) -> dict[str, Json]:
        """What the state depends on: every key that is set.

        Tables of fields become pairs, because their order sets the order of new fields.
        """
        said: dict[str, Json] = self.model_dump(mode="json", by_alias=True, exclude_defaults=True)
        tables = said.keys() & {"rename", "join", "convert", "uuid5", "set"}
        return said | {key: [list(pair) for pair in _pairs(said[key])] for key in tables}


def _pairs(table: Json) -> Iterable[tuple[str, Json]]:
    assert isinstance(table, dict)
    return table.items()


def kept_fields(transforms: Sequence[TransformOptions]) -> list[str] | None:
    """The only fields that an event can have after these transforms; None if it may have others."""
    kept: list[str] | None = None
    for each in transforms:
        if each.class_:
            kept = None
        elif each.keep:
            kept = list(each.keep)
        elif kept is not None:
            kept += [*each.rename, *each.join, *each.uuid5, *each.set]
    return kept


def is_among(field: str, names: Sequence[str]) -> bool:
    """Whether the field is one of the names, inside one of them, or an object around one of them."""
    keys = name_keys(field)
    others = [name_keys(name) for name in names]
    return any(keys[: len(other)] == other[: len(keys)] for other in others) or field in names
