"""The downstream API: takes records one by one, allows 15 requests a second, fails about 15 % of calls, and counts what it got.

`python downstream_api.py --port 9001` runs it; port 0 takes a free one. The first line that it prints is its address.
Owns: `DownstreamApi` (one event loop), and `RunningApi`, the same in a thread of its own.
Always: a request arrives when its last byte was read. Every arrival counts for the limit, also one that is refused.
Never: changes a record, or contacts another service. It listens on 127.0.0.1 only.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import hashlib
import json
import random
import signal
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Self

from downstream_rules import Figures, Settings, Window, fault_of

HEAD_BYTES_MAX: Final = 65_536
BODY_BYTES_MAX: Final = 1 << 20
REASONS: Final = {
    200: "OK",
    201: "Created",
    400: "Bad Request",
    404: "Not Found",
    405: "Method Not Allowed",
    411: "Length Required",
    413: "Content Too Large",
    422: "Unprocessable Content",
    429: "Too Many Requests",
    500: "Internal Server Error",
    503: "Service Unavailable",
}


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """One request. Names of headers are in lower case."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class HttpAnswer:
    """One answer; `status` 0 closes the connection without one."""

    status: int
    document: object = None
    headers: tuple[tuple[str, str], ...] = ()


class RequestError(Exception):
    """A request that cannot be read. The connection is closed after the answer."""

    def __init__(self, status: int, words: str) -> None:
        super().__init__(words)
        self.status = status


