"""What the configuration says of one transform: `[[transforms]]`.

Always: names are dotted, on both sides; a table inside a table says the same as a dotted name. Of the names in one table none lies inside
another. Constants are values of JSON, as plain Python objects.
Never: nothing is transformed here.
"""

from __future__ import annotations

import math
import re
import uuid
from collections.abc import Iterable, Mapping
from typing import Annotated, Final, Literal, Self, TypeAlias

from pydantic import AfterValidator, BeforeValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from event_processor.model.event import Json
from event_processor.model.options import Section

__all__ = ["UUID5_NAMESPACE", "Conversion", "TransformOptions"]

UUID5_NAMESPACE: Final = "d5d65ec9-07bc-5a2f-a965-0ac359daf1da"
"""Ours, the UUID of the name "event-processor" in the namespace of DNS: what uuid5 makes in it depends on the text alone. It never changes."""
Conversion: TypeAlias = Literal["string", "integer", "number", "boolean", "uuid", "timestamp"]

_UUID: Final = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_INTEGER_END: Final = 2**63
_CLASS: Final = re.compile(r"[^\W\d][\w.]*:[^\W\d][\w.]*")


def _flat(table: object) -> object:
    """Tables inside tables as dotted names, values as JSON; what is no table stays what it is."""
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
    """A value of TOML as one of JSON; what only TOML knows is a fault."""
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
    """A value that JSON does not have."""


def _plain_table(table: object) -> object:
    """The same table with values of JSON, and plain strings; what is no table stays what it is."""
    if not isinstance(table, Mapping):
        return table
    found = {}
    for name, value in table.items():
        try:
            found[str(name)] = _plain(value)
        except _NotJsonError as error:
            wanted = '"{name}" as a string, a finite number of 64 bits, true or false, an array or a table'
            raise PydanticCustomError("json", wanted, {"name": str(name)}) from error
    return found


def _apart(names: Iterable[str]) -> None:
    """Raises where a name is no dotted one, or lies inside another."""
    known = set(names)
    for name in known:
        keys = name.split(".")
        if not all(keys):
            raise PydanticCustomError("dotted", "names, with something before and behind each dot")
        for length in range(1, len(keys)):
            if ".".join(keys[:length]) in known:
                raise PydanticCustomError("inside", "names of which none lies inside another")


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
    """What becomes of every record, of all sources, before its fields are looked at.

    There may be any number of tables, each of which works on what the one before made. The keys of a table work in the order in which they
    stand here, wherever they are written.
    """

    rename: Annotated[Mapping[str, str], BeforeValidator(_flat), AfterValidator(_both_apart)] = Field(
        default={}, examples=[{"payload.size": "bytes"}]
    )
    """New name = old name, dotted names reach inside: `"user.name" = "userName"` nests, `city = "address.city"` lifts out. All at once; a
    field that is not there is left out, and one that stands under the new name is replaced."""
    convert: Annotated[Mapping[str, Conversion], BeforeValidator(_flat), AfterValidator(_keys_apart)] = Field(
        default={}, examples=[{"amount": "number"}]
    )
    """Field = what it shall be: "string", "integer", "number", "boolean", "uuid" (an integer becomes the UUID of that number) or "timestamp"
    (RFC 3339 in UTC). What cannot be converted rejects the record; null, and what is not there, stays so."""
    uuid5: Annotated[Mapping[str, str], BeforeValidator(_flat), AfterValidator(_keys_apart)] = Field(
        default={}, examples=[{"external_id": "id"}]
    )
    """New field = the field from whose text or integer its UUID (version 5) is made: the same for the same, in every run."""
    uuid5_namespace: Annotated[str, AfterValidator(_is_uuid)] = UUID5_NAMESPACE
    """The namespace of these UUIDs."""
    set: Annotated[Mapping[str, object], BeforeValidator(_flat), BeforeValidator(_plain_table), AfterValidator(_keys_apart)] = (
        Field(default={}, examples=[{"origin": "import"}])
    )
    """Field = a constant, whatever stood there."""
    drop: _Names = Field(default=(), examples=[["password"]])
    """Fields to take out."""
    keep: _Names = Field(default=(), examples=[["id", "category", "value"]])
    """The fields of the result, in this order: all others are dropped, one that is missing is null. Of names inside one object that is
    missing or null the object is null; where it is there, the objects inside it are too. Empty: everything is kept."""
    class_: Annotated[str, AfterValidator(_is_class)] | None = Field(
        default=None, alias="class", examples=["package.module:Class"]
    )
    """ "package.module:Class", a transform of your own, in place of all of these."""
    options: Annotated[Mapping[str, object], BeforeValidator(_plain_table)] = Field(default={}, examples=[{"currency": "EUR"}])
    """What a transform of your own is made with."""

    @model_validator(mode="after")
    def _class_stands_alone(self) -> Self:
        if self.class_ and self.parts().keys() - {"class", "options"}:
            raise ValueError("class alone, with options: what else is to be done stands in a table of its own")
        if self.options and not self.class_:
            raise ValueError("options says something of a class of your own alone")
        return self

    def parts(self) -> dict[str, Json]:
        """What the state depends on: all that is said. Tables of fields are pairs, since their order is that of the new fields."""
        said: dict[str, Json] = self.model_dump(mode="json", by_alias=True, exclude_defaults=True)
        tables = said.keys() & {"rename", "convert", "uuid5", "set"}
        return said | {key: [list(pair) for pair in _pairs(said[key])] for key in tables}


def _pairs(table: Json) -> Iterable[tuple[str, Json]]:
    assert isinstance(table, dict)
    return table.items()
