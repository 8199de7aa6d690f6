"""A daemon that serves HTTP, and clients of it: proper ones, and raw sockets."""

from __future__ import annotations

import http.client
import json
import re
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from support.processes import DEADLINE_S, Daemon, Pipeline, wait_until

__all__ = ["Response", "Served", "served", "served_in"]


@dataclass(frozen=True, slots=True)
class Response:
    """An answer over a socket."""

    status: int
    headers: Mapping[str, str]
    content: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.content)


@dataclass(frozen=True, slots=True)
class Served:
    """A pipeline, its running daemon, and the port where it listens."""

    pipeline: Pipeline
    daemon: Daemon
    port: int
    token: str = ""

    def ask(
        self, path: str, method: str = "GET", *, headers: Mapping[str, str] | None = None, body: bytes | None = None
    ) -> Response:
        """One request on a connection of its own."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=DEADLINE_S)
        try:
            known = {"Authorization": f"Bearer {self.token}"} if self.token else {}
            connection.request(method, path, body, {**known, **(headers or {})})
            answer = connection.getresponse()
            return Response(answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read())
        finally:
            connection.close()

    def connect(self) -> socket.socket:
        """A raw connection."""
        return socket.create_connection(("127.0.0.1", self.port), timeout=DEADLINE_S)

    def append(self, content: bytes) -> None:
        with self.pipeline.log.open("ab") as log:
            log.write(content)

    def records(self) -> int:
        """How many records its state has, as it says itself."""
        committed = self.ask("/v1/state").json["committed"]
        return committed["counts"]["records"] if committed else 0

    def wait_for_records(self, count: int) -> None:
        wait_until(lambda: self.records() == count, f"{count} records")


def ports(daemon: Daemon) -> list[int]:
    """The ports at which it said that it listens."""
    return [int(port) for port in re.findall(r'"http_listening".*?"address": "http://127\.0\.0\.1:(\d+)/"', daemon.said())]


@contextmanager
def served(pipeline: Pipeline, keys: str = "", *, token: str = "") -> Iterator[Served]:
    """Starts the daemon of a prepared pipeline with `[http]` on a free port and these further keys, and stops it at the end.

    `token`: what clients must send; empty if nothing.
    """
    if token:
        (pipeline.folder / "token").write_text(token)
        keys = f'{keys}token_file = "token"\n'
    path = pipeline.folder / "pipeline.toml"
    path.write_text(f'{path.read_text()}[http]\nlisten = "127.0.0.1:0"\n{keys}')
    daemon = pipeline.start()
    try:
        wait_until(lambda: bool(ports(daemon)) or not daemon.alive, "the server listens")
        assert daemon.alive, daemon.said()
        yield Served(pipeline, daemon, ports(daemon)[-1], token)
        assert daemon.alive, daemon.said()
        assert "Traceback" not in daemon.said()
    finally:
        daemon.kill()


@contextmanager
def served_in(folder: Path, log: bytes, keys: str = "", *, token: str = "") -> Iterator[Served]:
    """As `served`, over a new pipeline with this log."""
    pipeline = Pipeline(folder, folder)
    pipeline.prepare(log)
    with served(pipeline, keys, token=token) as running:
        yield running
