"""The HTTP server of a real daemon: what it answers, what a reload changes, and that nothing about it stops the counting."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.http_daemon import Served, ports, served, served_in
from support.processes import Pipeline, wait_until

EVENT = b'{"id": %d, "category": "a", "value": 1}\n'
TOKEN = "a-token-of-some-length"
LISTEN = '[http]\nlisten = "127.0.0.1:0"\n'


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Served]:
    with served_in(tmp_path, EVENT % 1) as running:
        running.wait_for_records(1)
        yield running


def pipeline_in(folder: Path) -> Pipeline:
    pipeline = Pipeline(folder, folder)
    pipeline.prepare(EVENT % 1)
    return pipeline


def change(pipeline: Pipeline, before: str, after: str) -> None:
    path = pipeline.folder / "pipeline.toml"
    text = path.read_text()
    assert before in text
    path.write_text(text.replace(before, after))


def test_the_state_is_that_of_status_and_it_follows_the_log(running: Served) -> None:
    running.append(EVENT % 2)
    running.wait_for_records(2)
    answered = running.ask("/v1/state").json
    said = json.loads(running.pipeline.command_of("status", "--json").stderr)
    for document in (answered, said):
        del document["committed"]["age_s"]
    assert answered == said
    assert running.ask("/readyz").json == {"ready": True, "shortfalls": [], "conditions": []}


def test_a_condition_makes_it_not_ready_with_the_words_of_status(running: Served) -> None:
    running.pipeline.log.rename(running.pipeline.folder / "away")
    wait_until(lambda: running.ask("/readyz").status == 503, "not ready")
    answer = running.ask("/readyz").json
    assert [each["kind"] for each in answer["conditions"]] == ["file_missing"]
    assert "no such file" in answer["shortfalls"][0]
    assert running.ask("/healthz").status == 200


def test_a_stop_ends_it_cleanly_while_a_client_is_connected(tmp_path: Path) -> None:
    pipeline = pipeline_in(tmp_path)
    path = pipeline.folder / "pipeline.toml"
    path.write_text(path.read_text() + LISTEN)
    daemon = pipeline.start()
    try:
        wait_until(lambda: bool(ports(daemon)), "the server listens")
        with Served(pipeline, daemon, ports(daemon)[-1]).connect() as client:
            client.sendall(b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
            assert client.recv(15) == b"HTTP/1.1 200 OK"
            daemon.send(signal.SIGTERM)
            finished = daemon.wait()
        assert finished.exit_code == 0, finished.stderr
        assert "Traceback" not in finished.stderr
    finally:
        daemon.kill()


def test_a_port_that_is_taken_stops_no_counting_and_status_names_it(tmp_path: Path) -> None:
    pipeline = pipeline_in(tmp_path)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        path = pipeline.folder / "pipeline.toml"
        path.write_text(f'{path.read_text()}[http]\nlisten = "127.0.0.1:{taken.getsockname()[1]}"\n')
        daemon = pipeline.start()
        try:
            wait_until(lambda: pipeline.progress() == len(EVENT % 1), "a commit")
            wait_until(lambda: pipeline.command_of("status").exit_code == 69, "a condition")
            said = pipeline.command_of("status").stderr
            assert f"cannot listen on 127.0.0.1:{taken.getsockname()[1]}: Address already in use" in said
            taken.close()
            wait_until(lambda: bool(ports(daemon)), "it listens when the port is free")
            wait_until(lambda: pipeline.command_of("status").exit_code == 0, "the condition ends")
            assert daemon.said().count("http_unavailable") == 1, "said once, however often it is tried"
        finally:
            daemon.kill()


def test_a_reload_moves_it_stops_it_and_starts_it(running: Served) -> None:
    pipeline, daemon = running.pipeline, running.daemon
    change(pipeline, LISTEN, f"{LISTEN}idle_timeout_s = 5\n")
    daemon.send(signal.SIGHUP)
    wait_until(lambda: len(ports(daemon)) == 2, "it listens again")
    moved = Served(pipeline, daemon, ports(daemon)[-1])
    assert moved.records() == 1
    change(pipeline, f"{LISTEN}idle_timeout_s = 5\n", "")
    daemon.send(signal.SIGHUP)
    wait_until(lambda: is_refused(moved.port), "it is closed")
    path = pipeline.folder / "pipeline.toml"
    path.write_text(path.read_text() + LISTEN)
    daemon.send(signal.SIGHUP)
    wait_until(lambda: len(ports(daemon)) == 3, "it listens again")
    assert Served(pipeline, daemon, ports(daemon)[-1]).records() == 1


def is_refused(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port)).close()
    except ConnectionRefusedError:
        return True
    return False


def test_a_reload_reads_the_token_again_and_refuses_a_bad_one(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text(TOKEN)
    pipeline = pipeline_in(tmp_path)
    with served(pipeline, f'token_file = "{token}"\n') as running:
        with_token = {"Authorization": f"Bearer {TOKEN}"}
        assert running.ask("/healthz").status == 200
        assert running.ask("/v1/state").status == 401
        assert running.ask("/v1/state", headers=with_token).status == 200
        token.write_text("short")
        assert pipeline.command_of("reload").exit_code == 78
        assert running.ask("/v1/state", headers=with_token).status == 200
        token.write_text("another-token-of-length")
        running.daemon.send(signal.SIGHUP)
        wait_until(lambda: running.ask("/v1/state", headers=with_token).status == 401, "the new token counts")
        assert running.ask("/v1/state", headers={"Authorization": "Bearer another-token-of-length"}).status == 200
        assert TOKEN not in running.daemon.said()


def test_a_browser_exchanges_the_token_once_for_a_cookie(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text(TOKEN)
    with served(pipeline_in(tmp_path), f'token_file = "{token}"\n') as running:
        body = json.dumps({"token": TOKEN}).encode()
        answer = running.ask("/session", "POST", body=body)
        cookie, *attributes = answer.headers["set-cookie"].split("; ")
        assert answer.status == 204
        assert {each.lower() for each in attributes} >= {"httponly", "samesite=strict", "path=/"}
        assert running.ask("/v1/state", headers={"Cookie": cookie}).status == 200
        assert running.ask("/session", "POST", body=b'{"token": "wrong-token-of-length"}').status == 401
        assert running.ask("/session", "POST", body=b"token").status == 400
        assert running.ask("/session", "POST", body=body, headers={"Origin": "http://evil.com"}).status == 403
        assert running.ask("/session", "DELETE").headers["set-cookie"].startswith('event_processor_session=""; ')


def test_without_its_extra_the_start_is_refused_and_names_it(tmp_path: Path) -> None:
    pipeline = pipeline_in(tmp_path)
    path = pipeline.folder / "pipeline.toml"
    path.write_text(path.read_text() + LISTEN)
    hidden = tmp_path / "hidden"
    hidden.mkdir()
    (hidden / "uvicorn.py").write_text("raise ImportError('not installed')\n")
    search = os.pathsep.join(filter(None, [str(hidden), os.environ.get("PYTHONPATH", "")]))
    finished = pipeline.start(environment={"PYTHONPATH": search}).wait()
    assert finished.exit_code == 78
    assert "event-processor[http]" in finished.stderr
    assert pipeline.run("--once", environment={"PYTHONPATH": search}).exit_code == 0, "one run to the end does not serve"


def test_a_daemon_without_it_imports_none_of_it() -> None:
    code = "import sys, event_processor.cli.run; print([n for n in ('starlette', 'uvicorn', 'httptools', 'asyncio') if n in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)
    assert done.stdout == "[]\n"
