"""From a configuration to a running processor. Only this room imports connectors.

Owns: the environment of a pipeline, the table of connectors, and the order in which a pipeline is opened.
Always: a pipeline is either fully open, or fully closed again. A name below is imported when it is first asked for, so a command
loads only the files of this room that it uses.
Never: decides about a record. Open `opening.py` first.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
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
    from event_processor.assembly.formats import record_format
    from event_processor.assembly.inputs import (
        INPUT_SOURCE_NAME,
        STDIN_ARGUMENT,
        InputFormat,
        can_be_read_again,
        input_name,
        input_names,
        input_size_bytes,
        is_pipe,
        recognised,
        result_file,
        with_inputs,
        with_result_sinks,
    )
    from event_processor.assembly.intake import append_to_intake, shared_intake
    from event_processor.assembly.lane_promises import lane_guarantees, weak_lanes
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
    from event_processor.assembly.state_lock import LOCK_NAME, lock_state, process_name, this_process

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
    "can_be_read_again",
    "change_of_lane",
    "check_config",
    "committed_outputs",
    "committed_rows",
    "fresh_sink_paths",
    "guarantees",
    "host_fields",
    "input_name",
    "input_names",
    "input_size_bytes",
    "is_pipe",
    "lag_bytes",
    "lag_of_source",
    "lags",
    "lane_guarantees",
    "lane_target",
    "lock_state",
    "make_publisher",
    "make_source",
    "must_start_sorting",
    "open_pipeline",
    "open_replica",
    "ordering_of",
    "outside_p2",
    "process_name",
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
    "weak_lanes",
    "weak_sources",
    "with_inputs",
    "with_result_sinks",
]

_HOMES: Final = {
    "CONNECTORS": "connectors",
    "CONNECTOR_OPTIONS": "connectors",
    "INPUT_SOURCE_NAME": "inputs",
    "LOCK_NAME": "state_lock",
    "SINK_OPTIONS": "connectors",
    "SOURCE_OPTIONS": "connectors",
    "STDIN_ARGUMENT": "inputs",
    "Environment": "environment",
    "InputFormat": "inputs",
    "Mode": "modes",
    "OpenLane": "outbox",
    "OpenPipeline": "opening",
    "Replica": "modes",
    "all_sources": "connectors",
    "append_to_intake": "intake",
    "can_be_read_again": "inputs",
    "change_of_lane": "outbox",
    "check_config": "state_configuration",
    "committed_outputs": "connectors",
    "committed_rows": "connectors",
    "fresh_sink_paths": "connectors",
    "guarantees": "connectors",
    "host_fields": "connectors",
    "input_name": "inputs",
    "input_names": "inputs",
    "input_size_bytes": "inputs",
    "is_pipe": "inputs",
    "lag_bytes": "connectors",
    "lag_of_source": "connectors",
    "lags": "connectors",
    "lane_guarantees": "lane_promises",
    "lane_target": "outbox",
    "lock_state": "state_lock",
    "make_publisher": "connectors",
    "make_source": "connectors",
    "must_start_sorting": "sorting",
    "open_pipeline": "opening",
    "open_replica": "opening",
    "ordering_of": "sorting",
    "outside_p2": "connectors",
    "process_name": "state_lock",
    "recognised": "inputs",
    "record_format": "formats",
    "remarks": "connectors",
    "remote_sinks": "outbox",
    "reopen_generation": "connectors",
    "require_nothing_pending": "outbox",
    "result_file": "inputs",
    "shared_intake": "intake",
    "sink_files": "connectors",
    "sink_path_of": "connectors",
    "snapshot_sinks": "outbox",
    "sources_that_ask": "connectors",
    "start_sorting": "sorting",
    "table_changes": "connectors",
    "this_process": "state_lock",
    "watch_sources": "connectors",
    "weak_lanes": "lane_promises",
    "weak_sources": "connectors",
    "with_inputs": "inputs",
    "with_result_sinks": "inputs",
}


def __getattr__(name: str) -> object:
    """A name of another file of this room. From then on it is here, so this is called once for each."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value
