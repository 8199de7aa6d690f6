"""What the global options said, as every command gets it.

Owns: `Invocation`. Never: nothing heavy is imported here: `version` and `--help` need none of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

import typer

__all__ = ["Invocation", "LogFormat", "LogLevel", "invocation"]

LogFormat: TypeAlias = Literal["text", "json"]
LogLevel: TypeAlias = Literal["debug", "info", "warning", "error"]

_OPTION_KEYS: Final = {
    "state_directory": ("state.dir", "--state"),
    "log_format": ("log.format", "--log-format"),
    "log_level": ("log.level", "--log-level"),
}


@dataclass(frozen=True, slots=True)
class Invocation:
    """The global options, as given; None for those that were not."""

    config_paths: tuple[str, ...] = ()
    state_directory: str | None = None
    log_format: LogFormat | None = None
    log_level: LogLevel | None = None

    def overrides(self) -> Mapping[str, tuple[str, str]]:
        """What takes precedence over every file: by dotted key, the value and the option that set it."""
        given = ((key, getattr(self, name), option) for name, (key, option) in _OPTION_KEYS.items())
        return {key: (value, option) for key, value, option in given if value is not None}


def invocation(context: typer.Context) -> Invocation:
    """The global options of the process that `context` belongs to."""
    return context.find_object(Invocation) or Invocation()
