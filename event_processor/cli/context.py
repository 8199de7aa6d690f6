"""What every command starts with: the global options, the configuration, and the real environment.

Owns: `Invocation` (the global options), `load` (the configuration, from the options, the environment variables, the working
directory and the known adapters), and `real_environment` (the real disk and clock, and the log on stderr as configured).
Always: an option wins over every file.
Never: only configuration files are opened here.
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
    """The environment of this process.

    Also tunes the process to run a pipeline: memory, and the interpreter's switch interval.
    """
    keep_freed_memory()
    # Change notices of a busy log keep another thread busy. By default the loop would wait 5 ms for it after every system call.
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
    """The global options as given. An option that was not given is None."""

    config_paths: tuple[str, ...] = ()
    state_directory: str | None = None
    log_format: LogFormat | None = None
    log_level: LogLevel | None = None

    def overrides(self) -> Mapping[str, tuple[str, str]]:
        """The values that win over every file: dotted key -> the value, and the option that set it."""
        given = ((key, getattr(self, name), option) for name, (key, option) in _OPTION_KEYS.items())
        return {key: (value, option) for key, value, option in given if value is not None}


def invocation(context: typer.Context) -> Invocation:
    """The global options of the command line that `context` belongs to."""
    return context.find_object(Invocation) or Invocation()


def load(invocation: Invocation) -> LoadedConfiguration:
    """The effective configuration. Raises `ConfigurationFaultsError` with all faults."""
    request = ConfigurationRequest(
        working_directory=working_directory(),
        environment=os.environ,
        config_paths=invocation.config_paths,
        overrides=invocation.overrides(),
    )
    return load_configuration(request, ADAPTERS)


def working_directory() -> str:
    """The working directory. Raises `UsageError` if it was deleted."""
    try:
        return os.getcwd()
    except FileNotFoundError as error:
        raise UsageError("the working directory was deleted", hint="change to a folder that exists") from error
