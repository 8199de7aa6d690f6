"""What a file sink may be told.

Owns: the keys of `[sinks.NAME]` with `type = "file"`, and which of them go together.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Final, Literal, Self

from pydantic import Field, field_validator, model_validator
from pydantic_core import PydanticCustomError

from event_processor.configuration.configuration import ConfiguredPath, SinkOptions
from event_processor.connectors.files.part_files import PART_PLACEHOLDER
from event_processor.records.writing.parquet import ColumnType
from event_processor.records.writing.rows import AS_IS, Column, column_of, is_spelling

__all__ = ["FileSinkOptions"]

PART_EVENTS: Final = {"json": 10_000, "parquet": 100_000}
"""How many events a part holds where nothing is said, of the formats that know no growing file."""


class FileSinkOptions(SinkOptions):
    """Events written to a file that grows, or to numbered files of so many events each; exactly once."""

    type: Literal["file"] = "file"
    """Where it writes: local files."""
    input: str = "events"
    """What it writes: "events", in the order of [order], or "dead_letters", as they are rejected, or "aggregates.NAME", the rows of that aggregate's windows."""
    path: ConfiguredPath = Field(examples=["out/ordered.jsonl"])
    """The file, appended to by us alone; what stands behind the committed length is cut off at a start. Where parts are written, their
    names, with {n} for the number of a part from 1 on: "out/results_{n}.json"."""
    format: Literal["jsonl", "json", "csv", "parquet"] = "jsonl"
    """How it writes: "jsonl", one JSON object a line; "json", parts that are one JSON array each; "csv"; "parquet", parts, which need
    the extra `parquet` and `columns`."""
    part_events: int = Field(default=0, ge=0, le=10_000_000)
    """How many events go into one file. 0: one file that grows; of "json" and "parquet", which are written in parts alone, 10,000 and
    100,000 events. A part needs memory while it is written."""
    columns: tuple[str, ...] = Field(default=(), examples=[["id", "payload.size as size"]])
    """Which fields are written, in what order and under what names: "field", or "field as name"; a dotted field reaches inside. Null where it is
    missing. Where nothing is said, "jsonl" and "json" write the whole object; "csv" and "parquet" must be told."""
    column_types: Mapping[str, ColumnType] = Field(default={}, examples=[{"size": "integer"}])
    """The types of the columns in "parquet", by the names that they are written under: "string", "integer", "number", "boolean" or
    "timestamp"; "string" where nothing is said. A value of another type is null; a string is made of any."""
    timestamp_format: str = AS_IS
    """How timestamps are written: "as_is", "rfc3339", "epoch_s", "epoch_ms", or a pattern as Python's strftime has it, such as
    "%Y-%m-%d %H:%M:%S"; in UTC. What is no timestamp stays as it is."""
    timestamp_columns: tuple[str, ...] = Field(default=(), examples=[["timestamp", "payload.sent_at"]])
    """The fields that `timestamp_format` speaks of; that of event.timestamp where none is named."""
    csv_delimiter: str = ","
    """What stands between two cells: one character."""
    csv_quote: str = '"'
    """What stands around a cell that holds the delimiter, a quote or a line end, doubled where it stands inside."""
    csv_decimal: Literal[".", ","] = "."
    """What stands before the decimals of a number."""
    csv_header: bool = True
    """Whether each file begins with a line of the columns' names."""

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
        raise PydanticCustomError("character", "one character, and no line end")

    @field_validator("columns")
    @classmethod
    def _names_are_distinct(cls, columns: tuple[str, ...]) -> tuple[str, ...]:
        found = [column_of(text) for text in columns]
        if all(column.field and column.name for column in found) and len({column.name for column in found}) == len(found):
            return columns
        raise PydanticCustomError("columns", '"field" or "field as name", and no two names alike')

    @model_validator(mode="after")
    def _path_is_of_parts_or_of_one_file(self) -> Self:
        folder, name = os.path.split(self.path)
        if self.parts and name.count(PART_PLACEHOLDER) != 1:
            raise ValueError('path must contain "{n}", the number of a part, once in its last name, since parts are written')
        if (PART_PLACEHOLDER in folder) or (not self.parts and PART_PLACEHOLDER in name):
            raise ValueError(
                'path contains "{n}", the number of a part, where no parts are written: part_events says how many events go into one'
            )
        return self

    @model_validator(mode="after")
    def _format_is_sound(self) -> Self:
        if self.format in ("csv", "parquet") and not self.columns:
            raise ValueError(f'columns must name the fields that are written where format = "{self.format}"')
        for prefix, format_ in (("csv_", "csv"), ("column_types", "parquet")):
            own = {key: info.default for key, info in type(self).model_fields.items() if key.startswith(prefix)}
            named = sorted(key for key, default in own.items() if getattr(self, key) != default)
            if named and self.format != format_:
                raise ValueError(f'{named[0]} says something of format = "{format_}" alone')
        unknown = sorted(self.column_types.keys() - {column.name for column in self.named_columns})
        if unknown:
            raise ValueError(f'column_types names "{unknown[0]}", which is no column')
        if self.csv_delimiter == self.csv_quote:
            raise ValueError("csv_delimiter and csv_quote must differ")
        if self.timestamp_columns and self.timestamp_format == AS_IS:
            raise ValueError("timestamp_columns says something of timestamp_format alone")
        return self

    @property
    def parts(self) -> int:
        """How many events go into one part; 0 where one file grows."""
        return self.part_events or PART_EVENTS.get(self.format, 0)

    @property
    def named_columns(self) -> list[Column]:
        """What `columns` says."""
        return [column_of(text) for text in self.columns]

    def paths(self) -> Sequence[str]:
        return (self.path,)
