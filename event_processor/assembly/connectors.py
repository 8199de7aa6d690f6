"""The table of connectors, and everything that the rest of the program asks of sources and sinks through it.

Owns: the types that exist: the built-in ones, and those that other packages offer by the entry point group
`event_processor.connectors`; the options models by type; and, for `verify`, `replay` and `reset`, a sink's replica, files and
committed output.
Always: a connector is imported only when it is used. An unknown type is a fault.
Never: keeps a state or sequences anything.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import cache, partial
from importlib import import_module
from typing import TYPE_CHECKING, Final, TypeVar

from event_processor.assembly.environment import Environment
from event_processor.assembly.intake import intake_options
from event_processor.assembly.reading_journal import retired_positions
from event_processor.configuration import ConnectorOptions
from event_processor.configuration.configuration import EVENTS, RESERVED_SOURCE_NAME, Configuration
from event_processor.engine.state import SourceState
from event_processor.model.connector import (
    CommittedOutput,
    Connector,
    Guarantee,
    Lag,
    PastGeneration,
    SinkContext,
    SourceContext,
    TableChanges,
)
from event_processor.model.contracts import Sink, SinkPath, Source
from event_processor.model.errors import ConfigurationError
from event_processor.model.event import Json
from event_processor.model.messages import readable_path
from event_processor.model.options import ConfiguredPath, SinkOptions, SourceOptions
from event_processor.model.remote import RemoteSinkOptions
from event_processor.model.snapshots import SNAPSHOT_BY, SNAPSHOT_WORDS
from event_processor.model.telemetry import Telemetry

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

    from event_processor.connectors.files.following.watch import LogWatcher
    from event_processor.model.committed_rows import CommittedRows
    from event_processor.model.delivery import ReceiverContext
    from event_processor.model.publishing import Publisher, PublisherContext

__all__ = [
    "CONNECTORS",
    "CONNECTOR_OPTIONS",
    "SINK_OPTIONS",
    "SOURCE_OPTIONS",
    "all_sources",
    "chooses_start",
    "committed_outputs",
    "fresh_sink_paths",
    "guarantees",
    "lag_bytes",
    "lag_of_source",
    "lags",
    "make_publisher",
    "make_sink",
    "make_sink_replica",
    "make_source",
    "outside_p2",
    "receiver_context",
    "remarks",
    "reopen_generation",
    "resume_source",
    "sink_files",
    "sink_path_of",
    "sources_that_ask",
    "table_changes",
    "watch_sources",
    "weak_sources",
]

GROUP: Final = "event_processor.connectors"
BUILT_IN: Final[Mapping[str, str]] = {
    "file": "files.connector:FilesConnector",
    "http": "http.connector:HttpConnector",
    "kafka": "kafka.connector:KafkaConnector",
    "python": "python.connector:PythonConnector",
    "s3": "s3.connector:S3Connector",
    "sql": "sql.connector:SqlConnector",
}
"""The module and the class of each built-in connector, by its type. One that a configuration does not use costs a command nothing."""


class Connectors(Mapping[str, Connector]):
    """Every connector by its type. A connector is imported at its first use."""

    def __init__(self) -> None:
        self._known: Final[dict[str, Connector]] = {}

    def __getitem__(self, type_name: str) -> Connector:
        """Raises `KeyError` for an unknown type, `ConfigurationError` if the package that offers it cannot be used."""
        if type_name not in self._known:
            built_in = BUILT_IN.get(type_name)
            self._known[type_name] = _built_in(built_in) if built_in else _loaded(_offered()[type_name])
        return self._known[type_name]

    def __iter__(self) -> Iterator[str]:
        return iter({**BUILT_IN, **_offered()})

    def __len__(self) -> int:
        return len({**BUILT_IN, **_offered()})


@cache
def _offered() -> Mapping[str, EntryPoint]:
    """What other packages offer, by type. Looked for only if a type is not built in: it reads a file of every installed package."""
    from importlib.metadata import entry_points  # noqa: PLC0415

    return {each.name: each for each in entry_points(group=GROUP)}


def _built_in(place: str) -> Connector:
    module, _, name = place.partition(":")
    connector = getattr(import_module(f"event_processor.connectors.{module}"), name)()
    assert isinstance(connector, Connector)
    return connector


def _loaded(offered: EntryPoint) -> Connector:
    """The connector that an entry point names: an instance of `Connector`, or a class that makes one."""
    try:
        found = offered.load()
        connector = found() if isinstance(found, type) else found
    except Exception as error:
        raise ConfigurationError(
            f'type = "{offered.name}": the connector {offered.value} cannot be loaded: {type(error).__name__}: {error}',
            hint="repair or remove the package that offers it",
        ) from error
    if not isinstance(connector, Connector):
        raise ConfigurationError(
            f'type = "{offered.name}": {offered.value} is not a connector',
            hint="it must be an event_processor.Connector, or a class that extends it",
        )
    return connector


CONNECTORS: Final = Connectors()
Options = TypeVar("Options", SourceOptions, SinkOptions)


class OptionsByType(Mapping[str, type[Options]]):
    """The options models of the sources, or of the sinks, by type. Types that offer none are left out."""

    def __init__(self, options_of: Callable[[Connector], type[Options] | None]) -> None:
        self._options_of: Callable[[Connector], type[Options] | None] = options_of

    def __getitem__(self, type_name: str) -> type[Options]:
        found = self._options_of(CONNECTORS[type_name])
        if found is None:
            raise KeyError(type_name)
        return found

    def __iter__(self) -> Iterator[str]:
        """A type that cannot be loaded is included: the error is raised when it is used."""
        for name in CONNECTORS:
            try:
                is_offered = self._options_of(CONNECTORS[name]) is not None
            except ConfigurationError:
                is_offered = True
            if is_offered:
                yield name

    def __len__(self) -> int:
        return sum(1 for _ in self)


SOURCE_OPTIONS: Final[Mapping[str, type[SourceOptions]]] = OptionsByType(lambda connector: connector.source_options)
SINK_OPTIONS: Final[Mapping[str, type[SinkOptions]]] = OptionsByType(lambda connector: connector.sink_options)
CONNECTOR_OPTIONS: Final = ConnectorOptions(
    sources=SOURCE_OPTIONS,
    sinks=SINK_OPTIONS,
    default_type="file",
    default_sources={"events": {"path": "events/events.jsonl"}},
)
"""The types that the configuration loader accepts. The configuration itself knows no connector."""


# Sources.


def all_sources(configuration: Configuration, intake_directory: str) -> dict[str, SourceOptions]:
    """The configured sources and the intake, which always exists."""
    return {**configuration.sources, RESERVED_SOURCE_NAME: intake_options(intake_directory)}


def make_source(options: SourceOptions, context: SourceContext) -> Source:
    """A source, not opened yet. Raises `ConfigurationError`."""
    return CONNECTORS[options.type].source(options, context)


def resume_source(source: Source, progress: SourceState) -> None:
    """Opens a source at its committed positions."""
    source.open(progress.positions(), progress.next_generation())


def watch_sources(configuration: Configuration, environment: Environment) -> LogWatcher:
    """Watches the configured sources' folders.

    A change wakes the loop; polling finds what the watcher misses. The caller stops it.
    The intake is only polled: its folder is the state's, so each of our commits would cause a notice.
    """
    from event_processor.connectors.files.following.watch import LogWatcher  # noqa: PLC0415 - only to run

    patterns = [pattern for options in configuration.sources.values() for pattern in options.patterns()]
    watcher = LogWatcher(patterns, environment.wakeup, fs=environment.fs, telemetry=environment.telemetry)
    watcher.start()
    return watcher


def remarks(configuration: Configuration, environment: Environment) -> list[str]:
    """What a person should know about the configured sources, though it is no fault. Raises `StorageError`."""
    return [
        f"sources.{name}: {readable_path(remark)}"
        for name, options in configuration.sources.items()
        for remark in CONNECTORS[options.type].remarks(options, environment)
    ]


def reopen_generation(options: SourceOptions, position: Mapping[str, Json], environment: Environment) -> PastGeneration | None:
    """Reopens a generation that was read before; None if it no longer exists. Raises `StateError`, `StorageError`."""
    return CONNECTORS[options.type].reopen(options, position, environment)


def outside_p2(configuration: Configuration) -> dict[str, frozenset[str]]:
    """By source, the fields of its positions that depend on the host."""
    sources = all_sources(configuration, str(configuration.state.dir))
    return {name: CONNECTORS[options.type].outside_p2 for name, options in sources.items()}


def host_fields(type_name: str) -> frozenset[str]:
    """The fields of a position of this type of source that depend on the host; none if the type is not known here."""
    connector = CONNECTORS.get(type_name)
    return frozenset() if connector is None else connector.outside_p2


def lag_bytes(
    configuration: Configuration, environment: Environment, sources: Mapping[str, SourceState], *, journal_bytes: int
) -> int:
    """The unread bytes in the sources after the committed positions, as far as they are known. Changes nothing."""
    return sum(lag.size_bytes for lag in lags(configuration, environment, sources, journal_bytes=journal_bytes).values())


def lags(
    configuration: Configuration, environment: Environment, sources: Mapping[str, SourceState], *, journal_bytes: int
) -> dict[str, Lag]:
    """By source, how much is unread after the committed positions. Changes nothing.

    `journal_bytes`: the committed length of the reading journal.
    """
    names = all_sources(configuration, str(configuration.state.dir))
    return {
        name: lag_of_source(configuration, environment, name, sources.get(name) or SourceState(), journal_bytes=journal_bytes)
        for name in names
    }


def lag_of_source(
    configuration: Configuration, environment: Environment, name: str, progress: SourceState, *, journal_bytes: int
) -> Lag:
    """How much of one source is unread. May wait for another system, see `sources_that_ask`. Changes nothing."""
    directory = str(configuration.state.dir)
    options = all_sources(configuration, directory)[name]
    quiet = Environment(fs=environment.fs, clock=environment.clock, telemetry=Telemetry())
    context = SourceContext(name, quiet, retired=partial(retired_positions, environment.fs, directory, journal_bytes, name))
    return CONNECTORS[options.type].lag(options, context, progress.positions(), progress.next_generation())


def chooses_start(options: SourceOptions) -> bool:
    """Whether a source with these options begins where its input is at its first start."""
    return CONNECTORS[options.type].chooses_start(options)


def sources_that_ask(configuration: Configuration) -> frozenset[str]:
    """The sources whose lag is asked of another system."""
    return frozenset(name for name, options in configuration.sources.items() if CONNECTORS[options.type].asks_for_lag)


def weak_sources(configuration: Configuration) -> dict[str, Guarantee]:
    """By source, what it guarantees, if that is less than exactly once."""
    guarantees = {name: CONNECTORS[options.type].source_guarantee(options) for name, options in configuration.sources.items()}
    return {name: each for name, each in guarantees.items() if each.words != "exactly once"}


# Sinks.


def _timestamp_formats(configuration: Configuration, name: str) -> tuple[str, ...]:
    """How the timestamps of a sink's input are written: as the events' own, or, in rows and dead letters, as we write them."""
    return configuration.event.timestamp_formats if configuration.sinks[name].input == EVENTS else ("auto",)


def _context(configuration: Configuration, environment: Environment, name: str, committed: Mapping[str, int]) -> SinkContext:
    event = configuration.event
    formats = _timestamp_formats(configuration, name)
    return SinkContext(name, environment, committed, event.timestamp, event.timestamp_zone, formats)


def make_sink(configuration: Configuration, environment: Environment, name: str, committed: Mapping[str, int]) -> Sink:
    """The sink, resumed at `committed`, the checkpoint's `appended`. Raises as `Connector.sink` does."""
    options = configuration.sinks[name]
    return CONNECTORS[options.type].sink(options, _context(configuration, environment, name, committed))


