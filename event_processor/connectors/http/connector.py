"""The connector of `type = "http"`: a sink that sends records in HTTP requests.

Owns: what such a sink needs before it can be made.
Always: httpx2 is imported only if a receiver or an enricher is made: it is the extra `http`.
Never: keeps a state or connects.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from event_processor.connectors.http.options import HttpSinkOptions
from event_processor.model.connector import CURSOR, Connector, Guarantee
from event_processor.model.delivery import Receiver, ReceiverContext, Request
from event_processor.model.enriching import Enricher, EnricherOptions
from event_processor.model.errors import ConfigurationError, UsageError
from event_processor.model.probes import Finding, ProbeContext

if TYPE_CHECKING:
    from event_processor.connectors.http.credentials import Credentials

__all__ = ["HttpConnector"]


class HttpConnector(Connector):
    """See `Connector`."""

    type_name = "http"
    sink_options = HttpSinkOptions

    def guarantee(self, options: HttpSinkOptions) -> Guarantee:  # noqa: ARG002 - the same for all
        """At least once."""
        return Guarantee("at least once, with a stable key", f"{CURSOR}, with the same Idempotency-Key")

    def shown_body(self, options: HttpSinkOptions, request: Request) -> bytes:
        """See `Connector`."""
        from event_processor.connectors.http.body import BodyWriter, UnencodableError  # noqa: PLC0415 - only to show it

        try:
            return BodyWriter(options.body, options.body_fields).body(request.records, request.keys)
        except UnencodableError as error:
            raise UsageError(f"{request.key}: {error}", hint="repair the record, or correct the sink's fields") from error

    def probe(self, options: HttpSinkOptions | EnricherOptions, context: ProbeContext) -> Iterable[Finding]:
        """The service's connection, TLS, token and answer."""
        if context.service is None or options.service in context.probed:
            return ()
        context.probed.add(options.service)
        try:
            from event_processor.connectors.http.probe import probe_service  # noqa: PLC0415 - an extra
        except ImportError as error:
            raise _extra_missing(context.key, error) from error
        from event_processor.connectors.http.credentials import Credentials  # noqa: PLC0415 - it imports ssl

        credentials = Credentials(context.service, context.world.fs, context.environment)
        key = f"services.{options.service}"
        return probe_service(key, credentials, context.world.clock, may_request=context.may_request)

    def receiver(self, options: HttpSinkOptions, context: ReceiverContext) -> Receiver:
        """A receiver with connections of its own."""
        _require_client(f"sinks.{context.name}", context)
        from event_processor.connectors.http.client import HttpClient  # noqa: PLC0415 - an extra
        from event_processor.connectors.http.receiver import HttpReceiver  # noqa: PLC0415 - an extra

        return HttpReceiver(options, HttpClient(_credentials(context), context.world.clock))

    def enricher(self, options: EnricherOptions, context: ReceiverContext) -> Enricher:
        """An enricher with connections of its own."""
        _require_client(f"enrichers.{context.name}", context)
        from event_processor.connectors.http.client import HttpClient  # noqa: PLC0415 - an extra
        from event_processor.connectors.http.enricher import ANSWER_BYTES_MAX, HttpEnricher  # noqa: PLC0415 - an extra

        client = HttpClient(_credentials(context), context.world.clock, answer_bytes_max=ANSWER_BYTES_MAX)
        return HttpEnricher(options, client)


def _require_client(table: str, context: ReceiverContext) -> None:
    """Raises `ConfigurationError` if there is no address, or if the client is not installed."""
    if context.service is None or context.service.base_url is None:
        raise ConfigurationError(f"{table}: no address to send to", hint="set service, and base_url in [services.NAME]")
    try:
        import httpx2  # noqa: F401, PLC0415 - an extra
    except ImportError as error:
        raise _extra_missing(table, error) from error


def _credentials(context: ReceiverContext) -> Credentials:
    from event_processor.connectors.http.credentials import Credentials  # noqa: PLC0415 - it imports ssl

    assert context.service is not None, "an address was required"
    return Credentials(context.service, context.world.fs, context.environment)


def _extra_missing(key: str, error: ImportError) -> ConfigurationError:
    return ConfigurationError(
        f'{key}: type = "http" needs httpx2, which cannot be imported: {error}',
        hint="install it: pip install 'event-processor[http]'",
    )
