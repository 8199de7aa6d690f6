"""The connector of `type = "file"`: logs that are followed, finished input, and sinks that write files.

Owns: which options make which source or sink; the entries of sinks' files in `appended`; and the form in which a recomputation
keeps a sink's input: one growing file, even if the sink writes parts.
Always: an input of a one-shot run is finished.
Never: keeps a state or sequences anything.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from event_processor.columns.timestamps import TimestampReader
from event_processor.connectors.files.finished import InputFiles
from event_processor.connectors.files.following.remarks import remarks
from event_processor.connectors.files.following.source import FileSource
from event_processor.connectors.files.growing_comparison import GrowingOutput
from event_processor.connectors.files.growing_sink import GrowingSink, SinkIdentity
from event_processor.connectors.files.part_comparison import PartsOutput
from event_processor.connectors.files.part_files import CommittedParts, PartNames
from event_processor.connectors.files.part_sink import PartSink, committed_part
from event_processor.connectors.files.past_generation import FileGeneration, find_generation
from event_processor.connectors.files.probe import sink_finding, source_findings
from event_processor.connectors.files.sink_options import FileSinkOptions
from event_processor.connectors.files.source_options import FileSourceOptions, InputFilesOptions, StandardInputOptions
from event_processor.connectors.files.standard_input import StreamSource
from event_processor.model.connector import (
    CommittedFile,
    CommittedOutput,
    Connector,
    Guarantee,
    Lag,
    SinkContext,
    SourceContext,
    World,
)
from event_processor.model.contracts import Sink, Source
from event_processor.model.event import Json
from event_processor.model.options import ConfiguredPath
from event_processor.model.probes import Finding, ProbeContext
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

__all__ = ["FilesConnector"]

FIRST_PART: Final = 1
DEFAULT_COLUMN_TYPE: Final[ColumnType] = "string"


class FilesConnector(Connector):
    """See `Connector`."""

    type_name = "file"
    source_options = FileSourceOptions
    sink_options = FileSinkOptions
    outside_p2 = frozenset({"device", "inode", "left_out", "forgotten", "ended"})

    def source(self, options: FileSourceOptions, context: SourceContext) -> Source:
        """The source. An input of a one-shot run is always finished."""
        world = context.world
        if isinstance(options, InputFilesOptions):
            return InputFiles(context.name, options, fs=world.fs, telemetry=world.telemetry)
        if isinstance(options, StandardInputOptions):
            return StreamSource(context.name, options, clock=world.clock, telemetry=world.telemetry)
        return FileSource(
            context.name,
            options,
            fs=world.fs,
            clock=world.clock,
            telemetry=world.telemetry,
            finished=context.finished,
            last_commit_ns=context.last_commit_ns,
            start=context.start,
            read_before=context.read_before,
        )

    def remarks(self, options: FileSourceOptions, world: World) -> list[str]:
        """Files beside the log that are not read, and a glob that is the name of a file."""
        is_followed = not isinstance(options, InputFilesOptions | StandardInputOptions)
        return list(remarks(world.fs, options)) if is_followed else []

    def probe(self, options: FileSourceOptions | FileSinkOptions, context: ProbeContext) -> list[Finding]:
        """Whether the files of a source can be read, or the folder of a sink can be written."""
        if isinstance(options, FileSinkOptions):
            return [sink_finding(context.key, str(options.path))]
        is_followed = not isinstance(options, InputFilesOptions | StandardInputOptions)
        return list(source_findings(context.key, options, context.world.fs)) if is_followed else []

    def reopen(self, options: FileSourceOptions, position: Mapping[str, Json], world: World) -> FileGeneration | None:
        """The file, found again by its content."""
        return find_generation(position, options, world.fs)

    def lag(
        self,
        options: FileSourceOptions,
        context: SourceContext,
        positions: Mapping[int, Mapping[str, Json]],
        next_generation: int,
    ) -> Lag:
        """See `Connector.lag`: with the bytes before the positions."""
        offsets = [position.get("offset") for position in positions.values()]
        known = [each for each in offsets if isinstance(each, int)]
        read_bytes = sum(known) if len(known) == len(offsets) else None
        return Lag(self.lag_bytes(options, context, positions, next_generation), read_bytes=read_bytes)

    def lag_bytes(
        self,
        options: FileSourceOptions,
        context: SourceContext,
        positions: Mapping[int, Mapping[str, Json]],
        next_generation: int,
    ) -> int:
        """See `Connector.lag_bytes`. Ignores `files_concurrent_max`: with a limit, a waiting file would not even be looked at."""
        unlimited = options.model_copy(update={"files_concurrent_max": 0})
        return super().lag_bytes(unlimited, context, positions, next_generation)

    def sink(self, options: FileSinkOptions, context: SinkContext) -> Sink:
        """A file that grows, or numbered parts."""
        identity, fs, committed = _identity(context.name, options), context.world.fs, context.committed
        if options.parts:
            output = _part_output(context, options)
            return PartSink(identity, output, part_events=options.parts, fs=fs, committed=committed)
        return GrowingSink(identity, _line_output(context, options), fs=fs, committed=committed)

    def guarantee(self, options: FileSinkOptions) -> Guarantee:
        """Exactly once, for readers of what is committed."""
        if options.parts:
            by = "a part gets its name only after the checkpoint that covers its last event, and is never written again"
            return Guarantee("exactly once, in the parts with their final names", by)
        by = "it is written within the commit, and a restart cuts off what the checkpoint does not cover"
        return Guarantee("exactly once, for readers that stop at the committed length", by)

    def replica(self, options: FileSinkOptions, context: SinkContext, path: str) -> Sink:
        """A growing file at `path`.

        For a sink that writes parts it holds the lines in order; the sink's own first start cuts them.
        """
        fresh = _fresh_path(options)
        placed = ConfiguredPath(path, fresh.written)
        if options.parts:
            replica = FileSinkOptions.model_construct(path=placed, input=options.input)
        else:
            replica = options.model_copy(update={"path": placed})
        return self.sink(replica, context)

    def sink_file(self, options: FileSinkOptions, name: str, key: str) -> str | None:
        """The growing file, or the pending file of the open part."""
        identity = _identity(name, options)
        if not options.parts:
            return str(identity.path) if key == identity.key else None
        part = committed_part(identity, {key: 0})
        return PartNames(identity.path).pending(part[0]) if part else None

    def fresh_files(self, options: FileSinkOptions, name: str) -> Mapping[str, str]:
        """A growing file, or the pending file of the first part."""
        path = _fresh_path(options)
        return {SinkIdentity(name, "", path).key: str(path)}

    def files(self, options: FileSinkOptions, world: World) -> list[str]:
        """The growing file; or the published, complete and pending files of the parts."""
        paths = PartNames(options.path).paths(world.fs) if options.parts else [str(options.path)]
        return [path for path in paths if world.fs.status(path) is not None]

    def committed_output(self, options: FileSinkOptions, context: SinkContext) -> CommittedOutput | None:
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