def receiver_context(configuration: Configuration, environment: Environment, name: str) -> ReceiverContext:
    """The context of the receiver of a remote sink."""
    from event_processor.model.delivery import ReceiverContext  # noqa: PLC0415 - only if there is a remote sink

    options = configuration.sinks[name]
    assert isinstance(options, RemoteSinkOptions), "only those have receivers"
    paths = {each: getattr(source, "path", None) for each, source in configuration.sources.items()}
    return ReceiverContext(
        name,
        environment,
        configuration.services.get(options.service),
        timestamp_zone=configuration.event.timestamp_zone,
        timestamp_formats=_timestamp_formats(configuration, name),
        sources={each: path.written for each, path in paths.items() if isinstance(path, ConfiguredPath)},
        is_snapshot=options.input in configuration.snapshot_inputs,
        pipeline=configuration.state.name,
        shard=configuration.engine.shard,
    )


def table_changes(configuration: Configuration, environment: Environment, name: str, *, is_done: bool) -> TableChanges | None:
    """What must be done to the tables of a remote sink; None if it has none. See `Connector.table_changes`."""
    options = configuration.sinks[name]
    if not isinstance(options, RemoteSinkOptions):
        return None
    return CONNECTORS[options.type].table_changes(options, receiver_context(configuration, environment, name), is_done=is_done)


