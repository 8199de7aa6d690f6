"""Sinks that write files: which options make which sink, and which files are its own.

Owns: the entries of sinks' files in `appended`; and the form in which a recomputation keeps a sink's input: one growing file, even
if the sink writes parts.
Always: a part has one sink, and so has a growing file.
Never: writes a file itself (`growing_sink.py` and `part_sink.py` do).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from event_processor.columns.timestamps import TimestampReader
from event_processor.connectors.files.growing_comparison import GrowingOutput
from event_processor.connectors.files.growing_sink import GrowingSink, SinkIdentity
from event_processor.connectors.files.part_comparison import PartsOutput
from event_processor.connectors.files.part_files import CommittedParts, PartNames
from event_processor.connectors.files.part_sink import PartSink, committed_part
from event_processor.connectors.files.sink_options import FileSinkOptions
from event_processor.model.connector import CommittedFile, CommittedOutput, SinkContext
from event_processor.model.contracts import Sink
from event_processor.model.file_system import FileSystem
from event_processor.model.options import ConfiguredPath
from event_processor.records.writing.delimited import DelimitedWriter
from event_processor.records.writing.outputs import (
    DelimitedOutput,
    JsonArrayParts,
    JsonLinesOutput,
    LineOutput,
    LineParts,
    ParquetParts,
    PartOutput,
)
from event_processor.records.writing.parquet import ColumnType, ParquetWriter
from event_processor.records.writing.rows import ObjectLines, RowReader, TimestampSpelling

__all__ = ["committed_output", "existing_files", "fresh_file", "make_replica", "make_sink", "open_file"]

FIRST_PART: Final = 1
DEFAULT_COLUMN_TYPE: Final[ColumnType] = "string"


def make_sink(options: FileSinkOptions, context: SinkContext) -> Sink:
    """A file that grows, or numbered parts. Raises as `Connector.sink` does."""
    identity, fs, committed = _identity(context.name, options), context.world.fs, context.committed
    if options.parts:
        output = _part_output(context, options)
        return PartSink(identity, output, part_events=options.parts, fs=fs, committed=committed)
    return GrowingSink(identity, _line_output(context, options), fs=fs, committed=committed)


def make_replica(options: FileSinkOptions, context: SinkContext, path: str) -> Sink:
    """See `Connector.replica`."""
    fresh = _fresh_path(options)
    placed = ConfiguredPath(path, fresh.written)
    if options.parts:
        replica = FileSinkOptions.model_construct(path=placed, input=options.input)
    else:
        replica = options.model_copy(update={"path": placed})
    return make_sink(replica, context)


def open_file(options: FileSinkOptions, name: str, key: str) -> str | None:
    """The path of an entry in `appended`: the growing file, or the pending file of the open part; None if it is not this sink's."""
    identity = _identity(name, options)
    if not options.parts:
        return str(identity.path) if key == identity.key else None
    part = committed_part(identity, {key: 0})
    return PartNames(identity.path).pending(part[0]) if part else None


def fresh_file(options: FileSinkOptions, name: str) -> Mapping[str, str]:
    """The entry in `appended`, and the path, of a growing file, or of the pending file of the first part."""
    path = _fresh_path(options)
    return {SinkIdentity(name, "", path).key: str(path)}


def existing_files(options: FileSinkOptions, fs: FileSystem) -> list[str]:
    """The growing file; or the published, complete and pending files of the parts."""
    paths = PartNames(options.path).paths(fs) if options.parts else [str(options.path)]
    return [path for path in paths if fs.status(path) is not None]


def committed_output(options: FileSinkOptions, context: SinkContext) -> CommittedOutput | None:
    """See `Connector.committed_output`."""
    identity, fs = _identity(context.name, options), context.world.fs
    if options.parts:
        part = committed_part(identity, context.committed)
        if part is None:
            return None
        return PartsOutput(context.name, CommittedParts(PartNames(options.path), _part_output(context, options), part, fs=fs))
    if identity.key not in context.committed:
        return None
    committed = CommittedFile(fs, str(identity.path), context.committed[identity.key])
    header_bytes = len(_line_output(context, options).header)
    return GrowingOutput(context.name, identity.key, committed, header_bytes=header_bytes)


def _identity(name: str, options: FileSinkOptions) -> SinkIdentity:
    return SinkIdentity(name, options.input, options.path)


def _fresh_path(options: FileSinkOptions) -> ConfiguredPath:
    if not options.parts:
        return options.path
    path, written = PartNames(options.path), PartNames(options.path.written)
    return ConfiguredPath(path.pending(FIRST_PART), written.pending(FIRST_PART))


def _line_output(context: SinkContext, options: FileSinkOptions) -> LineOutput:
    if options.format == "csv":
        writer = DelimitedWriter(
            [column.name for column in options.named_columns],
            delimiter=options.csv_delimiter,
            quote=options.csv_quote,
            decimal=options.csv_decimal,
            has_header=options.csv_header,
            escapes_formulas=options.csv_escape_formulas,
        )
        return DelimitedOutput(_rows(context, options), writer)
    return JsonLinesOutput(_objects(context, options))


def _part_output(context: SinkContext, options: FileSinkOptions) -> PartOutput:
    if options.format == "json":
        return JsonArrayParts(_objects(context, options))
    if options.format == "parquet":
        names = [column.name for column in options.named_columns]
        types = [(name, options.column_types.get(name, DEFAULT_COLUMN_TYPE)) for name in names]
        return ParquetParts(_rows(context, options), ParquetWriter(types, _spelling(context, options).read))
    return LineParts(_line_output(context, options))


def _rows(context: SinkContext, options: FileSinkOptions) -> RowReader:
    return RowReader(options.named_columns, _spelling(context, options), _timestamps(context, options), _absent_report(context))


def _objects(context: SinkContext, options: FileSinkOptions) -> ObjectLines:
    return ObjectLines(options.named_columns, _spelling(context, options), _timestamps(context, options), _absent_report(context))


def _absent_report(context: SinkContext) -> Callable[[Sequence[str], int], None]:
    """Reports fields of columns that none of the written rows had."""

    def report(fields: Sequence[str], rows: int) -> None:
        for field in fields:
            context.world.telemetry.column_absent(sink=context.name, field=field, rows=rows)

    return report


def _spelling(context: SinkContext, options: FileSinkOptions) -> TimestampSpelling:
    reader = TimestampReader.of_sink(context.timestamp_zone, context.timestamp_formats)
    return TimestampSpelling(options.timestamp_format, reader, options.timestamp_digits)


def _timestamps(context: SinkContext, options: FileSinkOptions) -> tuple[str, ...]:
    """The fields whose timestamps are written in the format that the options set."""
    if options.timestamp_columns or not context.timestamp_field:
        return options.timestamp_columns
    return (context.timestamp_field,)
