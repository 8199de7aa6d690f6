"""`config`: the effective configuration, and where each value came from."""

from __future__ import annotations

from typing import Annotated

import typer

from event_processor.cli.invocation import invocation
from event_processor.cli.loading import load
from event_processor.cli.output import write_json, write_lines
from event_processor.config import config_hash, config_parts
from event_processor.configuration_files import LoadedConfiguration, flattened, toml_value
from event_processor.event import Json

__all__ = ["command"]


def command(context: typer.Context, *, as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False) -> None:
    """Show the effective configuration and where each value came from.

    As text it is TOML itself: dotted keys, and behind each value its origin.
    """
    loaded = load(invocation(context))
    if as_json:
        write_json(_document(loaded))
        return
    settings = {".".join(key): _setting(".".join(key), value) for key, value in flattened(loaded.configuration).items()}
    width = max(len(setting) for setting in settings.values())
    write_lines(f"{setting:<{width}}  # {loaded.origins[key]}" for key, setting in settings.items())


def _setting(key: str, value: Json) -> str:
    """One line of TOML, which cannot say that a key is not set but by a comment."""
    return f"# {key} is not set" if value is None else f"{key} = {toml_value(value)}"


def _document(loaded: LoadedConfiguration) -> dict[str, object]:
    """What `config --json` writes; docs/json-output.md says what each key means."""
    origins = {
        key: {"from": origin.kind, "place": origin.place or None, "line": origin.line or None}
        for key, origin in loaded.origins.items()
    }
    return {
        "files": list(loaded.files),
        "config_hash": config_hash(config_parts(loaded.configuration)),
        "configuration": loaded.configuration.model_dump(mode="json"),
        "origins": origins,
    }
