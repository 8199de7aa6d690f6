"""The client of one service: sends one request, and says what the answer means.

Owns: the connections to a service, the total timeout, and what each failure of a connection means.
Always: one call of `exchange` is at most one request at the service. Every outcome is an `Answer`; status codes are judged by
`model/answers.py` alone. Words repeat no secret and nothing that we sent.
Never: sends again, follows a redirect, keeps a cookie, reads a proxy from the environment. Only this file imports httpx2.
"""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from http import HTTPStatus
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Final

import httpx2

from event_processor.connectors.http.credentials import Credentials, CredentialsError
from event_processor.connectors.http.refusal import one_line, refusal_words
from event_processor.model.answers import TOO_LARGE, Answer, Verdict, retry_after_s, verdict_of_http
from event_processor.model.contracts import Clock

__all__ = ["ANSWER_BYTES_MAX", "HttpClient"]

ANSWER_BYTES_MAX: Final = 65_536
KEEP_ALIVE_S: Final = 4.0
"""Shorter than the 5 s after which common servers close an idle connection, so that we seldom send into a closing one."""
CONNECT_SHARE: Final = 0.45
"""Of the total timeout: the longest time for a connection, and again for its TLS. Both end before the total does, because the client
leaves a socket open if it is cancelled within its TLS."""
IDLE_CONNECTIONS_MAX: Final = 200
_CERTIFICATE_ALERTS: Final = ("CERTIFICATE", "UNKNOWN_CA", "BAD_CERTIFICATE", "ACCESS_DENIED")
_OUR_HEADERS: Final[Mapping[str, str]] = {"User-Agent": "event-processor", "Accept": "*/*", "Accept-Encoding": "identity"}


class HttpClient:
    """A client of one service. Used in one event loop; several exchanges may run at once."""

    def __init__(
        self, credentials: Credentials, clock: Clock, *, idle_max: int | None = None, answer_bytes_max: int = ANSWER_BYTES_MAX
    ) -> None:
        """The service of `credentials` has a `base_url`. `idle_max`: how many idle connections are kept; by default its concurrency."""
        self._credentials: Final = credentials
        self._service: Final = credentials.service
        self._base_url: Final = (self._service.base_url or "").rstrip("/")
        self._clock: Final = clock
        self._idle_max: Final = (
            _concurrency(self._service.concurrency, self._service.requests_per_s) if idle_max is None else idle_max
        )
        self._answer_bytes_max: Final = answer_bytes_max
        self._client: httpx2.AsyncClient | None = None
        self._token = ""
        self._fault = "not opened"
        """Why nothing can be sent before an operator acts; empty if something can."""
        self._running = 0

    async def open(self) -> None:
        """Reads the secrets. A missing one is no error here: each exchange then answers *stop*. Connects to nothing."""
        await self.refresh()

    async def refresh(self) -> None:
        """Reads the secrets again. New certificates apply to new connections, if no exchange is running; else at the next call."""
        try:
            self._token = self._credentials.token()
            if self._client is None or (self._base_url.lower().startswith("https:") and not self._running):
                before, self._client = self._client, self._made(self._credentials.tls())
                if before is not None:
                    await before.aclose()
        except CredentialsError as error:
            self._fault = one_line(f"nothing can be sent: {error}")
        else:
            self._fault = ""

    async def close(self) -> None:
        """Closes every connection. No exchange is running."""
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()

    async def exchange(self, method: str, path: str, body: bytes, headers: Mapping[str, str]) -> tuple[Answer, bytes]:
        """Sends one request. Returns what its answer means, and the answer's body; empty if there was no answer.

        `path` starts with "/" and is added to the address of the service. `headers` are sent besides those of the client. A body of more
        than `answer_bytes_max` bytes is cut there, and its connection is closed. Takes at most about the service's `timeout_s`.
        """
        if self._fault or self._client is None:
            return Answer(Verdict.STOP, self._fault or "the client is closed"), b""
        self._running += 1
        try:
            async with asyncio.timeout(self._service.timeout_s) as limit:
                return await self._exchange(self._client, self._request(method, path, body, headers), body)
        except TimeoutError:
            # Also the operating system ends what takes too long.
            within = f" within {self._service.timeout_s:g} s" if limit.expired() else ""
            return Answer(Verdict.WAIT, f"no answer{within}"), b""
        except httpx2.ConnectTimeout:
            return Answer(Verdict.WAIT, f"no connection within {CONNECT_SHARE * self._service.timeout_s:g} s"), b""
        except (httpx2.TransportError, OSError) as error:
            return _failed(error), b""
        finally:
            self._running -= 1

    def _made(self, tls: ssl.SSLContext | None) -> httpx2.AsyncClient:
        # The lane bounds how many requests run at once. A second bound here could only turn a wait into a timeout.
        limits = httpx2.Limits(max_keepalive_connections=self._idle_max, keepalive_expiry=KEEP_ALIVE_S)
        return httpx2.AsyncClient(
            # Without https the context is never used, but by default one is made, which takes as long as 100 requests.
            verify=tls or ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT),
            timeout=httpx2.Timeout(None, connect=CONNECT_SHARE * self._service.timeout_s),
            limits=limits,
            # No cookie is ever sent. Without this policy, the client would collect them all the same.
            cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
            follow_redirects=False,
            trust_env=False,
        )

    def _request(self, method: str, path: str, body: bytes, headers: Mapping[str, str]) -> httpx2.Request:
        authorization = {"Authorization": f"Bearer {self._token}"} if self._token else {}
        sent = {name.lower(): (name, value) for table in (_OUR_HEADERS, headers, authorization) for name, value in table.items()}
        return httpx2.Request(method, self._base_url + path, headers=list(sent.values()), content=body)

    async def _exchange(self, client: httpx2.AsyncClient, request: httpx2.Request, body: bytes) -> tuple[Answer, bytes]:
        response = await client.send(request, stream=True)
        try:
            content = bytearray()
            async for piece in response.aiter_raw():
                content += piece
                if len(content) > self._answer_bytes_max:
                    break
        finally:
            # If the body was not read to its end, this closes the connection.
            await response.aclose()
        answered = bytes(content[: self._answer_bytes_max])
        return self._judged(response, answered, body), answered

    def _judged(self, response: httpx2.Response, answered: bytes, sent: bytes) -> Answer:
        status = response.status_code
        verdict = verdict_of_http(status)
        if verdict is Verdict.DELIVERED:
            return Answer(verdict, status=str(status))
        is_readable = response.headers.get("content-encoding", "identity") == "identity"
        words = refusal_words(answered, sent, [self._token]) if is_readable else ""
        now = datetime.fromtimestamp(self._clock.wall_ns() / 1e9, UTC)
        return Answer(
            verdict,
            words or self._phrase(status),
            str(status),
            wait_s=retry_after_s(response.headers.get("retry-after"), now),
            is_too_large=status == TOO_LARGE,
        )

    def _phrase(self, status: int) -> str:
        """The words for an answer without words."""
        if HTTPStatus.MULTIPLE_CHOICES <= status < HTTPStatus.BAD_REQUEST:
            return "a redirect, which is not followed: correct base_url or path"
        if status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
            place = self._service.token_file or self._service.token_env
            return (
                f"the service refuses the token of {place}" if place else "the service wants a token: set token_file or token_env"
            )
        return HTTPStatus(status).phrase if status in _STATUSES else "no words"


