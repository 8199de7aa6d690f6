"""What an error of the client library means for a lane: its verdict, its words, and what an operator does about it.

Owns: `failure_of`, and `ClientErrors`, which remembers what a client reports on its own.
Always: the one classifier gives the verdict, by the error's name. No words hold a secret.
Never: decides when to try again.
"""

from __future__ import annotations

from typing import Final

from confluent_kafka import KafkaError, KafkaException

from event_processor.connectors.kafka.client import error_of, is_refusal, words_of
from event_processor.model.answers import Answer, Verdict, verdict_of_kafka
from event_processor.model.transactions import TransactionError

__all__ = ["NO_TOPIC", "ClientErrors", "failure_of", "verdict_of"]

NO_TOPIC: Final = ("UNKNOWN_TOPIC_OR_PART", "UNKNOWN_TOPIC_ID")
RELOAD: Final = "then: event-processor reload"
_RIGHTS: Final = (
    "give the sink's user the rights: Write and Describe of its topics, Read and Write of the cursor topic, "
    f"Write and Describe of its transactional id; {RELOAD}"
)
_REMEDIES: Final = {
    "UNKNOWN_TOPIC_OR_PART": f"make the topic, or correct its name; {RELOAD}",
    "_UNKNOWN_TOPIC": f"make the topic, or correct its name; {RELOAD}",
    "TOPIC_AUTHORIZATION_FAILED": _RIGHTS,
    "TRANSACTIONAL_ID_AUTHORIZATION_FAILED": _RIGHTS,
    "CLUSTER_AUTHORIZATION_FAILED": _RIGHTS,
    "INVALID_TRANSACTION_TIMEOUT": f"lower timeout_s of the sink's service, or raise transaction.max.timeout.ms of the broker; {RELOAD}",
    "_SSL": f"look at tls.ca_file, tls.cert_file and tls.key_file; {RELOAD}",
}
_REFUSED: Final = f"correct user, password_file or password_env, or the certificates; {RELOAD}"


def verdict_of(error: KafkaError) -> Verdict:
    """The verdict of an error."""
    return verdict_of_kafka(error.name(), is_retriable=error.retriable(), is_fatal=error.fatal())


def failure_of(error: KafkaError, doing: str) -> TransactionError:
    """The failure of a call. `doing`: what was tried, such as "commit"."""
    remedy = _REMEDIES.get(
        error.name(), _REFUSED if is_refusal(error) else f"look at the words and at the brokers' logs; {RELOAD}"
    )
    return TransactionError(Answer(verdict_of(error), f"{doing}: {words_of(error)}", error.name()), remedy=remedy)


class ClientErrors:
    """What a client reported on its own, in a thread of its own. If the broker refuses us, each call only times out."""

    def __init__(self) -> None:
        self.refusal: KafkaError | None = None

    def note(self, error: KafkaError) -> None:
        """The client's `error_cb`."""
        if is_refusal(error):
            self.refusal = error

    def require_no_refusal(self, doing: str) -> None:
        """Raises `TransactionError` if the broker refuses this client: then no call ends well."""
        if self.refusal is not None:
            raise failure_of(self.refusal, doing)

    def failure(self, exception: KafkaException, doing: str) -> TransactionError:
        """The failure of a call of this client."""
        error = error_of(exception)
        if self.refusal is not None and verdict_of(error) is Verdict.WAIT:
            error = self.refusal
        return failure_of(error, doing)
