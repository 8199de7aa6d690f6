"""Field paths: how a dotted name reaches a field in a JSON object, and how msgspec decodes only these fields.

Owns: `field_path` (where a name is looked for), `reach` for one object, `BlockDecoder` for many lines.
Always: the decoder and `reach` agree on every object. A key that is written with the dots of the name wins over the way through
objects: in `{"a.b": 1, "a": {"b": 2}}` the name `a.b` is 1. Of several such keys the outermost wins.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Final, TypeAlias, Union

import msgspec
from msgspec import Struct

from event_processor.model.errors import ConfigurationError
from event_processor.model.field_names import is_quoted, name_keys

__all__ = ["Absent", "BlockDecoder", "FieldPath", "Keys", "field_path", "reach", "written_with_dots"]

Keys: TypeAlias = tuple[str, ...]
"""The keys to a value, outermost first."""
FieldPath: TypeAlias = tuple[Keys, ...]
"""Where a field is looked for, in this order. At least one; the last are the keys of its name."""
_Step: TypeAlias = Callable[[list[Any]], list[object]]
_FIRST_STEPS: Final[tuple[_Step, ...]] = (
    lambda structs: [struct.f0 for struct in structs],
    lambda structs: [struct.f1 for struct in structs],
    lambda structs: [struct.f2 for struct in structs],
    lambda structs: [struct.f3 for struct in structs],
)
"""Written out: an attribute named in the code is read in half the time that `attrgetter` takes."""


class Absent(Enum):
    """Why a record has no value at a path."""

    MISSING = "missing"
    """The key, or an object on the path, is missing or null."""
    NOT_INSIDE = "not inside"
    """A value on the path is not an object."""


_MISSING, _NOT_INSIDE = Absent.MISSING, Absent.NOT_INSIDE


def field_path(name: str) -> FieldPath:
    """Where the field of a dotted name is looked for: "a.b.c" at `("a.b.c",)`, then at `("a", "b.c")`, then at `("a", "b", "c")`.

    With a key in quotes the name is exact: `'a."b.c"'` is looked for at `("a", "b.c")` only.
    """
    keys = name_keys(name)
    return (*(() if is_quoted(name) else written_with_dots(keys)), keys)


def written_with_dots(keys: Keys) -> FieldPath:
    """The ways to the field that end with several of the keys in one, outermost first; none for one key."""
    return tuple((*keys[:depth], ".".join(keys[depth:])) for depth in range(len(keys) - 1))


def reach(document: dict[str, object], path: FieldPath) -> object:
    """Returns the value at `path`, or an `Absent`."""
    for keys in path[:-1]:
        found = _reach(document, keys)
        if not isinstance(found, Absent):
            return found
    return _reach(document, path[-1])


def _reach(document: dict[str, object], keys: Keys) -> object:
    """Returns the value at these keys, or an `Absent`."""
    here: object = document
    for key in keys:
        if here is None:
            return _MISSING
        if not isinstance(here, dict):
            return _NOT_INSIDE
        if key not in here:
            return _MISSING
        here = here[key]
    return here


@dataclass(slots=True)
class _Node:
    """A key of the struct to build: a leaf with its type, or an object with keys of its own."""

    kind: object = None
    """The leaf's type; None for an object with `children`."""
    required: bool = False
    children: dict[str, _Node] = field(default_factory=dict)
    lenient: bool = True
    """Whether another value than an object is accepted here. The record's own check then judges it."""


