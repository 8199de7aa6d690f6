"""The configuration files to begin with: ten lines, or every key with its default and its documentation, taken from the models.

Owns: the text that `init` writes, and how a key's documentation is read from a model's source.
Always: the text parses, and sets exactly the defaults. A key without a default is commented out, with an example. So is a key
whose default depends on other keys: written, it would no longer follow them.
Never: no key is documented here; the models do that.
"""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Iterable, Iterator, Mapping
from itertools import pairwise
from typing import Final

from pydantic.fields import FieldInfo

from event_processor.configuration.aggregates import AggregateOptions, WindowOptions
from event_processor.configuration.configuration import OTHERWISE, Configuration, EventOptions, Section, StateOptions
from event_processor.configuration.faults import written_toml
from event_processor.configuration.loader import ConnectorOptions, array_sections, core_sections
from event_processor.model.enriching import EnricherOptions
from event_processor.model.options import keys_of
from event_processor.model.remote import ServiceOptions, TlsOptions

__all__ = ["configuration_template", "key_documentation", "short_template"]

COMMENT_CHARACTERS_MAX: Final = 100
_INTRODUCTION: Final = """\
The configuration of event-processor. It has every key with its default: delete the keys that you do not change.
Relative paths start from this file's folder. Sizes are in bytes. Times are in the unit at the end of the key's name.
[sources], [[transforms]], [event], [dedup], [order] and [totals] are part of the state: if you change them, rebuild the state
from the log with 'event-processor replay'. The rest may change at any time."""


def configuration_template(connectors: ConnectorOptions) -> str:
    """A TOML file that sets every default. Its comments say what each key means."""
    return "\n".join(_lines(connectors))


def short_template(connectors: ConnectorOptions) -> str:
    """Ten lines of TOML to begin with: the keys that most people change first, with their defaults."""
    ((source, values),) = connectors.default_sources.items()
    path, event, state = values["path"], EventOptions(), StateOptions()
    lines = (
        ("", "All keys: event-processor init --full DIR. Relative paths start from this file's folder."),
        (f"state.dir = {written_toml(state.dir.written)}", "what was counted; keep it on a local disk"),
        (f"[sources.{source}]", ""),
        (f"path = {written_toml(path)}", "the log, or a glob"),
        ('format = "jsonl"', 'one JSON object a line; or "csv", "json"'),
        ("[event]", "which fields are read"),
        (f"id = {written_toml(event.id)}", 'counts once; "@position": each record counts'),
        (f"category = {written_toml(event.category)}", 'the totals are by this field; "": one total'),
        (f"value = {written_toml(event.value)}", 'a number that is summed; "": count only'),
        (f"timestamp = {written_toml(event.timestamp)}", 'when it happened; windows need it; "": none'),
    )
    width = max(len(setting) for setting, _ in lines) + 2
    return "".join(
        f"{f'{setting:<{width}}' if setting else ''}{f'# {words}' if words else ''}".rstrip() + "\n" for setting, words in lines
    )


def key_documentation(model: type[Section]) -> dict[str, str]:
    """The docstring below each key of the model, inherited keys included.

    Called only if the text is shown. Pydantic's own option would parse every model's source whenever a command starts.
    """
    said: dict[str, str] = {}
    names = {field: info.alias or field for field, info in model.model_fields.items()}
    for each in reversed(model.__mro__):
        if not issubclass(each, Section):
            continue
        definition = ast.parse(textwrap.dedent(inspect.getsource(each))).body[0]
        assert isinstance(definition, ast.ClassDef)
        for key, below in pairwise(definition.body):
            if isinstance(key, ast.AnnAssign) and isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant):
                field = ast.unparse(key.target)
                said[names.get(field, field)] = inspect.cleandoc(str(below.value.value))
    return said


def _lines(connectors: ConnectorOptions) -> Iterator[str]:
    yield from _comment(_INTRODUCTION)
    core, arrays = core_sections(), array_sections()
    for name in Configuration.model_fields:
        if name in core:
            yield from _table(name, core[name], {})
        elif name == "sources":
            for source, values in connectors.default_sources.items():
                yield from _table(f"sources.{source}", connectors.sources[connectors.default_type], values)
        elif name in arrays:
            yield from _commented(_table(f"[{name}]", arrays[name], {}))
        elif name == "aggregates":
            yield from _commented(_table("aggregates.NAME", AggregateOptions, {}))
            yield from _commented(_table("aggregates.NAME.window", WindowOptions, {}))
        elif name == "services":
            yield from _commented(_table("services.NAME", ServiceOptions, {}))
            yield from _commented(_table("services.NAME.tls", TlsOptions, {}))
        elif name == "enrichers":
            yield from _commented(_table("enrichers.NAME", EnricherOptions, {}))
        else:
            yield from _commented(_table("sinks.NAME", connectors.sinks[connectors.default_type], {}))
    yield ""


def _commented(table: Iterable[str]) -> Iterator[str]:
    """Comments out a table that does not exist by default."""
    return (f"# {line}" if line and not line.startswith("#") else line for line in table)


def _table(name: str, model: type[Section], values: Mapping[str, str]) -> Iterator[str]:
    """One table: its description, then its keys. `values` win over the model's defaults."""
    yield ""
    yield from _comment(model.__doc__ or "")
    yield f"[{name}]"
    documentation = key_documentation(model)
    for key, info in keys_of(model).items():
        if info.annotation in (WindowOptions | None, TlsOptions):
            continue  # a table of its own
        yield from _comment(documentation.get(key, ""))
        yield _setting(key, info, values)


def _setting(key: str, info: FieldInfo, values: Mapping[str, str]) -> str:
    """The key with its default. Commented out: an example if it has no default, and a default that depends on other keys."""
    value: object = values.get(key, None if info.is_required() else info.get_default(call_default_factory=True))
    if value is None:
        return f"# {key} = {written_toml(next(iter(info.examples or []), ''))}"
    return f"{'# ' if _depends(info) else ''}{key} = {written_toml(value)}"


def _depends(info: FieldInfo) -> bool:
    return isinstance(info.json_schema_extra, dict) and OTHERWISE in info.json_schema_extra


def _comment(text: str) -> Iterator[str]:
    """`text` as wrapped comment lines."""
    for paragraph in textwrap.dedent(text).strip().split("\n\n"):
        yield from (f"# {line}" for line in textwrap.wrap(" ".join(paragraph.split()), COMMENT_CHARACTERS_MAX))