def committed_rows(configuration: Configuration, environment: Environment, name: str) -> CommittedRows | None:
    """What the receiver of a remote sink has committed; None if it cannot be read. See `Connector.committed_rows`."""
    options = configuration.sinks[name]
    return CONNECTORS[options.type].committed_rows(options, receiver_context(configuration, environment, name))


PUBLISHING_TYPE: Final = "kafka"


def make_publisher(configuration: Configuration, context: PublisherContext) -> Publisher:
    """What sends records to a topic, outside of any pipeline. Raises as `Connector.publisher` does."""
    tables: list[SourceOptions | SinkOptions] = [*configuration.sources.values(), *configuration.sinks.values()]
    return CONNECTORS[PUBLISHING_TYPE].publisher([each for each in tables if each.type == PUBLISHING_TYPE], context)


def guarantees(configuration: Configuration) -> dict[str, Guarantee]:
    """By sink, what it guarantees. Raises `ConfigurationError` if a connector of another package cannot be loaded."""
    snapshots = configuration.snapshot_inputs
    return {
        name: Guarantee(SNAPSHOT_WORDS, SNAPSHOT_BY)
        if options.input in snapshots
        else CONNECTORS[options.type].guarantee(options)
        for name, options in configuration.sinks.items()
    }


def make_sink_replica(
    configuration: Configuration, environment: Environment, name: str, committed: Mapping[str, int], path: str
) -> Sink:
    """The sink's replacement while a state is recomputed. It writes to `path`, if it writes at all."""
    options = configuration.sinks[name]
    return CONNECTORS[options.type].replica(options, _context(configuration, environment, name, committed), path)


