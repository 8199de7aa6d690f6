"""Records for a topic, sent as they come: the producer behind `event-processor produce`.

Owns: `KafkaPublisher`, and which of the configured tables says how the brokers are reached.
Always: the producer is idempotent and waits for all replicas in sync, so no retry of the library writes a record twice or out of order.
Never: makes a topic; uses a transaction.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from confluent_kafka import KafkaError, KafkaException, TopicCollection
from confluent_kafka import Message as Report
from confluent_kafka.admin import AdminClient, ConfigResource  # type: ignore[attr-defined]  # it has them from its parts
from pydantic import ValidationError

from event_processor.connectors.kafka.client import error_of, words_of
from event_processor.connectors.kafka.client_options import KafkaClientOptions, client_settings
from event_processor.connectors.kafka.failures import verdict_of
from event_processor.connectors.kafka.producer_session import BATCH_BYTES, DEFAULTS, RECORD_BYTES_MAX
from event_processor.connectors.kafka.sink_clients import REQUEST_S, SLICE_S, Clients, Interruption
from event_processor.connectors.kafka.sink_messages import UnfitError, key_reader
from event_processor.model.answers import Verdict
from event_processor.model.errors import ConfigurationError, EventProcessorError, NotAnsweredError, UsageError
from event_processor.model.publishing import PublisherContext
from event_processor.model.transactions import TransactionError

__all__ = ["KafkaPublisher", "chosen_options"]

QUEUE_KB_MAX: Final = 65_536
OVERHEAD_BYTES: Final = 100
"""Of a batch, at the most, that the broker counts and the library does not."""


def chosen_options(configured: Sequence[KafkaClientOptions], context: PublisherContext) -> KafkaClientOptions:
    """How the brokers are reached: by the address of the context, or as the table with its topic says, or the only table.

    Raises `UsageError` if that is not clear.
    """
    if context.address:
        try:
            return KafkaClientOptions(brokers=context.address)
        except ValidationError as error:
            words = "; ".join(str(found["msg"]) for found in error.errors(include_url=False))
            raise UsageError(
                f"--brokers {context.address}: wanted: {words}", hint="see event-processor produce --help"
            ) from error
    of_topic = [each for each in configured if getattr(each, "topic", "") == context.topic]
    found = of_topic or list(configured)
    if not found or any(_reach(each) != _reach(found[0]) for each in found):
        raise UsageError(
            f"{context.topic}: it is not clear which brokers have this topic",
            hint="name them with --brokers, or in a source or a sink of type kafka with this topic",
        )
    return found[0]


def _reach(options: KafkaClientOptions) -> object:
    return options.model_dump(include=set(KafkaClientOptions.model_fields))


class KafkaPublisher:
    """See `Publisher`."""

    def __init__(self, options: KafkaClientOptions, context: PublisherContext) -> None:
        """Looks at the topic. Raises `ConfigurationError` if it cannot be written, `NotAnsweredError` if no broker answers."""
        self._topic: Final = context.topic
        self._key_of: Final = key_reader(context.key)
        self._is_keyed: Final = bool(context.key)
        now = context.world.clock.monotonic_s
        late_s = now() + REQUEST_S
        settings = client_settings(options, context.world.fs, context.environment)
        self._clients: Final = Clients(settings, "produce", Interruption(lambda: now() > late_s))
        try:
            bytes_max = self._record_bytes_max(self._clients.admin())
        except TransactionError as error:
            raise _raised(error) from error
        defaults = {
            name: value
            for name, value in {**DEFAULTS, "queue.buffering.max.kbytes": QUEUE_KB_MAX}.items()
            if name not in options.client
        }
        own = {
            "enable.idempotence": True,
            "delivery.report.only.error": True,
            # A record that is too large is then alone in its batch, and takes no other with it.
            "batch.size": min(int(options.client.get("batch.size", BATCH_BYTES)), bytes_max - OVERHEAD_BYTES),
        }
        self._producer: Final = self._clients.producer({**defaults, **own})
        self._taken = 0
        self._failure: KafkaError | None = None
        self.refused = 0
        self.refusal = ""
        self.without_key = 0

    def _record_bytes_max(self, admin: AdminClient) -> int:
        """The largest batch that the topic takes, if we may know. Raises `TransactionError` if there is no such topic."""
        futures = admin.describe_topics(TopicCollection([self._topic]), request_timeout=REQUEST_S)
        doing = f"topic {self._topic}"
        self._clients.call(lambda: self._clients.result(admin, futures[self._topic], doing), doing)
        resource = ConfigResource(ConfigResource.Type.TOPIC, self._topic)
        try:
            found = self._clients.result(admin, admin.describe_configs([resource], request_timeout=REQUEST_S)[resource], doing)
        except KafkaException:
            return RECORD_BYTES_MAX
        return int(found["max.message.bytes"].value)

    @property
    def pending(self) -> int:
        """See `Publisher`."""
        return len(self._producer)

    @property
    def acknowledged(self) -> int:
        """See `Publisher`."""
        return self._taken - self.refused - self.pending

    def publish(self, record: bytes) -> None:
        """See `Publisher`."""
        try:
            key = self._key_of(record)
        except UnfitError:
            key = None
        self.without_key += self._is_keyed and key is None
        while True:
            try:
                self._producer.produce(self._topic, record, key, on_delivery=self._reported)
            except BufferError:
                self.wait(SLICE_S)
            except KafkaException as exception:
                self._taken += 1
                self._refuse(error_of(exception))
                return
            else:
                self._taken += 1
                return

    def wait(self, timeout_s: float) -> None:
        """See `Publisher`."""
        self._producer.poll(timeout_s)
        if self._clients.errors.refusal is not None:
            raise ConfigurationError(
                f"produce: {words_of(self._clients.errors.refusal)}", hint="correct user, password or certificates"
            )
        if self._failure is not None:
            if verdict_of(self._failure) is Verdict.WAIT:
                raise NotAnsweredError(
                    f"{self._topic}: {words_of(self._failure)}", hint="make the brokers available, then send the rest"
                )
            raise ConfigurationError(
                f"{self._topic}: {words_of(self._failure)}", hint="look at the topic and at the user's rights"
            )

    def _reported(self, error: KafkaError | None, _report: Report) -> None:
        if error is not None:
            self._refuse(error)

    def _refuse(self, error: KafkaError) -> None:
        if verdict_of(error) is Verdict.BAD:
            self.refused += 1
            self.refusal = self.refusal or words_of(error)
        elif self._failure is None:
            self._failure = error

    def close(self) -> None:
        """See `Publisher`."""
        self._producer.purge()


def _raised(error: TransactionError) -> EventProcessorError:
    if error.answer.verdict is Verdict.WAIT:
        return NotAnsweredError(f"produce: {error.answer.words}", hint="make the brokers available, then repeat the command")
    return ConfigurationError(f"produce: {error.answer.words}", hint=error.remedy)
