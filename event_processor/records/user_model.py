"""The user's own pydantic model: loads it, and compiles it to msgspec types if that is possible.

Owns: `load_model`, and the translation of models, types and limits.
Always: if a compiled model accepts a record, pydantic accepts it too. The reverse need not hold, because pydantic judges every
record that the compiled model refuses.
Never: a model without an exact translation is not compiled. This includes types with different meanings in pydantic and msgspec.
Its records are judged one by one.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Sequence
from types import NoneType, UnionType
from typing import Annotated, Any, Final, Literal, Union, get_args, get_origin

import msgspec
from annotated_types import Ge, Gt, Le, Lt, MaxLen, MinLen
from pydantic import BaseModel, Strict
from pydantic.fields import FieldInfo

from event_processor.columns.field_paths import _Node, _struct_type
from event_processor.configuration.user_classes import load_class
from event_processor.model.errors import ConfigurationError

__all__ = ["UntranslatableModelError", "compile_model", "load_model"]

_PLAIN_TYPES: Final = (str, int, float, bool, NoneType, Any)
_LIMITS: Final = {Ge: "ge", Gt: "gt", Le: "le", Lt: "lt", MinLen: "min_length", MaxLen: "max_length"}
_HARMLESS_SETTINGS: Final = frozenset(
    {"title", "frozen", "strict", "alias_generator", "json_schema_extra", "use_attribute_docstrings"}
)


def load_model(import_string: str) -> type[BaseModel]:
    """The class that "package.module:Model" names. Raises `ConfigurationError` if it is not found or is not a pydantic model."""
    found = load_class("event.model", import_string)
    if not (isinstance(found, type) and issubclass(found, BaseModel)):
        raise ConfigurationError(
            f'event.model: "{import_string}" is not a pydantic model', hint="name a class derived from pydantic.BaseModel"
        )
    return found


class UntranslatableModelError(Exception):
    """A model has no exact translation to msgspec. The message says why. The caller must let pydantic judge each record."""


def compile_model(model: type[BaseModel]) -> msgspec.json.Decoder[object]:
    """A decoder that accepts a record only if `model` accepts it. It may refuse records that `model` accepts.

    It does not see one fault: an integer of more than 4,300 digits in a field that the model does not have. Pydantic refuses such
    a record. The caller must not give it to the decoder.

    A model can be compiled if it has no own validators, no own constructor and no own settings that matter, and if its types are
    str, int, float, bool, None, Any, Literal, list, dict with string keys, unions of these and other such models, with limits of
    length and range. Raises `UntranslatableModelError` for any other model.
    """
    try:
        return msgspec.json.Decoder(_struct_type(_object_node(model, ())))
    except (TypeError, ValueError) as error:  # msgspec cannot distinguish a union's members, or cannot use a name
        raise UntranslatableModelError(str(error)) from error


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
    """Raises `UntranslatableModelError` if `model` does more than its fields and their types say."""
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
    """The function of a class method, or `method` itself."""
    return getattr(method, "__func__", method)


def _translate(annotation: object, metadata: Sequence[object], above: tuple[type[BaseModel], ...]) -> object:
    """A msgspec type that accepts only values that pydantic accepts for this annotation. Raises `UntranslatableModelError`."""
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
        # Beyond 64 bits pydantic and msgspec accept different values, above all beyond 4,300 digits.
        limits = ({} if "gt" in limits else {"ge": -(2**63)}) | ({} if "lt" in limits else {"le": 2**63 - 1}) | limits
    kind = _translate_plain(annotation, above)
    return Annotated[kind, msgspec.Meta(**limits)] if limits else kind


def _limits(metadata: Sequence[object]) -> dict[str, Any]:
    """The limits, by their msgspec names. Raises `UntranslatableModelError` if a limit has no msgspec name."""
    limits: dict[str, Any] = {}
    for limit in metadata:
        if isinstance(limit, Strict):
            continue  # msgspec is always strict
        name = _LIMITS.get(type(limit), "")
        if not name or name in limits:
            raise UntranslatableModelError(f"{limit!r} has no exact counterpart")
        limits[name] = getattr(limit, name)
    return limits


def _translate_plain(annotation: object, above: tuple[type[BaseModel], ...]) -> object:
    """`_translate` for an annotation that is not a union and has no limits."""
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
