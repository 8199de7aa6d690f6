"""Faults between the sections of a configuration that are each valid, and what is valid but seldom meant.

Owns: `contradictions`, `is_a_consequence` and `cautions`.
Always: a fault is a dotted key, and what is wanted there.
Never: changes a configuration; knows a connector by name.
"""

from __future__ import annotations

import glob
import os
from collections.abc import Collection, Iterator
from itertools import combinations
from typing import Final

from event_processor.configuration.aggregates import aggregate_contradictions
from event_processor.configuration.configuration import (
    AGGREGATES,
    CATEGORY_FIELDS,
    DEAD_LETTERS,
    EVENTS,
    TOTALS,
    Configuration,
    shard_name,
)
from event_processor.configuration.transforms import is_among, kept_fields
from event_processor.configuration.variables import SHARD_PLACE
from event_processor.model.event import DeadLetter
from event_processor.model.field_names import name_keys
from event_processor.model.globs import is_matched, may_share_names
from event_processor.model.options import SharedInput, SinkOptions
from event_processor.model.remote import RemoteSinkOptions

__all__ = ["cautions", "contradictions", "is_a_consequence"]

OWN_FILES: Final = (
    "journal.jsonl",
    "dead_letters.jsonl",
    "checkpoint.json",
    "checkpoint.previous.json",
    "conditions.json",
    "verification.json",
    "lock",
)
"""Files in every state directory."""
_TOKEN: Final = "[0-9a-f]" * 16
OWN_NAMES: Final = {
    "intake": ("[0-9]" * 13 + ".jsonl*",),
    **dict.fromkeys(("ids", "held", "windows", "closed", "sorted"), (f"*-{_TOKEN}",)),
    "outbox": ("*." + "[0-9]" * 12 + "*.jsonl",),
    "delivery": ("*.failed.jsonl", "*.retry.jsonl", "*.skip.*.json"),
    "history": ("lanes.json", "tries.[01].jsonl"),
}
"""Folders that a state directory may have, with the names of files there. A folder of a user's may have such a name too, but not such files."""


def contradictions(configuration: Configuration) -> Iterator[tuple[str, str]]:
    """Yields the faults between sections that are each valid: pairs of a dotted key and what is wanted there."""
    if configuration.order.by == "timestamp" and not configuration.event.timestamp:
        yield "event.timestamp", 'the field of the timestamp, since order.by = "timestamp" reads it'
    elif configuration.has_windows and not configuration.event.timestamp:
        yield "event.timestamp", "the field of the timestamp, since an aggregate has a window"
    if configuration.batch.linger_ms is not None and "pace_ms" in configuration.batch.model_fields_set:
        yield "batch.linger_ms", "only pace_ms: linger_ms is its former name, and both are given"
    for name, aggregate in configuration.aggregates.items():
        yield from aggregate_contradictions(name, aggregate)
    if configuration.http.listen and not configuration.http.is_loopback and configuration.http.token_file is None:
        yield "http.token_file", f"the file with a token, since other machines can reach {configuration.http.listen}"
    if configuration.jobs.is_enabled and not configuration.http.listen:
        yield "http.listen", "the address of the server, since jobs.pipelines_dir is set and jobs come over HTTP"
    if configuration.intake.enabled:
        yield from _intake_contradictions(configuration)
    yield from _service_contradictions(configuration)
    yield from _sink_input_contradictions(configuration)
    yield from _sink_field_contradictions(configuration)
    yield from _sink_path_contradictions(configuration)
    yield from _sink_place_contradictions(configuration)
    yield from _source_contradictions(configuration)
    yield from _shard_contradictions(configuration)


