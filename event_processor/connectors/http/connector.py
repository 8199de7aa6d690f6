"""The connector of `type = "http"`: a sink that sends records in HTTP requests.

Owns: what such a sink needs before it can be made.
Always: httpx2 is imported only if a receiver is made: it is the extra `http`.
Never: keeps a state or connects.
"""

from __future__ import annotations

from event_processor.connectors.http.credentials import Credentials
from event_processor.connectors.http.options import HttpSinkOptions
from event_processor.model.connector import Connector
from event_processor.model.delivery import Receiver, ReceiverContext
from event_processor.model.errors import ConfigurationError

__all__ = ["HttpConnector"]


class HttpConnector(Connector):
    """See `Connector`."""

    type_name = "http"
    sink_options = HttpSinkOptions

    def receiver(self, options: HttpSinkOptions, context: ReceiverContext) -> Receiver:
        """A receiver with connections of its own."""
        service = context.service
        if service is None or service.base_url is None:
            raise ConfigurationError(
                f"sinks.{context.name}: no address to send to", hint="set service, and base_url in [services.NAME]"
            )
        try:
            from event_processor.connectors.http.client import HttpClient  # noqa: PLC0415 - an extra
            from event_processor.connectors.http.receiver import HttpReceiver  # noqa: PLC0415 - an extra
        except ImportError as error:
            raise ConfigurationError(
                f'sinks.{context.name}: type = "http" needs httpx2, which cannot be imported: {error}',
                hint="install it: pip install 'event-processor[http]'",
            ) from error
        credentials = Credentials(service, context.world.fs, context.environment)
        return HttpReceiver(options, HttpClient(credentials, context.world.clock))
