"""What the global options said, as every command gets it.

Owns: `Invocation`. Never: nothing heavy is imported here.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

import typer

from event_processor.assembly import ADAPTERS, Environment
from event_processor.configuration import ConfigurationRequest, LoadedConfiguration, load_configuration
from event_processor.configuration.configuration import Configuration
from event_processor.kernels.memory import keep_freed_memory
from event_processor.model.clock import SystemClock
from event_processor.model.errors import UsageError
from event_processor.service.log import LogTelemetry, chosen_format

__all__ = ["ADAPTERS", "Invocation", "LogFormat", "LogLevel", "invocation", "load", "real_environment"]

SWITCH_INTERVAL_S: Final = 0.0005


def real_environment(configuration: Configuration) -> Environment:
    """The environment of this process, which is from now on one that runs a pipeline."""
    keep_freed_memory()
    # Notices of a busy log keep a thread busy; by default the loop would wait 5 ms for it behind every system call.
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    clock = SystemClock()
    line_format = chosen_format(configuration.log.format, sys.stderr, os.environ)
    telemetry = LogTelemetry(sys.stderr, clock=clock, level=configuration.log.level, line_format=line_format)
    return Environment(clock=clock, telemetry=telemetry)


LogFormat: TypeAlias = Literal["text", "json"]
LogLevel: TypeAlias = Literal["debug", "info", "warning", "error"]

_OPTION_KEYS: Final = {
    "state_directory": ("state.dir", "--state"),
    "log_format": ("log.format", "--log-format"),
    "log_level": ("log.level", "--log-level"),
}


@dataclass(frozen=True, slots=True)
class Invocation:
    """The global options, as given; None where one was not."""

    config_paths: tuple[str, ...] = ()
    state_directory: str | None = None
    log_format: LogFormat | None = None
    log_level: LogLevel | None = None

    def overrides(self) -> Mapping[str, tuple[str, str]]:
        """What goes before every file: by dotted key, the value and the option that set it."""
        given = ((key, getattr(self, name), option) for name, (key, option) in _OPTION_KEYS.items())
        return {key: (value, option) for key, value, option in given if value is not None}


def invocation(context: typer.Context) -> Invocation:
    """The global options of the process that `context` belongs to."""
    return context.find_object(Invocation) or Invocation()


def load(invocation: Invocation) -> LoadedConfiguration:
    """The effective configuration. Raises `ConfigurationFaultsError` with every fault."""
    request = ConfigurationRequest(
        working_directory=working_directory(),
        environment=os.environ,
        config_paths=invocation.config_paths,
        overrides=invocation.overrides(),
    )
    return load_configuration(request, ADAPTERS)


def working_directory() -> str:
    """The working directory. Raises `UsageError` where it was deleted under us."""
    try:
        return os.getcwd()
    except FileNotFoundError as error:
        raise UsageError("the working directory is gone", hint="change to a folder that is there") from error
