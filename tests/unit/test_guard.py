"""The guard around the application: what it refuses, what an error becomes, and how a body is limited."""

from __future__ import annotations

import asyncio

import pytest
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from event_processor.model.errors import ConfigurationError, InputGoneError, StateError, UsageError
from event_processor.service.web.gate import Gate
from event_processor.service.web.guard import BodyLimits, Guard
from support.asgi import asked
from support.engine import FakeClock

TOKEN = "a-token-of-some-length"
LIMITS = BodyLimits(bytes_max=10, stall_timeout_s=30.0, rate_min=1024)


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    await PlainTextResponse(await Request(scope, receive).body())(scope, receive, send)


def guarded(app: ASGIApp = echo, *, token: str = "", limits: BodyLimits = LIMITS, reports: list[str] | None = None) -> Guard:
    def report(method: str, path: str, reason: str) -> None:
        assert reports is not None, reason
        reports.append(f"{method} {path} {reason}")

    return Guard(app, Gate(token, (), b"s" * 32, FakeClock()), limits, report)


def test_a_name_that_leads_here_from_another_site_is_refused_also_for_health() -> None:
    answer = asked(guarded(), "/healthz", headers={"host": "evil.com:8321"})
    assert (answer.status, answer.headers["content-type"]) == (421, "application/problem+json")
    assert asked(guarded(), "/healthz", headers={"host": ""}).status == 421


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_request_of_a_foreign_page_is_refused(method: str) -> None:
    assert asked(guarded(), "/v1/state", method, headers={"origin": "http://evil.com"}).status == 403
    assert asked(guarded(), "/v1/state", method, headers={"origin": "null"}).status == 403
    assert asked(guarded(), "/v1/state", method, headers={"origin": "http://127.0.0.1"}).status == 200


def test_a_change_that_a_foreign_page_causes_without_an_origin_is_refused_and_a_link_is_followed() -> None:
    assert asked(guarded(), "/session", "POST", headers={"sec-fetch-site": "cross-site"}).status == 403
    assert asked(guarded(), "/v1/state", headers={"sec-fetch-site": "cross-site"}).status == 200
    assert asked(guarded(), "/session", "POST", headers={"sec-fetch-site": "same-origin"}).status == 200


def test_without_the_token_only_health_answers() -> None:
    app = guarded(token=TOKEN)
    assert asked(app, "/healthz").status == 200
    refused = asked(app, "/v1/state")
    assert (refused.status, refused.headers["www-authenticate"]) == (401, "Bearer")
    assert asked(app, "/v1/state", headers={"authorization": "Bearer wrong"}).status == 401
    assert asked(app, "/v1/state", headers={"authorization": f"Bearer {TOKEN}"}).status == 200
    assert TOKEN.encode() not in refused.content


def test_every_answer_forbids_to_store_it_and_to_show_it_in_another_page() -> None:
    for answer in (asked(guarded(), "/v1/state"), asked(guarded(), "/x", headers={"host": "evil.com"})):
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["x-frame-options"] == "DENY"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "default-src 'none'" in answer.headers["content-security-policy"]


@pytest.mark.parametrize("announced", ["11", ""])
def test_a_body_over_the_limit_is_refused_announced_or_not(announced: str) -> None:
    answer = asked(guarded(), "/", "POST", headers={"content-length": announced}, body=[b"12345", b"67890", b"1"])
    assert answer.status == 413
    assert "10 bytes" in answer.json["detail"]


def test_a_body_of_the_limit_is_read() -> None:
    assert asked(guarded(), "/", "POST", headers={"content-length": "10"}, body=[b"12345", b"67890"]).content == b"1234567890"


def test_a_body_that_does_not_come_ends_with_408() -> None:
    async def never(_scope: Scope, receive: Receive, _send: Send) -> None:
        await receive()
        await receive()

    limits = BodyLimits(bytes_max=10, stall_timeout_s=0.01, rate_min=1024)
    # `asked` sends one part, and then the client waits.
    app = guarded(never, limits=limits)
    assert asked(_unfinished(app), "/", "POST").status == 408


def _unfinished(app: ASGIApp) -> ASGIApp:
    """The application as a client sees it that does not finish its body."""

    async def asked_so(scope: Scope, receive: Receive, send: Send) -> None:
        async def unfinished() -> Message:
            return {**await receive(), "more_body": True}

        await app(scope, unfinished, send)

    return asked_so


def test_a_body_below_the_minimum_rate_ends_with_408_although_it_never_stalls() -> None:
    """A byte at each turn of the loop: no pause is long, but the whole is too slow."""

    async def reads(scope: Scope, receive: Receive, send: Send) -> None:
        while True:
            await receive()

    async def trickle() -> Message:
        await asyncio.sleep(0)
        return {"type": "http.request", "body": b"x", "more_body": True}

    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    limits = BodyLimits(bytes_max=1 << 30, stall_timeout_s=0.05, rate_min=1 << 30)
    scope = {"type": "http", "method": "POST", "path": "/", "headers": [(b"host", b"127.0.0.1")]}
    asyncio.run(guarded(reads, limits=limits)(scope, trickle, send))
    assert sent[0]["status"] == 408


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (UsageError("a", hint="b"), 400),
        (InputGoneError("a", hint="b"), 503),
        (StateError("a", hint="b"), 503),
        (ConfigurationError("a", hint="b"), 500),
    ],
)
def test_an_error_of_an_operation_is_answered_with_its_words(error: Exception, status: int) -> None:
    async def fails(_scope: Scope, _receive: Receive, _send: Send) -> None:
        raise error

    answer = asked(guarded(fails), "/v1/state")
    assert answer.status == status
    assert (answer.json["detail"], answer.json["hint"], answer.json["status"]) == ("a", "b", status)


def test_a_bug_is_answered_without_its_words_and_reported_once() -> None:
    async def fails(_scope: Scope, _receive: Receive, _send: Send) -> None:
        raise KeyError("inner")

    reports: list[str] = []
    answer = asked(guarded(fails, reports=reports), "/v1/state")
    assert answer.status == 500
    assert b"inner" not in answer.content
    assert reports == ["GET /v1/state KeyError: 'inner'"]
