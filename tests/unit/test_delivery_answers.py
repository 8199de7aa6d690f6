"""The classifier: each kind of answer has one verdict, and there is none without."""

from __future__ import annotations

import string
from datetime import UTC, datetime
from itertools import product

import pytest

from event_processor.model.answers import (
    Verdict,
    retry_after_s,
    verdict_of_http,
    verdict_of_kafka,
    verdict_of_sqlite,
    verdict_of_sqlstate,
)
from event_processor.model.backoff import Backoff

HTTP = {
    "delivered": [200, 201, 202, 204, 299],
    "wait": [100, 103, 408, 409, 425, 429, 500, 501, 502, 503, 504, 599],
    "bad": [400, 402, 405, 406, 410, 411, 412, 413, 414, 416, 417, 418, 421, 422, 423, 424, 426, 428, 431, 451, 499],
    "stop": [300, 301, 302, 303, 304, 307, 308, 399, 401, 403, 404, 415],
}


@pytest.mark.parametrize(("verdict", "status"), [(verdict, status) for verdict, found in HTTP.items() for status in found])
def test_each_status_has_its_verdict(verdict: str, status: int) -> None:
    assert verdict_of_http(status) is Verdict(verdict)


SQLSTATES = {
    "wait": ["08006", "25006", "40001", "40P01", "53100", "53300", "55P03", "57014", "57P01", "58030"],
    "bad": ["22001", "22P02", "23505", "23514", "44000", "54000", "P0001"],
    "stop": ["28000", "28P01", "3D000", "42P01", "42501", "XX000", "XX001", "25001", "0A000", "99999"],
}


@pytest.mark.parametrize(("verdict", "state"), [(verdict, state) for verdict, found in SQLSTATES.items() for state in found])
def test_each_sqlstate_has_its_verdict(verdict: str, state: str) -> None:
    assert verdict_of_sqlstate(state) is Verdict(verdict)


def test_every_class_of_sqlstates_has_a_verdict_other_than_delivered() -> None:
    letters = string.digits + string.ascii_uppercase
    assert all(verdict_of_sqlstate(f"{one}{other}000") is not Verdict.DELIVERED for one, other in product(letters, letters))


@pytest.mark.parametrize(
    ("verdict", "name"),
    [
        ("wait", "SQLITE_BUSY"), ("wait", "SQLITE_BUSY_SNAPSHOT"), ("wait", "SQLITE_LOCKED"), ("wait", "SQLITE_FULL"), ("wait", "SQLITE_IOERR_WRITE"),
        ("bad", "SQLITE_CONSTRAINT_UNIQUE"), ("bad", "SQLITE_TOOBIG"), ("bad", "SQLITE_MISMATCH"), ("stop", "SQLITE_CORRUPT"), ("stop", "SQLITE_READONLY_DBMOVED"),
        ("stop", "SQLITE_CANTOPEN"), ("stop", "SQLITE_ERROR"), ("stop", "SQLITE_NOTADB"),
    ],
)  # fmt: skip
def test_each_error_of_sqlite_has_its_verdict(verdict: str, name: str) -> None:
    assert verdict_of_sqlite(name) is Verdict(verdict)


@pytest.mark.parametrize(
    ("verdict", "name", "is_retriable", "is_fatal"),
    [
        ("wait", "_TRANSPORT", True, False),
        ("wait", "_ALL_BROKERS_DOWN", False, False),
        ("wait", "_MSG_TIMED_OUT", False, False),
        ("wait", "NOT_LEADER_FOR_PARTITION", True, False),
        ("wait", "NOT_ENOUGH_REPLICAS", False, False),
        ("wait", "COORDINATOR_NOT_AVAILABLE", False, False),
        ("wait", "UNKNOWN_PRODUCER_ID", False, False),
        ("wait", "OUT_OF_ORDER_SEQUENCE_NUMBER", False, True),
        ("wait", "UNKNOWN", False, False),
        ("wait", "AN_ERROR_OF_THE_FUTURE", True, False),
        ("bad", "MSG_SIZE_TOO_LARGE", False, False),
        ("bad", "RECORD_LIST_TOO_LARGE", False, False),
        ("bad", "INVALID_RECORD", False, False),
        ("stop", "UNKNOWN_TOPIC_OR_PART", False, False),
        ("stop", "UNKNOWN_TOPIC_OR_PART", True, False),
        ("stop", "INVALID_PRODUCER_EPOCH", False, False),
        ("stop", "PRODUCER_FENCED", False, True),
        ("stop", "SASL_AUTHENTICATION_FAILED", False, False),
        ("stop", "TRANSACTIONAL_ID_AUTHORIZATION_FAILED", False, True),
        ("stop", "INVALID_TRANSACTION_TIMEOUT", False, False),
        ("stop", "POLICY_VIOLATION", False, False),
        ("stop", "UNSUPPORTED_VERSION", False, False),
        ("stop", "AN_ERROR_OF_THE_FUTURE", True, True),
        ("stop", "AN_ERROR_OF_THE_FUTURE", False, False),
        ("stop", "_FENCED", True, True),
        ("stop", "TOPIC_AUTHORIZATION_FAILED", False, False),
    ],
)
def test_each_error_of_kafka_has_its_verdict(verdict: str, name: str, *, is_retriable: bool, is_fatal: bool) -> None:
    assert verdict_of_kafka(name, is_retriable=is_retriable, is_fatal=is_fatal) is Verdict(verdict)


NOW = datetime(2026, 11, 29, 12, 0, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("header", "wait_s"),
    [
        ("3", 3.0),
        (" 120 ", 120.0),
        ("0", 0.0),
        ("Sun, 29 Nov 2026 12:00:30 GMT", 30.0),
        ("Sunday, 29-Nov-26 12:01:00 GMT", 60.0),
        ("Sun, 29 Nov 2026 11:59:00 GMT", 0.0),
        ("soon", 0.0),
        ("-5", 0.0),
        ("1.5", 0.0),
        ("", 0.0),
        (None, 0.0),
        ("٣", 0.0),
        ("9" * 400, 0.0),
        ("Sun, 29 Nov 99999999999999999999 12:00:30 GMT", 0.0),
    ],
)
def test_the_wait_that_a_service_asks_for_is_read_as_seconds_or_a_date(header: str | None, wait_s: float) -> None:
    assert retry_after_s(header, NOW) == wait_s


def test_a_wait_grows_up_to_its_cap_with_full_jitter_and_never_below_what_was_asked() -> None:
    most, least = Backoff(lambda: 1.0), Backoff(lambda: 0.0)
    assert [most.wait_s(tries) for tries in range(1, 11)] == [0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 25.6, 30.0, 30.0]
    assert most.wait_s(10_000) == 30.0
    assert [least.wait_s(tries) for tries in (1, 5, 50)] == [0.0, 0.0, 0.0]
    assert (least.wait_s(1, 3.0), most.wait_s(9, 60.0), most.wait_s(9, 3.0)) == (3.0, 60.0, 30.0)
