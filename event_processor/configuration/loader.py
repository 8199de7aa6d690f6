"""The loader: merges files, environment and command line over the defaults, checks them, and makes one `Configuration`.

Owns: the precedence, and the check of every table by its model.
Always: all faults are found before any is reported: a bad value hides no fault of another one. A returned configuration has no fault.
Never: only `toml_files.py` opens files.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeVar, get_args, get_origin

from pydantic import BaseModel, ValidationError

from event_processor.configuration.aggregates import AggregateOptions
from event_processor.configuration.configuration import (
    NAME_PATTERN,
    Configuration,
    ConfiguredPath,
    LocatedText,
    Section,
    SinkOptions,
    SourceOptions,
    TransformOptions,
    name_fault,
    shard_name,
)
from event_processor.configuration.contradictions import contradictions, is_a_consequence
from event_processor.configuration.faults import (
    UNKNOWN_KEY,
    ConfigurationFaultsError,
    Fault,
    Findings,
    findings,
    nearest,
    shown_value,
)
from event_processor.configuration.toml_files import ConfigurationRequest, Key, Origin, element, element_of, located, read_files
from event_processor.configuration.user_classes import unusable_classes
from event_processor.configuration.variables import with_shard, with_variables
from event_processor.model.enriching import EnricherOptions
from event_processor.model.event import Json
from event_processor.model.options import keys_of
from event_processor.model.remote import ServiceOptions

__all__ = ["ConnectorOptions", "LoadedConfiguration", "array_sections", "core_sections", "flattened", "load_configuration"]

STATE_VARIABLE: Final = "STATE_DIRECTORY"
"""systemd sets it for `StateDirectory=`. If it has several folders, separated by colons, the first one is used."""
SHARDED_PATHS: Final = {"state": ("dir",), "sinks": ("path", "url")}
"""By section: the keys in which `{shard}` is replaced."""
_DECISIVE_KEYS: Final = frozenset({"class", "enrich", "format", "input", "type"})
"""Keys that decide what the other keys of their table mean."""

Options = TypeVar("Options", SourceOptions, SinkOptions)


@dataclass(frozen=True, slots=True)
class ConnectorOptions:
    """The option models of all sources and sinks, by `type`.

    `default_type` is used if a table has no `type`. `default_sources` are the sources of a configuration that names none. Their
    values are also the defaults of a table of the same name, if it has the default type.
    """

    sources: Mapping[str, type[SourceOptions]]
    sinks: Mapping[str, type[SinkOptions]]
    default_type: str
    default_sources: Mapping[str, Mapping[str, str]]


@dataclass(frozen=True, slots=True)
class LoadedConfiguration:
    """A configuration without faults. `origins` has the origin of every effective value, by its dotted key.

    `files` are the files that were read, in order.
    """

    configuration: Configuration
    origins: Mapping[str, Origin]
    files: tuple[str, ...]


def load_configuration(
    request: ConfigurationRequest, connectors: ConnectorOptions, *, imports_classes: bool = False
) -> LoadedConfiguration:
    """The effective configuration. Raises `ConfigurationFaultsError` with all faults.

    `imports_classes`: the user's classes are imported, and one that cannot be imported is a fault too.
    """
    layers, file_faults = read_files(request)
    merged = _Merged()
    for layer in layers:
        merged.add(layer.tables, layer.origins)
    _add_state_directory(merged, request)
    _add_state_name(merged, layers[-1].path if layers else "")
    for dotted, (value, option) in request.overrides.items():
        merged.set(tuple(dotted.split(".")), located(value, request.working_directory), Origin("command line", option))
    # A default path also starts from the configuration's folder. So a pipeline's state does not depend on the working directory
    # of a command.
    folder = request.working_directory
    if layers:
        folder = os.path.dirname(os.path.join(os.path.abspath(folder), layers[-1].path))
    check = _Check(merged, connectors, folder, request.environment)
    configuration = check.configuration()
    if imports_classes:
        check.import_classes(configuration)
    faults = [Fault(fault.origin, "", "", fault.reason) for fault in file_faults] + check.faults
    files = tuple(layer.path for layer in layers)
    if faults:
        raise ConfigurationFaultsError(faults, files, state_directory=str(configuration.state.dir))
    keys = flattened(configuration)
    origins = {".".join(key): merged.exact_origin(key) for key in keys}
    return LoadedConfiguration(configuration, origins, files)


def _add_state_directory(merged: _Merged, request: ConfigurationRequest) -> None:
    """Sets the state directory that systemd gave. It wins over the files."""
    if folder := request.environment.get(STATE_VARIABLE, "").partition(":")[0]:
        merged.set(("state", "dir"), LocatedText(folder, request.working_directory), Origin("environment", STATE_VARIABLE))


def _add_state_name(merged: _Merged, path: str) -> None:
    """Sets the default of the pipeline's name, which depends on the file `path`."""
    state = merged.tables.get("state", {})
    stem = os.path.splitext(os.path.basename(path))[0]
    if isinstance(state, Mapping) and "name" not in state and re.fullmatch(NAME_PATTERN, stem):
        merged.set(("state", "name"), stem, Origin())


