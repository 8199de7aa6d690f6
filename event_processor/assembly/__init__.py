"""From a configuration to a processor that runs: the only importer of adapters.

Owns: the environment of a pipeline, which adapters there are, and the order in which a pipeline is opened.
"""

from event_processor.assembly.connectors import (
    ADAPTERS,
    INTAKE_NAME,
    LINE_END_BYTES_MAX,
    SINK_OPTIONS,
    SOURCE_OPTIONS,
    PartReader,
    all_sources,
    lag_bytes,
    locate_part,
    record_format,
    watch_sources,
    whole_records_end,
)
from event_processor.assembly.environment import Environment
from event_processor.assembly.inputs import (
    INPUT_SOURCE_NAME,
    STDIN_ARGUMENT,
    InputFormat,
    input_name,
    input_size_bytes,
    result_file,
    with_inputs,
    with_result_sinks,
)
from event_processor.assembly.opening import (
    LOCK_NAME,
    Mode,
    OpenPipeline,
    Replica,
    check_config,
    lock_state,
    open_pipeline,
    open_replica,
)
from event_processor.connectors.files.connector import (
    CommittedParts,
    committed_parts,
    fresh_sink_paths,
    sink_files,
    sink_header_bytes,
    sink_path_of,
)

__all__ = [
    "ADAPTERS",
    "INPUT_SOURCE_NAME",
    "INTAKE_NAME",
    "LINE_END_BYTES_MAX",
    "LOCK_NAME",
    "SINK_OPTIONS",
    "SOURCE_OPTIONS",
    "STDIN_ARGUMENT",
    "CommittedParts",
    "Environment",
    "InputFormat",
    "Mode",
    "OpenPipeline",
    "PartReader",
    "Replica",
    "all_sources",
    "check_config",
    "committed_parts",
    "fresh_sink_paths",
    "input_name",
    "input_size_bytes",
    "lag_bytes",
    "locate_part",
    "lock_state",
    "open_pipeline",
    "open_replica",
    "record_format",
    "result_file",
    "sink_files",
    "sink_header_bytes",
    "sink_path_of",
    "watch_sources",
    "whole_records_end",
    "with_inputs",
    "with_result_sinks",
]
