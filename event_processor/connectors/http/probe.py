"""Whether an HTTP service can be reached: its name, its connection, its TLS, its token, and an answer.

Owns: `probe_service`.
Always: at most one request, HEAD of the address of the service, without a record. No finding repeats a secret.
Never: tries again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from urllib.parse import urlsplit

from event_processor.connectors.http.client import HttpClient
from event_processor.connectors.http.credentials import Credentials, CredentialsError
from event_processor.model.answers import Answer, Verdict
from event_processor.model.contracts import Clock
from event_processor.model.probes import Finding

__all__ = ["probe_service"]

REFUSALS = ("401", "403")


def probe_service(key: str, credentials: Credentials, clock: Clock, *, may_request: bool) -> Iterator[Finding]:
    """What is found of the service; `key` is its own, such as "services.api". Takes at most about its `timeout_s`."""
    service = credentials.service
    place = f"token_file {service.token_file}" if service.token_file else f"token_env {service.token_env}"
    try:
        has_token = bool(credentials.token())
        credentials.tls()
    except CredentialsError as error:
        yield Finding(key, "wrong", str(error), "put it in its place, readable for this user")
        return
    if has_token:
        yield Finding(key, "ok", f"a token is in {place}")
    if may_request:
        yield asyncio.run(_answered(key, credentials, clock))
    else:
        yield asyncio.run(_connected(key, credentials))


async def _answered(key: str, credentials: Credentials, clock: Clock) -> Finding:
    """The finding of one request."""
    client = HttpClient(credentials, clock)
    await client.open()
    began_s = clock.monotonic_s()
    try:
        answer, _ = await client.exchange("HEAD", "/", b"", {})
    finally:
        await client.close()
    took_ms = 1000 * (clock.monotonic_s() - began_s)
    address = credentials.service.base_url
    if answer.status and answer.status not in REFUSALS:
        return Finding(key, "ok", f"{address} answers ({answer.status} to HEAD, {took_ms:.0f} ms)")
    return _refused(key, f"{address}: {answer.words}", answer)


def _refused(key: str, words: str, answer: Answer) -> Finding:
    if answer.status in REFUSALS:
        return Finding(key, "wrong", f"{words} ({answer.status})", "correct the token, or what it may do at the service")
    if answer.verdict is Verdict.STOP:
        return Finding(key, "wrong", words, f"correct [{key}], or the service's certificate")
    return Finding(key, "unreachable", words, "start the service, or correct base_url, the name server or the firewall")


async def _connected(key: str, credentials: Credentials) -> Finding:
    """The finding of a connection without a request."""
    address = credentials.service.base_url or ""
    parts = urlsplit(address)
    tls = credentials.tls()
    port = parts.port or (443 if tls else 80)
    try:
        async with asyncio.timeout(credentials.service.timeout_s):
            _, writer = await asyncio.open_connection(parts.hostname, port, ssl=tls)
            writer.close()
            await writer.wait_closed()
    except (TimeoutError, OSError) as error:
        reason = getattr(error, "verify_message", "") or getattr(error, "strerror", "") or type(error).__name__
        return Finding(
            key, "unreachable", f"{address}: no connection: {reason}", "start the service, or correct base_url or its TLS"
        )
    words = f"{address} accepts a connection; no request was made, because a daemon uses the service's limit"
    return Finding(key, "ok", words)
