"""The receiver of an HTTP sink: one request of records is one request of HTTP.

Owns: `HttpReceiver`, and the headers of its requests.
Always: every try of a request has the same body and the same `Idempotency-Key`. Only `Event-Processor-Attempt` differs.
Never: tries again.
"""

from __future__ import annotations

import hashlib
import string
from typing import Final
from urllib.parse import quote

from event_processor.connectors.http.body import BodyWriter, UnencodableError
from event_processor.connectors.http.client import HttpClient
from event_processor.connectors.http.options import HttpSinkOptions
from event_processor.model.answers import Answer, Verdict
from event_processor.model.delivery import Request

__all__ = ["HttpReceiver", "header_key"]

KEY_CHARACTERS_MAX: Final = 255
_PLAIN: Final = string.punctuation.replace("%", "")


class HttpReceiver:
    """See `Receiver`."""

    def __init__(self, options: HttpSinkOptions, client: HttpClient) -> None:
        self._options: Final = options
        self._client: Final = client
        self._writer: Final = BodyWriter(options.body, options.body_fields)
        is_typed = any(name.lower() == "content-type" for name in options.headers)
        self._headers: Final = {**options.headers, **({} if is_typed else {"Content-Type": self._writer.content_type})}

    async def open(self) -> None:
        await self._client.open()

    async def deliver(self, request: Request) -> Answer:
        try:
            body = self._writer.body(request.records, request.keys)
        except UnencodableError as error:
            return Answer(Verdict.BAD, str(error))
        own = {"Idempotency-Key": header_key(request.key), "Event-Processor-Attempt": str(request.tries + 1)}
        answer, _ = await self._client.exchange(self._options.method, self._options.path, body, {**self._headers, **own})
        return answer

    async def refresh(self) -> None:
        await self._client.refresh()

    async def close(self) -> None:
        await self._client.close()


def header_key(key: str) -> str:
    """The key as a header may hold it. A group's key can have any characters, and any length."""
    quoted = quote(key, safe=_PLAIN, errors="surrogatepass")
    if len(quoted) <= KEY_CHARACTERS_MAX:
        return quoted
    return hashlib.sha256(key.encode(errors="surrogatepass")).hexdigest()
