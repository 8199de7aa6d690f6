"""The commits as they come: server-sent events.

Owns: `/v1/commits`, its clients and their queues.
Always: the daemon's thread only says that there is news, and returns at once; without a client it does nothing. What is sent is read from the
checkpoint. If commits come faster than `PACE_S`, the latest is sent. A client that does not take its events is cut.
Never: keeps an event for a client that comes later (the next one says everything).
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from event_processor.model.errors import EventProcessorError
from event_processor.operations.status import Status, StatusLimits
from event_processor.service.web.answers import ProblemError, json_bytes
from event_processor.service.web.readings import ReaderThreads, Readings

__all__ = ["Commits"]

PACE_S: Final = 0.1
ALIVE_S: Final = 15.0
"""A comment is sent so often, so that both sides notice that the other is gone."""
WAITING_MAX: Final = 16
CLIENTS_MAX: Final = 32
MEDIA_TYPE: Final = "text/event-stream"
Client = asyncio.Queue[bytes | None]


class Commits:
    """The clients that follow the commits of one configuration."""

    def __init__(self, readings: Readings, threads: ReaderThreads) -> None:
        self._readings: Final = readings
        self._threads: Final = threads
        self._clients: Final[set[Client]] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._news = asyncio.Event()
        self._pump: asyncio.Task[None] | None = None

    def notify(self) -> None:
        """A checkpoint is durable. Any thread may call it; it returns at once."""
        loop = self._loop
        if self._clients and loop is not None and not self._news.is_set():
            try:
                loop.call_soon_threadsafe(self._news.set)
            except RuntimeError:  # the server has ended
                return

    def close(self) -> None:
        """Ends every stream; clients come again by themselves. Any thread may call it."""
        loop = self._loop
        if self._clients and loop is not None:
            try:
                loop.call_soon_threadsafe(self._end_all)
            except RuntimeError:
                return

    async def follow(self, _request: Request, _query: Mapping[str, Any]) -> Response:
        """The present state, then an event for each commit."""
        if len(self._clients) >= CLIENTS_MAX:
            raise ProblemError(503, "too many clients follow the commits", headers={"Retry-After": "5"})
        first = await self._event()
        self._use(asyncio.get_running_loop())
        client: Client = asyncio.Queue(WAITING_MAX)
        client.put_nowait(first)
        self._clients.add(client)
        if self._pump is None or self._pump.done():
            self._pump = asyncio.create_task(self._send_news())
        return _EventStream(self, client)

    def leave(self, client: Client) -> None:
        """The client has gone, or was cut."""
        self._clients.discard(client)
        if not self._clients and self._pump is not None:
            self._pump.cancel()
            self._pump = None

    def _use(self, loop: asyncio.AbstractEventLoop) -> None:
        """After a reload, the server may have another loop. Nothing of the one before can be used in it."""
        if loop is not self._loop:
            self._clients.clear()
            self._news, self._pump, self._loop = asyncio.Event(), None, loop

    async def _send_news(self) -> None:
        while True:
            await self._news.wait()
            self._news.clear()
            try:
                event = await self._event(self._readings.now_s())
            except (EventProcessorError, ProblemError, OSError):
                # The state cannot be read now: /readyz says why, and the next commit tries again.
                event = b""
            for client in list(self._clients) if event else ():
                _offer(client, event)
            await asyncio.sleep(PACE_S)

    async def _event(self, asked_s: float = 0.0) -> bytes:
        """The event of what was committed by `asked_s`. Waits if the state was read before, and is not due to be read again."""
        seen = await self._threads.call(self._readings.seen)
        while seen.as_of_s < asked_s:
            await asyncio.sleep(max(0.0, seen.until_s - self._readings.now_s()))
            seen = await self._threads.call(self._readings.seen)
        return b"event: commit\ndata: " + json_bytes(_news_of(seen.status)) + b"\n\n"

    def _end_all(self) -> None:
        for client in list(self._clients):
            _cut(client)


def _news_of(status: Status) -> dict[str, object]:
    committed = status.committed
    return {
        "state_id": committed.state_id if committed else None,
        "written_at": committed.written_at if committed else None,
        "counts": committed.counts if committed else None,
        "categories": committed.categories if committed else 0,
        "lag_bytes": committed.lag_bytes if committed else 0,
        "held_events": committed.held_events if committed else 0,
        "dead_letters": committed.dead_letters if committed else 0,
        "ready": not status.shortfalls(StatusLimits()),
    }


def _offer(client: Client, event: bytes) -> None:
    """Puts an event into the queue of a client. If it is full, the client is cut: it would show an old state without knowing."""
    try:
        client.put_nowait(event)
    except asyncio.QueueFull:
        _cut(client)


def _cut(client: Client) -> None:
    while not client.empty():
        client.get_nowait()
    client.put_nowait(None)


class _EventStream(Response):
    """The answer to one client, until it leaves or is cut."""

    def __init__(self, commits: Commits, client: Client) -> None:
        super().__init__(media_type=MEDIA_TYPE)
        self._commits: Final = commits
        self._client: Final = client

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        del scope
        sending = asyncio.ensure_future(self._send_events(send))
        leaving = asyncio.ensure_future(_left(receive))
        try:
            await asyncio.wait((sending, leaving), return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._commits.leave(self._client)
            leaving.cancel()
            sending.cancel()
            await asyncio.gather(sending, leaving, return_exceptions=True)

    async def _send_events(self, send: Send) -> None:
        headers = [(b"content-type", f"{MEDIA_TYPE}; charset=utf-8".encode()), (b"x-accel-buffering", b"no")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"retry: 1000\n\n", "more_body": True})
        while True:
            try:
                event = await asyncio.wait_for(self._client.get(), ALIVE_S)
            except TimeoutError:
                event = b": still here\n\n"
            if event is None:
                await send({"type": "http.response.body", "body": b"", "more_body": False})
                return
            await send({"type": "http.response.body", "body": event, "more_body": True})


async def _left(receive: Receive) -> None:
    """Returns when the client is gone."""
    while (await receive())["type"] != "http.disconnect":
        continue
