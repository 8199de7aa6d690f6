"""From a pydantic model to a compiled decoder: a block of JSON lines becomes columns, in C.

Owns: where the fields of a record stand (dotted names reach inside objects), the msgspec struct that reads them, and the
translation of a user's own model into such a struct.
Always: what a compiled model accepts, the model accepts; the reverse need not hold, since what it refuses is judged by the
model itself. A record that lacks a field of the event, or has something else around it, is no fault here.
Never: a type whose meaning differs between pydantic and msgspec is translated; such a model is left to pydantic.
"""

from __future__ import annotations

import functools
import importlib
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from types import NoneType, UnionType
from typing import Annotated, Any, Final, Literal, TypeAlias, Union, get_args, get_origin

import msgspec
from annotated_types import Ge, Gt, Le, Lt, MaxLen, MinLen
from msgspec import Struct
from pydantic import BaseModel, Strict
from pydantic.fields import FieldInfo

from event_processor.errors import ConfigurationError

__all__ = [
    "Absent",
    "BlockDecoder",
    "FieldPath",
    "UntranslatableModelError",
    "compile_model",
    "field_path",
    "load_class",
    "load_model",
    "make_own",
    "reach",
]

FieldPath: TypeAlias = tuple[str, ...]
"""The keys that lead to a field, outermost first."""

_PLAIN_TYPES: Final = (str, int, float, bool, NoneType, Any)
_LIMITS: Final = {Ge: "ge", Gt: "gt", Le: "le", Lt: "lt", MinLen: "min_length", MaxLen: "max_length"}
_HARMLESS_SETTINGS: Final = frozenset(
    {"title", "frozen", "strict", "alias_generator", "json_schema_extra", "use_attribute_docstrings"}
)


_Step: TypeAlias = Callable[[list[Any]], list[object]]
_FIRST_STEPS: Final[tuple[_Step, ...]] = (
    lambda structs: [struct.f0 for struct in structs],
    lambda structs: [struct.f1 for struct in structs],
    lambda structs: [struct.f2 for struct in structs],
    lambda structs: [struct.f3 for struct in structs],
)
"""Written out, since an attribute that stands in the code is read in half the time that `attrgetter` takes."""


class Absent(Enum):
    """Why a record has no value at a path."""

    MISSING = "missing"
    """The key, or an object on the way to it, is not there or null."""
    NOT_INSIDE = "not inside"
    """Something else than an object stands on the way to it."""


_MISSING, _NOT_INSIDE = Absent.MISSING, Absent.NOT_INSIDE


def field_path(name: str) -> FieldPath:
    """The keys of a dotted name: "payload.size" is `("payload", "size")`."""
    return tuple(name.split("."))


def reach(document: dict[str, object], path: FieldPath) -> object:
    """The value at `path`, or an `Absent`."""
    here: object = document
    for key in path:
        if here is None:
            return _MISSING
        if not isinstance(here, dict):
            return _NOT_INSIDE
        if key not in here:
            return _MISSING
        here = here[key]
    return here


def load_class(key: str, import_string: str) -> object:
    """What "package.module:Class" names, None where the module has no such thing. Raises `ConfigurationError`, which names `key`."""
    module_name, colon, class_name = import_string.partition(":")
    if not (module_name and colon and class_name):
        raise ConfigurationError(f'{key}: "{import_string}" names no class', hint='write it as "package.module:Class"')
    try:
        found: object = importlib.import_module(module_name)
    except Exception as error:  # whatever a module raises while it is imported is a fault of the configuration
        raise ConfigurationError(
            f'{key}: cannot import "{module_name}": {type(error).__name__}: {error}',
            hint="install the package into this environment, or correct the name",
        ) from error
    for part in class_name.split("."):
        found = getattr(found, part, None)
    return found


def make_own(key: str, reference: str, options: Mapping[str, object], *, method: str, page: str) -> Any:
    """An object of the user's: the class that `reference` names, made with `options`. It has the method.

    Raises `ConfigurationError`, which names `key` and the page with an example, where there is no such class, or it cannot be made.
    """
    made = load_class(key, reference)
    try:
        own = made(dict(options))  # type: ignore[operator]  # what it is, a call tells
    except Exception as error:
        raise ConfigurationError(
            f'{key}: "{reference}" cannot be made: {type(error).__name__}: {error}',
            hint=f"it is called with the table of its options; {page} has an example",
        ) from error
    if not callable(getattr(own, method, None)):
        raise ConfigurationError(f'{key}: "{reference}" has no method {method}', hint=f"{page} has an example")
    return own


def load_model(import_string: str) -> type[BaseModel]:
    """The class that "package.module:Model" names. Raises `ConfigurationError` where there is none, or no pydantic model."""
    found = load_class("event.model", import_string)
    if not (isinstance(found, type) and issubclass(found, BaseModel)):
        raise ConfigurationError(
            f'event.model: "{import_string}" is not a pydantic model', hint="name a class derived from pydantic.BaseModel"
        )
    return found


