"""From a configuration to a running processor. Only this room imports connectors.

Owns: the environment of a pipeline, the table of connectors, and the order in which a pipeline is opened.
Always: a pipeline is either fully open, or fully closed again.
Never: decides about a record. Open `opening.py` first.
"""

from event_processor.assembly.connectors import (
    CONNECTOR_OPTIONS,
    CONNECTORS,
    SINK_OPTIONS,
    SOURCE_OPTIONS,
    all_sources,
    committed_outputs,
    committed_rows,
    fresh_sink_paths,
    guarantees,
    host_fields,
    lag_bytes,
    lag_of_source,
    lags,
    make_publisher,
    make_source,
    outside_p2,
    record_format,
    remarks,
    reopen_generation,
    sink_files,
    sink_path_of,
    sources_that_ask,
    table_changes,
    watch_sources,
    weak_sources,
)
from event_processor.assembly.environment import Environment
from event_processor.assembly.inputs import (
    INPUT_SOURCE_NAME,
    STDIN_ARGUMENT,
    InputFormat,
    input_name,
    input_size_bytes,
    recognised,
    result_file,
    with_inputs,
    with_result_sinks,
)
from event_processor.assembly.intake import append_to_intake, shared_intake
from event_processor.assembly.modes import Mode, Replica
from event_processor.assembly.opening import OpenPipeline, open_pipeline, open_replica
from event_processor.assembly.outbox import (
    OpenLane,
    change_of_lane,
    lane_target,
    remote_sinks,
    require_nothing_pending,
    snapshot_sinks,
)
from event_processor.assembly.sorting import must_start_sorting, ordering_of, start_sorting
from event_processor.assembly.state_configuration import check_config
from event_processor.assembly.state_lock import LOCK_NAME, lock_state, this_process

__all__ = [
    "CONNECTORS",
    "CONNECTOR_OPTIONS",
    "INPUT_SOURCE_NAME",
    "LOCK_NAME",
    "SINK_OPTIONS",
    "SOURCE_OPTIONS",
    "STDIN_ARGUMENT",
    "Environment",
    "InputFormat",
    "Mode",
    "OpenLane",
    "OpenPipeline",
    "Replica",
    "all_sources",
    "append_to_intake",
    "change_of_lane",
    "check_config",
    "committed_outputs",
    "committed_rows",
    "fresh_sink_paths",
    "guarantees",
    "host_fields",
    "input_name",
    "input_size_bytes",
    "lag_bytes",
    "lag_of_source",
    "lags",
    "lane_target",
    "lock_state",
    "make_publisher",
    "make_source",
    "must_start_sorting",
    "open_pipeline",
    "open_replica",
    "ordering_of",
    "outside_p2",
    "recognised",
    "record_format",
    "remarks",
    "remote_sinks",
    "reopen_generation",
    "require_nothing_pending",
    "result_file",
    "shared_intake",
    "sink_files",
    "sink_path_of",
    "snapshot_sinks",
    "sources_that_ask",
    "start_sorting",
    "table_changes",
    "this_process",
    "watch_sources",
    "weak_sources",
    "with_inputs",
    "with_result_sinks",
]