class BlockDecoder:
    """Decodes many lines at once, and extracts fields from them. If a key comes twice, the last wins, as everywhere."""

    def __init__(self, fields: Sequence[tuple[FieldPath, object]]) -> None:
        """`fields`: each path, once, with the type that msgspec reads there. Raises `ConfigurationError`."""
        root = _Node()
        for path, kind in fields:
            for keys in path:
                _add_field(root, keys, kind)
        try:
            self._decoder: Final = msgspec.json.Decoder(_struct_type(root))
        except ValueError as error:  # quotes, backslashes and control characters
            raise ConfigurationError(
                f"event: a field's name cannot be read: {error}", hint="rename the field with a transform, or use another"
            ) from error
        self._steps: Final = [[_steps(root, keys) for keys in path] for path, _ in fields]

    def decode(self, lines: bytes | memoryview) -> list[Struct]:
        """Decodes every JSON value of `lines`, in order.

        Ignores line boundaries: the caller must know that each line begins and ends with a brace, and must compare the counts.
        Raises `msgspec.MsgspecError`, `UnicodeDecodeError` or `RecursionError` if it refuses any value.
        """
        decoded: list[Struct] = self._decoder.decode_lines(lines)
        return decoded

    def columns(self, decoded: list[Struct]) -> list[list[object]]:
        """For each field the values of all records, unchanged; an `Absent` if a record has none."""
        columns = []
        for *others, last in self._steps:
            column = _column(decoded, last)
            for steps in reversed(others):
                preferred = _column(decoded, steps)
                if set(map(type, preferred)) != {Absent}:
                    pairs = zip(preferred, column, strict=True)
                    column = [other if isinstance(value, Absent) else value for value, other in pairs]
            columns.append(column)
        return columns


def _add_field(root: _Node, keys: Keys, kind: object) -> None:
    """Adds the event's field at `keys`. Raises `ConfigurationError` if one field would be inside another."""
    node = root
    for depth, key in enumerate(keys, start=1):
        inner = depth < len(keys)
        child = node.children.setdefault(key, _Node(kind=None if inner else kind))
        name = ".".join(keys[:depth])
        if inner != (child.kind is None):
            raise ConfigurationError(
                f'event: "{name}" is read both as a value and as an object',
                hint="name other fields, or put a key that has dots itself in quotes: '\"a.b\"'",
            )
        if not inner and child.kind != kind:
            raise ConfigurationError(f'event: "{name}" is named in two ways', hint="name the field in the same way everywhere")
        node = child


def _struct_type(node: _Node) -> type[Struct]:
    """Builds the struct with the keys of `node`. Attributes are numbered, since a key need not be an identifier."""
    names = {f"f{number}": key for number, key in enumerate(node.children)}
    fields: list[tuple[str, Any] | tuple[str, Any, Any]] = []
    for attribute, child in zip(names, node.children.values(), strict=True):
        kind: Any = child.kind
        if kind is None:
            kind = _struct_type(child)
            if child.lenient:
                kind = Union[kind, None, bool, int, float, str, list[Any]]  # noqa: UP007 -- built at run time
        fields.append((attribute, kind) if child.required else (attribute, kind, _MISSING))
    # Decoded JSON has no cycles, so the garbage collector need not track the structs.
    return msgspec.defstruct("Record", fields, rename=names, gc=False, kw_only=True)


def _column(decoded: list[Struct], steps: Sequence[_Step]) -> list[object]:
    """The values that the steps lead to; an `Absent` where there is none."""
    outermost, *inner = steps
    column = outermost(decoded)
    for step in inner:
        column = _step_inside(column, step)
    return column


def _steps(root: _Node, keys: Keys) -> list[_Step]:
    """The steps from structs to their fields at `keys`, one per key."""
    steps: list[_Step] = []
    node = root
    for key in keys:
        steps.append(_step(list(node.children).index(key)))
        node = node.children[key]
    return steps


def _step(number: int) -> _Step:
    """Returns the step that reads field `number` of each struct."""
    if number < len(_FIRST_STEPS):
        return _FIRST_STEPS[number]
    getter = operator.attrgetter(f"f{number}")
    return lambda structs: list(map(getter, structs))


def _step_inside(parents: list[object], step: _Step) -> list[object]:
    """One level down: the field of each parent, or why it has none."""
    kinds = set(map(type, parents))
    if len(kinds) == 1 and issubclass(next(iter(kinds)), Struct):
        return step(parents)
    found = iter(step([parent for parent in parents if isinstance(parent, Struct)]))
    return [next(found) if isinstance(parent, Struct) else _absence(parent) for parent in parents]


def _absence(parent: object) -> Absent:
    """Why a `parent` that is not an object has no fields."""
    return _MISSING if parent is None or parent is _MISSING else _NOT_INSIDE
