"""Hostile clients of all kinds at once: the daemon counts on, answers others, has no fault of its own, and takes no memory for them."""

from __future__ import annotations

import gzip
import json
import socket
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path
from threading import Event, Thread
from typing import Final

from support.http_daemon import Served, served
from support.processes import Pipeline, wait_until

TOKEN: Final = "a-token-of-some-length"
KEYS: Final = "connections_max = 64\nbody_bytes_max = 1_000_000\n"
INTAKE: Final = "[intake]\nenabled = true\nfree_bytes_min = 0\n"
EVENTS: Final = 3_000
PARTS: Final = 30
GROWTH_BYTES_MAX: Final = 50 * 1024 * 1024
LARGE_BYTES: Final = 100_000_000
BLOCK: Final = b"x" * 65_536
HEAD: Final = f"POST /v1/events HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {TOKEN}\r\n".encode()
BOMB: Final = gzip.compress(b"[" + b"0," * (LARGE_BYTES // 20) + b"0]")
ROUNDS: Final = 3
"""Every kind of client came at least so often."""


def test_counting_goes_on_in_bounded_memory_while_every_kind_of_hostile_client_comes(tmp_path: Path) -> None:
    pipeline = Pipeline(tmp_path, tmp_path)
    pipeline.prepare(lines(0, 100))
    path = tmp_path / "pipeline.toml"
    path.write_text(path.read_text() + INTAKE)
    with served(pipeline, KEYS, token=TOKEN) as running:
        running.wait_for_records(100)
        before = resident_bytes(running)
        with ExitStack() as half_open, besieged(running) as rounds:
            for _ in range(16):
                client = half_open.enter_context(running.connect())
                client.sendall(b"GET /v1/state HTTP/1.1\r\nHost: 127.")
            for part in range(PARTS):
                begin = 100 + part * (EVENTS // PARTS)
                running.append(lines(begin, begin + EVENTS // PARTS))
                # Counted while they come, as the file says: this needs no answer.
                wait_until(lambda end=begin + EVENTS // PARTS: counted(running) == end, "what was appended is counted")  # type: ignore[misc]
            wait_until(lambda: min(rounds()) >= ROUNDS, "every kind of client came")
            assert running.ask("/healthz").status == 200
        running.wait_for_records(100 + EVENTS)
        assert resident_bytes(running) - before < GROWTH_BYTES_MAX
        assert "http_failed" not in running.daemon.said()


def lines(begin: int, end: int) -> bytes:
    return b"".join(json.dumps({"id": each, "category": "a", "value": 1}).encode() + b"\n" for each in range(begin, end))


def counted(running: Served) -> int:
    return int(json.loads(running.pipeline.checkpoint.read_bytes())["state"]["counts"]["accepted"])


def resident_bytes(running: Served) -> int:
    """The memory of the daemon, as the kernel counts it."""
    status = Path(f"/proc/{running.daemon.process_id}/status").read_text()
    return 1024 * int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmRSS")))


class besieged:  # noqa: N801 - used as a statement
    """Inside, one thread for each kind of client comes again and again. Gives how often each came."""

    def __init__(self, running: Served) -> None:
        self._running = running
        self._ended = Event()
        self._kinds = (announced_body, endless_body, wrong_token, other_host, header_injection, compressed_bomb)
        self._counts = [0] * len(self._kinds)
        self._faults: list[BaseException] = []
        self._threads = [Thread(target=self._come, args=(place, kind)) for place, kind in enumerate(self._kinds)]

    def __enter__(self) -> Callable[[], list[int]]:
        for thread in self._threads:
            thread.start()
        return self._rounds

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join()
        assert not self._faults, self._faults

    def _rounds(self) -> list[int]:
        assert not self._faults, self._faults
        return list(self._counts)

    def _come(self, place: int, kind: Callable[[socket.socket], set[int]]) -> None:
        try:
            while not self._ended.is_set():
                # 503: one connection too many at this moment.
                with self._running.connect() as client:
                    allowed = kind(client) | {503}
                    status = answered(client)
                assert status is None or status in allowed, (kind.__name__, status)
                self._counts[place] += 1
        except BaseException as error:  # noqa: BLE001 - the test fails with it
            self._faults.append(error)


def answered(client: socket.socket) -> int | None:
    """The status of the answer; None if the server only closed the connection."""
    content = b""
    with suppress(ConnectionError):
        while b"\r\n" not in content and (part := client.recv(4096)):
            content += part
    return int(content.split(b" ", 2)[1]) if content.startswith(b"HTTP/1.1 ") else None


def announced_body(client: socket.socket) -> set[int]:
    """A hundred megabytes that are announced and sent."""
    with suppress(ConnectionError):
        client.sendall(HEAD + b"Content-Length: %d\r\n\r\n" % LARGE_BYTES)
        for _ in range(LARGE_BYTES // len(BLOCK)):
            client.sendall(BLOCK)
    return {413}


def endless_body(client: socket.socket) -> set[int]:
    """A hundred megabytes in chunks that say no total."""
    with suppress(ConnectionError):
        client.sendall(HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
        for _ in range(LARGE_BYTES // len(BLOCK)):
            client.sendall(b"%x\r\n%s\r\n" % (len(BLOCK), BLOCK))
    return {413}


def wrong_token(client: socket.socket) -> set[int]:
    client.sendall(b"GET /v1/state HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer wrong\r\n\r\n")
    return {401}


def other_host(client: socket.socket) -> set[int]:
    """A name that was made to lead here."""
    client.sendall(f"GET /v1/state HTTP/1.1\r\nHost: attacker.example\r\nAuthorization: Bearer {TOKEN}\r\n\r\n".encode())
    return {421}


def header_injection(client: socket.socket) -> set[int]:
    """A second answer in a header, and a parameter with line ends."""
    client.sendall(HEAD.replace(b"POST /v1/events", b"GET /v1/records?id=a%0d%0aSet-Cookie:%20a=b") + b"X: a\r\n b\r\n\r\n")
    return {200, 400, 404}


def compressed_bomb(client: socket.socket) -> set[int]:
    """A small gzip body that would become large."""
    with suppress(ConnectionError):
        client.sendall(HEAD + b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(BOMB) + BOMB)
    return {413}
