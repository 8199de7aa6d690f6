"""The base of every table of the configuration, its paths, and the keys of every source and sink.

Owns: `Section`, `ConfiguredPath`, `SecretPath` and `LocatedText`; `SourceOptions` and `SinkOptions`, which a connector's options extend;
`SharedInput`.
Always: an unknown key is a fault, and so is a value of another type. A model is frozen, its arrays are tuples, and its paths are
`ConfiguredPath`.
Never: defines any other table (`configuration.py` does).
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Final, Self, cast

from pydantic import BaseModel, ConfigDict, Field, GetCoreSchemaHandler, ValidationInfo
from pydantic.fields import FieldInfo
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from event_processor.model.contracts import ObjectReader
from event_processor.model.event import Json

__all__ = [
    "ConfiguredPath",
    "LocatedText",
    "SecretPath",
    "Section",
    "SharedInput",
    "SinkOptions",
    "SourceOptions",
    "keys_of",
]

_VARIABLE: Final = re.compile(r"\$\{(\w+)\}")


class LocatedText(str):
    """A string of a configuration file. If it is a relative path, it starts from `folder`. `written`: before variables were replaced."""

    __slots__ = ("folder", "written")
    folder: str
    written: str

    def __new__(cls, text: str, folder: str, *, written: str | None = None) -> Self:
        located = super().__new__(cls, text)
        located.folder = folder
        located.written = text if written is None else written
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
        """Turns `value` into a path. Raises `PydanticCustomError`, which says what is wanted."""
        if isinstance(value, ConfiguredPath) and os.path.isabs(value):
            return value
        if not isinstance(value, str) or not value or "\0" in value:
            raise PydanticCustomError("path", "a path")
        context = cast("Mapping[str, str]", info.context or {})
        folder = value.folder if isinstance(value, LocatedText) else context.get("folder", "")
        written = value.written if isinstance(value, LocatedText) else str(value)
        return cls(_joined(folder, str(value)), written)


class SecretPath(ConfiguredPath):
    """The path of a file with a secret. `${NAME}` in it is an environment variable.

    The variable is looked up when the file is read, because only the service may have it: every command works without it.
    """

    __slots__ = ()

    @classmethod
    def _validate(cls, value: object, info: ValidationInfo) -> ConfiguredPath:
        if isinstance(value, str) and _VARIABLE.match(value):
            return cls(str(value), str(value))  # it begins with a folder that is not known yet
        path = super()._validate(value, info)
        return cls(str(path), path.written)

    def in_environment(self, environment: Mapping[str, str]) -> str:
        """The path with the values of its variables. Raises `KeyError` with the name of a variable that is missing."""
        return _VARIABLE.sub(lambda found: environment[found[1]], self)


def _joined(folder: str, path: str) -> str:
    """Joins `folder` and `path`. Normalizes only without "..", because ".." may go through a symbolic link."""
    joined = os.path.join(folder, path)
    return joined if ".." in joined.split("/") else os.path.normpath(joined)


class Section(BaseModel):
    """A table of the configuration: frozen, without unknown keys, and strict ("5" is not a number)."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, validate_default=True)


@dataclass(frozen=True, slots=True)
class SharedInput:
    """What two sources both read, by their options alone, in words. `key`: of the second table; `wanted`: what it should have.

    `is_certain`: not only something that may never exist, such as a file whose name two globs match. `is_taken`: it is taken if duplicates are
    found, so that a state that was made before this was looked at goes on: without one of its sources it could only be replayed.
    """

    key: str
    wanted: str
    reads: str
    is_certain: bool = True
    is_taken: bool = False


class SourceOptions(Section):
    """The keys of every source. A connector's options add `type` (a Literal) and their own keys."""

    type: str
    record_bytes_max: int = Field(default=1_048_576, ge=16, le=1 << 30)
    """A longer record is rejected with its offset and length. A chunk may hold this much in memory."""
    poll_interval_ms: int = Field(default=200, ge=1, le=3_600_000)
    """The time between two looks at the source if no change notice arrives, in milliseconds."""

    def identity(self) -> Mapping[str, Json]:
        """The options that the state depends on. Paths are as written, so that a folder may be moved.

        Default: every key except `poll_interval_ms`.
        """
        values: dict[str, Json] = self.model_dump(mode="json", exclude={"poll_interval_ms"})
        paths = {key: value.written for key in values if isinstance(value := getattr(self, key), ConfiguredPath)}
        return {**values, **paths}

    def patterns(self) -> Sequence[str]:
        """The local paths and globs that this source reads, for the watcher; empty if there are none."""
        return ()

    def shared_input(self, first: Self) -> SharedInput | None:
        """What this source reads that `first`, a source of the same type, reads too; None if nothing. Default: None.

        Looks at the options only. Records that come twice count twice, or are duplicates.
        """
        del first
        return None

    def own_classes(self) -> Mapping[str, str]:
        """By key, each class of the user that this table names: "package.module:Class". Default: none."""
        return {}

    @property
    def holds_objects(self) -> bool:
        """Whether its records are JSON objects without conversion."""
        return True

    def object_reader(self, value_field: str) -> Callable[[], ObjectReader] | None:
        """A picklable factory of the reader of its records; None if they are JSON objects, one a line.

        `value_field` is `event.value`.
        """
        del value_field
        return None


class SinkOptions(Section):
    """The keys of every sink. A connector's options add `type` (a Literal) and their own keys."""

    fields_key: ClassVar[str] = "columns"
    """The key that names what `fields` returns, for messages."""
    takes_snapshots: ClassVar[bool] = False
    """Whether its input may be a snapshot: the totals, or the groups of an aggregate without a window."""
    type: str
    input: str = "events"
    """What it writes: "events", in the order of [order]; "dead_letters", in the order of rejection; or "aggregates.NAME", the
    rows of that aggregate's windows. A database takes "totals" too, and "aggregates.NAME" without a window."""

    def paths(self) -> Sequence[str]:
        """The local files that this sink writes; empty if there are none."""
        return ()

    def fields(self) -> Sequence[str]:
        """The names of the fields that it reads of its input; empty if it writes whole objects, or if that is unknown."""
        return ()

    def cautions(self) -> Iterator[tuple[str, str]]:
        """Yields what is valid, but seldom meant: a key of its own, and what it costs. Default: nothing."""
        yield from ()

    def own_classes(self) -> Mapping[str, str]:
        """By key, each class of the user that this table names: "package.module:Class". Default: none."""
        return {}

    @property
    def snapshot_interval_ms(self) -> int:
        """The time between two snapshots, in milliseconds."""
        return 1000

    def snapshot_faults(self, identity: Sequence[str]) -> Iterator[tuple[str, str]]:
        """Yields what keeps it from writing a snapshot whose rows these fields identify: a key of its own, and what is wanted there."""
        del identity
        yield from ()


def keys_of(model: type[Section]) -> dict[str, FieldInfo]:
    """The keys of a table, by name in the file."""
    return {info.alias or name: info for name, info in model.model_fields.items()}