def flattened(configuration: Configuration) -> dict[Key, Json]:
    """Every effective value by its key, in the order of the models. Arrays stay whole, except arrays of tables."""

    def leaves(value: Json, key: Key) -> Iterator[tuple[Key, Json]]:
        if isinstance(value, dict):
            for name, entry in value.items():
                yield from leaves(entry, (*key, name))
        elif value and isinstance(value, list) and key[0] in arrays and len(key) == 1:
            for number, entry in enumerate(value):
                yield from leaves(entry, (element(key[0], number),))
        else:
            yield key, value

    arrays = array_sections()
    return dict(leaves(configuration.model_dump(mode="json", by_alias=True), ()))


@dataclass(slots=True)
class _Merged:
    """The merged tables, and the origin of each key that was set."""

    tables: dict[str, object] = field(default_factory=dict)
    origins: dict[Key, Origin] = field(default_factory=dict)

    def add(self, tables: Mapping[str, object], origins: Mapping[Key, Origin]) -> None:
        """Merges `tables` over the present ones. Tables are merged, everything else is replaced."""
        self.tables = _overlaid(self.tables, tables)
        self.origins |= origins

    def set(self, key: Key, value: object, origin: Origin) -> None:
        """Sets one value. It replaces an earlier one."""
        table: Mapping[str, object] = {key[-1]: value}
        for name in reversed(key[:-1]):
            table = {name: table}
        self.add(table, {key: origin})

    def origin(self, key: Key) -> Origin:
        """Where `key` was set. If it was not set: where the nearest table around it was set."""
        outward = [key[:n] for n in range(len(key), 0, -1)]
        if key and (found := element_of(key[0])):
            outward.append((found[0],))  # if an array is written on one line, its tables have no place of their own
        return next((self.origins[each] for each in outward if each in self.origins), Origin())

    def exact_origin(self, key: Key) -> Origin:
        """Where `key` was set, or the default origin if it was not set. The last name may be dotted, for tables inside tables.

        A time in seconds may have been set as a text, by the key without `_s`.
        """
        spelling = (*key[:-1], *key[-1].split("."))
        spellings = (key, spelling, (*spelling[:-1], spelling[-1].removesuffix("_s")))
        return next((self.origin(each) for each in spellings if self._is_set(each)), Origin())

    def _is_set(self, key: Key) -> bool:
        value: object = self.tables
        for name in key:
            if not isinstance(value, Mapping):
                return False
            array, number = element_of(name) or (name, -1)
            if name in value:
                value = value[name]
            elif number >= 0 and isinstance(entries := value.get(array), tuple) and number < len(entries):
                value = entries[number]
            else:
                return False
        return True


def _overlaid(lower: Mapping[str, object], upper: Mapping[str, object]) -> dict[str, object]:
    merged = dict(lower)
    for name, value in upper.items():
        below = merged.get(name)
        merged[name] = _overlaid(below, value) if isinstance(below, Mapping) and isinstance(value, Mapping) else value
    return merged


