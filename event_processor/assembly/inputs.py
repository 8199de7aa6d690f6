"""The configuration of a one-shot run: the loaded one, with the inputs of the command line as its source.

Owns: how the records of inputs are read if no option says it, or as their first bytes show it; the check of every input before anything is read; and the sinks
that a one-shot run adds for the results of aggregates with a window.
Always: every input that cannot be read is named in one error.
Never: reads more of an input than its first bytes.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import closing, suppress
from dataclasses import dataclass
from typing import Final

from pydantic import ValidationError

from event_processor.assembly.connectors import sink_path_of
from event_processor.configuration.configuration import AGGREGATES, Configuration, ConfiguredPath, SinkOptions
from event_processor.configuration.contradictions import contradictions
from event_processor.connectors.files.arrival import Arrival, ArrivedView, announced
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
from event_processor.records.compression import RefusedContentError
from event_processor.records.recognition import HEAD_BYTES, begins_with_record, recognised_item_path
from event_processor.records.source_format import SourceFormat
from event_processor.storage.durable import FileStatus, FileSystem

__all__ = [
    "INPUT_SOURCE_NAME",
    "STDIN_ARGUMENT",
    "InputFormat",
    "as_far_as_come",
    "can_be_read_again",
    "input_name",
    "input_names",
    "input_size_bytes",
    "is_pipe",
    "is_result_sink",
    "recognised",
    "result_file",
    "with_arriving_input",
    "with_inputs",
    "with_result_sinks",
]

RESULTS_FOLDER: Final = "results"


def with_result_sinks(configuration: Configuration) -> Configuration:
    """The configuration, plus a sink for the rows of each aggregate with a window."""
    sinks: dict[str, SinkOptions] = dict(configuration.sinks)
    for name, options in configuration.aggregates.items():
        if options.window is not None:
            written = f"{RESULTS_FOLDER}/{name}.jsonl"
            path = ConfiguredPath(os.path.join(str(configuration.state.dir), written), written)
            sinks[_sink_name(name)] = FileSinkOptions(input=f"{AGGREGATES}.{name}", path=path)
    return configuration.model_copy(update={"sinks": sinks})


def result_file(configuration: Configuration, aggregate: str, appended: Mapping[str, int]) -> tuple[str, int]:
    """The file with the rows of an aggregate with a window, and its committed length in bytes.

    `appended` is the checkpoint's.
    """
    prefix = f"sinks.{_sink_name(aggregate)}:"
    key = next(name for name in appended if name.startswith(prefix))
    path = sink_path_of(configuration)(key)
    assert path is not None, "the sink is one of the configuration's"
    return path, appended[key]


def _sink_name(aggregate: str) -> str:
    return f"@{aggregate}"


def is_result_sink(name: str) -> bool:
    """Whether it is one of these sinks. A configured sink has no such name."""
    return name.startswith("@")


INPUT_SOURCE_NAME: Final = "input"
"""The name of a one-shot run's only source, in its state and in its dead letters."""
STDIN_ARGUMENT: Final = "-"
_LIVE_KEYS: Final = frozenset({"path", "start", "rotated", "retire_ms", "poll_interval_ms", "files_concurrent_max"})
"""The options of a source that are about following a log, not about the form of its records."""


@dataclass(frozen=True, slots=True)
class InputFormat:
    """The form of the inputs' records, as far as options set it; empty if not set.

    `source`: as in this configured source. `format`, `item_path`: override that source's.
    """

    source: str = ""
    format: str = ""
    item_path: str = ""


def recognised(fs: FileSystem, path: str, event_fields: AbstractSet[str]) -> tuple[InputFormat, bytes]:
    """The form of an input of JSON as its first bytes show it, and the bytes that were read from standard input.

    `event_fields`: an object with one of these is a record. A file that cannot be read is left to `with_inputs`. Raises
    `ConfigurationError` if an extra is missing.
    """
    head = peeked = b""
    if path == STDIN_ARGUMENT:
        head = peeked = _first_bytes(event_fields)
    else:
        with suppress(OSError), closing(open_content(fs, path)) as content:
            head = content.read(HEAD_BYTES, 0)
    items = recognised_item_path(head, event_fields)
    return (InputFormat(format="json", item_path=items) if items else InputFormat(format="jsonl")), peeked


def _first_bytes(event_fields: AbstractSet[str]) -> bytes:
    """The first bytes of standard input: at most `HEAD_BYTES`, and fewer if the first line is a record. Blocks."""
    head = b""
    while len(head) < HEAD_BYTES and (block := os.read(0, HEAD_BYTES - len(head))):
        had_line = b"\n" in head
        head += block
        # More would be waited for in vain, if the writer is slow.
        if not had_line and begins_with_record(head, event_fields):
            break
    return head


def with_inputs(
    configuration: Configuration, fs: FileSystem, inputs: Sequence[str], chosen: InputFormat, *, peeked: bytes = b""
) -> Configuration:
    """The configuration for these inputs: paths, or only `-` or a named pipe. Reads only how each file begins.

    `peeked`: the bytes that were already read from standard input. Raises `UsageError` if the form of the records is ambiguous, `InputGoneError` with every file that cannot be read,
    `ConfigurationError` if a sink would write into an input.
    """
    template = _template(configuration, chosen)
    options: FileSourceOptions
    if len(inputs) == 1 and is_pipe(inputs[0]):
        # It waits here for the writer of the pipe.
        options = StandardInputOptions.of(template, descriptor=os.open(inputs[0], os.O_RDONLY), peeked=peeked)
    elif STDIN_ARGUMENT not in inputs:
        options = InputFilesOptions.of(template, inputs, [status.size_bytes for status in _examined(fs, inputs)])
    elif len(inputs) == 1:
        options = StandardInputOptions.of(template, peeked=peeked)
    else:
        raise UsageError(
            "- is standard input; it cannot be combined with files", hint="send everything through it, or name only files"
        )
    changed = configuration.model_copy(update={"sources": {INPUT_SOURCE_NAME: options}})
    for key, wanted in contradictions(changed):
        raise ConfigurationError(f"{key}: wanted: {wanted}", hint="name other inputs, or change the configuration")
    return changed


