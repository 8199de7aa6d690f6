"""Clients that send too slowly, too much or not what they said: each ends by itself, and others are answered meanwhile."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator

import pytest

from support.http_daemon import Served, served
from support.processes import Pipeline, wait_until

KEYS = """\
connections_max = 8
header_timeout_s = 0.3
idle_timeout_s = 0.3
stall_timeout_s = 0.3
body_rate_min = 1_000_000
body_bytes_max = 100_000
"""
TOKEN = "a-token-of-some-length"
GET = b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
POST = b"POST /session HTTP/1.1\r\nHost: 127.0.0.1\r\n"


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    log = b'{"id": 1, "category": "a", "value": 1}\n'
    folder = tmp_path_factory.mktemp("served")
    pipeline = Pipeline(folder, folder)
    pipeline.prepare(log)
    path = folder / "pipeline.toml"
    path.write_text(f'{path.read_text()}[jobs]\npipelines_dir = "pipelines"\n')
    with served(pipeline, KEYS, token=TOKEN) as running:
        running.wait_for_records(1)
        yield running


@pytest.fixture
def client(running: Served) -> Iterator[socket.socket]:
    with running.connect() as client:
        yield client
        # Whatever it did, others are answered.
        assert running.ask("/healthz").status == 200


def rest(client: socket.socket) -> bytes:
    """What comes until the server closes the connection."""
    parts = []
    try:
        while part := client.recv(65_536):
            parts.append(part)
    except ConnectionResetError:
        pass
    return b"".join(parts)


def test_a_client_that_says_nothing_is_cut(client: socket.socket) -> None:
    assert rest(client) == b""


def test_half_a_header_is_answered_with_408(client: socket.socket) -> None:
    client.sendall(GET[:20])
    assert rest(client).startswith(b"HTTP/1.1 408 ")


def test_a_header_that_comes_a_byte_at_a_time_is_cut_at_its_deadline(client: socket.socket) -> None:
    """Every byte comes soon after the one before: only the whole takes too long."""
    client.setblocking(False)
    answer = b""

    def is_over() -> bool:
        nonlocal answer
        try:
            client.send(b"G" if not answer else b"")
            answer += (part := client.recv(65_536))
        except BlockingIOError:
            return False
        except (ConnectionResetError, BrokenPipeError):
            return True
        return part == b""

    client.send(b"GET /healthz?")
    wait_until(is_over, "the connection ends")
    assert answer.startswith((b"HTTP/1.1 408 ", b"HTTP/1.1 431 ")) or not answer


def test_an_idle_connection_is_closed_after_its_answer(client: socket.socket) -> None:
    client.sendall(GET)
    answer = rest(client)
    assert answer.startswith(b"HTTP/1.1 200 OK")
    assert answer.endswith(b'{"alive":true}')


def test_half_a_next_request_is_answered_with_408(client: socket.socket) -> None:
    client.sendall(GET)
    assert client.recv(15) == b"HTTP/1.1 200 OK"
    client.sendall(GET[:20])
    assert b"HTTP/1.1 408 " in rest(client)


def test_a_body_that_stops_is_answered_with_408(client: socket.socket) -> None:
    client.sendall(POST + b"Content-Length: 1000\r\n\r\n{")
    assert rest(client).startswith(b"HTTP/1.1 408 ")


def test_a_body_that_stops_in_a_chunk_is_answered_with_408(client: socket.socket) -> None:
    client.sendall(POST + b"Transfer-Encoding: chunked\r\n\r\n400\r\n{")
    assert rest(client).startswith(b"HTTP/1.1 408 ")


def test_a_long_body_is_refused_when_it_is_announced(client: socket.socket) -> None:
    client.sendall(POST + b"Content-Length: 100000000\r\n\r\n" + b"x" * 1000)
    assert rest(client).startswith(b"HTTP/1.1 413 ")


def test_a_long_body_that_is_not_announced_is_refused(client: socket.socket) -> None:
    client.sendall(POST + b"Transfer-Encoding: chunked\r\n\r\n")
    chunk = b"4000\r\n" + b"x" * 0x4000 + b"\r\n"
    try:
        for _ in range(6000):
            client.sendall(chunk)
    except (ConnectionResetError, BrokenPipeError):
        pass
    assert rest(client).startswith((b"HTTP/1.1 413 ", b""))


def test_a_body_that_nobody_asked_for_does_not_keep_the_connection(client: socket.socket) -> None:
    client.sendall(b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 100\r\n\r\n")
    assert rest(client).startswith(b"HTTP/1.1 200 OK")


def test_a_header_without_end_is_refused(client: socket.socket) -> None:
    client.sendall(b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\nX: " + b"x" * 40_000)
    assert rest(client).startswith(b"HTTP/1.1 431 ")


def test_too_many_fields_are_refused(client: socket.socket) -> None:
    client.sendall(b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n" + b"X: y\r\n" * 200 + b"\r\n")
    assert rest(client).startswith(b"HTTP/1.1 431 ")


@pytest.mark.parametrize("framing", [b"1;" + b"x" * 200_000, b"0\r\nX: " + b"x" * 200_000])
def test_endless_framing_around_a_body_is_cut(client: socket.socket, framing: bytes) -> None:
    client.sendall(POST + b"Transfer-Encoding: chunked\r\n\r\n")
    with contextlib.suppress(ConnectionResetError, BrokenPipeError):
        client.sendall(framing)
    assert not rest(client).startswith(b"HTTP/1.1 2")


def test_a_flood_of_requests_ahead_of_their_answers_is_cut(client: socket.socket) -> None:
    with contextlib.suppress(ConnectionResetError, BrokenPipeError):
        client.sendall(GET * 5000)
    assert rest(client).count(b"HTTP/1.1 200") < 5000


@pytest.mark.parametrize(
    "request_",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET /healthz HTTP/9.9\r\n\r\n",
        b"GET  HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\nHost: 127.0.0.1\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\nX: a\x00b\r\n\r\n",
        b"GET /healthz\r\nX: HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
        b"POST /session HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST /session HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: -1\r\n\r\n",
        b"CONNECT evil.com:443 HTTP/1.1\r\nHost: evil.com\r\n\r\n",
        b"GET http://evil.com/healthz HTTP/1.1\r\nHost: evil.com\r\n\r\n",
    ],
)
def test_what_is_no_sound_request_is_refused_and_not_guessed_at(client: socket.socket, request_: bytes) -> None:
    client.sendall(request_)
    client.shutdown(socket.SHUT_WR)
    answer = rest(client)
    assert not answer or answer.split()[1][:1] in (b"4", b"5"), answer


def test_a_connection_over_the_limit_is_answered_with_503_and_the_others_go_on(running: Served) -> None:
    held = [running.connect() for _ in range(8)]
    try:
        for client in held:
            client.sendall(GET[:20])
        with running.connect() as late:
            assert rest(late).startswith(b"HTTP/1.1 503 ")
        for client in held:
            assert rest(client).startswith(b"HTTP/1.1 408 ")
    finally:
        for client in held:
            client.close()
    wait_until(lambda: running.ask("/healthz").status == 200, "there is room again")


@pytest.mark.parametrize("path", ["/v1/jobs", "/v1/uploads"])
def test_a_request_for_a_job_that_stops_is_answered_with_408(client: socket.socket, path: str) -> None:
    head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {TOKEN}\r\nContent-Length: 50\r\n\r\n"
    client.sendall(head.encode() + b'{"length": ')
    assert rest(client).startswith(b"HTTP/1.1 408 ")


def test_a_piece_of_an_upload_that_stops_is_answered_with_408_and_what_came_counts(
    running: Served, client: socket.socket
) -> None:
    wait_until(lambda: running.ask("/v1/jobs").status == 200, "the jobs are open")
    upload = running.ask("/v1/uploads", "POST", body=b'{"length": 100}').json["id"]
    head = f"PATCH /v1/uploads/{upload} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {TOKEN}\r\nUpload-Offset: 0\r\n"
    client.sendall(f"{head}Content-Length: 100\r\n\r\n".encode() + b"x" * 40)
    assert rest(client).startswith(b"HTTP/1.1 408 ")
    wait_until(lambda: running.ask(f"/v1/uploads/{upload}").json["offset"] == 40, "what came counts")
    rest_of_it = running.ask(f"/v1/uploads/{upload}", "PATCH", headers={"Upload-Offset": "40"}, body=b"x" * 60)
    assert (rest_of_it.status, rest_of_it.headers["upload-offset"]) == (204, "100")


def test_without_the_token_no_job_and_no_upload_is_told_of(running: Served) -> None:
    stranger = Served(running.pipeline, running.daemon, running.port)
    calls = [
        ("GET", "/v1/jobs"),
        ("POST", "/v1/jobs"),
        ("POST", "/v1/uploads"),
        ("PATCH", "/v1/uploads/0"),
        ("DELETE", "/v1/jobs/0"),
    ]
    assert {stranger.ask(path, method).status for method, path in calls} == {401}
    page = stranger.ask("/jobs")
    assert (page.status, "frame-ancestors 'none'" in page.headers["content-security-policy"]) == (200, True)