class _Check:
    """One check of merged tables. It collects `faults`."""

    def __init__(self, merged: _Merged, connectors: ConnectorOptions, folder: str, environment: Mapping[str, str]) -> None:
        self.faults: list[Fault] = []
        self._merged: Final = merged
        self._connectors: Final = connectors
        self._environment: Final = environment
        self._context: Final = {"folder": os.path.abspath(folder)}
        self._shard: Final = self._shard_name()
        self._left_out: Final[set[Key]] = set()

    def configuration(self) -> Configuration:
        """The configuration without its bad parts: a bad value is replaced by its default. Their faults are in `faults`."""
        known = Configuration.model_fields
        for name in self._merged.tables.keys() - known.keys():
            self._unknown((name,), self._merged.tables[name], siblings=known)
        sources = self._connector_tables("sources", self._connectors.sources, self._connectors.default_sources)
        sinks = self._connector_tables("sinks", self._connectors.sinks, {})
        aggregates = self._named_tables("aggregates", AggregateOptions)
        services = self._named_tables("services", ServiceOptions)
        enrichers = self._named_tables("enrichers", EnricherOptions)
        parts = {name: self._section(name, annotation) for name, annotation in core_sections().items()}
        # A bad section is replaced by its defaults, so that contradictions between the other sections are still found.
        right = {name: part for name, part in parts.items() if part is not None}
        arrays = {name: self._array(name, model) for name, model in array_sections().items()}
        configuration = Configuration.model_validate(
            {
                "sources": sources,
                "sinks": sinks,
                "aggregates": aggregates,
                "services": services,
                "enrichers": enrichers,
                **right,
                **arrays,
            }
        )
        found = [(dotted, wanted) for dotted, wanted in contradictions(configuration) if not self._has_fault(dotted)]
        for dotted, wanted in found:
            if not is_a_consequence(dotted, configuration, self._left_out):
                self._fault(tuple(dotted.split(".")), _value_at(configuration, dotted), wanted)
        return configuration

    def import_classes(self, configuration: Configuration) -> None:
        """Imports the classes of the user that are named, and collects a fault for each that cannot be used."""
        for dotted, reference, wanted in unusable_classes(configuration):
            self._fault(tuple(dotted.split(".")), reference, wanted)

    def _has_fault(self, dotted: str) -> bool:
        """Whether a fault names this key, or something inside its value."""
        return any(fault.key == dotted or fault.key.startswith((f"{dotted}.", f"{dotted}[")) for fault in self.faults)

    def _shard_name(self) -> str:
        """What `{shard}` becomes; empty without a valid `engine.shard`. `_section` reports an invalid one."""
        engine = self._merged.tables.get("engine")
        shard = with_variables(engine.get("shard", ""), self._environment, {}) if isinstance(engine, Mapping) else ""
        return shard_name(shard) if isinstance(shard, str) else ""

    def _section(self, name: str, model: type[Section]) -> Section | None:
        """One core section, or None if it has a fault."""
        table = self._table((name,))
        return None if table is None else self._validated((name,), model, table)

    def _array(self, name: str, model: type[Section]) -> tuple[Section, ...]:
        """The tables of one array. Bad tables are left out."""
        tables = self._merged.tables.get(name, ())
        if not isinstance(tables, tuple) or not all(isinstance(table, Mapping) for table in tables):
            self._fault((name,), tables if tables != {} else None, f"an array of tables: [[{name}]]")
            return ()
        found = [self._validated((element(name, number),), model, table) for number, table in enumerate(tables)]
        return tuple(section for section in found if section is not None)

    def _named_tables(self, kind: str, model: type[SectionOptions]) -> dict[str, SectionOptions]:
        """Each named table under `kind` as its model. Bad tables are left out."""
        options = {}
        for name, table in (self._table((kind,)) or {}).items():
            if wanted := name_fault(kind, name):
                self._fault((kind, name), None, wanted)
            elif not isinstance(table, Mapping):
                self._fault((kind, name), table, f"a table: [{kind}.NAME]")
            elif found := self._validated((kind, name), model, table):
                options[name] = found
        return options

    def _connector_tables(
        self, kind: str, models: Mapping[str, type[Options]], defaults: Mapping[str, Mapping[str, str]]
    ) -> dict[str, Options]:
        """The options of each named table under `kind`. Bad tables are left out."""
        tables = self._table((kind,))
        if tables == {}:
            tables = {name: {} for name in defaults}
        options = {}
        for name, table in (tables or {}).items():
            if wanted := name_fault(kind, name):
                self._fault((kind, name), None, wanted)
            if not isinstance(table, Mapping):
                self._fault((kind, name), table, f"a table: [{kind}.NAME]")
            elif model := self._connector_model((kind, name), table, models):
                filled = {**defaults.get(name, {}), **table} if model is models[self._connectors.default_type] else table
                if found := self._validated((kind, name), model, filled):
                    options[name] = found
        return options

    def _connector_model(
        self, key: Key, table: Mapping[str, object], models: Mapping[str, type[Options]]
    ) -> type[Options] | None:
        """The option model that the table's `type` names."""
        named = table.get("type", self._connectors.default_type)
        model = models.get(str(named)) if isinstance(named, str) else None
        if model is None:
            self._fault((*key, "type"), named, " or ".join(f'"{name}"' for name in sorted(models)))
        return model

    def _table(self, key: Key) -> Mapping[str, object] | None:
        """The table at a top-level key: empty if the key is missing, None if it is not a table."""
        value = self._merged.tables.get(key[0], {})
        if isinstance(value, Mapping):
            return value
        self._fault(key, value, "a table")
        return None

    def _validated(self, key: Key, model: type[SectionOptions], table: Mapping[str, object]) -> SectionOptions | None:
        """`table` as its model, or None if it is bad. Collects its faults; an unknown key does not hide other faults."""
        known = keys_of(model)
        for name in table.keys() - known.keys():
            self._unknown((*key, name), table[name], siblings=known)
        missing: dict[Key, str] = {}
        values: dict[str, object] = {
            name: with_variables(table[name], self._environment, missing, (name,)) for name in known if name in table
        }
        for name in SHARDED_PATHS.get(key[0], ()):
            if name in values:
                values[name] = with_shard(values[name], self._shard)
        for below, variable in missing.items():
            self._fault(
                (*key, *below),
                None,
                f"the variable {variable} of the environment, which is not set; write $${{{variable}}} if you mean the text",
            )
        try:
            return model.model_validate(values, context=self._context)
        except ValidationError as error:
            bad = findings(error.errors(include_url=False), values)
            for found in bad:
                if found.key not in missing:
                    self._fault((*key, *found.key), found.value, found.wanted, inside=found.inside)
            right = self._with_defaults(model, values, bad)
            if right is None:
                self._left_out.add(key)
            return right

    def _with_defaults(
        self, model: type[SectionOptions], values: Mapping[str, object], bad: Sequence[Findings]
    ) -> SectionOptions | None:
        """The table with the default of each bad key, so that contradictions with its other keys are found too.

        None if there is no default, or if a bad key decides what the others mean.
        """
        names = {found.key[0] if found.key else "" for found in bad}
        if "" in names or names & _DECISIVE_KEYS or model in (AggregateOptions, TransformOptions):
            return None
        try:
            return model.model_validate({name: values[name] for name in values.keys() - names}, context=self._context)
        except ValidationError:
            return None

    def _fault(self, key: Key, value: object, wanted: str, *, inside: str = "") -> None:
        dotted = ".".join(key)
        self.faults.append(Fault(self._merged.origin(key), dotted + inside, shown_value(dotted, value), wanted))

    def _unknown(self, key: Key, value: object, *, siblings: Mapping[str, object]) -> None:
        dotted = ".".join(key)
        suggestion = nearest(key[-1], siblings, _core_keys(), prefix="".join(f"{name}." for name in key[:-1]))
        shown = "" if isinstance(value, Mapping) else shown_value(dotted, value)
        self.faults.append(Fault(self._merged.origin(key), dotted, shown, UNKNOWN_KEY, suggestion))


SectionOptions = TypeVar("SectionOptions", bound=Section)


def core_sections() -> dict[str, type[Section]]:
    """The sections that are one table each: no named tables, no arrays."""
    annotations = {name: info.annotation for name, info in Configuration.model_fields.items()}
    return {name: kind for name, kind in annotations.items() if isinstance(kind, type) and issubclass(kind, Section)}


def array_sections() -> dict[str, type[Section]]:
    """The sections that are arrays of tables, in order: `[[name]]`."""
    found = {}
    for name, info in Configuration.model_fields.items():
        if get_origin(info.annotation) is tuple:
            model, _ = get_args(info.annotation)
            found[name] = model
    return found


def _core_keys() -> Sequence[str]:
    """Every dotted key of the core sections."""
    return [f"{name}.{key}" for name, model in core_sections().items() for key in model.model_fields]


def _value_at(configuration: Configuration, dotted: str) -> object:
    """The value at a dotted key, or None if the key names a whole table."""
    value: object = configuration
    for name in dotted.split("."):
        value = value.get(name) if isinstance(value, Mapping) else getattr(value, name, None)
    if isinstance(value, ConfiguredPath):
        return value.written
    return None if isinstance(value, BaseModel) or callable(value) else value
