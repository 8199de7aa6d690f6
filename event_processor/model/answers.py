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


def verdict_of_kafka(name: str, *, is_retriable: bool, is_fatal: bool) -> Verdict:
    """The verdict of an error of a Kafka client, by its name, and what the client says of it."""
    if name in ("MSG_SIZE_TOO_LARGE", "INVALID_MSG", "INVALID_RECORD", "INVALID_TIMESTAMP"):
        return Verdict.BAD
    return Verdict.WAIT if is_retriable and not is_fatal else Verdict.STOP


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
