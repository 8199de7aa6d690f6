"""The configuration of a one-shot run: the one that was loaded, with its sources replaced by what the command line names.

Owns: how an input's records are read where nobody says it, and the look at every input before anything is read.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from pydantic import ValidationError

from event_processor.assembly.connectors import sink_path_of
from event_processor.configuration.configuration import AGGREGATES, Configuration, ConfiguredPath, SinkOptions, contradictions
from event_processor.connectors.files.content import open_content
from event_processor.connectors.files.paths import look_at
from event_processor.connectors.files.sink_options import FileSinkOptions
from event_processor.connectors.files.source_options import (
    STANDARD_INPUT,
    FileSourceOptions,
    InputFilesOptions,
    StandardInputOptions,
)
from event_processor.model.errors import ConfigurationError, InputGoneError, UsageError
from event_processor.storage.durable import FileStatus, FileSystem

__all__ = [
    "INPUT_SOURCE_NAME",
    "STDIN_ARGUMENT",
    "InputFormat",
    "input_name",
    "input_size_bytes",
    "result_file",
    "with_inputs",
    "with_result_sinks",
]

RESULTS_FOLDER: Final = "results"


def with_result_sinks(configuration: Configuration) -> Configuration:
    """The configuration, with a sink for the rows of each aggregate with a window."""
    sinks: dict[str, SinkOptions] = dict(configuration.sinks)
    for name, options in configuration.aggregates.items():
        if options.window is not None:
            written = f"{RESULTS_FOLDER}/{name}.jsonl"
            path = ConfiguredPath(os.path.join(str(configuration.state.dir), written), written)
            sinks[_sink_name(name)] = FileSinkOptions(input=f"{AGGREGATES}.{name}", path=path)
    return configuration.model_copy(update={"sinks": sinks})


def result_file(configuration: Configuration, aggregate: str, appended: Mapping[str, int]) -> tuple[str, int]:
    """Where the rows of an aggregate with a window lie, and how many bytes of them are committed; `appended` is the checkpoint's."""
    prefix = f"sinks.{_sink_name(aggregate)}:"
    key = next(name for name in appended if name.startswith(prefix))
    path = sink_path_of(configuration)(key)
    assert path is not None, "the sink is one of the configuration's"
    return path, appended[key]


def _sink_name(aggregate: str) -> str:
    return f"@{aggregate}"


INPUT_SOURCE_NAME: Final = "input"
"""The one source of a one-shot run, in its state and in its dead letters."""
STDIN_ARGUMENT: Final = "-"
_LIVE_KEYS: Final = frozenset({"path", "start", "rotated", "retire_ms", "poll_interval_ms", "files_concurrent_max"})
"""What a source says of a log that is followed, and not of how its records are written."""


@dataclass(frozen=True, slots=True)
class InputFormat:
    """How the records of the inputs are written, as far as somebody said it; empty where nobody did.

    `source`: as in this configured source. `format`, `item_path`: before what that says.
    """

    source: str = ""
    format: str = ""
    item_path: str = ""


def with_inputs(configuration: Configuration, fs: FileSystem, inputs: Sequence[str], chosen: InputFormat) -> Configuration:
    """The configuration over these inputs: paths, or `-` alone. Nothing is read but how each file begins.

    Raises `UsageError` where it cannot be told what is meant, `InputGoneError` with every file that cannot be read,
    `ConfigurationError` where a sink would write into an input.
    """
    template = _template(configuration, chosen)
    options: FileSourceOptions
    if STDIN_ARGUMENT not in inputs:
        options = InputFilesOptions.of(template, inputs, [status.size_bytes for status in _examined(fs, inputs)])
    elif len(inputs) == 1:
        options = StandardInputOptions.of(template)
    else:
        raise UsageError("- is standard input, which is read alone", hint="send everything through it, or name files only")
    changed = configuration.model_copy(update={"sources": {INPUT_SOURCE_NAME: options}})
    for key, wanted in contradictions(changed):
        raise ConfigurationError(f"{key}: wanted: {wanted}", hint="name other inputs, or change the configuration")
    return changed


def input_size_bytes(configuration: Configuration) -> int:
    """What the inputs of such a configuration hold on the disk, all together; 0 where nobody knows."""
    options = configuration.sources[INPUT_SOURCE_NAME]
    return sum(options.sizes_bytes) if isinstance(options, InputFilesOptions) else 0


def input_name(configuration: Configuration, source: str, part: int) -> str:
    """What the input of that part was called."""
    options = configuration.sources.get(source)
    if isinstance(options, InputFilesOptions):
        return options.files[part - 1]
    return STANDARD_INPUT if isinstance(options, StandardInputOptions) else source


def _template(configuration: Configuration, chosen: InputFormat) -> FileSourceOptions:
    """A source whose records are written as those of the inputs."""
    base = _chosen_source(configuration, chosen)
    if chosen.format and chosen.format != base.format:
        base = FileSourceOptions(path=base.path, record_bytes_max=base.record_bytes_max)
    said = {"format": chosen.format, "json_item_path": chosen.item_path}
    try:
        return FileSourceOptions.model_validate(
            {**{key: getattr(base, key) for key in base.model_fields_set}, **{key: value for key, value in said.items() if value}}
        )
    except ValidationError as error:
        words = "; ".join(str(found["msg"]).removeprefix("Value error, ") for found in error.errors(include_url=False))
        raise UsageError(f"--format and --item-path: {words}", hint="see event-processor process --help") from error


def _chosen_source(configuration: Configuration, chosen: InputFormat) -> FileSourceOptions:
    sources = {name: each for name, each in configuration.sources.items() if isinstance(each, FileSourceOptions)}
    if chosen.source:
        if chosen.source not in sources:
            named = ", ".join(sorted(sources)) or "none"
            raise UsageError(f"--source {chosen.source}: no such source of files is configured", hint=f"there is: {named}")
        return sources[chosen.source]
    kinds = [_records_of(each) for each in sources.values()]
    if any(kind != kinds[0] for kind in kinds) and not chosen.format:
        raise UsageError(
            f"the configured sources ({', '.join(sorted(sources))}) are written in different ways",
            hint="say with --source NAME as which of them to read, or with --format",
        )
    is_one = kinds and all(kind == kinds[0] for kind in kinds)
    return next(iter(sources.values())) if is_one else FileSourceOptions(path=ConfiguredPath(STANDARD_INPUT))


def _records_of(options: FileSourceOptions) -> Mapping[str, object]:
    """What a source says of how its records are written."""
    return {key: getattr(options, key) for key in FileSourceOptions.model_fields if key not in _LIVE_KEYS}


def _examined(fs: FileSystem, paths: Sequence[str]) -> list[FileStatus]:
    """What stands at each path. Raises `InputGoneError` with all that cannot be read."""
    faults = []
    statuses = []
    for path in paths:
        found = look_at(fs, path)
        obstacle = found.obstacle or ("no such file" if found.status is None else _obstacle(fs, path))
        if obstacle:
            faults.append(f"{path}: {obstacle}")
        elif found.status:
            statuses.append(found.status)
    if faults:
        raise InputGoneError("; ".join(faults), hint="nothing was read; a pipe is read as -, standard input")
    return statuses


def _obstacle(fs: FileSystem, path: str) -> str:
    """Why a file cannot be opened; empty where it can. Raises `ConfigurationError` where an extra is missing."""
    try:
        open_content(fs, path).close()
    except OSError as error:
        return error.strerror or str(error)
    return ""