_STATUSES: Final = frozenset(map(int, HTTPStatus))


def _concurrency(concurrency: int | str | None, requests_per_s: float | None) -> int:
    """How many connections are worth keeping."""
    if isinstance(concurrency, int):
        return concurrency
    if concurrency is None and requests_per_s is None:
        return 4
    if concurrency == "auto":
        return IDLE_CONNECTIONS_MAX
    return IDLE_CONNECTIONS_MAX if requests_per_s is None else min(IDLE_CONNECTIONS_MAX, max(1, round(requests_per_s)))


def _failed(error: Exception) -> Answer:
    """What a failure without an answer means. The client's own words are not used: they may repeat bytes of the answer."""
    causes = list(_causes(error))
    for cause in causes:
        if isinstance(cause, ssl.SSLError):
            return _failed_tls(cause)
        if isinstance(cause, socket.gaierror):
            return Answer(Verdict.WAIT, f"no connection: the name of the service is not found: {cause.strerror}")
    if isinstance(error, httpx2.ProtocolError):
        return Answer(Verdict.WAIT, _protocol_words(str(error)))
    reason = next((os.strerror(cause.errno) for cause in causes if isinstance(cause, OSError) and cause.errno), "")
    what = "no connection" if isinstance(error, httpx2.ConnectError) else "the connection broke"
    return Answer(Verdict.WAIT, f"{what}: {reason}" if reason else what)


def _failed_tls(error: ssl.SSLError) -> Answer:
    """A certificate that one side refuses stays refused until an operator acts. Any other failure may pass."""
    if isinstance(error, ssl.SSLCertVerificationError):
        words = one_line(error.verify_message)
        return Answer(Verdict.STOP, f"the certificate of the service is not trusted: {words}; see tls.ca_file")
    reason = one_line(str(error.reason or "no reason given"))
    if any(alert in reason for alert in _CERTIFICATE_ALERTS):
        return Answer(Verdict.STOP, f"the service refuses our certificate: {reason}; see tls.cert_file")
    return Answer(Verdict.WAIT, f"no TLS connection: {reason}")


def _protocol_words(said: str) -> str:
    if "without sending complete" in said:
        return "the answer ended early"
    return "the connection was closed without an answer" if said.startswith("Server disconnected") else "the answer is not HTTP"


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The error and everything that led to it, the error first. Of several attempts to connect, the first."""
    here: BaseException | None = error
    while here is not None:
        yield here
        following = here.__cause__ or here.__context__
        here = here.exceptions[0] if isinstance(here, BaseExceptionGroup) else following