class DownstreamApi:
    """The API in one event loop: `start`, then `stop`."""

    def __init__(self, settings: Settings | None = None, *, seed: int = 1) -> None:
        """`seed`: of delays and failures."""
        self.settings: Final = settings or Settings()
        self.window: Final = Window()
        self.figures: Final = Figures()
        self._random: Final = random.Random(seed)  # noqa: S311 - made-up failures
        self._server: asyncio.Server | None = None
        self._connections: Final[set[asyncio.Task[None]]] = set()

    async def start(self, port: int = 0) -> str:
        """Listens; the address, such as "http://127.0.0.1:9001"."""
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", port, limit=HEAD_BYTES_MAX)
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def stop(self) -> None:
        """Closes every connection. Requests without an answer get none."""
        assert self._server is not None, "start() comes first"
        self._server.close()
        for task in self._connections:
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)
        await self._server.wait_closed()

    def numbers(self) -> dict[str, object]:
        """The document of `GET /figures`."""
        figures = self.figures
        return {
            "requests": len(self.window.arrivals_ns),
            "accepted": figures.accepted,
            "distinct_keys": len(figures.keys),
            "repeats": figures.repeats,
            "changed": figures.changed,
            "failures": figures.failures,
            "refused_400": figures.refused_400,
            "refused_422": figures.refused_422,
            "limited_429": figures.limited_429,
            "closed": figures.closed,
            "worst_window": self.window.worst,
            "mean_duration_ms": figures.duration_ms / figures.answered if figures.answered else 0.0,
            "by_source": dict(sorted(figures.by_source.items())),
            "by_priority": {str(priority): count for priority, count in sorted(figures.by_priority.items())},
        }

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        try:
            # The client may be gone at any moment. Cancelled: the API stops.
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
                while await self._serve_one(reader, writer):
                    pass
        finally:
            self._connections.discard(task)
            writer.close()
            with contextlib.suppress(ConnectionError, asyncio.CancelledError):
                await writer.wait_closed()

    async def _serve_one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Reads a request and answers it; whether the connection stays open."""
        try:
            request = await _read(reader)
            answer = await self._answer(request)
            stays = request.headers.get("connection", "").lower() != "close"
        except RequestError as error:
            answer, stays = HttpAnswer(error.status, {"error": str(error)}), False
        if answer.status == 0:
            return False
        body = json.dumps(answer.document).encode() + b"\n"
        head = [f"HTTP/1.1 {answer.status} {REASONS[answer.status]}", "Content-Type: application/json"]
        head += [f"Content-Length: {len(body)}", f"Connection: {'keep-alive' if stays else 'close'}"]
        head += [f"{name}: {value}" for name, value in answer.headers]
        writer.write("\r\n".join([*head, "", ""]).encode() + body)
        await writer.drain()
        return stays

    async def _answer(self, request: HttpRequest) -> HttpAnswer:
        call = f"{request.method} {request.path}"
        if call == "POST /records":
            return await self._record(request, time.monotonic_ns())
        if call == "POST /control":
            return self._control(request.body)
        documents: dict[str, Callable[[], object]] = {
            "/figures": self.numbers,
            "/health": lambda: {"status": "down" if self.settings.down else "up"},
            "/arrivals": lambda: self.window.arrivals_ns,
            "/keys": lambda: {key: count for key, (count, _) in self.figures.keys.items()},
        }
        if request.path not in {*documents, "/records", "/control"}:
            return HttpAnswer(404, {"error": "no such path"})
        if request.method != "GET" or request.path not in documents:
            return HttpAnswer(405, {"error": f"{request.method} is not for {request.path}"})
        return HttpAnswer(200, documents[request.path]())

    async def _record(self, request: HttpRequest, now_ns: int) -> HttpAnswer:
        is_over = self.window.arrive(now_ns) > self.settings.requests_per_s
        if self.settings.down:
            self.figures.closed += 1
            return HttpAnswer(0)
        if is_over:
            self.figures.limited_429 += 1
            words = f"more than {self.settings.requests_per_s} requests in one second"
            return HttpAnswer(429, {"error": words}, self._retry_after(1))
        chance = self._random
        fails, fails_late, is_slow = (chance.random() for _ in range(3))
        status = chance.choice((500, 503))
        delay_s = chance.uniform(*self.settings.delay_ms) / 1000 + (is_slow < self.settings.slow_share) * self.settings.slow_s
        # Decided before the delay, so that a change of the settings is for requests that arrive after it.
        is_failure, is_late = fails < self.settings.fail, fails_late < self.settings.fail_late
        await asyncio.sleep(delay_s)
        answer = None if is_failure and not is_late else self._judge(request)
        if answer is None or (is_failure and answer.status < 300):
            self.figures.failures += 1
            answer = HttpAnswer(status, {"error": "it failed; try again"}, self._retry_after(None))
        self.figures.answered += 1
        self.figures.duration_ms += (time.monotonic_ns() - now_ns) / 1e6
        return answer

    def _retry_after(self, default: int | None) -> tuple[tuple[str, str], ...]:
        asked = default if self.settings.retry_after is None else self.settings.retry_after
        return () if asked is None else (("Retry-After", str(asked)),)

    def _judge(self, request: HttpRequest) -> HttpAnswer:
        """Stores the record, or says what is wrong with it."""
        key = request.headers.get("idempotency-key", "")
        try:
            record = json.loads(request.body)
        except ValueError:
            self.figures.refused_400 += 1
            return HttpAnswer(400, {"error": "the body is not JSON"})
        if not key:
            self.figures.refused_400 += 1
            return HttpAnswer(400, {"error": "Idempotency-Key: missing"})
        if fault := fault_of(record):
            self.figures.refused_422 += 1
            return HttpAnswer(422, {"error": fault})
        digest = hashlib.sha256(request.body).digest()
        times, first = self.figures.keys.get(key, (0, digest))
        self.figures.keys[key] = (times + 1, first)
        self.figures.accepted += 1
        if times:
            self.figures.repeats += 1
            self.figures.changed += first != digest
            return HttpAnswer(200, {"accepted": key, "repeat": True})
        self.figures.by_source[record["source"]] += 1
        self.figures.by_priority[record["priority"]] += 1
        return HttpAnswer(201, {"accepted": key, "repeat": False})

    def _control(self, body: bytes) -> HttpAnswer:
        try:
            changes = json.loads(body)
            self.settings.change(changes)
        except (ValueError, AttributeError) as error:  # not JSON, or not an object
            return HttpAnswer(422, {"error": str(error)})
        return HttpAnswer(200, {"changed": sorted(changes)})


async def _read(reader: asyncio.StreamReader) -> HttpRequest:
    """The next request. Raises `RequestError`, or `IncompleteReadError` if the client closed the connection."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.LimitOverrunError:
        raise RequestError(400, "the headers are too long") from None
    try:
        first, *lines = head.decode("ascii").split("\r\n")[:-2]
        method, path, _ = first.split(" ")
        pairs = (line.partition(":") for line in lines)
        headers = {name.strip().lower(): value.strip() for name, _, value in pairs}
        length = int(headers.get("content-length", "0"))
    except ValueError:
        raise RequestError(400, "not a request of HTTP/1.1") from None
    if "transfer-encoding" in headers:
        raise RequestError(411, "the length must be known")
    if not 0 <= length <= BODY_BYTES_MAX:
        raise RequestError(413, f"at most {BODY_BYTES_MAX} bytes")
    return HttpRequest(method, path, headers, await reader.readexactly(length))


