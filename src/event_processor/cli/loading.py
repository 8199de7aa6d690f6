"""The configuration of this process: its global options, its environment and its working directory, and the adapters there are.

Owns: the meeting of the loader and the adapters' option models. Never: nothing is opened here but configuration files.
"""

from __future__ import annotations

import os

from event_processor.assembly import ADAPTERS
from event_processor.cli.invocation import Invocation
from event_processor.configuration_files import ConfigurationRequest, LoadedConfiguration, load_configuration
from event_processor.errors import UsageError

__all__ = ["ADAPTERS", "load"]


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
