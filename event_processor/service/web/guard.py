"""The guard: the first code that sees a request, and the last that sees its answer.

Owns: the checks of Host, Origin and token; the limit, the deadlines and the minimum rate of a body; the header fields of every answer;
what becomes of an error.
Always: a request that is refused does not reach the application. Every error becomes an answer; an unexpected one is reported once.
Never: reads a body that nothing asked for.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from event_processor.model.errors import EventProcessorError, InputGoneError, StateError, StorageError, UsageError
from event_processor.service.web.answers import ProblemError, problem_answer
from event_processor.service.web.gate import Gate

__all__ = ["BodyLimits", "Guard"]

OPEN_PATHS: Final = frozenset({"/", "/healthz", "/jobs"})
"""These need no token: they say nothing about the state."""
OWN_CHECK_PATHS: Final = frozenset({"/session"})
"""These check the token themselves."""
SAFE_METHODS: Final = frozenset({"GET", "HEAD"})
SECURITY_HEADERS: Final = (
    (b"cache-control", b"no-store"),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-frame-options", b"DENY"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
)


@dataclass(frozen=True, slots=True)
class BodyLimits:
    """The limits of a body: its bytes, how long it may stall in seconds, and its rate in bytes a second."""

    bytes_max: int
    stall_timeout_s: float
    rate_min: int


class Guard:
    """An ASGI application around another one."""

    def __init__(self, app: ASGIApp, gate: Gate, limits: BodyLimits, report: Callable[[str, str, str], None]) -> None:
        """`report` gets method, path and reason of a request that an unexpected error ended."""
        self._app: Final = app
        self._gate: Final = gate
        self._limits: Final = limits
        self._report: Final = report

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        assert scope["type"] == "http", "no other kind of connection is accepted"
        guarded = _GuardedAnswer(send)
        try:
            self._check(scope)
            body = _Body(receive, self._limits, _announced_bytes(Headers(scope=scope), self._limits))
            await self._app(scope, body.receive, guarded.send)
        except ProblemError as error:
            await guarded.answer(error, scope)
        except EventProcessorError as error:
            await guarded.answer(_problem_of(error), scope)
        except Exception as error:  # noqa: BLE001 - a fault of ours must not end the server, or show a traceback
            self._report(scope["method"], scope["path"], f"{type(error).__name__}: {error}")
            await guarded.answer(
                ProblemError(500, "this request could not be answered", hint="see the log of the service"), scope
            )

    def _check(self, scope: Scope) -> None:
        """Raises `ProblemError` if the request may not be answered."""
        headers, gate = Headers(scope=scope), self._gate
        hosts = headers.getlist("host")
        if len(hosts) != 1 or not gate.knows_host(hosts[0]):
            raise ProblemError(
                421, "this server is not addressed by that name", hint="use its IP address, or add the name to http.allowed_hosts"
            )
        _check_origin(scope["method"], headers, gate, hosts[0])
        path = scope["path"]
        if (
            path in OPEN_PATHS
            or path in OWN_CHECK_PATHS
            or gate.admits(headers.get("authorization", ""), headers.get("cookie", ""))
        ):
            return
        hint = "send 'Authorization: Bearer …' with the token of http.token_file"
        raise ProblemError(401, "a token is required", hint=hint, headers={"WWW-Authenticate": "Bearer"})


def _check_origin(method: str, headers: Headers, gate: Gate, host: str) -> None:
    origin, site = headers.get("origin"), headers.get("sec-fetch-site", "none")
    is_ours = site in ("same-origin", "none") if origin is None else gate.knows_origin(origin, host)
    # A link from another page may lead here: it changes nothing, and that page does not see the answer.
    if not is_ours and (origin is not None or method not in SAFE_METHODS):
        raise ProblemError(403, "a page of another site may not ask", hint="add its host to http.allowed_hosts if it is yours")


def _announced_bytes(headers: Headers, limits: BodyLimits) -> int:
    """The length of the body that the header names; 0 if it names none. Raises `ProblemError` if it is too long."""
    text = headers.get("content-length", "0")
    length = int(text) if text.isascii() and text.isdigit() else 0
    if length > limits.bytes_max:
        raise _too_long(limits)
    return length


def _too_long(limits: BodyLimits) -> ProblemError:
    return ProblemError(
        413, f"the body has more than {limits.bytes_max} bytes", hint="send less at once; the limit is http.body_bytes_max"
    )


class _Body:
    """The body of one request, with its limits."""

    def __init__(self, receive: Receive, limits: BodyLimits, announced_bytes: int) -> None:
        self._receive: Final = receive
        self._limits: Final = limits
        self._received_bytes = 0
        self._started_s = asyncio.get_running_loop().time()
        self._is_complete = False
        self.announced_bytes: Final = announced_bytes

    async def receive(self) -> Message:
        """The next message. Raises `ProblemError` if the body is too long, or comes too slowly."""
        if self._is_complete:
            # Now only the end of the connection can come.
            return await self._receive()
        limits, loop = self._limits, asyncio.get_running_loop()
        deadlines = (
            loop.time() + limits.stall_timeout_s,
            self._started_s + limits.stall_timeout_s + self._received_bytes / limits.rate_min,
        )
        try:
            async with asyncio.timeout_at(min(deadlines)):
                message = await self._receive()
        except TimeoutError as error:
            raise ProblemError(408, "the body came too slowly", hint="send it faster, or less at once") from error
        self._received_bytes += len(message.get("body", b""))
        if self._received_bytes > limits.bytes_max:
            raise _too_long(limits)
        self._is_complete = not message.get("more_body", False)
        return message


class _GuardedAnswer:
    """The answer to one request."""

    def __init__(self, send: Send) -> None:
        self._send: Final = send
        self._is_started = False

    async def send(self, message: Message) -> None:
        """Passes the application's message on, with our header fields."""
        if message["type"] == "http.response.start":
            self._is_started = True
            given: Sequence[tuple[bytes, bytes]] = message.get("headers", ())
            names = {name.lower() for name, _ in given}
            message = {**message, "headers": [*given, *(each for each in SECURITY_HEADERS if each[0] not in names)]}
        await self._send(message)

    async def answer(self, error: ProblemError, scope: Scope) -> None:
        """Answers with a problem. If a part of an answer was sent, the connection ends, so that the client sees that it is not whole."""
        if self._is_started:
            raise error
        await problem_answer(error)(scope, _nothing, self.send)


async def _nothing() -> Message:
    return {"type": "http.disconnect"}


def _problem_of(error: EventProcessorError) -> ProblemError:
    """An error of an operation as an answer."""
    if isinstance(error, UsageError):
        return ProblemError(400, error.message, hint=error.hint)
    if isinstance(error, InputGoneError | StateError | StorageError):
        return ProblemError(503, error.message, hint=error.hint)
    return ProblemError(500, error.message, hint=error.hint)
