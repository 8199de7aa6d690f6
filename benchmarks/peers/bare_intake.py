"""What the intake is compared with: a bare application on the same server that only appends and fsyncs in groups; and the clients.

`bare_intake.py serve FILE` prints its port; `bare_intake.py send PORT CONNECTIONS REQUESTS BATCH` prints the seconds from the first request to the
last answer.
Always: the server is the one of a daemon, with its limits. The clients send one request at a time on each connection, and every answer must be 202.
Never: the bare application looks at an event, checks who asks, or counts anything.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import Iterator
from itertools import count
from queue import Empty, SimpleQueue
from threading import Thread

from starlette.types import Receive, Scope, Send

from event_processor.configuration.http_options import HttpOptions
from event_processor.service.web.server import HttpServer, listening_socket


class Bare:
    """The application."""

    def __init__(self, path: str) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        self._waiting: SimpleQueue[tuple[bytes, asyncio.Future[None]]] = SimpleQueue()
        Thread(target=self._work, daemon=True).start()

    async def __call__(self, _scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        parts, more = [], True
        while more:
            message = await receive()
            parts.append(message.get("body", b""))
            more = message.get("more_body", False)
        durable = asyncio.get_running_loop().create_future()
        self._waiting.put((b"".join(parts), durable))
        await durable
        headers = [(b"content-type", b"application/json"), (b"content-length", b"2")]
        await send({"type": "http.response.start", "status": 202, "headers": headers})
        await send({"type": "http.response.body", "body": b"{}"})

    def _work(self) -> None:
        while True:
            group = [self._waiting.get()]
            try:
                while True:
                    group.append(self._waiting.get_nowait())
            except Empty:
                pass
            os.write(self._file, b"".join(body for body, _ in group))
            os.fsync(self._file)
            group[0][1].get_loop().call_soon_threadsafe(_end, [durable for _, durable in group])


def _end(answers: list[asyncio.Future[None]]) -> None:
    for each in answers:
        if not each.done():
            each.set_result(None)


def serve(path: str) -> None:
    """Answers until it is killed."""
    options = HttpOptions(listen="127.0.0.1:0")
    listener = listening_socket(options)
    print(listener.getsockname()[1], flush=True)
    HttpServer(listener, options, Bare(path)).start()
    while True:
        time.sleep(3600)


async def send(port: int, connections: int, requests: int, batch: int) -> float:
    """Sends so many requests of `batch` events each. Returns the seconds."""
    numbers = count()
    opened = [await asyncio.open_connection("127.0.0.1", port) for _ in range(connections)]
    bodies = iter([_request(numbers, batch) for _ in range(requests)])
    began_s = time.perf_counter()
    await asyncio.gather(*(_client(reader, writer, bodies) for reader, writer in opened))
    return time.perf_counter() - began_s


def _request(numbers: Iterator[int], batch: int) -> bytes:
    lines = [
        {"id": f"event-{next(numbers)}", "category": "tea", "value": 2.5, "timestamp": "2026-11-30T12:00:00Z"}
        for _ in range(batch)
    ]
    body = b"".join(json.dumps(line).encode() + b"\n" for line in lines)
    return b"POST /v1/events HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)


async def _client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, bodies: Iterator[bytes]) -> None:
    for body in bodies:
        writer.write(body)
        head = await reader.readuntil(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 202"):
            raise SystemExit(f"not taken: {head!r}")
        place = head.lower().index(b"content-length:") + len(b"content-length:")
        await reader.readexactly(int(head[place : head.index(b"\r", place)]))
    writer.close()


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        serve(sys.argv[2])
    else:
        print(asyncio.run(send(*map(int, sys.argv[2:]))), flush=True)
