"""The probes of everything that a configuration names.

Owns: which source, sink and class is probed, and in which order.
Always: an error of a probe is a finding. Each service is probed once.
Never: knows a technology (connectors do).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from event_processor.assembly.connectors import CONNECTORS
from event_processor.assembly.environment import Environment
from event_processor.assembly.formats import record_format
from event_processor.configuration.configuration import Configuration
from event_processor.model.errors import EventProcessorError
from event_processor.model.options import SinkOptions
from event_processor.model.probes import Finding, ProbeContext
from event_processor.model.remote import RemoteSinkOptions, ServiceOptions

__all__ = ["probes"]


def probes(configuration: Configuration, environment: Environment, *, may_request: bool) -> Iterator[Finding]:
    """What is found of every source, sink and enricher, one after the other. `may_request`: as in `ProbeContext`."""
    probed: set[str] = set()
    for name, source in configuration.sources.items():
        key = f"sources.{name}"
        yield from _found(key, _format_probe(key, configuration, name))
        yield from _found(
            key, _probe(source.type, source, ProbeContext(key, environment, may_request=may_request, probed=probed))
        )
    for name, sink in configuration.sinks.items():
        key = f"sinks.{name}"
        service, is_snapshot = _service(configuration, sink), sink.input in configuration.snapshot_inputs
        context = ProbeContext(key, environment, service, may_request=may_request, probed=probed, is_snapshot=is_snapshot)
        yield from _found(key, _probe(sink.type, sink, context))
    for name, enricher in configuration.enrichers.items():
        key, service = f"enrichers.{name}", configuration.services.get(enricher.service)
        context = ProbeContext(key, environment, service, may_request=may_request, probed=probed)
        yield from _found(key, _probe(enricher.type, enricher, context))


def _probe(type_name: str, options: object, context: ProbeContext) -> Callable[[], Iterable[Finding]]:
    return lambda: CONNECTORS[type_name].probe(options, context)


def _format_probe(key: str, configuration: Configuration, name: str) -> Callable[[], Iterable[Finding]]:
    """Makes the format, which imports the user's classes: its reader, its transforms, its model."""

    def probe() -> Iterable[Finding]:
        record_format(configuration, configuration.sources[name])
        return [Finding(key, "ok", "its records can be read: every class that the configuration names for them is there")]

    return probe


def _found(key: str, probe: Callable[[], Iterable[Finding]]) -> Iterator[Finding]:
    try:
        yield from probe()
    except EventProcessorError as error:
        yield Finding(key, "wrong", error.message, error.hint)


def _service(configuration: Configuration, sink: SinkOptions) -> ServiceOptions | None:
    return configuration.services.get(sink.service) if isinstance(sink, RemoteSinkOptions) else None