def is_a_consequence(dotted: str, configuration: Configuration, left_out: Collection[tuple[str, ...]]) -> bool:
    """Whether a contradiction at this key only says that another table has a fault: one of those that were `left_out`."""
    section, name, key = (*dotted.split("."), "", "")[:3]
    if section == "enrichers":
        return key == "service" and ("services", configuration.enrichers[name].service) in left_out
    if section != "sinks":
        return False
    sink = configuration.sinks[name]
    if key == sink.fields_key:
        return sink.input == EVENTS and any(table[0].startswith("transforms[") for table in left_out)
    if key == "input":
        return (AGGREGATES, sink.input.removeprefix(f"{AGGREGATES}.")) in left_out
    if not isinstance(sink, RemoteSinkOptions):
        return False
    named = {"service": [("services", sink.service)], "enrich": [("enrichers", each) for each in sink.enrich]}
    return any(table in left_out for table in named.get(key, []))


def cautions(configuration: Configuration) -> Iterator[str]:
    """Yields what is valid, but seldom meant: the key, and what it costs."""
    for name, aggregate in configuration.aggregates.items():
        window = aggregate.window
        if window is not None and window.step_s > window.size_s:
            yield (
                f"aggregates.{name}.window.every_s = {window.step_s}: it is over size_s = {window.size_s}, "
                "so events between two windows are in no row"
            )
    for name, sink in configuration.sinks.items():
        yield from (f"sinks.{name}.{key}: {cost}" for key, cost in sink.cautions())
    if configuration.has_windows and configuration.order.by == "id":
        yield (
            'order.by = "id": windows close by time, so an event that comes after a later one, by id, is late for them; '
            'omit the key, or write "timestamp"'
        )
    pace_ms, idle_ms = round(1000 * (configuration.batch.pace_s or 0)), configuration.order.idle_release_ms
    holds_events = configuration.order_is_active and (configuration.order.buffer_events or configuration.has_windows)
    if holds_events and 0 < idle_ms < pace_ms:
        key = "pace_ms" if configuration.batch.linger_ms is None else "linger_ms"
        yield (
            f"batch.{key} = {pace_ms}: it is over order.idle_release_ms = {idle_ms}. While a commit is held, nothing is read and "
            f"nothing is released, so held events of a silent log come up to {pace_ms} ms late"
        )
    becomes = "its events are duplicates the second time" if _finds_duplicates(configuration) else "its events count twice"
    for first, second, shared in _shared_inputs(configuration):
        if not _is_refused(configuration, shared):
            reads, so = ("reads", "so") if shared.is_certain else ("may read", "then")
            yield f"sources.{second}.{shared.key}: sources.{first} {reads} {shared.reads} too; {so} {becomes}"


def _intake_contradictions(configuration: Configuration) -> Iterator[tuple[str, str]]:
    """Yields why events cannot be posted: a client that gets no answer must send them again, and they must count once."""
    if not configuration.http.listen:
        yield "http.listen", "an address, since intake.enabled takes events there"
    if not configuration.dedup.enabled:
        yield "dedup.enabled", "true, since a client of the intake sends events again if it gets no answer"
    elif configuration.event.id == "@position":
        yield "event.id", "a field, since a client of the intake sends events again, and then they have another position"
    if configuration.engine.shard:
        yield "engine.shard", '"", since the intake of a shard would not count the events of the others'


def _service_contradictions(configuration: Configuration) -> Iterator[tuple[str, str]]:
    """Yields sinks whose service does not exist, and services without the address that a sink needs."""
    known = ", ".join(f'"{name}"' for name in configuration.services) or "none is configured"
    for name, sink in configuration.sinks.items():
        if not isinstance(sink, RemoteSinkOptions) or not (sink.service or sink.needs_address):
            continue
        service = configuration.services.get(sink.service)
        if service is None:
            yield f"sinks.{name}.service", f"the name of a table [services.NAME] ({known})"
        elif sink.needs_address and service.base_url is None:
            yield f"services.{sink.service}.base_url", f"the address of the service, since sinks.{name} sends to it"
    yield from _enricher_contradictions(configuration, known)


