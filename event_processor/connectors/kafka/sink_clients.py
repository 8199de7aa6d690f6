"""The clients of one lane: how they are made, how long they are waited for, and how a wait ends early.

Owns: `Clients` and `Interruption`.
Always: every wait is cut into slices, so that an interruption ends it soon. Secrets are read again for each set of clients.
Never: knows a cursor.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from typing import Any, Final, TypeVar

from confluent_kafka import Consumer, KafkaException, Producer
from confluent_kafka.admin import AdminClient

from event_processor.connectors.kafka.client import made
from event_processor.connectors.kafka.failures import ClientErrors
from event_processor.model.answers import Answer, Verdict
from event_processor.model.transactions import TransactionError

__all__ = ["SLICE_S", "Clients", "Interruption"]

SLICE_S: Final = 0.2
"""How long one look at a client takes."""
REQUEST_S: Final = 30.0
DEFAULTS: Final = {"reconnect.backoff.max.ms": 1000}
"""A broker that comes back is found soon. What the user sets counts instead."""
_SILENT: Final = logging.getLogger("event_processor.kafka")
"""The library writes on stderr if it has no logger."""
_SILENT.disabled = True
Result = TypeVar("Result")


class Interruption:
    """Whether what runs must end. Any thread may set it."""

    def __init__(self, is_late: Callable[[], bool] = lambda: False) -> None:
        """`is_late`: whether it must end because it took too long."""
        self._event: Final = threading.Event()
        self._is_late: Final = is_late

    def set(self) -> None:
        """What runs ends soon."""
        self._event.set()

    def clear(self) -> None:
        """Another call begins."""
        self._event.clear()

    def require_none(self, doing: str) -> None:
        """Raises `TransactionError` if it must end."""
        if self._event.is_set() or self._is_late():
            raise TransactionError(Answer(Verdict.WAIT, f"{doing}: no answer"))


class Clients:
    """Makes the clients of one connection. `errors`: what they report on their own."""

    def __init__(self, settings: Mapping[str, object], where: str, interruption: Interruption) -> None:
        """`settings`: as librdkafka names them; they hold secrets. `where`: the table, such as "sinks.results"."""
        self.errors: Final = ClientErrors()
        self.interruption: Final = interruption
        self._settings: Final = {**DEFAULTS, **settings, "error_cb": self.errors.note, "logger": _SILENT}
        self._where: Final = where

    def admin(self) -> AdminClient:
        """Raises `ConfigurationError` if a setting is not one, as the others do."""
        return made(AdminClient, self._settings, self._where)

    def producer(self, own: Mapping[str, object]) -> Producer:
        """A producer. What the user sets for it counts, unless `own` has it."""
        return made(Producer, {**self._settings, **own}, self._where)

    def consumer(self, own: Mapping[str, object]) -> Consumer:
        """A consumer."""
        return made(Consumer, {**self._settings, **own}, self._where)

    def result(self, admin: AdminClient, future: Future[Any], doing: str) -> Any:
        """What a call of the admin client returns. Raises `KafkaException`; `TransactionError` if it is interrupted, or if we are refused."""
        while True:
            self.interruption.require_none(doing)
            admin.poll(0)  # what the client reports on its own
            self.errors.require_no_refusal(doing)
            try:
                return future.result(SLICE_S)
            except TimeoutError:
                continue

    def call(self, function: Callable[[], Result], doing: str) -> Result:
        """Calls a function of a client. Raises `TransactionError` in place of `KafkaException`."""
        try:
            return function()
        except KafkaException as exception:
            raise self.errors.failure(exception, doing) from exception
