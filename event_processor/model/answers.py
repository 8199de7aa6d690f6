"""What the answer of a remote sink means for its records: delivered, wait, bad, or stop.

Owns: the one classifier. It is total: every answer has exactly one verdict. The table in the docs is made from it.
Always: an outage is never a bad record. *wait*: the same request may succeed later. *bad*: one of the records is at fault, and the
lane looks for it. *stop*: no request can succeed until an operator changes something.
Never: decides how long to wait or how often to try.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum
from typing import Final

__all__ = [
    "KAFKA_FENCED",
    "Answer",
    "Verdict",
    "retry_after_s",
    "verdict_of_http",
    "verdict_of_kafka",
    "verdict_of_sqlite",
    "verdict_of_sqlstate",
]


class Verdict(Enum):
    """What an answer means."""

    DELIVERED = "delivered"
    WAIT = "wait"
    BAD = "bad"
    STOP = "stop"


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer to one request. `words`: the receiver's, for people, without secrets. `status`: its code; empty if there was none.

    `wait_s`: the receiver asked to wait at least this long. `is_too_large`: with several records, a smaller request may succeed.
    """

    verdict: Verdict
    words: str = ""
    status: str = ""
    wait_s: float = 0.0
    is_too_large: bool = False


_HTTP_WAIT: Final = frozenset({408, 409, 425, 429})
_HTTP_STOP: Final = frozenset({401, 403, 404, 415})
CONFLICT: Final = 409
TOO_LARGE: Final = 413


def verdict_of_http(status: int) -> Verdict:
    """The verdict of a status code of HTTP. Informational codes never reach a caller; they count as no answer."""
    if 200 <= status < 300:
        return Verdict.DELIVERED
    if status in _HTTP_WAIT or status < 200 or status >= 500:
        return Verdict.WAIT
    if status < 400 or status in _HTTP_STOP:
        return Verdict.STOP
    return Verdict.BAD


_SQL_WAIT: Final = frozenset({"08", "40", "53", "55", "57", "58"})
_SQL_BAD: Final = frozenset({"22", "23", "44", "54", "P0"})
_READ_ONLY_TRANSACTION: Final = "25006"


def verdict_of_sqlstate(state: str) -> Verdict:
    """The verdict of an SQLSTATE of five characters. A standby refuses writes with 25006: a failover ends that."""
    if state == _READ_ONLY_TRANSACTION or state[:2] in _SQL_WAIT:
        return Verdict.WAIT
    return Verdict.BAD if state[:2] in _SQL_BAD else Verdict.STOP


_SQLITE_WAIT: Final = frozenset({"SQLITE_BUSY", "SQLITE_LOCKED", "SQLITE_FULL", "SQLITE_IOERR"})
_SQLITE_BAD: Final = frozenset({"SQLITE_CONSTRAINT", "SQLITE_TOOBIG", "SQLITE_MISMATCH"})


def verdict_of_sqlite(name: str) -> Verdict:
    """The verdict of an error of SQLite, by `sqlite_errorname`: extended names such as SQLITE_IOERR_WRITE count as their first part."""
    primary = "_".join(name.split("_")[:2])
    if primary in _SQLITE_WAIT:
        return Verdict.WAIT
    return Verdict.BAD if primary in _SQLITE_BAD else Verdict.STOP