class RunningApi:
    """The API in a thread of its own: `with RunningApi(Settings(fail=0)) as api: … api.address`."""

    def __init__(self, settings: Settings | None = None, *, seed: int = 1, port: int = 0) -> None:
        self.api: Final = DownstreamApi(settings, seed=seed)
        self.address = ""
        self._port: Final = port
        self._is_up: Final = threading.Event()
        self._thread: Final = threading.Thread(target=lambda: asyncio.run(self._run()), name="downstream-api")
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping: asyncio.Event | None = None
        self._failure: OSError | None = None

    def __enter__(self) -> Self:
        """Starts the thread. Raises `OSError` if the port is taken."""
        self._thread.start()
        self._is_up.wait()
        if self._failure is not None:
            self._thread.join()
            raise self._failure
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Stops the API and waits for the thread."""
        assert self._loop is not None
        assert self._stopping is not None
        self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join()

    async def _run(self) -> None:
        self._loop, self._stopping = asyncio.get_running_loop(), asyncio.Event()
        try:
            self.address = await self.api.start(self._port)
        except OSError as error:
            self._failure = error
            return
        finally:
            self._is_up.set()
        await self._stopping.wait()
        await self.api.stop()


async def _serve(settings: Settings, seed: int, port: int) -> None:
    """Runs until SIGTERM or SIGINT."""
    api = DownstreamApi(settings, seed=seed)
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    print(await api.start(port), flush=True)
    await stopping.wait()
    await api.stop()


def main() -> None:
    """Runs the API, and ends with 1 if its port is taken."""
    usual = Settings()
    parser = argparse.ArgumentParser(description="A downstream API with a limit, delays and failures.")
    parser.add_argument("--port", type=int, default=9001, help="0 takes a free one (9001)")
    parser.add_argument("--requests-per-s", type=int, default=usual.requests_per_s)
    parser.add_argument("--fail", type=float, default=usual.fail, help="the share of requests that fail (0.15)")
    parser.add_argument(
        "--fail-late", type=float, default=usual.fail_late, help="the share of failures after the record was kept"
    )
    parser.add_argument("--delay-ms", type=float, nargs=2, default=usual.delay_ms, metavar=("MIN", "MAX"))
    parser.add_argument("--slow-share", type=float, default=usual.slow_share, help="the share of answers that are slow (0)")
    parser.add_argument("--slow-s", type=float, default=usual.slow_s, help="by how much they are slow (2)")
    parser.add_argument("--seed", type=int, default=1)
    options = vars(parser.parse_args())
    port, seed = options.pop("port"), options.pop("seed")
    settings = Settings()
    settings.change(options)
    try:
        asyncio.run(_serve(settings, seed, port))
    except OSError as error:
        raise SystemExit(f"port {port}: {error.strerror}") from None


if __name__ == "__main__":
    main()
