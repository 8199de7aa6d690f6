"""Which adapters there are, and what the rest of the house may ask of them.

Owns: the types of sources and sinks, the intake as a source. The sinks themselves are in `connectors/files/connector.py`.
Never: nothing here keeps a state or sequences anything.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from functools import partial
from typing import Final

from event_processor.assembly.environment import Environment
from event_processor.configuration import AdapterOptions
from event_processor.configuration.configuration import (
    RESERVED_SOURCE_NAME,
    Configuration,
    ConfiguredPath,
    SinkOptions,
    SourceOptions,
)
from event_processor.connectors.files.finished import InputFiles
from event_processor.connectors.files.following.archive import PartReader, locate
from event_processor.connectors.files.following.source import FileSource
from event_processor.connectors.files.following.watch import LogWatcher
from event_processor.connectors.files.record_cutter import LINE_END_BYTES_MAX, whole_records_end
from event_processor.connectors.files.sink_options import FileSinkOptions
from event_processor.connectors.files.source_options import FileSourceOptions, InputFilesOptions, StandardInputOptions
from event_processor.connectors.files.standard_input import StreamSource
from event_processor.engine.state import SourceState
from event_processor.model.contracts import Format, Source
from event_processor.model.event import Json
from event_processor.model.telemetry import Telemetry
from event_processor.records.delimited import DelimitedReader
from event_processor.records.json_lines.format import JsonLinesFormat
from event_processor.records.objects import LineReader, ObjectFormat, ObjectReader, TransformedReader
from event_processor.records.transforms.tables import transform_factories
from event_processor.records.user_format import OwnReader

__all__ = [
    "ADAPTERS",
    "INTAKE_NAME",
    "LINE_END_BYTES_MAX",
    "SINK_OPTIONS",
    "SOURCE_OPTIONS",
    "PartReader",
    "all_sources",
    "format_factory",
    "lag_bytes",
    "locate_part",
    "make_source",
    "record_format",
    "resume_source",
    "watch_sources",
    "whole_records_end",
]

SOURCE_OPTIONS: Final[Mapping[str, type[SourceOptions]]] = {"file": FileSourceOptions}
SINK_OPTIONS: Final[Mapping[str, type[SinkOptions]]] = {"file": FileSinkOptions}
ADAPTERS: Final = AdapterOptions(
    sources=SOURCE_OPTIONS,
    sinks=SINK_OPTIONS,
    default_type="file",
    default_sources={"events": {"path": "events/events.jsonl"}},
)
"""What the loader is given: the core knows no adapter."""
INTAKE_NAME: Final = "intake.jsonl"


def all_sources(configuration: Configuration, intake_directory: str) -> dict[str, FileSourceOptions]:
    """The configured sources, and the intake, which is always there."""
    intake = FileSourceOptions(path=ConfiguredPath(os.path.join(intake_directory, INTAKE_NAME), INTAKE_NAME))
    configured = {name: options for name, options in configuration.sources.items() if isinstance(options, FileSourceOptions)}
    return {**configured, RESERVED_SOURCE_NAME: intake}


def make_source(
    name: str, options: FileSourceOptions, environment: Environment, *, finished: bool, last_commit_ns: int | None
) -> Source:
    """A source, not opened yet. `finished` and `last_commit_ns` are those of `FileSource`; an input of a one-shot run always is finished."""
    if isinstance(options, InputFilesOptions):
        return InputFiles(name, options, fs=environment.fs, telemetry=environment.telemetry)
    if isinstance(options, StandardInputOptions):
        return StreamSource(name, options, clock=environment.clock, telemetry=environment.telemetry)
    return FileSource(
        name,
        options,
        fs=environment.fs,
        clock=environment.clock,
        telemetry=environment.telemetry,
        finished=finished,
        last_commit_ns=last_commit_ns,
    )


def watch_sources(configuration: Configuration, environment: Environment) -> LogWatcher:
    """Starts to watch the configured sources' folders: a hint that wakes the loop, behind which the poll stands. The caller stops it.

    The intake is left to the poll: its folder is the state's, where each commit of ours would be a notice to us.
    """
    patterns = [pattern for options in configuration.sources.values() for pattern in options.patterns()]
    watcher = LogWatcher(patterns, environment.wakeup, fs=environment.fs, telemetry=environment.telemetry)
    watcher.start()
    return watcher


def record_format(configuration: Configuration, options: FileSourceOptions) -> Format:
    """How the records of a source are read. Raises `ConfigurationError`."""
    return format_factory(configuration, options)()


def format_factory(configuration: Configuration, options: FileSourceOptions) -> Callable[[], Format]:
    """What makes that format, here or in another process."""
    event, record_bytes_max = configuration.event, options.record_bytes_max
    timestamps_used = configuration.timestamps_are_used
    transforms = transform_factories(configuration.transforms, event.timestamp_zone)
    make_reader: Callable[[], ObjectReader]
    if options.format == "csv":
        make_reader = partial(DelimitedReader, options.dialect(event.value), record_bytes_max=record_bytes_max)
    elif options.is_own_format:
        make_reader = partial(OwnReader, options.format, dict(options.format_options), record_bytes_max=record_bytes_max)
    elif transforms:
        make_reader = partial(LineReader, record_bytes_max=record_bytes_max)
    else:
        # The items of a document are lines already.
        return partial(JsonLinesFormat, event, record_bytes_max=record_bytes_max, timestamps_used=timestamps_used)
    for make_transform in transforms:
        make_reader = partial(TransformedReader, make_reader, make_transform)
    return partial(ObjectFormat, make_reader, event, record_bytes_max=record_bytes_max, timestamps_used=timestamps_used)


def locate_part(options: FileSourceOptions, resume: Mapping[str, Json], environment: Environment) -> PartReader | None:
    """The file that held a generation, known again by its content, or None where it is gone. Raises `StorageError`."""
    return locate(resume, options, environment.fs)


def lag_bytes(configuration: Configuration, environment: Environment, sources: Mapping[str, SourceState]) -> int:
    """What the sources' files hold beyond the committed offsets, by a look that changes nothing."""
    lag = 0
    for name, options in all_sources(configuration, str(configuration.state.dir)).items():
        # With a limit, a file that waits for its turn is not even looked at.
        unlimited = options.model_copy(update={"files_concurrent_max": 0})
        source = FileSource(
            name,
            unlimited,
            fs=environment.fs,
            clock=environment.clock,
            telemetry=Telemetry(),
            finished=False,
            last_commit_ns=None,
        )
        resume_source(source, sources.get(name) or SourceState())
        # Only a read finds files that were not there before; what it gives was not read as far as the state knows.
        chunk = source.read(1)
        lag += source.lag_bytes() + (chunk.end_offset - chunk.offset if chunk else 0)
        source.close()
    return lag


def resume_source(source: Source, progress: SourceState) -> None:
    """Opens a source where its state says."""
    source.open(progress.positions(), progress.next_generation())
