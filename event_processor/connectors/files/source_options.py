"""What the configuration says about a source of type file, and the names that its files bear in the state.

Always: `label` and `path_of` are inverses; a label starts where the written path starts, so a moved folder keeps its state.
Never: nothing here opens a file.
"""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Final, Literal, Self

from pydantic import Field, ValidationInfo, field_validator, model_validator
from pydantic_core import PydanticCustomError

from event_processor.configuration.configuration import ConfiguredPath, SourceOptions
from event_processor.model.contracts import ObjectReader
from event_processor.model.event import Json
from event_processor.records.delimited import CellType, DelimitedReader, Dialect, is_line_based
from event_processor.records.json_documents import ITEM, item_path
from event_processor.records.user_format import OwnReader

__all__ = ["FORMATS", "STANDARD_INPUT", "FileSourceOptions", "InputFilesOptions", "StandardInputOptions"]

NAME_PLACEHOLDER: Final = "{name}"
FORMATS: Final = ("jsonl", "csv", "json")
"""Those that are built in."""


class FileSourceOptions(SourceOptions):
    """A log file, or a glob of them, each followed through its rotations."""

    type: Literal["file"] = "file"
    path: ConfiguredPath
    """The file, or a glob (`*`, `?`, `[…]`; no `**`). A relative path starts from the configuration's folder."""
    format: str = "jsonl"
    """How a record is written; never guessed from the name. "jsonl": each line is a JSON object. "csv": each line becomes one by its column
    names. "json": each file is one document, and each item of an array in it a record. "package.module:Class": a reader of your own."""
    format_options: Mapping[str, bool | int | float | str] = Field(default={}, examples=[{"separator": "|"}])
    """What a reader of your own is made with."""
    start: Literal["beginning", "end"] = "beginning"
    """Where reading begins in the files that are there at the very first start. With "end", what they hold already is never
    counted. Files that appear later are always read whole."""
    rotated: ConfiguredPath | None = Field(default=None, examples=["events/events.jsonl.*"])
    """Where rotated files go: a glob; by default the path and `.*`. With a glob in `path` it must contain `{name}`, the name
    of the file that was rotated."""
    retire_ms: int = Field(default=5000, ge=0, le=86_400_000)
    """A rotated file is finished once it did not grow for this long. What is written to it later is not seen."""
    files_concurrent_max: int = Field(default=0, ge=0, le=1_000_000, examples=[16])
    """How many files with something to read take turns; the others wait until one of them is read to its end, or gives nothing for
    now. 0 = all of them. For many compressed files or JSON documents: each that is being read holds a batch and its decoder in memory."""
    csv_delimiter: str = ","
    """What stands between two cells: one character."""
    csv_quote: str = '"'
    """What stands around a cell that holds the delimiter, doubled where it stands inside; "" where nothing is quoted. A cell ends on its
    line."""
    csv_decimal: Literal[".", ","] = "."
    """What stands before the decimals of a number."""
    csv_encoding: str = "utf-8"
    """The encoding, as Python names it, of those in which a line feed is one byte: "latin-1", "cp1252"."""
    csv_header: bool = True
    """Whether the first line of each file holds the names of its columns; it is then counted as blank."""
    csv_columns: tuple[str, ...] = Field(default=(), examples=[["id", "category", "value"]])
    """The names of the columns, in order, in place of those of a header line (of 4,096 bytes at the most)."""
    csv_types: Mapping[str, CellType] = Field(default={}, examples=[{"id": "integer"}])
    """What cells hold, by column: "string", "integer", "number" or "boolean". The column of event.value holds numbers, all others
    strings, where nothing is said. An empty cell is null, but for a string's."""

    json_item_path: str = "item"
    """Where the items of a document stand: "item", the elements of the array that the document is; "value.item", those of the array at
    "value"."""

    @model_validator(mode="after")
    def _globs_are_sound(self) -> Self:
        if "**" in self.path:
            raise ValueError('"**" is not supported in path: name each level')
        if self.is_glob and self.rotated is not None and NAME_PLACEHOLDER not in self.rotated:
            raise ValueError('rotated must contain "{name}" where path is a glob, or files could not be told apart')
        return self

    @field_validator("format")
    @classmethod
    def _format_is_known(cls, name: str) -> str:
        if name in FORMATS or re.fullmatch(r"[^\W\d][\w.]*:[^\W\d][\w.]*", name):
            return name
        raise PydanticCustomError("format", '"jsonl", "csv", "json", or "package.module:Class"')

    @field_validator("csv_delimiter", "csv_quote")
    @classmethod
    def _is_one_character(cls, mark: str, info: ValidationInfo) -> str:
        if (len(mark) == 1 and mark not in "\n\r\0") or (not mark and info.field_name == "csv_quote"):
            return mark
        raise PydanticCustomError("character", "one character, and no line end")

    @field_validator("csv_encoding")
    @classmethod
    def _cuts_into_lines(cls, name: str) -> str:
        if not is_line_based(name):
            raise PydanticCustomError("encoding", 'an encoding in which ASCII is one byte a character, such as "latin-1"')
        return name

    @field_validator("json_item_path")
    @classmethod
    def _leads_to_items(cls, path: str) -> str:
        *names, last = item_path(path)
        if last != ITEM or not all(names):
            raise PydanticCustomError("item_path", 'names between dots, and "item" at the end: "value.item"')
        return path

    @model_validator(mode="after")
    def _format_is_sound(self) -> Self:
        for prefix in ("csv", "json"):
            own = {key: info.default for key, info in type(self).model_fields.items() if key.startswith(f"{prefix}_")}
            named = sorted(key for key, default in own.items() if getattr(self, key) != default)
            if named and self.format != prefix:
                raise ValueError(f'{named[0]} says something of format = "{prefix}" alone')
        if self.format_options and not self.is_own_format:
            raise ValueError("format_options says something of a reader of your own alone")
        if not (self.csv_header or self.csv_columns):
            raise ValueError("csv_columns must name the columns where csv_header is false")
        if len(set(self.csv_columns)) < len(self.csv_columns) or not all(self.csv_columns):
            raise ValueError("csv_columns must name each column, and no two alike")
        if self.csv_delimiter == self.csv_quote:
            raise ValueError("csv_delimiter and csv_quote must differ")
        return self

    @property
    def is_glob(self) -> bool:
        """Whether `path` stands for any number of files."""
        return glob.has_magic(self.path)

    def identity(self) -> Mapping[str, Json]:
        prefix = "format_options" if self.is_own_format else f"{self.format}_"
        own_keys = {key for key in type(self).model_fields if key.startswith(prefix)}
        return {
            "type": self.type,
            "path": self.path.written,
            "format": self.format,
            "start": self.start,
            "record_bytes_max": self.record_bytes_max,
            **self.model_dump(mode="json", include=own_keys),
        }

    @property
    def holds_objects(self) -> bool:
        """Whether its records are JSON objects as they stand."""
        return self.format in ("jsonl", "json")

    def object_reader(self, value_field: str) -> Callable[[], ObjectReader] | None:
        # The items of a JSON document are lines already.
        if self.format == "csv":
            return partial(DelimitedReader, self.dialect(value_field), record_bytes_max=self.record_bytes_max)
        if self.is_own_format:
            return partial(OwnReader, self.format, dict(self.format_options), record_bytes_max=self.record_bytes_max)
        return None

    @property
    def is_own_format(self) -> bool:
        """Whether `format` names a class."""
        return self.format not in FORMATS

    @property
    def items(self) -> tuple[str, ...]:
        """Where the items of its documents stand; empty where its files hold lines."""
        return item_path(self.json_item_path) if self.format == "json" else ()

    def dialect(self, value: str) -> Dialect:
        """How the lines of a "csv" are written; `value` names the column whose cells are numbers where nothing else is said."""
        types: dict[str, CellType] = {value: "number"} if value else {}
        return Dialect(
            delimiter=self.csv_delimiter,
            quote=self.csv_quote,
            decimal=self.csv_decimal,
            encoding=self.csv_encoding,
            has_header=self.csv_header,
            columns=self.csv_columns,
            types={**types, **self.csv_types},
        )

    def patterns(self) -> Sequence[str]:
        if self.rotated is not None:
            return [self.path, self.rotated.replace(NAME_PLACEHOLDER, "*")]
        return [self.path, self.path + ".*" if self.is_glob else self.rotated_pattern(self.path)]

    def rotated_pattern(self, path: str) -> str:
        """The glob of the rotated files of the file at `path`."""
        if self.rotated is None:
            return glob.escape(path) + ".*"
        return self.rotated.replace(NAME_PLACEHOLDER, glob.escape(os.path.basename(path)))

    def label(self, path: str) -> str:
        """The name of `path` in the state: relative to the folder that the written path starts from."""
        base = self._base()
        # A configured path is more than a string; what goes into the state must be one and no more.
        return str(path[len(base) :] if base and path.startswith(base) else path)

    def path_of(self, label: str) -> str:
        """The path that `label` names."""
        return label if os.path.isabs(label) else self._base() + label

    def _base(self) -> str:
        """The part of `path` before what was written; empty where that cannot be told, or an absolute path was written."""
        written = os.path.normpath(self.path.written)
        if os.path.isabs(written) or not self.path.endswith("/" + written):
            return ""
        return self.path[: -len(written)]


