"""The HTTP server: a thread with a loop of its own, and a socket.

Owns: the listening socket, the thread, and how the server stops.
Always: the caller binds the socket, so it knows at once whether the address is free. The server handles no signal. A stop takes a
bounded time, whatever clients do. The application can be replaced while requests are answered.
Never: writes to a log (`report` of the application does).
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable
from functools import partial
from threading import Thread
from typing import Final

from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.config import Config
from uvicorn.server import ServerState

from event_processor.configuration.http_options import HttpOptions
from event_processor.service.web.connection import ConnectionLimits, GuardedConnection

__all__ = ["HttpServer", "listening_socket"]

STOP_S: Final = 2.0
"""Requests that are being answered get this long."""
JOIN_S: Final = 5.0
BACKLOG: Final = 128


def listening_socket(options: HttpOptions) -> socket.socket:
    """A socket that listens. Raises `OSError`."""
    host, port = options.host_and_port
    family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP)[0]
    # With another protocol number than TCP's, asyncio would not send small answers at once.
    listener = socket.socket(family, kind, protocol)
    try:
        # Connections of a process before us may still be known to the kernel.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listener.bind(address)
        listener.listen(BACKLOG)
        listener.setblocking(False)
    except BaseException:
        listener.close()
        raise
    return listener


class HttpServer:
    """A server on one socket, from its construction until `stop`. `start` and `stop` are called by one thread."""

    def __init__(self, listener: socket.socket, options: HttpOptions, app: ASGIApp) -> None:
        """Takes the socket over."""
        self._listener: Final = listener
        self._options: Final = options
        self._app = app
        self._loop: Final = asyncio.new_event_loop()
        self._stopping: Final = asyncio.Event()
        host, port = listener.getsockname()[:2]
        shown = f"[{host}]" if listener.family == socket.AF_INET6 else host
        self.url: Final = f"http://{shown}:{port}/"
        self._thread: Final = Thread(target=self._run, name="http", daemon=True)

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The loop in which the application runs."""
        return self._loop

    @property
    def is_alive(self) -> bool:
        """Whether it answers."""
        return self._thread.is_alive()

    def start(self) -> None:
        """Begins to answer."""
        self._thread.start()

    def replace(self, app: ASGIApp) -> None:
        """From the next request on, `app` answers."""
        self._app = app

    def stop(self) -> None:
        """Closes the socket and every connection. Returns after at most `JOIN_S` seconds."""
        if self._thread.is_alive():
            self._call(self._stopping.set)
            self._thread.join(JOIN_S)
        self._listener.close()

    def _call(self, function: Callable[[], object]) -> None:
        try:
            self._loop.call_soon_threadsafe(function)
        except RuntimeError:  # the loop has ended by itself
            return

    def _run(self) -> None:
        try:
            self._loop.run_until_complete(self._serve())
        finally:
            self._loop.close()

    async def _serve(self) -> None:
        state = ServerState()
        limits = ConnectionLimits.of(self._options)
        server = await self._loop.create_server(
            partial(GuardedConnection, self._uvicorn_config(), state, limits), sock=self._listener
        )
        await self._stopping.wait()
        server.close()
        for connection in list(state.connections):
            connection.shutdown()
        await _wait_for_end(state)
        for connection in list(state.connections):
            connection.transport.abort()
        for task in list(state.tasks):
            task.cancel()
        await asyncio.gather(*state.tasks, return_exceptions=True)

    def _uvicorn_config(self) -> Config:
        """Only what a connection reads. Nothing of it touches the process: no signals, no log, no lifespan."""
        for name in ("uvicorn", "uvicorn.error", "uvicorn.access"):
            logger = logging.getLogger(name)
            logger.addHandler(logging.NullHandler())
            logger.propagate = False
        config = Config(
            self._answer,
            http=GuardedConnection,
            ws="none",
            lifespan="off",
            interface="asgi3",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            date_header=False,
        )
        config.timeout_keep_alive = self._options.idle_timeout_s  # type: ignore[assignment]  # it is only added to a time
        config.load()
        return config

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._app(scope, receive, send)


async def _wait_for_end(state: ServerState) -> None:
    """Returns when no request is being answered, at the latest after `STOP_S`."""
    if state.tasks:
        await asyncio.wait(set(state.tasks), timeout=STOP_S)