def _enricher_contradictions(configuration: Configuration, services: str) -> Iterator[tuple[str, str]]:
    """Yields enrichers that no sink uses as they are meant, and those whose service does not exist or has no address."""
    for name, enricher in configuration.enrichers.items():
        service = configuration.services.get(enricher.service)
        if service is None:
            yield f"enrichers.{name}.service", f"the name of a table [services.NAME] ({services})"
        elif service.base_url is None:
            yield f"services.{enricher.service}.base_url", f"the address of the service, since enrichers.{name} asks it"
    known = ", ".join(f'"{name}"' for name in configuration.enrichers) or "none is configured"
    for name, sink in configuration.sinks.items():
        for enricher_name in sink.enrich if isinstance(sink, RemoteSinkOptions) else ():
            if enricher_name not in configuration.enrichers:
                yield f"sinks.{name}.enrich", f"names of tables [enrichers.NAME] ({known})"


def _sink_input_contradictions(configuration: Configuration) -> Iterator[tuple[str, str]]:
    """Yields sinks whose input does not exist."""
    with_rows = [f"{AGGREGATES}.{name}" for name, options in configuration.aggregates.items() if options.window]
    snapshots = configuration.snapshot_inputs
    for name, sink in configuration.sinks.items():
        known = [EVENTS, DEAD_LETTERS, *with_rows, *(snapshots if sink.takes_snapshots else ())]
        if sink.input not in known:
            of_which = "by its name" if sink.takes_snapshots else "with a window, by its name"
            inputs = ", ".join(f'"{each}"' for each in known)
            yield f"sinks.{name}.input", f"{inputs}: an aggregate {of_which}"
        elif sink.input in snapshots:
            yield from ((f"sinks.{name}.{key}", wanted) for key, wanted in sink.snapshot_faults(snapshots[sink.input]))


def _sink_field_contradictions(configuration: Configuration) -> Iterator[tuple[str, str]]:
    """Yields sinks with a column that their input never has."""
    kept = kept_fields(configuration.transforms)
    for name, sink in configuration.sinks.items():
        aggregate = configuration.aggregates.get(sink.input.removeprefix(f"{AGGREGATES}."))
        if sink.input == EVENTS:
            known = [*(kept or []), *_enriched_fields(configuration, sink)]
            unknown = [field for field in sink.fields() if kept is not None and not is_among(field, known)]
        else:
            of_input = {DEAD_LETTERS: DeadLetter.__struct_fields__, TOTALS: CATEGORY_FIELDS}
            known = list(of_input.get(sink.input) or (aggregate.row_names() if aggregate else ()))
            known = [*known, *_enriched_fields(configuration, sink)] if known else known
            unknown = [field for field in sink.fields() if known and ".".join(name_keys(field)) not in known]
        if unknown:
            yield (
                f"sinks.{name}.{sink.fields_key}",
                f'{sink.fields_key} of {sink.input} ({", ".join(known)}); it has no "{unknown[0]}"',
            )


def _enriched_fields(configuration: Configuration, sink: SinkOptions) -> list[str]:
    """The fields that a sink's enrichers set."""
    names = sink.enrich if isinstance(sink, RemoteSinkOptions) else ()
    return [field for name in names if name in configuration.enrichers for field in configuration.enrichers[name].set_fields]


def _sink_place_contradictions(configuration: Configuration) -> Iterator[tuple[str, str]]:
    """Yields sinks that would replace what another one writes."""
    remote = {name: sink for name, sink in configuration.sinks.items() if isinstance(sink, RemoteSinkOptions)}
    for (first, sink), (second, other) in combinations(remote.items(), 2):
        replaces = any(each.replaces or each.input in configuration.snapshot_inputs for each in (sink, other))
        if replaces and sink.target() == other.target():
            yield (
                f"sinks.{second}.{other.place_key}",
                f"another {other.place_key}: sinks.{first} writes there too, and one replaces rows",
            )


