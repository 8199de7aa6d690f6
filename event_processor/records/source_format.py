"""The keys of a source that say what form its records have, and what follows from them.

Owns: `SourceFormat`: format, CSV, JSON documents, and your own reader, for every source whose input is lines or documents.
Always: a key of another format is a fault.
Never: opens anything.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Final, Literal, Self

from pydantic import Field, ValidationInfo, field_validator, model_validator
from pydantic_core import PydanticCustomError

from event_processor.model.event import Json
from event_processor.model.options import SourceOptions
from event_processor.records.converted_text import converted_text_path, is_utf_16
from event_processor.records.delimited_cells import CellType, Dialect
from event_processor.records.heads import HeaderPlace
from event_processor.records.json_documents import ITEM, WHOLE, item_path
from event_processor.records.quoted_lines import quoted_lines_path

if TYPE_CHECKING:
    from event_processor.model.contracts import ObjectReader

__all__ = ["FORMATS", "LATER_FORMAT_KEYS", "SourceFormat"]

LOG_FORMATS: Final = ("combined", "logfmt", "ltsv", "regex")
"""The formats of lines of logs."""
FORMATS: Final = ("jsonl", "csv", "json", *LOG_FORMATS)
"""The built-in formats."""


LATER_FORMAT_KEYS: Final = (
    *("csv_quoted_line_breaks", "csv_skip_lines", "csv_comment", "csv_null", "csv_thousands"),
    "csv_line_end",
)
"""Keys that earlier releases did not have. By default they do what those releases did."""


class SourceFormat(SourceOptions):
    """The form of the records. A source's options extend it."""

    format: str = "jsonl"
    """The format of a record; never guessed from the name. "jsonl": each line is a JSON object. "csv": each line becomes an
    object by its column names. "json": each file holds documents, and each item of an array in them is a record.
    "combined", "logfmt", "ltsv": a line of a web server's log, of name=value, of label:value. "regex": a line in `format_pattern`.
    "package.module:Class": your own reader."""
    format_pattern: str = Field(default="", examples=["(?P<timestamp>\\S+) (?P<level>[A-Z]+) (?P<message>.*)"])
    """The expression (Python's re) of a line of "regex". Each named group is a field; a line that does not match as a whole is rejected."""
    format_options: Mapping[str, bool | int | float | str] = Field(default={}, examples=[{"separator": "|"}])
    """The arguments for your own reader."""
    csv_delimiter: str = ","
    """The character between two cells."""
    csv_quote: str = '"'
    """The character around a cell that contains the delimiter; inside, it is doubled. "" if nothing is quoted. A cell ends on its
    line, unless csv_quoted_line_breaks is set."""
    csv_quoted_line_breaks: bool = False
    """Whether a quoted cell may hold line ends. Then an unclosed quote takes the lines up to the next quote into its record, at most
    record_bytes_max, and a file is read like a compressed one: from its start again after a restart."""
    csv_skip_lines: int = Field(default=0, ge=0, le=1000)
    """How many lines of each file come before the header. They are counted as blank."""
    csv_comment: str = Field(default="", max_length=16, examples=["#"])
    """How a line begins that is a comment. It is counted as blank. "" if there are none. A header must begin and end in the first record_bytes_max
    bytes."""
    csv_null: tuple[str, ...] = Field(default=(), examples=[["NA", "NULL", ""]])
    """Cells that are null, in any column, strings too."""
    csv_thousands: str = Field(default="", max_length=1, examples=["."])
    """The character between groups of three digits: with ".", 1.234.567 is 1234567. "" if there is none."""
    csv_decimal: Literal[".", ","] = "."
    """The character before the decimals of a number."""
    csv_encoding: str = "utf-8"
    """The encoding, by its Python name: one with a byte for each ASCII character, such as "latin-1" or "cp1252"; or "utf-16", which needs a byte
    order mark, "utf-16-le", "utf-16-be". A file of UTF-16 is read like a compressed one: from its start again after a restart."""
    csv_line_end: Literal["lf", "cr"] = "lf"
    """What ends a line. "lf": a line feed, perhaps after a carriage return. "cr": a carriage return alone, as on an old Mac; a line feed ends a line
    too. Such a file is read like a compressed one. It is never guessed."""
    csv_header: bool = True
    """Whether the first line of each file holds the names of its columns. This line is counted as blank."""
    csv_columns: tuple[str, ...] = Field(default=(), examples=[["id", "category", "value"]])
    """The names of the columns, in order. They replace the names in a header line."""
    csv_types: Mapping[str, CellType] = Field(default={}, examples=[{"id": "integer"}])
    """The types of cells, by column: "string", "integer", "number" or "boolean". By default the column of event.value has numbers
    and all others have strings. An empty cell is null, except in a string column."""

    json_item_path: str = "item"
    """The path of the items in a document: "item", the elements if the document is an array; "value.item", the elements of the
    array at "value"; "@document", the document itself, which may be followed by others in the same file."""

    @field_validator("format")
    @classmethod
    def _format_is_known(cls, name: str) -> str:
        if name in FORMATS or re.fullmatch(r"[^\W\d][\w.]*:[^\W\d][\w.]*", name):
            return name
        raise PydanticCustomError(
            "format", f'{", ".join(f"{chr(34)}{each}{chr(34)}" for each in FORMATS)}, or "package.module:Class"'
        )

    @field_validator("format_pattern")
    @classmethod
    def _pattern_reads_lines(cls, pattern: str) -> str:
        if not pattern:
            return pattern
        from event_processor.records.log_lines import pattern_fault  # noqa: PLC0415 - only if there is one

        if fault := pattern_fault(pattern):
            raise PydanticCustomError("format_pattern", "{fault}", {"fault": fault})
        return pattern

    @field_validator("csv_delimiter", "csv_quote")
    @classmethod
    def _is_one_character(cls, mark: str, info: ValidationInfo) -> str:
        if (len(mark) == 1 and mark not in "\n\r\0") or (not mark and info.field_name == "csv_quote"):
            return mark
        raise PydanticCustomError("character", "one character, not a line end")

    @field_validator("csv_encoding")
    @classmethod
    def _cuts_into_lines(cls, name: str) -> str:
        if name == "utf-8" or is_utf_16(name):
            return name
        from event_processor.records.delimited import is_line_based  # noqa: PLC0415 - only for another one

        if not is_line_based(name):
            raise PydanticCustomError("encoding", 'an encoding with one byte per ASCII character, such as "latin-1", or "utf-16"')
        return name

    @field_validator("json_item_path")
    @classmethod
    def _leads_to_items(cls, path: str) -> str:
        *names, last = item_path(path)
        if path != WHOLE and (last != ITEM or not all(names)):
            raise PydanticCustomError(
                "item_path", 'names with dots between them, and "item" at the end: "value.item"; or "@document"'
            )
        return path

    @model_validator(mode="after")
    def _format_is_sound(self) -> Self:
        for prefix in ("csv", "json"):
            own = {key: info.default for key, info in type(self).model_fields.items() if key.startswith(f"{prefix}_")}
            named = sorted(key for key, default in own.items() if getattr(self, key) != default)
            if named and self.format != prefix:
                raise ValueError(f'{named[0]} applies only to format = "{prefix}"')
        if bool(self.format_pattern) != (self.format == "regex"):
            raise ValueError('format = "regex" and format_pattern belong together')
        if self.format_options and not self.is_own_format:
            raise ValueError("format_options applies only to your own reader")
        if not (self.csv_header or self.csv_columns):
            raise ValueError("csv_columns must name the columns if csv_header is false")
        if len(set(self.csv_columns)) < len(self.csv_columns) or not all(self.csv_columns):
            raise ValueError("csv_columns must name each column, each name only once")
        if self.csv_thousands and self.csv_thousands in {self.csv_decimal, self.csv_quote}:
            raise ValueError("csv_thousands must differ from csv_decimal and csv_quote")
        if self.csv_quoted_line_breaks and not (self.csv_quote and (self.csv_quote + self.csv_delimiter).isascii()):
            raise ValueError("csv_quoted_line_breaks needs csv_quote, and a delimiter and a quote in ASCII")
        if self.csv_delimiter == self.csv_quote:
            raise ValueError("csv_delimiter and csv_quote must differ")
        return self

    @model_validator(mode="after")
    def _comment_has_bytes(self) -> Self:
        if self.csv_comment.encode(self.csv_encoding, "replace").decode(self.csv_encoding) != self.csv_comment:
            raise ValueError("csv_comment must be written in csv_encoding")
        return self

    def format_identity(self) -> Mapping[str, Json]:
        """The keys of the form that the state depends on."""
        prefixes = {"regex": "format_pattern"} if not self.is_own_format else {self.format: "format_options"}
        prefix = prefixes.get(self.format, f"{self.format}_")
        own_keys = {key for key in type(self).model_fields if key.startswith(prefix)}
        # A key that earlier releases did not have is left out while it keeps their behaviour.
        own_keys -= {key for key in LATER_FORMAT_KEYS if getattr(self, key) == type(self).model_fields[key].default}
        return {"format": self.format, **self.model_dump(mode="json", include=own_keys)}

    @property
    def holds_objects(self) -> bool:
        """Whether its records are JSON objects already."""
        return self.format in ("jsonl", "json")

    def object_reader(self, value_field: str) -> Callable[[], ObjectReader] | None:
        # The items of a JSON document are lines already.
        if self.format == "csv":
            from event_processor.records.delimited import DelimitedReader  # noqa: PLC0415 - only for this format

            return partial(DelimitedReader, self.dialect(value_field), record_bytes_max=self.record_bytes_max)
        if self.format in LOG_FORMATS:
            from event_processor.records.log_lines import LogReader  # noqa: PLC0415 - only for these formats

            return partial(LogReader, self.format, self.format_pattern, value_field, record_bytes_max=self.record_bytes_max)
        if self.is_own_format:
            from event_processor.records.user_format import OwnReader  # noqa: PLC0415 - only for such a format

            return partial(OwnReader, self.format, dict(self.format_options), record_bytes_max=self.record_bytes_max)
        return None

    def own_classes(self) -> Mapping[str, str]:
        return {"format": self.format} if self.is_own_format else {}

    @property
    def is_own_format(self) -> bool:
        """Whether `format` names a class."""
        return self.format not in FORMATS

    @property
    def items(self) -> tuple[str, ...]:
        """The path of the items in its documents; or that of text that becomes lines of UTF-8; empty if its files hold lines."""
        quoted = quoted_lines_path(self.dialect(""), self.record_bytes_max) if self.csv_quoted_line_breaks else ()
        utf_16, has_returns = is_utf_16(self.csv_encoding), self.csv_line_end == "cr"
        if utf_16 or has_returns:
            return converted_text_path(self.csv_encoding if utf_16 else "", quoted, ends_with_returns=has_returns)
        if quoted:
            return quoted
        return item_path(self.json_item_path) if self.format == "json" else ()

    @property
    def header(self) -> HeaderPlace | None:
        """Where the header of each file is, if a chunk must have the start of its file; else None."""
        place = self.dialect("").header_place
        if self.format != "csv" or not (place.skip_lines or place.comment or (place.has_header and not self.csv_columns)):
            return None
        return place

    def dialect(self, value: str) -> Dialect:
        """The form of the lines of a "csv". `value` names the column whose cells are numbers by default."""
        types: dict[str, CellType] = {value: "number"} if value else {}
        return Dialect(
            delimiter=self.csv_delimiter,
            quote=self.csv_quote,
            decimal=self.csv_decimal,
            # Converted text is UTF-8 when it becomes lines.
            encoding="utf-8" if is_utf_16(self.csv_encoding) else self.csv_encoding,
            has_header=self.csv_header,
            columns=self.csv_columns,
            types={**types, **self.csv_types},
            skip_lines=self.csv_skip_lines,
            comment=self.csv_comment,
            nulls=frozenset(self.csv_null),
            thousands=self.csv_thousands,
        )
