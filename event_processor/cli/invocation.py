"""What the global options said, as every command gets it.

Owns: `Invocation`. Never: nothing heavy is imported here: `version` and `--help` need none of it.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

import typer

from event_processor.model.errors import UsageError

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
    values: tuple[str, ...] = ()
    state_directory: str | None = None
    log_format: LogFormat | None = None
    log_level: LogLevel | None = None

    def overrides(self) -> Mapping[str, tuple[object, str]]:
        """What takes precedence over every file: by dotted key, the value and the option that set it. Raises `UsageError`."""
        given = ((key, getattr(self, name), option) for name, (key, option) in _OPTION_KEYS.items())
        return {**dict(map(_given, self.values)), **{key: (value, option) for key, value, option in given if value is not None}}


def _given(argument: str) -> tuple[str, tuple[object, str]]:
    """The key and the value of `--set`: as TOML if it is that, or else text. Raises `UsageError`."""
    key, equals, text = argument.partition("=")
    if not equals or not all(key.strip().split(".")):
        raise UsageError(f"--set {argument}: not KEY=VALUE", hint="such as --set batch.bytes_max=1048576")
    value: object = text
    with suppress(tomllib.TOMLDecodeError):
        value = tomllib.loads(f"value = {text}")["value"]
    return key.strip(), (value, "--set")


def invocation(context: typer.Context) -> Invocation:
    """The global options of the process that `context` belongs to."""
    return context.find_object(Invocation) or Invocation()
