"""The connector of `type = "python"`: a sink that is a class of the user's.

Owns: how the class is found and checked before it gets a record.
Never: keeps a state or sends anything.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable

from event_processor.configuration.user_classes import load_class, make_own
from event_processor.connectors.python.options import PythonSinkOptions
from event_processor.model.connector import CURSOR, Connector, Guarantee
from event_processor.model.delivery import Receiver, ReceiverContext
from event_processor.model.errors import ConfigurationError
from event_processor.model.probes import Finding, ProbeContext
from event_processor.model.remote import ServiceOptions

__all__ = ["PythonConnector"]

PAGE = "docs/delivery.md"


class PythonConnector(Connector):
    """See `Connector`."""

    type_name = "python"
    sink_options = PythonSinkOptions

    def guarantee(self, options: PythonSinkOptions) -> Guarantee:  # noqa: ARG002 - the same for all
        """At least once."""
        return Guarantee("at least once, with a stable key", f"{CURSOR}, with the same keys")

    def probe(self, options: PythonSinkOptions, context: ProbeContext) -> Iterable[Finding]:
        """Whether the class can be imported. It is not called."""
        key = f"{context.key}.class"
        own = load_class(key, options.class_)
        if not inspect.iscoroutinefunction(getattr(own, "deliver", None)):
            return [Finding(key, "wrong", f'"{options.class_}" has no "async def deliver"', f"{PAGE} has an example")]
        return [Finding(key, "ok", f'"{options.class_}" can be imported')]

    def receiver(self, options: PythonSinkOptions, context: ReceiverContext) -> Receiver:
        """A receiver with one object of the class."""
        key = f"sinks.{context.name}.class"
        own = make_own(key, options.class_, options.options, method="deliver", page=PAGE)
        if not inspect.iscoroutinefunction(own.deliver):
            raise ConfigurationError(
                f'{key}: deliver of "{options.class_}" is not a coroutine', hint=f'write it as "async def"; {PAGE} has an example'
            )
        # Imported only if there is such a sink: every command starts faster without asyncio.
        from event_processor.connectors.python.receiver import PythonReceiver  # noqa: PLC0415

        service = context.service or ServiceOptions()
        return PythonReceiver(own, service.timeout_s)