def as_far_as_come(fs: FileSystem, inputs: Sequence[str], document: str | None) -> FileSystem:
    """`fs`, in which the only input ends where it has come to, so that a look at its first bytes sees no others.

    `document`: as for `with_arriving_input`, which says what is wrong with it; None: the input is finished. Raises `StorageError`.
    """
    if document is None or len(inputs) != 1:
        return fs
    with suppress(InputGoneError):
        arrival = Arrival(fs, document, announced(fs, document).length)
        arrival.look()
        return ArrivedView(fs, inputs[0], arrival)
    return fs


def with_arriving_input(configuration: Configuration, fs: FileSystem, document: str) -> Configuration:
    """The configuration of one input that is still written. `document`: the file that says how much of it counts.

    Raises `UsageError` if there are several inputs, or the input is no file; `InputGoneError`, `StorageError`.
    """
    options = configuration.sources[INPUT_SOURCE_NAME]
    if not isinstance(options, InputFilesOptions) or len(options.files) != 1:
        raise UsageError("--arriving is for one input, which is a file", hint="name one file on this machine")
    # As long as the input will be: so the state is of the same input, however much of it has come.
    sizes_bytes = (announced(fs, document).length,)
    changed = options.model_copy(update={"arriving": document, "sizes_bytes": sizes_bytes})
    return configuration.model_copy(update={"sources": {INPUT_SOURCE_NAME: changed}})


def is_pipe(path: str) -> bool:
    """Whether it is a named pipe, or `<(…)` of a shell."""
    try:
        return path != STDIN_ARGUMENT and stat.S_ISFIFO(os.stat(path).st_mode)
    except (OSError, ValueError):
        return False


def input_size_bytes(configuration: Configuration) -> int:
    """The size of all inputs on disk in bytes; 0 if it is unknown."""
    options = configuration.sources[INPUT_SOURCE_NAME]
    return sum(options.sizes_bytes) if isinstance(options, InputFilesOptions) else 0


def can_be_read_again(configuration: Configuration) -> bool:
    """Whether the inputs are files, not a stream."""
    return isinstance(configuration.sources[INPUT_SOURCE_NAME], InputFilesOptions)


def input_name(configuration: Configuration, source: str, part: int) -> str:
    """The name of the input that is this part of the source."""
    options = configuration.sources.get(source)
    if isinstance(options, InputFilesOptions):
        return options.files[part - 1]
    return STANDARD_INPUT if isinstance(options, StandardInputOptions) else source


def input_names(configuration: Configuration, source: str) -> Sequence[str]:
    """The names of all inputs that are files or objects."""
    options = configuration.sources.get(source)
    return options.files if isinstance(options, InputFilesOptions) else ()


def _template(configuration: Configuration, chosen: InputFormat) -> FileSourceOptions:
    """A source with the form of the inputs' records."""
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
    sources = {name: _as_files(each) for name, each in configuration.sources.items() if isinstance(each, SourceFormat)}
    if chosen.source:
        if chosen.source not in sources:
            named = ", ".join(sorted(sources)) or "none"
            raise UsageError(
                f"--source {chosen.source}: no such source of files is configured", hint=f"configured sources: {named}"
            )
        return sources[chosen.source]
    kinds = [_records_of(each) for each in sources.values()]
    if any(kind != kinds[0] for kind in kinds) and not chosen.format:
        raise UsageError(
            f"the configured sources ({', '.join(sorted(sources))}) have different formats",
            hint="choose one with --source NAME, or choose a format with --format",
        )
    is_one = kinds and all(kind == kinds[0] for kind in kinds)
    return next(iter(sources.values())) if is_one else FileSourceOptions(path=ConfiguredPath(STANDARD_INPUT))


def _as_files(options: SourceFormat) -> FileSourceOptions:
    """A source whose records have the form of these: those of objects are as those of files."""
    if isinstance(options, FileSourceOptions):
        return options
    form = {
        key: getattr(options, key)
        for key in SourceFormat.model_fields
        if key in options.model_fields_set and key not in _LIVE_KEYS
    }
    return FileSourceOptions.model_validate({**form, "type": "file", "path": ConfiguredPath(STANDARD_INPUT)})


def _records_of(options: FileSourceOptions) -> Mapping[str, object]:
    """The options of a source that set the form of its records."""
    return {key: getattr(options, key) for key in FileSourceOptions.model_fields if key not in _LIVE_KEYS}


def _examined(fs: FileSystem, paths: Sequence[str]) -> list[FileStatus]:
    """The status of the file at each path. Raises `InputGoneError` with every path that cannot be read."""
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
        raise InputGoneError("; ".join(faults), hint="nothing was read; a pipe is read if it is the only input")
    return statuses


def _obstacle(fs: FileSystem, path: str) -> str:
    """The reason why a file cannot be opened; empty if it can. Raises `ConfigurationError` if its compression is not read."""
    try:
        open_content(fs, path).close()
    except RefusedContentError as error:
        raise ConfigurationError(f"{path}: {error.reason}", hint=error.hint) from error
    except OSError as error:
        return error.strerror or str(error)
    return ""