_KAFKA_BAD: Final = frozenset(
    {"MSG_SIZE_TOO_LARGE", "RECORD_LIST_TOO_LARGE", "INVALID_MSG", "INVALID_RECORD", "INVALID_TIMESTAMP"}
)
KAFKA_FENCED: Final = frozenset({"_FENCED", "PRODUCER_FENCED", "INVALID_PRODUCER_EPOCH"})
"""Another producer of the same name began, or the broker ended a transaction that took too long."""
_KAFKA_NO_TOPIC: Final = frozenset({"UNKNOWN_TOPIC_OR_PART", "UNKNOWN_TOPIC_ID", "_UNKNOWN_TOPIC", "_UNKNOWN_PARTITION"})
_KAFKA_WAIT: Final = frozenset(
    {
        # Of the client: no broker, no answer in time, or a client that must be made anew.
        *("_TRANSPORT", "_ALL_BROKERS_DOWN", "_RESOLVE", "_TIMED_OUT", "_TIMED_OUT_QUEUE", "_MSG_TIMED_OUT", "_QUEUE_FULL"),
        *("_WAIT_COORD", "_WAIT_CACHE", "_PURGE_QUEUE", "_PURGE_INFLIGHT", "_RETRY", "_IN_PROGRESS", "_PREV_IN_PROGRESS"),
        *("_CONFLICT", "_STATE", "_OUTDATED", "_DESTROY", "_DESTROY_BROKER", "_NODE_UPDATE", "_INTR", "_UNDERFLOW"),
        *("_GAPLESS_GUARANTEE", "_INCONSISTENT", "_INVALID_DIFFERENT_RECORD"),
        # Of the broker: what Kafka's protocol calls retriable.
        *("LEADER_NOT_AVAILABLE", "NOT_LEADER_FOR_PARTITION", "REQUEST_TIMED_OUT", "BROKER_NOT_AVAILABLE"),
        *("REPLICA_NOT_AVAILABLE", "NETWORK_EXCEPTION", "STALE_CTRL_EPOCH", "NOT_CONTROLLER", "LISTENER_NOT_FOUND"),
        *("COORDINATOR_LOAD_IN_PROGRESS", "COORDINATOR_NOT_AVAILABLE", "NOT_COORDINATOR", "CONCURRENT_TRANSACTIONS"),
        *("NOT_ENOUGH_REPLICAS", "NOT_ENOUGH_REPLICAS_AFTER_APPEND", "KAFKA_STORAGE_ERROR", "OFFSET_NOT_AVAILABLE"),
        *("FENCED_LEADER_EPOCH", "UNKNOWN_LEADER_EPOCH", "PREFERRED_LEADER_NOT_AVAILABLE", "ELIGIBLE_LEADERS_NOT_AVAILABLE"),
        *("THROTTLING_QUOTA_EXCEEDED", "UNSTABLE_OFFSET_COMMIT", "TRANSACTION_COORDINATOR_FENCED", "UNKNOWN"),
        # Of the broker: it does not know this producer any more, or lost count with it. A new producer is a new beginning.
        *("UNKNOWN_PRODUCER_ID", "INVALID_PRODUCER_ID_MAPPING", "OUT_OF_ORDER_SEQUENCE_NUMBER"),
        *("DUPLICATE_SEQUENCE_NUMBER", "INVALID_TXN_STATE", "TRANSACTION_ABORTABLE", "REBOOTSTRAP_REQUIRED"),
    }
)


def verdict_of_kafka(name: str, *, is_retriable: bool, is_fatal: bool) -> Verdict:
    """The verdict of an error of a Kafka client, by its name, and what the client says of it.

    A topic that is not there may be made at any moment, so Kafka calls that retriable: here it is a *stop*, as a missing table is.
    """
    if name in _KAFKA_BAD:
        return Verdict.BAD
    if name in KAFKA_FENCED or name in _KAFKA_NO_TOPIC:
        return Verdict.STOP
    return Verdict.WAIT if name in _KAFKA_WAIT or (is_retriable and not is_fatal) else Verdict.STOP


_DIGITS_MAX: Final = 9
"""The digits of the longest wait that is believed: 30 years."""


def retry_after_s(header: str | None, now: datetime) -> float:
    """The seconds that a `Retry-After` header asks for: a number of seconds, or a date of HTTP; 0 if there is none that can be read."""
    text = (header or "").strip()
    if text.isascii() and text.isdigit():
        return float(text) if len(text) <= _DIGITS_MAX else 0.0
    # Imported here: every command starts faster without it.
    from email.utils import parsedate_to_datetime  # noqa: PLC0415

    try:
        when = parsedate_to_datetime(text)
        aware = when if when.tzinfo else when.replace(tzinfo=UTC)
        return max(0.0, (aware - now).total_seconds())
    except (TypeError, ValueError, OverflowError):
        return 0.0