def sink_path_of(configuration: Configuration) -> SinkPath:
    """The path of a sink's entry in `appended`; None if no configured sink has it."""

    def path_of(key: str) -> str | None:
        for name, options in configuration.sinks.items():
            if key.startswith(f"sinks.{name}:"):
                return CONNECTORS[options.type].sink_file(options, name, key)
        return None

    return path_of


def fresh_sink_paths(configuration: Configuration) -> dict[str, dict[str, str]]:
    """By sink, a recomputed state's entry in `appended` and the final path of its file; empty for a sink without files."""
    sinks = configuration.sinks.items()
    return {name: dict(CONNECTORS[options.type].fresh_files(options, name)) for name, options in sinks}


def sink_files(configuration: Configuration, environment: Environment) -> dict[str, list[str]]:
    """By sink, every existing file of it."""
    return {name: CONNECTORS[options.type].files(options, environment) for name, options in configuration.sinks.items()}


def committed_outputs(
    configuration: Configuration, environment: Environment, committed: Mapping[str, int]
) -> dict[str, CommittedOutput | None]:
    """By sink, its committed output; None if it keeps nothing to compare, or if the checkpoint does not know it."""
    return {
        name: CONNECTORS[options.type].committed_output(options, _context(configuration, environment, name, committed))
        for name, options in configuration.sinks.items()
    }
