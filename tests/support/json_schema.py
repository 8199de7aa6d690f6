"""A validator for the part of JSON Schema that the published schema uses; whatever it does not know, it refuses."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, TypeAlias

__all__ = ["faults"]

Faults: TypeAlias = list[str]
Schema: TypeAlias = Mapping[str, Any]

SAID_ONLY: Final = frozenset({"$schema", "$defs", "title", "description", "default"})
"""Keywords that ask nothing of a document."""


def faults(root: Schema, value: Any) -> Faults:
    """Where `value` does not keep to the schema `root`; empty where it does."""
    return _Validator(root).faults(root, value, "$")


def _is_of_type(name: str, value: Any) -> bool:
    if isinstance(value, bool):
        return name == "boolean"
    kinds: dict[str, tuple[type, ...]] = {
        "object": (dict,),
        "array": (list,),
        "string": (str,),
        "integer": (int,),
        "number": (int, float),
        "null": (type(None),),
        "boolean": (),
    }
    return isinstance(value, kinds[name])


class _Validator:
    """One method a keyword."""

    def __init__(self, root: Schema) -> None:
        self._definitions: Final[Mapping[str, Schema]] = root.get("$defs", {})
        self._keywords: Final[Mapping[str, Callable[[Any, Schema, Any, str], Faults]]] = {
            "$ref": self._reference,
            "anyOf": self._any_of,
            "enum": lambda wanted, _, value, place: [] if value in wanted else [f"{place}: not one of {wanted}"],
            "required": self._required,
            "properties": self._properties,
            "additionalProperties": self._additional_properties,
            "prefixItems": self._prefix_items,
            "items": self._items,
            "minItems": lambda wanted, _, value, place: [] if len(value) >= wanted else [f"{place}: fewer than {wanted}"],
            "maxItems": lambda wanted, _, value, place: [] if len(value) <= wanted else [f"{place}: more than {wanted}"],
        }

    def faults(self, schema: Schema, value: Any, place: str) -> Faults:
        """Of one place. Where the type is wrong, no other keyword is asked."""
        if "type" in schema and not _is_of_type(schema["type"], value):
            return [f"{place}: not of type {schema['type']}"]
        asked = schema.keys() - SAID_ONLY - {"type"}
        return [fault for keyword in sorted(asked) for fault in self._keywords[keyword](schema[keyword], schema, value, place)]

    def _reference(self, wanted: str, _schema: Schema, value: Any, place: str) -> Faults:
        return self.faults(self._definitions[wanted.removeprefix("#/$defs/")], value, place)

    def _any_of(self, wanted: list[Schema], _schema: Schema, value: Any, place: str) -> Faults:
        return [f"{place}: none of {len(wanted)} shapes"] if all(self.faults(one, value, place) for one in wanted) else []

    def _required(self, wanted: list[str], _schema: Schema, value: Any, place: str) -> Faults:
        return [f"{place}: {key} is missing" for key in wanted if key not in value]

    def _properties(self, wanted: Mapping[str, Schema], _schema: Schema, value: Any, place: str) -> Faults:
        there = sorted(wanted.keys() & value.keys())
        return [fault for key in there for fault in self.faults(wanted[key], value[key], f"{place}.{key}")]

    def _additional_properties(self, wanted: Schema, schema: Schema, value: Any, place: str) -> Faults:
        others = sorted(value.keys() - schema.get("properties", {}).keys())
        return [fault for key in others for fault in self.faults(wanted, value[key], f"{place}.{key}")]

    def _prefix_items(self, wanted: list[Schema], _schema: Schema, value: Any, place: str) -> Faults:
        pairs = enumerate(zip(wanted, value, strict=False))
        return [fault for number, (one, item) in pairs for fault in self.faults(one, item, f"{place}[{number}]")]

    def _items(self, wanted: Schema | bool, schema: Schema, value: Any, place: str) -> Faults:
        rest = list(enumerate(value))[len(schema.get("prefixItems", ())) :]
        if isinstance(wanted, bool):
            return [] if wanted or not rest else [f"{place}: too long"]
        return [fault for number, item in rest for fault in self.faults(wanted, item, f"{place}[{number}]")]
