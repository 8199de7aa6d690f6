"""The client library, and what its errors mean in words.

Owns: the import of confluent_kafka; how a client is made; the words of an error, and whether it passes by itself.
Always: no words hold a secret: they are those of the library, which never has the password in them.
Never: decides what an error does to a source or a sink.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar

from event_processor.model.errors import ConfigurationError

try:
    from confluent_kafka import Consumer, IsolationLevel, KafkaError, KafkaException, Message, TopicCollection, TopicPartition
    from confluent_kafka.admin import AdminClient, OffsetSpec  # type: ignore[attr-defined]  # the library does not list them
except ImportError as error:
    raise ConfigurationError(
        "confluent-kafka is not installed, so nothing can reach Kafka", hint='pip install "event-processor[kafka]"'
    ) from error

__all__ = [
    "AdminClient",
    "Consumer",
    "IsolationLevel",
    "KafkaError",
    "KafkaException",
    "Message",
    "OffsetSpec",
    "TopicCollection",
    "TopicPartition",
    "error_of",
    "is_refusal",
    "made",
    "words_of",
]

Client = TypeVar("Client")

_REFUSED: Final = frozenset(
    {
        KafkaError._AUTHENTICATION,  # noqa: SLF001 - the library names its own errors so
        KafkaError._SSL,  # noqa: SLF001
        KafkaError.SASL_AUTHENTICATION_FAILED,
        KafkaError.UNSUPPORTED_SASL_MECHANISM,
        KafkaError.ILLEGAL_SASL_STATE,
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
        KafkaError.GROUP_AUTHORIZATION_FAILED,
        KafkaError.CLUSTER_AUTHORIZATION_FAILED,
        KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
    }
)


def made(kind: Callable[[dict[str, Any]], Client], settings: Mapping[str, object], where: str) -> Client:
    """A client of this kind. It connects in the background.

    `where`: the part of the configuration, such as "sources.live", for messages. Raises `ConfigurationError` if a setting is not
    one, or a file of TLS cannot be used.
    """
    try:
        return kind(dict(settings))
    except KafkaException as exception:
        error = error_of(exception)
        raise ConfigurationError(f"{where}: {words_of(error)}", hint="correct client, tls or brokers") from exception


def error_of(exception: KafkaException) -> KafkaError:
    """The error that an exception carries."""
    found = exception.args[0]
    assert isinstance(found, KafkaError), "the library's exceptions hold its errors"
    return found


def is_refusal(error: KafkaError) -> bool:
    """Whether the broker refuses us: a user, a right or a certificate, which only an operator changes."""
    return error.code() in _REFUSED


def words_of(error: KafkaError) -> str:
    """What went wrong, on one line."""
    text = " ".join(error.str().split())
    return f"{error.name().lstrip('_')}: {text}" if text else error.name().lstrip("_")
