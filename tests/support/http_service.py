"""A real HTTP service on 127.0.0.1 that a test programs: what it answers, how, and how it fails.

Owns: `HttpService`, a server of HTTP/1.1 in a thread of its own, and what it received.
Always: each request is recorded whole, with its time of arrival, before it is answered. `stop` ends everything that was started.
Never: nothing here imports the package or its HTTP client.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Self

__all__ = ["HttpService", "Received", "Reply", "make_certificate", "server_tls"]

WITHIN_S: Final = 30.0
ROUNDS: Final = 3
HEAD_BYTES_MAX: Final = 1_048_576


@dataclass(frozen=True)
class Received:
    """One request. `headers`: by name in lower case. `arrived_s`: monotonic, when its head was complete. `connection`: from 1."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes
    arrived_s: float
    connection: int

    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True)
class Reply:
    """One answer. Each field beside the first three makes the service misbehave in one way."""

    status: int = 200
    body: bytes = b""
    headers: Sequence[tuple[str, str]] = ()
    delay_s: float = 0.0
    """Waits so long before it answers."""
    is_held: bool = False
    """Answers only after `release`, or never."""
    raw: bytes | None = None
    """Sends these bytes instead of an answer, then closes the connection. b"" closes without an answer."""
    cut_at: int | None = None
    """Closes the connection after so many bytes of the body."""
    drip_s: float = 0.0
    """Sends the body byte by byte, with so long a pause after each."""
    resets: bool = False
    """Resets the connection instead of an answer."""


Answers = Callable[[Received], Reply]


@dataclass
class HttpService:
    """The service. A context manager; or `start` and `stop`. `answers`: a function, or the replies in order, the last one again and again."""

    answers: Answers | Sequence[Reply] = (Reply(),)
    tls: ssl.SSLContext | None = None
    port: int = 0
    received: list[Received] = field(default_factory=list)
    connections: int = 0

    def __post_init__(self) -> None:
        self._arrival = threading.Condition()

    def start(self) -> Self:
        self._loop = asyncio.new_event_loop()
        self._released = asyncio.Event()
        self._open: set[asyncio.Task[None]] = set()
        self._cancelled: set[asyncio.Task[None]] = set()
        started = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(started,), name="http-service", daemon=True)
        self._thread.start()
        assert started.wait(WITHIN_S)
        return self

    def stop(self) -> None:
        asyncio.run_coroutine_threadsafe(self._stop(), self._loop).result(WITHIN_S)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(WITHIN_S)
        self._loop.close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def base_url(self) -> str:
        return f"{'https' if self.tls else 'http'}://127.0.0.1:{self.port}"

    def wait_for(self, count: int) -> None:
        """Waits until so many requests have arrived in all."""
        with self._arrival:
            assert self._arrival.wait_for(lambda: len(self.received) >= count, WITHIN_S)

    def release(self) -> None:
        """Lets every held reply go out."""
        self._loop.call_soon_threadsafe(self._released.set)

    def _run(self, started: threading.Event) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.set_exception_handler(lambda _loop, _context: None)  # a failed handshake of TLS is the test's intention
        serving = asyncio.start_server(self._serve, "127.0.0.1", self.port, ssl=self.tls, limit=HEAD_BYTES_MAX)
        self._server = self._loop.run_until_complete(serving)
        self.port = self._server.sockets[0].getsockname()[1]
        started.set()
        self._loop.run_forever()

    async def _stop(self) -> None:
        # Accepts nothing from now on. The server is closed when all tasks have ended: a connection that was accepted just now could not
        # be made for a closed server, and would stay open.
        for listening in self._server.sockets:
            self._loop.remove_reader(listening.fileno())
        await asyncio.sleep(0)
        # A connection that was accepted just now has a task of the loop's own first, and ours some rounds later.
        while others := asyncio.all_tasks() - {asyncio.current_task()}:
            for task in self._open - self._cancelled:
                task.cancel()
                self._cancelled.add(task)
            await asyncio.wait(others, timeout=0)
            await asyncio.sleep(0)
        self._server.close()
        await self._server.wait_closed()
        for _ in range(ROUNDS):  # a connection that was closed is gone a round later
            await asyncio.sleep(0)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._open.add(task)
        self.connections += 1
        number = self.connections
        try:
            while await self._exchange(reader, writer, number):
                pass
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # the client went away, or the service stops
        finally:
            writer.close()
            with contextlib.suppress(OSError, asyncio.CancelledError):
                await writer.wait_closed()
            self._open.discard(task)

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, connection: int) -> bool:
        """One request and its answer. Returns whether the connection stays open."""
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        arrived_s = time.monotonic()
        first, *lines = head.strip().split("\r\n")
        method, path, _ = first.split(" ", 2)
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        body = await reader.readexactly(int(headers.get("content-length", "0")))
        request = Received(method, path, headers, body, arrived_s, connection)
        with self._arrival:
            self.received.append(request)
            self._arrival.notify_all()
        return await self._answer(self._reply(request), writer)

    def _reply(self, request: Received) -> Reply:
        if callable(self.answers):
            return self.answers(request)
        return self.answers[min(len(self.received), len(self.answers)) - 1]

    async def _answer(self, reply: Reply, writer: asyncio.StreamWriter) -> bool:
        if reply.is_held:
            await self._released.wait()
        await asyncio.sleep(reply.delay_s)
        if reply.resets:
            writer.transport.abort()
            return False
        if reply.raw is not None:
            writer.write(reply.raw)
            await writer.drain()
            return False
        has_body = reply.status not in (204, 304)
        length = [f"Content-Length: {len(reply.body)}"] if has_body else []
        head = [f"HTTP/1.1 {reply.status} Status", *(f"{name}: {value}" for name, value in reply.headers), *length]
        writer.write("\r\n".join([*head, "", ""]).encode("latin-1"))
        body = reply.body if reply.cut_at is None else reply.body[: reply.cut_at]
        if reply.drip_s:
            for place in range(len(body)):
                writer.write(body[place : place + 1])
                await writer.drain()
                await asyncio.sleep(reply.drip_s)
        elif has_body:
            writer.write(body)
        await writer.drain()
        return reply.cut_at is None


def make_certificate(folder: Path, name: str = "service", *, valid_for: str = "IP:127.0.0.1") -> tuple[Path, Path]:
    """A certificate that signs itself, and its key. `valid_for`: the addresses and names, as openssl writes them."""
    certificate, key = folder / f"{name}.pem", folder / f"{name}.key"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
    subject = ["-subj", f"/CN={name}", "-addext", f"subjectAltName={valid_for}"]
    subprocess.run([*command, *subject, "-keyout", str(key), "-out", str(certificate)], check=True, capture_output=True)
    return certificate, key


def server_tls(certificate: Path, key: Path, *, client_ca: Path | None = None) -> ssl.SSLContext:
    """The service's side of TLS. `client_ca`: it wants a certificate of the client that this one signed."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    if client_ca is not None:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(client_ca)
    return context
