"""One producer with the lane's transactional id, and its transactions.

Owns: `ProducerSession`: how a producer fences off earlier ones, writes messages in one transaction, and is given up.
Always: a transaction is committed only if each of its messages was taken. After any failure the session is closed: the library cannot
go on after an aborted transaction, and a new producer settles what this one left.
Never: knows a cursor, or what a message is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Final

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka import Message as Report

from event_processor.connectors.kafka.client import error_of
from event_processor.connectors.kafka.failures import verdict_of
from event_processor.connectors.kafka.sink_clients import SLICE_S, Clients
from event_processor.connectors.kafka.sink_messages import Message
from event_processor.model.answers import Verdict

__all__ = ["BATCH_BYTES", "ProducerSession", "SessionOptions"]

ABORT_S: Final = 1.0
BATCH_BYTES: Final = 1_000_000
"""Of messages that are sent together, as the library has it."""
RECORD_BYTES_MAX: Final = 100_000_000
"""The largest request that brokers read by default (`socket.request.max.bytes`) is a little larger."""
QUEUE_KB_MAX: Final = 262_144


class SessionOptions:
    """What a session is made with. `batch_bytes`: of messages that are sent together. `is_alone`: each is sent alone, so that an error is its own."""

    def __init__(self, transactional_id: str, timeout_s: float, *, batch_bytes: int, is_alone: bool = False) -> None:
        self.transactional_id: Final = transactional_id
        self.batch_bytes: Final = batch_bytes
        self.is_alone: Final = is_alone
        self._timeout_ms: Final = max(1000, round(timeout_s * 1000))

    @property
    def settings(self) -> dict[str, object]:
        """As librdkafka names them."""
        return {
            "transactional.id": self.transactional_id,
            "transaction.timeout.ms": self._timeout_ms,
            "message.timeout.ms": self._timeout_ms,
            "delivery.report.only.error": True,
            "queue.buffering.max.kbytes": QUEUE_KB_MAX,
            "batch.size": self.batch_bytes,
            **({"batch.num.messages": 1} if self.is_alone else {}),
        }


DEFAULTS: Final = {"message.max.bytes": RECORD_BYTES_MAX, "partitioner": "murmur2_random", "linger.ms": 5}
"""What the user may set otherwise. The partitioner is the one that the Java client uses."""


class ProducerSession:
    """See above. Used by one thread."""

    def __init__(self, clients: Clients, options: SessionOptions, user: Mapping[str, object]) -> None:
        """`user`: what the user sets for clients. Raises `ConfigurationError`."""
        self.options: Final = options
        self._clients: Final = clients
        defaults = {name: value for name, value in DEFAULTS.items() if name not in user}
        self._producer: Final = clients.producer({**defaults, **options.settings})
        self._refused: dict[int, KafkaError] = {}
        self._is_open = False

    def fence(self) -> None:
        """Ends what earlier producers of this name left: committed, if they had asked for it, otherwise aborted. They cannot write any more.

        Raises `TransactionError`.
        """
        self._repeated(lambda: self._producer.init_transactions(SLICE_S), "begin")

    def write(self, messages: Sequence[Message]) -> Mapping[int, KafkaError]:
        """Writes the messages in one transaction, and commits it. If some were refused: nothing is committed, and their errors by index.

        Then the session is closed, as after a `TransactionError`, whose outcome may be unknown.
        """
        self._refused = {}
        try:
            self._clients.call(self._producer.begin_transaction, "begin a transaction")
            self._is_open = True
            for index, message in enumerate(messages):
                self._produce(index, message)
            while len(self._producer) and not self._refused:
                self._clients.interruption.require_none("write")
                self._producer.flush(SLICE_S)
            if not self._refused:
                # If we die before this, the next producer of this name aborts it. If we die after it, it commits it.
                self._repeated(lambda: self._producer.commit_transaction(SLICE_S), "commit")
                self._is_open = False
        except BaseException:
            self.close()
            raise
        if self._refused:
            self.close()
        return self._refused

    def _produce(self, index: int, message: Message) -> None:
        while not self._refused:
            try:
                self._producer.produce(
                    message.topic,
                    message.value,
                    message.key,
                    message.partition,
                    on_delivery=partial(self._reported, index),
                    headers=list(message.headers),
                )
            except BufferError:
                self._clients.interruption.require_none("write")
                self._producer.flush(SLICE_S)
            except KafkaException as exception:
                self._refused[index] = error_of(exception)
            else:
                return

    def _reported(self, index: int, error: KafkaError | None, _report: Report) -> None:
        if error is not None:
            self._refused[index] = error

    def _repeated(self, function: Callable[[], object], doing: str) -> None:
        """Calls a function until it ends well, as the library wants it after a time-out. Raises `TransactionError`."""
        while True:
            self._clients.interruption.require_none(doing)
            try:
                function()
            except KafkaException as exception:
                error = error_of(exception)
                if not error.retriable() or self._clients.errors.refusal is not None or error.txn_requires_abort():
                    raise self._clients.errors.failure(exception, doing) from exception
            else:
                return

    def close(self) -> None:
        """Gives the producer up. An open transaction is aborted if the brokers answer soon; otherwise the next producer does it."""
        if self._is_open:
            self._is_open = False
            with suppress(KafkaException):
                self._producer.abort_transaction(ABORT_S)
        with suppress(KafkaException):
            self._producer.purge()


def is_bad(error: KafkaError) -> bool:
    """Whether the message itself is at fault."""
    return verdict_of(error) is Verdict.BAD