STANDARD_INPUT: Final = "standard input"
_PLACE_KEYS: Final = frozenset({"path", "start"})
"""What an input says in its own way."""


class InputFilesOptions(FileSourceOptions):
    """Files that are finished, read one after the other in this order."""

    files: tuple[str, ...]
    """As they were named."""
    sizes_bytes: tuple[int, ...]
    """What each held on the disk when the run was asked for: a file that grew since is another input."""

    @classmethod
    def of(cls, template: FileSourceOptions, files: Sequence[str], sizes_bytes: Sequence[int]) -> Self:
        """`files`, with records as `template` has them. They are paths as they stand, so that nothing in them is a glob."""
        return cls.model_validate({**_copied(template), "files": tuple(files), "sizes_bytes": tuple(sizes_bytes)})

    def identity(self) -> Mapping[str, Json]:
        named = enumerate(zip(self.files, self.sizes_bytes, strict=True), start=1)
        return {
            **_identity_of_format(super().identity()),
            "type": "input files",
            **{f"file_{number}": f"{self.label(path)} ({size_bytes} bytes)" for number, (path, size_bytes) in named},
        }

    def label(self, path: str) -> str:
        """The path as it was named, which stands in the state; there, a byte that is no UTF-8 is escaped."""
        return path.encode(errors="backslashreplace").decode()

    def patterns(self) -> Sequence[str]:
        return [os.path.abspath(path) for path in self.files]


class StandardInputOptions(FileSourceOptions):
    """What comes through a descriptor, once."""

    descriptor: int = 0

    @classmethod
    def of(cls, template: FileSourceOptions, descriptor: int = 0) -> Self:
        """Standard input, with records as `template` has them."""
        return cls.model_validate({**_copied(template), "descriptor": descriptor})

    def identity(self) -> Mapping[str, Json]:
        return {**_identity_of_format(super().identity()), "type": STANDARD_INPUT}

    def patterns(self) -> Sequence[str]:
        return []


def _copied(template: FileSourceOptions) -> dict[str, object]:
    """All but the path, in whose place something stands that names nothing."""
    copied: dict[str, object] = {key: getattr(template, key) for key in FileSourceOptions.model_fields}
    return {**copied, "path": ConfiguredPath("input"), "rotated": None}


def _identity_of_format(identity: Mapping[str, Json]) -> dict[str, Json]:
    return {key: value for key, value in identity.items() if key not in _PLACE_KEYS}
