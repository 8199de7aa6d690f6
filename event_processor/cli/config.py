"""`config`: shows the effective configuration, and where each value came from.

Owns: the command, and its output as TOML or JSON.
Always: the text output is valid TOML.
Never: no key is named here; the keys come from the models.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

import typer

from event_processor.cli.context import invocation, load
from event_processor.cli.output import write_json, write_lines
from event_processor.configuration import Key, LoadedConfiguration, Origin, flattened, toml_key, written_toml
from event_processor.configuration.parts import config_hash, config_parts
from event_processor.model.event import Json

__all__ = ["command"]


def command(context: typer.Context, *, as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False) -> None:
    """Show the effective configuration and where each value came from.

    The text is TOML: dotted keys, with the origin of each value as a comment.
    """
    loaded = load(invocation(context))
    if as_json:
        write_json(_document(loaded))
        return
    settings = list(_settings(loaded))
    width = max(len(setting) for setting, _ in settings)
    write_lines(f"{setting:<{width}}  # {origin}" if origin else setting for setting, origin in settings)


def _settings(loaded: LoadedConfiguration) -> Iterator[tuple[str, Origin | None]]:
    """The lines, and the origin of each.

    The tables of arrays come last, because any key after such a table would belong to it.
    """
    keys = flattened(loaded.configuration)
    origins = loaded.origins
    tables: dict[str, list[Key]] = {}
    for key, value in keys.items():
        if key[0].endswith("]"):
            tables.setdefault(key[0], []).append(key)
        else:
            yield _setting(key, value), origins[".".join(key)]
    for name, inside in tables.items():
        yield f"[[{name.rpartition('[')[0]}]]", None
        for key in inside:
            yield _setting(key[1:], keys[key]), origins[".".join(key)]


def _setting(key: Key, value: Json) -> str:
    """One line of TOML. A key that is not set becomes a comment, because TOML has no null."""
    written = toml_key(key)
    return f"# {written} is not set" if value is None else f"{written} = {written_toml(value)}"


def _document(loaded: LoadedConfiguration) -> dict[str, object]:
    """The output of `config --json`. docs/json-output.md says what each key means."""
    origins = {
        key: {"from": origin.kind, "place": origin.place or None, "line": origin.line or None}
        for key, origin in loaded.origins.items()
    }
    return {
        "files": list(loaded.files),
        "config_hash": config_hash(config_parts(loaded.configuration)),
        "configuration": loaded.configuration.model_dump(mode="json", by_alias=True),
        "origins": origins,
    }
