"""From files, environment and command line to one `Configuration`, or to every fault at once.

Owns: where configuration files are looked for, how they are merged, and what is said of what is wrong in them.
Always: later files win, tables are merged and arrays replaced, those of tables too; every effective value knows its origin; a fault names file,
line, key, value and what is wanted.
Never: no connector is known here; their option models come as `ConnectorOptions`.
"""

from __future__ import annotations

from event_processor.configuration.faults import ConfigurationFaultsError, Fault, toml_key, toml_value, written_toml
from event_processor.configuration.loader import ConnectorOptions, LoadedConfiguration, flattened, load_configuration
from event_processor.configuration.toml_files import (
    CONFIGURATION_FILE_NAME,
    SYSTEM_CONFIGURATION_PATH,
    ConfigurationRequest,
    Key,
    Origin,
)

__all__ = [
    "CONFIGURATION_FILE_NAME",
    "SYSTEM_CONFIGURATION_PATH",
    "ConfigurationFaultsError",
    "ConfigurationRequest",
    "ConnectorOptions",
    "Fault",
    "Key",
    "LoadedConfiguration",
    "Origin",
    "flattened",
    "load_configuration",
    "toml_key",
    "toml_value",
    "written_toml",
]