def _sink_path_contradictions(configuration: Configuration) -> Iterator[tuple[str, str]]:
    """Yields files that two sinks would write, or that are both read and written."""
    written = [
        (f"sinks.{name}.path", os.path.normpath(path)) for name, sink in configuration.sinks.items() for path in sink.paths()
    ]
    for (first, path), (second, other) in combinations(written, 2):
        if path == other:
            yield second, f"a different path: {first} writes this file too"
    state = os.path.normpath(configuration.state.dir)
    for key, path in written:
        if path == state or path.startswith(f"{state}/"):
            yield key, f"a path outside the state directory ({state})"
        for name, source in configuration.sources.items():
            if any(is_matched(path, os.path.normpath(pattern)) for pattern in source.patterns()):
                yield key, f"another path: sources.{name} reads this file, so the output would be read again"


def _shared_inputs(configuration: Configuration) -> Iterator[tuple[str, str, SharedInput]]:
    """Yields the names of two sources that read the same, and what."""
    for (first, one), (second, other) in combinations(configuration.sources.items(), 2):
        if one.type == other.type and (shared := other.shared_input(one)) is not None:
            yield first, second, shared


def _finds_duplicates(configuration: Configuration) -> bool:
    return configuration.dedup.enabled and configuration.event.id != "@position"


def _is_refused(configuration: Configuration, shared: SharedInput) -> bool:
    """Whether two sources may not read the same."""
    return shared.is_certain and not (shared.is_taken and _finds_duplicates(configuration))


def _source_contradictions(configuration: Configuration) -> Iterator[tuple[str, str]]:
    """Yields sources that read what another one reads, or our own files, of which each commit makes more."""
    for first, second, shared in _shared_inputs(configuration):
        if _is_refused(configuration, shared):
            yield f"sources.{second}.{shared.key}", f"{shared.wanted}: sources.{first} reads {shared.reads} too"
    state = os.path.normpath(configuration.state.dir)
    for name, source in configuration.sources.items():
        paths = [os.path.normpath(path) for path in source.patterns()]
        # Of these only names that rotation makes are read, and no file of ours has such a name.
        rotated = {f"{each}.*" for path in paths[:1] for each in (path, glob.escape(path))}
        for pattern in paths:
            own = next((file for file in OWN_FILES if is_matched(f"{state}/{file}", pattern)), "")
            own = own or ("" if pattern in rotated else _own_folder(state, pattern))
            if own:
                yield f"sources.{name}.path", f"a path that leaves out the state directory ({state}): it matches {own} there"
                break


def _own_folder(state: str, pattern: str) -> str:
    """The folder of the state directory that has files whose names `pattern` matches; empty if none has."""
    folder, name = os.path.split(pattern)
    for each, names in OWN_NAMES.items():
        if is_matched(f"{state}/{each}", folder) and any(may_share_names(name, own) for own in names):
            return f"{each}/"
    return ""


def _shard_contradictions(configuration: Configuration) -> Iterator[tuple[str, str]]:
    """Yields files that several shards would write, and paths of shards without a shard."""
    shard = shard_name(configuration.engine.shard)
    for name, sink in configuration.sinks.items():
        for path in sink.paths():
            if shard and shard not in path:
                yield (
                    f"sinks.{name}.path",
                    f"a path with {SHARD_PLACE}, because engine.shard is set: each shard writes files of its own",
                )
            elif not shard and SHARD_PLACE in path:
                yield f"sinks.{name}.path", f"a path without {SHARD_PLACE}, or engine.shard"
        if shard and isinstance(sink, RemoteSinkOptions) and sink.replaces and not _is_of_a_shard(sink):
            wanted = f"a url with {SHARD_PLACE}, because this sink replaces rows: shards would replace each other's"
            yield f"sinks.{name}.{sink.place_key}", wanted
    if not shard and SHARD_PLACE in configuration.state.dir:
        yield "state.dir", f"a path without {SHARD_PLACE}, or engine.shard"


def _is_of_a_shard(sink: RemoteSinkOptions) -> bool:
    """Whether the target, as it was written, is another one for each shard."""
    return any(SHARD_PLACE in value for value in sink.target().values() if isinstance(value, str))
