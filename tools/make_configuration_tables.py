"""Writes the tables of docs/configuration.md from the models that read the configuration; a test holds the two together.

Run by hand, `python tools/make_configuration_tables.py`, after a change of a key, its default, its limits or its documentation.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final, Literal, get_args, get_origin

from pydantic.fields import FieldInfo

from event_processor.assembly import SINK_OPTIONS, SOURCE_OPTIONS
from event_processor.configuration import toml_value
from event_processor.configuration.aggregates import AggregateOptions, WindowOptions
from event_processor.configuration.configuration import AGGREGATES, OTHERWISE, Configuration, EngineOptions, Section
from event_processor.configuration.loader import array_sections
from event_processor.configuration.parts import LATER_KEYS, config_parts
from event_processor.configuration.template import key_documentation
from event_processor.model.enriching import EnricherOptions
from event_processor.model.options import keys_of
from event_processor.model.remote import ServiceOptions, TlsOptions
from event_processor.records.source_format import FORMATS, LATER_FORMAT_KEYS

PAGE: Final = Path(__file__).resolve().parent.parent / "docs" / "configuration.md"
BEGIN: Final = "<!-- tables: written by tools/make_configuration_tables.py -->"
END: Final = "<!-- end of the tables -->"
LIMITS: Final = {"ge": "≥ {:,}", "gt": "> {:,}", "le": "≤ {:,}", "lt": "< {:,}"}


def with_tables(page: str) -> str:
    """The page with its tables as they should be."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return "\n".join([f"{before}{BEGIN}", *_tables(), f"{END}{after}"])


def _tables() -> Iterator[str]:
    """A heading, a sentence and a table for each section, in the order in which `init` writes them."""
    state_keys, arrays = _state_keys(), array_sections()
    for name, info in Configuration.model_fields.items():
        plural: dict[str, dict[str, type[Section]]] = {"sources": dict(SOURCE_OPTIONS), "sinks": dict(SINK_OPTIONS)}
        if name in plural:
            for kind, model in plural[name].items():
                keys = state_keys.get(f"{name}.{kind}", state_keys.get(name, frozenset()))
                yield from _table(f'[{name}.NAME] of type "{kind}"', model, keys)
        elif name in arrays:
            yield from _table(f"[[{name}]]", arrays[name], frozenset(keys_of(arrays[name]) if name == "transforms" else ()))
        elif name == AGGREGATES:
            yield from _table(f"[{name}.NAME]", AggregateOptions, frozenset(AggregateOptions.model_fields))
            yield from _table(f"[{name}.NAME.window]", WindowOptions, frozenset(WindowOptions.model_fields))
        elif name == "enrichers":
            yield from _table(f"[{name}.NAME]", EnricherOptions, frozenset())
        elif name == "services":
            yield from _table(f"[{name}.NAME]", ServiceOptions, frozenset())
            yield from _table(f"[{name}.NAME.tls]", TlsOptions, frozenset())
        else:
            section = info.annotation
            assert isinstance(section, type)
            assert issubclass(section, Section)
            yield from _table(f"[{name}]", section, state_keys.get(name, frozenset()))


def _table(heading: str, model: type[Section], state_keys: frozenset[str]) -> Iterator[str]:
    yield from ("", f"### {heading}", "", _in_one_line(model.__doc__ or ""), "")
    yield from ("| key | default | may be | in the hash | meaning |", "| --- | --- | --- | --- | --- |")
    yield from _rows(model, state_keys)


def _rows(model: type[Section], state_keys: frozenset[str], prefix: str = "") -> Iterator[str]:
    """A row for each key. `prefix`: of the keys of a table within the section, such as "tls."."""
    documentation = key_documentation(model)
    for key, info in keys_of(model).items():
        if info.annotation is TlsOptions:
            if model is not ServiceOptions:  # its keys have a table of their own
                yield from _rows(TlsOptions, frozenset(), f"{key}.")
            continue
        default = (
            "required"
            if info.is_required()
            else "not set"
            if info.default is None
            else f"`{toml_value(info.get_default(call_default_factory=True))}`"
        )
        if isinstance(info.json_schema_extra, dict) and OTHERWISE in info.json_schema_extra:
            default = f"{default}; {info.json_schema_extra[OTHERWISE]}"
        in_hash = "yes" if key in state_keys else ""
        yield f"| `{prefix}{key}` | {default} | {_limits(info)} | {in_hash} | {_in_one_line(documentation.get(key, ''))} |"


def _limits(info: FieldInfo) -> str:
    """What the key may be, beyond its type."""
    if get_origin(info.annotation) is Literal:
        return ", ".join(f"`{toml_value(choice)}`" for choice in get_args(info.annotation))
    bounds = [(sign, getattr(limit, name)) for limit in info.metadata for name, sign in LIMITS.items() if hasattr(limit, name)]
    return ", ".join(sign.format(bound) for sign, bound in bounds)


def _state_keys() -> dict[str, frozenset[str]]:
    """By section, the keys that are in the hash of what the state depends on."""
    options = SOURCE_OPTIONS["file"]
    formats = {**{name: name for name in FORMATS}, "own": "package.module:Class"}
    patterns = {"regex": {"format_pattern": "(?P<a>.*)"}}
    sources = {
        name: options.model_validate({"path": "events", "format": format_, **patterns.get(name, {})})
        for name, format_ in formats.items()
    }
    found: dict[str, set[str]] = {}
    for part in [*config_parts(Configuration(sources=sources, engine=EngineOptions(shard="1/2"))), *LATER_KEYS]:
        section, *_, key = part.split(".")
        found.setdefault(section, set()).add(key)
    topic = SOURCE_OPTIONS["kafka"].model_validate({"type": "kafka", "brokers": "kafka:9092", "topic": "topic"})
    found["sources"] |= set(LATER_FORMAT_KEYS)
    found["sources.kafka"] = set(topic.identity())
    objects = [
        SOURCE_OPTIONS["s3"].model_validate({"type": "s3", "url": "s3://bucket/*", "format": format_, **patterns.get(name, {})})
        for name, format_ in formats.items()
    ]
    found["sources.s3"] = {key for each in objects for key in each.identity()}
    found["sources.s3"] |= set(LATER_FORMAT_KEYS)
    return {section: frozenset(keys) for section, keys in found.items()}


def _in_one_line(text: str) -> str:
    return re.sub(r"\s+", " ", text).strip().replace("|", "\\|")


if __name__ == "__main__":
    PAGE.write_text(with_tables(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