@dataclass(slots=True)
class _Node:
    """A key of the struct to be: a leaf with its type, or an object with keys of its own."""

    kind: object = None
    """The leaf's type; None for an object with `children`."""
    required: bool = False
    children: dict[str, _Node] = field(default_factory=dict)
    lenient: bool = True
    """Whether something else than an object in its place is let through, to be judged by the record."""


class UntranslatableModelError(Exception):
    """A model has no exact counterpart in msgspec; the message says why. Let pydantic judge each record."""


class BlockDecoder:
    """Decodes whole lines at once, and takes fields out of them. Of a key given twice the last wins, as everywhere."""

    def __init__(self, fields: Sequence[tuple[FieldPath, object]]) -> None:
        """`fields` are the paths with the type that msgspec reads at each; no path twice. Raises `ConfigurationError`."""
        root = _Node()
        for path, kind in fields:
            _add_field(root, path, kind)
        try:
            self._decoder: Final = msgspec.json.Decoder(_struct_type(root))
        except ValueError as error:  # quotes, backslashes and control characters
            raise ConfigurationError(
                f"event: a field's name cannot be read: {error}", hint="rename the field with a transform, or use another"
            ) from error
        self._steps: Final = [_steps(root, path) for path, _ in fields]

    def decode(self, lines: bytes | memoryview) -> list[Struct]:
        """Every JSON value of `lines`, in order.

        Does not keep to lines: the caller has to know that each line begins and ends with a brace, and to compare the counts.
        Raises `msgspec.MsgspecError`, `UnicodeDecodeError` or `RecursionError` where anything is refused.
        """
        decoded: list[Struct] = self._decoder.decode_lines(lines)
        return decoded

    def columns(self, decoded: list[Struct]) -> list[list[object]]:
        """For each field the values of all records, as they stand; an `Absent` where there is none."""
        columns = []
        for outermost, *inner in self._steps:
            column = outermost(decoded)
            for step in inner:
                column = _step_inside(column, step)
            columns.append(column)
        return columns


def compile_model(model: type[BaseModel]) -> msgspec.json.Decoder[object]:
    """A decoder that accepts a record only if `model` does; it may refuse what `model` accepts.

    One thing it cannot see: an integer of more than 4,300 digits in a field that the model does not have, which pydantic
    refuses. The caller has to keep such records from it.

    There is one where the model has no validators, no constructor and no settings of its own that matter, and where its
    types are str, int, float, bool, None, Any, Literal, list, dict with string keys, unions of these and models like
    itself, with limits of length and range. Raises `UntranslatableModelError` for any other.
    """
    try:
        return msgspec.json.Decoder(_struct_type(_object_node(model, ())))
    except (TypeError, ValueError) as error:  # unions that msgspec cannot tell apart, names that it cannot bear
        raise UntranslatableModelError(str(error)) from error


def _add_field(root: _Node, path: FieldPath, kind: object) -> None:
    """Adds the event's field at `path`. Raises `ConfigurationError` where one field would be inside another."""
    node = root
    for depth, key in enumerate(path, start=1):
        inner = depth < len(path)
        child = node.children.setdefault(key, _Node(kind=None if inner else kind))
        if inner != (child.kind is None):
            raise ConfigurationError(
                f'event: "{".".join(path[:depth])}" is read both as a value and as an object', hint="name other fields"
            )
        node = child


def _struct_type(node: _Node) -> type[Struct]:
    """The struct with the keys of `node`. Its attributes are numbered, since a key need not be an identifier."""
    names = {f"f{number}": key for number, key in enumerate(node.children)}
    fields: list[tuple[str, Any] | tuple[str, Any, Any]] = []
    for attribute, child in zip(names, node.children.values(), strict=True):
        kind: Any = child.kind
        if kind is None:
            kind = _struct_type(child)
            if child.lenient:
                kind = Union[kind, None, bool, int, float, str, list[Any]]  # noqa: UP007 -- built at run time
        fields.append((attribute, kind) if child.required else (attribute, kind, _MISSING))
    # Decoded JSON has no cycles, so the garbage collector need not know of the structs.
    return msgspec.defstruct("Record", fields, rename=names, gc=False, kw_only=True)


def _steps(root: _Node, path: FieldPath) -> list[_Step]:
    """What leads from structs to their fields at `path`, a key each."""
    steps: list[_Step] = []
    node = root
    for key in path:
        steps.append(_step(list(node.children).index(key)))
        node = node.children[key]
    return steps


def _step(number: int) -> _Step:
    """What takes the field of this number out of each struct."""
    if number < len(_FIRST_STEPS):
        return _FIRST_STEPS[number]
    getter = operator.attrgetter(f"f{number}")
    return lambda structs: list(map(getter, structs))


def _step_inside(parents: list[object], step: _Step) -> list[object]:
    """One level down: the field of each parent, or why there is none."""
    kinds = set(map(type, parents))
    if len(kinds) == 1 and issubclass(next(iter(kinds)), Struct):
        return step(parents)
    found = iter(step([parent for parent in parents if isinstance(parent, Struct)]))
    return [next(found) if isinstance(parent, Struct) else _absence(parent) for parent in parents]


