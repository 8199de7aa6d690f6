"""The options of a file sink.

Owns: the keys of `[sinks.NAME]` with `type = "file"`, and the rules between them.
Never: opens a file.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Final, Literal, Self

from pydantic import Field, field_validator, model_validator
from pydantic_core import PydanticCustomError

from event_processor.configuration.configuration import ConfiguredPath, SinkOptions
from event_processor.records.writing.columns import AS_IS, RFC3339, Column, ColumnType, column_of, is_spelling

__all__ = ["PART_PLACEHOLDER", "FileSinkOptions"]

PART_PLACEHOLDER: Final = "{n}"
"""The number of a part, in the pattern of the names."""
PART_EVENTS: Final = {"json": 10_000, "parquet": 100_000}
"""The default number of events in a part, for formats that can only be written in parts."""


class FileSinkOptions(SinkOptions):
    """Events written to one growing file, or to numbered files with a fixed number of events each; exactly once."""

    type: Literal["file"] = "file"
    """The kind of sink: local files."""
    input: str = "events"
    """What to write: "events", in the order of [order]; "dead_letters", as they are rejected; or "aggregates.NAME", the rows of
    that aggregate's windows."""
    path: ConfiguredPath = Field(examples=["out/ordered.jsonl"])
    """The file. Only this program may append to it; at a start, everything after the committed length is cut off. If parts are
    written: the pattern of their names, with {n} for the number of a part, which starts at 1: "out/results_{n}.json"."""
    format: Literal["jsonl", "json", "csv", "parquet"] = "jsonl"
    """The format: "jsonl", one JSON object per line; "json", parts that are one JSON array each; "csv"; or "parquet", parts,
    which need the extra `parquet` and `columns`."""
    part_events: int = Field(default=0, ge=0, le=10_000_000)
    """The number of events per file. 0: one growing file; but "json" and "parquet" are only written in parts, of 10,000 and
    100,000 events by default. A part needs memory while it is written."""
    columns: tuple[str, ...] = Field(default=(), examples=[["id", "payload.size as size"]])
    """The fields to write, in order and with their names: "field", or "field as name"; a dotted field reaches inside. A missing
    field is null. By default, "jsonl" and "json" write the whole object; "csv" and "parquet" need `columns`."""
    column_types: Mapping[str, ColumnType] = Field(default={}, examples=[{"size": "integer"}])
    """The types of the columns in "parquet", by the names in the file: "string" (the default), "integer", "number", "boolean" or
    "timestamp". A value of another type becomes null; any value can become a string."""
    timestamp_format: str = AS_IS
    """How to write timestamps: "as_is", "rfc3339", "epoch_s", "epoch_ms", or a pattern for Python's strftime, such as "%Y-%m-%d
    %H:%M:%S"; in UTC. A value that is no timestamp stays as it is."""
    timestamp_digits: int | None = Field(default=None, ge=0, le=9, examples=[6])
    """With "rfc3339": how many digits the fraction of a second has, so that the texts sort by time. The other digits are dropped. By
    default as many as needed, and none for a whole second."""
    timestamp_columns: tuple[str, ...] = Field(default=(), examples=[["timestamp", "payload.sent_at"]])
    """The fields to which `timestamp_format` applies; by default the field of event.timestamp."""
    csv_delimiter: str = ","
    """The character between two cells."""
    csv_quote: str = '"'
    """The character around a cell that contains the delimiter, a quote or a line end. A quote inside is doubled."""
    csv_decimal: Literal[".", ","] = "."
    """The character before the decimals of a number."""
    csv_header: bool = True
    """Whether each file starts with a line of the columns' names."""

    csv_escape_formulas: bool = False
    """Whether a string that a spreadsheet would take for a formula (it begins with =, +, -, @, a tab or a carriage return) gets an
    apostrophe before it."""

    @field_validator("timestamp_format")
    @classmethod
    def _spelling_is_known(cls, text: str) -> str:
        if is_spelling(text):
            return text
        raise PydanticCustomError(
            "spelling", '"as_is", "rfc3339", "epoch_s", "epoch_ms", or a pattern such as "%Y-%m-%d %H:%M:%S"'
        )

    @field_validator("csv_delimiter", "csv_quote")
    @classmethod
    def _is_one_character(cls, mark: str) -> str:
        if len(mark) == 1 and mark not in "\n\r\0":
            return mark
        raise PydanticCustomError("character", "one character, not a line end")

    @field_validator("columns")
    @classmethod
    def _names_are_distinct(cls, columns: tuple[str, ...]) -> tuple[str, ...]:
        found = [column_of(text) for text in columns]
        if all(column.field and column.name for column in found) and len({column.name for column in found}) == len(found):
            return columns
        raise PydanticCustomError("columns", '"field" or "field as name", each name only once')

    @model_validator(mode="after")
    def _path_is_of_parts_or_of_one_file(self) -> Self:
        folder, name = os.path.split(self.path)
        if self.parts and name.count(PART_PLACEHOLDER) != 1:
            raise ValueError('path must contain "{n}", the number of a part, once in its file name, because parts are written')
        if (PART_PLACEHOLDER in folder) or (not self.parts and PART_PLACEHOLDER in name):
            raise ValueError(
                'path may contain "{n}", the number of a part, only in its file name, and only if parts are written (part_events)'
            )
        return self

    @model_validator(mode="after")
    def _format_is_sound(self) -> Self:
        if self.format in ("csv", "parquet") and not self.columns:
            raise ValueError(f'columns must name the fields to write if format = "{self.format}"')
        for prefix, format_ in (("csv_", "csv"), ("column_types", "parquet")):
            own = {key: info.default for key, info in type(self).model_fields.items() if key.startswith(prefix)}
            named = sorted(key for key, default in own.items() if getattr(self, key) != default)
            if named and self.format != format_:
                raise ValueError(f'{named[0]} applies only to format = "{format_}"')
        unknown = sorted(self.column_types.keys() - {column.name for column in self.named_columns})
        if unknown:
            raise ValueError(f'column_types names "{unknown[0]}", which is not in columns')
        if self.csv_delimiter == self.csv_quote:
            raise ValueError("csv_delimiter and csv_quote must differ")
        if self.timestamp_columns and self.timestamp_format == AS_IS:
            raise ValueError('timestamp_columns has no effect if timestamp_format is "as_is"')
        if self.timestamp_digits is not None and self.timestamp_format not in (AS_IS, RFC3339):
            raise ValueError('timestamp_digits applies only to timestamp_format = "rfc3339"')
        return self

    def cautions(self) -> Iterator[tuple[str, str]]:
        # Not a default: in a file that exists, the texts would change in the middle, and `verify` compares its bytes.
        if self.timestamp_format == RFC3339 and self.timestamp_digits is None:
            cost = "not set, so the texts do not sort by time: 12:00:00.5Z comes before 12:00:00Z. Set it (6) for a new file; "
            yield "timestamp_digits", cost + "in a file that was written without it, verify would find a difference"

    @property
    def parts(self) -> int:
        """The number of events in one part; 0 for one growing file."""
        return self.part_events or PART_EVENTS.get(self.format, 0)

    @property
    def named_columns(self) -> list[Column]:
        """The parsed `columns`."""
        return [column_of(text) for text in self.columns]

    def paths(self) -> Sequence[str]:
        return (self.path,)

    def fields(self) -> Sequence[str]:
        return [column.field for column in self.named_columns]
