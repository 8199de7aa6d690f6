"""Server-sent events of a real daemon: the state at once, then every commit, and an end with the daemon or with a reload."""

from __future__ import annotations

import http.client
import json
import signal
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from support.http_daemon import Served, ports, served_in
from support.processes import DEADLINE_S, Pipeline, wait_until

EVENT = b'{"id": %d, "category": "a", "value": 1}\n'


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Served]:
    with served_in(tmp_path, EVENT % 1) as running:
        running.wait_for_records(1)
        yield running


class Stream(AbstractContextManager["Stream"]):
    """A client that follows the commits."""

    def __init__(self, port: int) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=DEADLINE_S)
        self._connection.request("GET", "/v1/commits")
        self._answer = self._connection.getresponse()
        assert self._answer.status == 200
        assert self._answer.headers["content-type"] == "text/event-stream; charset=utf-8"

    def next(self) -> Any:
        """The next event; None at the end."""
        while line := self._answer.readline():
            if line.startswith(b"data: "):
                return json.loads(line.removeprefix(b"data: "))
        return None

    def records(self) -> int:
        """The number of records in the next event."""
        return int(self.next()["counts"]["records"])

    def __exit__(self, *_: object) -> None:
        self._answer.close()
        self._connection.close()


def test_a_client_gets_the_state_and_then_every_change_of_it(running: Served) -> None:
    with Stream(running.port) as other:
        with Stream(running.port) as stream:
            first = stream.next()
            assert (first["counts"]["records"], first["ready"]) == (1, True)
            for number in (2, 3, 4):
                running.append(EVENT % number)
                while (records := stream.records()) < number:
                    assert records == number - 1, "no event is older than the one before"
                assert records == number
        running.append(EVENT % 5)
        while (records := other.records()) < 5:
            continue
        assert records == 5, "a client that left holds up no other"


def test_a_backlog_of_many_commits_is_followed_to_its_end(running: Served) -> None:
    with Stream(running.port) as stream:
        running.append(b"".join(EVENT % number for number in range(2, 2001)))
        seen = [stream.records()]
        while seen[-1] < 2000:
            seen.append(stream.records())
        assert seen == sorted(seen)


def test_a_stream_ends_when_the_daemon_stops_and_does_not_delay_it(tmp_path: Path) -> None:
    pipeline = Pipeline(tmp_path, tmp_path)
    pipeline.prepare(EVENT % 1)
    path = tmp_path / "pipeline.toml"
    path.write_text(f'{path.read_text()}[http]\nlisten = "127.0.0.1:0"\n')
    daemon = pipeline.start()
    try:
        wait_until(lambda: bool(ports(daemon)), "the server listens")
        with Stream(ports(daemon)[-1]) as stream:
            assert stream.next() is not None
            daemon.send(signal.SIGTERM)
            while stream.next() is not None:
                continue
            finished = daemon.wait()
        assert finished.exit_code == 0, finished.stderr
        assert "Traceback" not in finished.stderr
    finally:
        daemon.kill()


def test_a_reload_ends_a_stream_and_the_next_one_is_of_the_new_configuration(running: Served) -> None:
    with Stream(running.port) as stream:
        assert stream.records() == 1
        running.daemon.send(signal.SIGHUP)
        while stream.next() is not None:
            continue
    with Stream(running.port) as again:
        running.append(EVENT % 2)
        while again.records() < 2:
            continue
