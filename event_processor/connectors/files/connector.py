"""The sinks that a configuration names, opened; and where their files lie, for those who load, swap, move or compare them.

Owns: which options make which sink, the names of sinks' files in a checkpoint, and the form in which a recomputation keeps what a
sink is to get: one growing file, also where the sink writes parts.
Never: nothing here keeps a state or sequences anything.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from event_processor.columns.timestamps import TimestampReader
from event_processor.configuration.configuration import Configuration, ConfiguredPath
from event_processor.connectors.files.growing_sink import GrowingSink, SinkIdentity
from event_processor.connectors.files.part_files import CommittedParts, PartNames
from event_processor.connectors.files.part_sink import PartSink, committed_part
from event_processor.connectors.files.sink_options import FileSinkOptions
from event_processor.model.contracts import Sink, SinkPath
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
from event_processor.storage.durable import FileSystem

__all__ = [
    "CommittedParts",
    "committed_parts",
    "fresh_sink_paths",
    "open_sink",
    "replica_sinks",
    "sink_files",
    "sink_header_bytes",
    "sink_path_of",
]

FIRST_PART: Final = 1
DEFAULT_COLUMN_TYPE: Final[ColumnType] = "string"


def open_sink(configuration: Configuration, name: str, *, fs: FileSystem, committed: Mapping[str, int]) -> Sink:
    """The sink, resumed where `committed` (the checkpoint's `appended`) says. Raises as `GrowingSink` and `PartSink` do."""
    options = _file_sinks(configuration)[name]
    identity = _identity(name, options)
    if options.parts:
        output = _part_output(configuration, options)
        return PartSink(identity, output, part_events=options.parts, fs=fs, committed=committed)
    return GrowingSink(identity, _line_output(configuration, options), fs=fs, committed=committed)


def sink_path_of(configuration: Configuration) -> SinkPath:
    """Where the file of a sink's entry in `appended` lies, whichever part is open in it."""
    sinks = [(_identity(name, options), options.parts > 0) for name, options in _file_sinks(configuration).items()]

    def path_of(key: str) -> str | None:
        for identity, writes_parts in sinks:
            if not key.startswith(identity.key_prefix):
                continue
            if not writes_parts:
                return str(identity.path) if key == identity.key else None
            part = committed_part(identity, {key: 0})
            return PartNames(identity.path).pending(part[0]) if part else None
        return None

    return path_of


def fresh_sink_paths(configuration: Configuration) -> dict[str, str]:
    """Where the entries of `appended` lie that a recomputed state has: a growing file, or the pending file of the first part."""
    fresh = {name: _fresh_path(options) for name, options in _file_sinks(configuration).items()}
    return {SinkIdentity(name, "", path).key: str(path) for name, path in fresh.items()}


def replica_sinks(configuration: Configuration, sink_path: Callable[[str, str], str]) -> dict[str, FileSinkOptions]:
    """The sinks of a recomputation: all that a sink is to get goes into one file, whose path `sink_path` gives for its name and fresh path.

    Of a sink that writes parts these are the lines as they come: its own first start cuts them.
    """
    replicas = {}
    for name, options in _file_sinks(configuration).items():
        fresh = _fresh_path(options)
        path = ConfiguredPath(sink_path(name, str(fresh)), fresh.written)
        if options.parts:
            replicas[name] = FileSinkOptions.model_construct(path=path, input=options.input)
        else:
            replicas[name] = options.model_copy(update={"path": path})
    return replicas


def sink_files(configuration: Configuration, fs: FileSystem) -> dict[str, list[str]]:
    """By sink, every file of it that is there: the growing one, or parts, those that wait for their name, and pending ones."""
    files = {}
    for name, options in _file_sinks(configuration).items():
        paths = PartNames(options.path).paths(fs) if options.parts else [str(options.path)]
        files[name] = [path for path in paths if fs.status(path) is not None]
    return files


def sink_header_bytes(configuration: Configuration) -> dict[str, int]:
    """By sink, how many bytes a growing file begins with before its first line; 0 of one that writes parts."""
    sinks = _file_sinks(configuration).items()
    return {name: 0 if options.parts else len(_line_output(configuration, options).header) for name, options in sinks}


def committed_parts(configuration: Configuration, fs: FileSystem, committed: Mapping[str, int]) -> dict[str, CommittedParts]:
    """By sink, what is committed of those that write parts and that the checkpoint knows. The caller closes each."""
    found = {}
    for name, options in _file_sinks(configuration).items():
        part = committed_part(_identity(name, options), committed) if options.parts else None
        if part is not None:
            found[name] = CommittedParts(PartNames(options.path), _part_output(configuration, options), part, fs=fs)
    return found


def _file_sinks(configuration: Configuration) -> dict[str, FileSinkOptions]:
    sinks = configuration.sinks.items()
    return {name: options for name, options in sinks if isinstance(options, FileSinkOptions)}


def _identity(name: str, options: FileSinkOptions) -> SinkIdentity:
    return SinkIdentity(name, options.input, options.path)


def _fresh_path(options: FileSinkOptions) -> ConfiguredPath:
    if not options.parts:
        return options.path
    path, written = PartNames(options.path), PartNames(options.path.written)
    return ConfiguredPath(path.pending(FIRST_PART), written.pending(FIRST_PART))


def _line_output(configuration: Configuration, options: FileSinkOptions) -> LineOutput:
    if options.format == "csv":
        writer = DelimitedWriter(
            [column.name for column in options.named_columns],
            delimiter=options.csv_delimiter,
            quote=options.csv_quote,
            decimal=options.csv_decimal,
            has_header=options.csv_header,
        )
        return DelimitedOutput(_rows(configuration, options), writer)
    return JsonLinesOutput(_objects(configuration, options))


def _part_output(configuration: Configuration, options: FileSinkOptions) -> PartOutput:
    if options.format == "json":
        return JsonArrayParts(_objects(configuration, options))
    if options.format == "parquet":
        names = [column.name for column in options.named_columns]
        types = [(name, options.column_types.get(name, DEFAULT_COLUMN_TYPE)) for name in names]
        return ParquetParts(_rows(configuration, options), ParquetWriter(types, _spelling(configuration, options).read))
    return LineParts(_line_output(configuration, options))


def _rows(configuration: Configuration, options: FileSinkOptions) -> RowReader:
    return RowReader(options.named_columns, _spelling(configuration, options), _timestamps(configuration, options))


def _objects(configuration: Configuration, options: FileSinkOptions) -> ObjectLines:
    return ObjectLines(options.named_columns, _spelling(configuration, options), _timestamps(configuration, options))


def _spelling(configuration: Configuration, options: FileSinkOptions) -> TimestampSpelling:
    return TimestampSpelling(options.timestamp_format, TimestampReader(configuration.event.timestamp_zone))


def _timestamps(configuration: Configuration, options: FileSinkOptions) -> tuple[str, ...]:
    """The fields whose timestamps are written as the options say."""
    if options.timestamp_columns or not configuration.event.timestamp:
        return options.timestamp_columns
    return (configuration.event.timestamp,)
