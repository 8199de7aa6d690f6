"""The part of the connector of `type = "kafka"` that concerns sinks.

Owns: `KafkaSink`: what such a sink needs before it can be made, and what it guarantees.
Always: the client library is imported only if a receiver or a probe is made: it is the extra `kafka`.
Never: keeps a state or connects.
"""

from __future__ import annotations

import os
import secrets
import socket
from collections.abc import Iterable, Sequence
from functools import partial
from typing import Final

from event_processor.connectors.kafka.client_options import KafkaClientOptions, client_settings
from event_processor.connectors.kafka.sink_options import KafkaSinkOptions
from event_processor.model.connector import Connector, Guarantee
from event_processor.model.delivery import ReceiverContext
from event_processor.model.probes import Finding, ProbeContext
from event_processor.model.publishing import Publisher, PublisherContext
from event_processor.model.remote import ServiceOptions
from event_processor.model.transactions import ReceiverTraits, TransactionalReceiver

__all__ = ["KafkaSink"]

BY: Final = (
    "its records, its failed records and its cursor are one transaction, which only the newest producer of its name can commit"
)
TIMEOUT_S: Final = 60.0
"""How long one transaction may take, if the sink has no service."""
CURSOR_TOPIC: Final = ReceiverTraits("cursor topic", goes_back=False)


class KafkaSink(Connector):
    """See `Connector`."""

    type_name = "kafka"
    sink_options = KafkaSinkOptions

    def guarantee(self, options: KafkaSinkOptions) -> Guarantee:
        """Exactly once, for those that read committed records."""
        words = "exactly once, for readers with isolation.level = read_committed"
        return Guarantee(f"{words}; each with one of its service's answers" if options.enrich else words, BY)

    def receiver(self, options: KafkaSinkOptions, context: ReceiverContext) -> TransactionalReceiver:
        """A receiver with clients and a thread of its own."""
        # Imported only if there is such a sink: the library is an extra.
        from event_processor import __version__  # noqa: PLC0415
        from event_processor.connectors.kafka.sink_transactions import Identity, KafkaTransactions  # noqa: PLC0415
        from event_processor.model.blocking_receiver import BlockingReceiver, WorkerThread  # noqa: PLC0415

        timeout_s = _timeout_s(context.service)
        transactions = KafkaTransactions(
            options,
            partial(client_settings, options, context.world.fs, context.environment),
            Identity(f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(8)}", f"event-processor {__version__}"),
            world=context.world,
            timeout_s=timeout_s,
        )
        return BlockingReceiver(transactions, WorkerThread(f"kafka {context.name}"), timeout_s, traits=CURSOR_TOPIC)

    def probe(self, options: KafkaSinkOptions, context: ProbeContext) -> Iterable[Finding]:
        """Whether the topics exist, and whether the cluster keeps what it has acknowledged."""
        from event_processor.connectors.kafka.sink_probe import probe_sink  # noqa: PLC0415 - an extra

        return probe_sink(options, context)

    def publisher(self, configured: Sequence[KafkaClientOptions], context: PublisherContext) -> Publisher:
        """An idempotent producer."""
        from event_processor.connectors.kafka.publisher import KafkaPublisher, chosen_options  # noqa: PLC0415 - an extra

        return KafkaPublisher(chosen_options(configured, context), context)


def _timeout_s(service: ServiceOptions | None) -> float:
    """How long one transaction may take, in seconds."""
    return TIMEOUT_S if service is None else service.timeout_s