def _absence(parent: object) -> Absent:
    """Why nothing can be inside `parent`, which is no object."""
    return _MISSING if parent is None or parent is _MISSING else _NOT_INSIDE


def _object_node(model: type[BaseModel], above: tuple[type[BaseModel], ...]) -> _Node:
    """The keys of a user's model. Raises `UntranslatableModelError`."""
    _refuse_own_behaviour(model, above)
    node = _Node(lenient=False)
    for name, info in model.model_fields.items():
        key = info.validation_alias or name
        if not isinstance(key, str):
            raise UntranslatableModelError(f"{model.__name__}.{name} has several aliases")
        if info.validate_default or info.discriminator is not None or info.default is ...:
            raise UntranslatableModelError(f"{model.__name__}.{name} has settings of its own")
        node.children[key] = _field_node(model, name, info, above)
    return node


def _field_node(model: type[BaseModel], name: str, info: FieldInfo, above: tuple[type[BaseModel], ...]) -> _Node:
    """One field of a user's model. Raises `UntranslatableModelError`."""
    annotation: object = info.annotation
    if isinstance(annotation, type) and issubclass(annotation, BaseModel) and not info.metadata:
        node = _object_node(annotation, (*above, model))
    else:
        node = _Node(kind=_translate(annotation, info.metadata, (*above, model)))
    node.required = info.is_required()
    if node.kind is None and not node.children:
        raise UntranslatableModelError(f"{model.__name__}.{name} is a model without fields")
    return node


def _refuse_own_behaviour(model: type[BaseModel], above: tuple[type[BaseModel], ...]) -> None:
    """Raises `UntranslatableModelError` where `model` does more than its fields and their types say."""
    if model in above:
        raise UntranslatableModelError(f"{model.__name__} contains itself")
    own = model.__pydantic_decorators__
    if own.validators or own.field_validators or own.root_validators or own.model_validators:
        raise UntranslatableModelError(f"{model.__name__} has validators of its own")
    settings = {
        key for key, value in model.model_config.items() if key not in _HARMLESS_SETTINGS and (key, value) != ("extra", "ignore")
    }
    if settings:
        raise UntranslatableModelError(f"{model.__name__} has settings of its own: {', '.join(sorted(settings))}")
    for name in (
        "__init__",
        "__new__",
        "__get_pydantic_core_schema__",
        "model_post_init",
        "model_validate_json",
        "__pydantic_root_model__",
    ):
        if _underlying(getattr(model, name)) != _underlying(getattr(BaseModel, name)):
            raise UntranslatableModelError(f"{model.__name__} has a {name} of its own")


def _underlying(method: object) -> object:
    """The function behind a class method, or what was given."""
    return getattr(method, "__func__", method)


def _translate(annotation: object, metadata: Sequence[object], above: tuple[type[BaseModel], ...]) -> object:
    """The msgspec type that accepts a part of what pydantic accepts for this annotation. Raises `UntranslatableModelError`."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _translate(arguments[0], [*arguments[1:], *metadata], above)
    if origin in (Union, UnionType):
        if metadata and len(arguments) - (NoneType in arguments) > 1:
            raise UntranslatableModelError(f"limits on {annotation!r} have no exact counterpart")
        members = [NoneType if member is NoneType else _translate(member, metadata, above) for member in arguments]
        return functools.reduce(operator.or_, members)
    limits = _limits(metadata)
    if annotation is int:
        # Beyond 64 bits, and above all beyond 4,300 digits, pydantic and msgspec do not accept the same.
        limits = ({} if "gt" in limits else {"ge": -(2**63)}) | ({} if "lt" in limits else {"le": 2**63 - 1}) | limits
    kind = _translate_plain(annotation, above)
    return Annotated[kind, msgspec.Meta(**limits)] if limits else kind


def _limits(metadata: Sequence[object]) -> dict[str, Any]:
    """The limits by msgspec's names for them. Raises `UntranslatableModelError` where there is no such name."""
    limits: dict[str, Any] = {}
    for limit in metadata:
        if isinstance(limit, Strict):
            continue  # msgspec is never lax
        name = _LIMITS.get(type(limit), "")
        if not name or name in limits:
            raise UntranslatableModelError(f"{limit!r} has no exact counterpart")
        limits[name] = getattr(limit, name)
    return limits


def _translate_plain(annotation: object, above: tuple[type[BaseModel], ...]) -> object:
    """`_translate`, for an annotation that is neither a union nor limited."""
    if annotation in _PLAIN_TYPES:
        return annotation
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return _struct_type(_object_node(annotation, above))
    match get_origin(annotation), get_args(annotation):
        case origin, values if origin is Literal and all(type(value) in (str, int) for value in values):
            return annotation
        case origin, (item,) if origin is list:
            return list.__class_getitem__(_translate(item, (), above))
        case origin, (key, item) if origin is dict and key is str:
            return dict.__class_getitem__((str, _translate(item, (), above)))
    raise UntranslatableModelError(f"{annotation!r} has no exact counterpart")
