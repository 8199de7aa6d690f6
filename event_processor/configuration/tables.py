"""The base of every table of the configuration, and its paths.

Owns: `Section`, `ConfiguredPath` and `LocatedText`.
Always: an unknown key is a fault, and so is a value of another type. A model is frozen, its arrays are tuples, and its paths are
`ConfiguredPath`.
Never: no table is defined here (`configuration.py` defines them).
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Self, cast

from pydantic import BaseModel, ConfigDict, GetCoreSchemaHandler, ValidationInfo
from pydantic.fields import FieldInfo
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

__all__ = ["ConfiguredPath", "LocatedText", "Section", "keys_of"]


class LocatedText(str):
    """A string of a configuration file. If it is a relative path, it starts from `folder`."""

    __slots__ = ("folder",)
    folder: str

    def __new__(cls, text: str, folder: str) -> Self:
        located = super().__new__(cls, text)
        located.folder = folder
        return located


class ConfiguredPath(str):
    """A path or a glob of the configuration. It is an ordinary `str`. `written` is the text as it was written.

    A relative path starts from the folder of the file that set it (`LocatedText`), or else from the folder in the validation
    context (`{"folder": …}`). Without both it stays as it is.
    """

    __slots__ = ("written",)
    written: str

    def __new__(cls, path: str, written: str | None = None) -> Self:
        configured = super().__new__(cls, path)
        configured.written = path if written is None else written
        return configured

    @classmethod
    def __get_pydantic_core_schema__(cls, _source: object, _handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.with_info_plain_validator_function(cls._validate, serialization=core_schema.to_string_ser_schema())

    @classmethod
    def _validate(cls, value: object, info: ValidationInfo) -> ConfiguredPath:
        """`value` as a path. Raises `PydanticCustomError` with what is wanted."""
        if isinstance(value, ConfiguredPath) and os.path.isabs(value):
            return value
        if not isinstance(value, str) or not value or "\0" in value:
            raise PydanticCustomError("path", "a path")
        context = cast("Mapping[str, str]", info.context or {})
        folder = value.folder if isinstance(value, LocatedText) else context.get("folder", "")
        return cls(_joined(folder, str(value)), str(value))


def _joined(folder: str, path: str) -> str:
    """`path` from `folder`. Normalized only if it has no "..", because ".." may lead through a symbolic link."""
    joined = os.path.join(folder, path)
    return joined if ".." in joined.split("/") else os.path.normpath(joined)


class Section(BaseModel):
    """A table of the configuration: frozen, without unknown keys, and strict ("5" is not a number)."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, validate_default=True)


def keys_of(model: type[Section]) -> dict[str, FieldInfo]:
    """The keys of a table, by their names in a file."""
    return {info.alias or name: info for name, info in model.model_fields.items()}
