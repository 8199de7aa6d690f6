"""What a command works with: the effective configuration, and the world outside.

Owns: the meeting of the loader with this process: its global options, environment variables, working directory, and the connectors.
"""

from __future__ import annotations

import os
import sys
from typing import Final

from event_processor.assembly import CONNECTOR_OPTIONS, Environment
from event_processor.cli.invocation import Invocation, invocation
from event_processor.cli.output import write_notes
from event_processor.configuration import ConfigurationRequest, LoadedConfiguration, load_configuration
from event_processor.configuration.configuration import Configuration
from event_processor.kernels.memory import keep_freed_memory
from event_processor.model.clock import SystemClock
from event_processor.model.errors import UsageError
from event_processor.service.log import LogTelemetry, chosen_format
from event_processor.storage.file_system import file_system_for

__all__ = ["CONNECTOR_OPTIONS", "Invocation", "invocation", "load", "real_environment"]

SWITCH_INTERVAL_S: Final = 0.0005


def real_environment(configuration: Configuration) -> Environment:
    """The environment of this process.

    Also tunes the process to run a pipeline: memory, and the interpreter's switch interval.
    """
    keep_freed_memory()
    # Change notices of a busy log keep another thread busy. By default the loop would wait 5 ms for it after every system call.
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    clock = SystemClock()
    line_format = chosen_format(configuration.log.format, sys.stderr, os.environ)
    telemetry = LogTelemetry(sys.stderr, clock=clock, level=configuration.log.level, line_format=line_format)
    return Environment(fs=file_system_for(str(configuration.state.dir)), clock=clock, telemetry=telemetry)


def load(invocation: Invocation, *, imports_classes: bool = False) -> LoadedConfiguration:
    """The effective configuration. Raises `ConfigurationFaultsError` with all faults. `imports_classes`: as in `load_configuration`.

    On a terminal, it says on stderr which files were read.
    """
    request = ConfigurationRequest(
        working_directory=working_directory(),
        environment=os.environ,
        config_paths=invocation.config_paths,
        overrides=invocation.overrides(),
    )
    loaded = load_configuration(request, CONNECTOR_OPTIONS, imports_classes=imports_classes)
    if sys.stderr is not None and sys.stderr.isatty() and invocation.log_format != "json":
        # A person may be in a folder whose own configuration is another one than they think.
        write_notes([f"configuration: {', '.join(loaded.files) or 'no file; all values are defaults'}"])
    return loaded


def working_directory() -> str:
    """The working directory. Raises `UsageError` if it was deleted."""
    try:
        return os.getcwd()
    except FileNotFoundError as error:
        raise UsageError("the working directory was deleted", hint="change to a folder that exists") from error
