"""A daemon whose sink is paused until its outbox and its order buffer are full: everything else works, and nothing is lost."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from event_processor import load, post
from support.http_service import HttpService
from support.processes import Daemon, Pipeline, wait_until
from support.remote_sink import remote_configuration

FIRST, MORE, BUFFERED = 20, 4000, 8
REJECTED, POSTED = 5001, (6001, 6002)
OUTBOX_BYTES = 1_048_576


def event(number: int, value: object = 1) -> dict[str, Any]:
    return {"id": number, "category": "a", "value": value, "pad": "x" * 1000}


def lines(*events: dict[str, Any]) -> bytes:
    return b"".join(json.dumps(each).encode() + b"\n" for each in events)


@pytest.fixture
def pipeline(tmp_path: Path, service: HttpService) -> Pipeline:
    text = remote_configuration(
        service.base_url,
        order=f"buffer_events = {BUFFERED}\nidle_release_ms = 50",
        sink='body = "array"\nrequest_events_max = 500',
        more=f"[batch]\nbytes_max = 65536\n[outbox]\nbytes_max = {OUTBOX_BYTES}\n",
    )
    (tmp_path / "pipeline.toml").write_text(text)
    made = Pipeline(tmp_path, tmp_path)
    made.log.write_bytes(lines(*(event(number) for number in range(1, FIRST + 1)), event(REJECTED, "x")))
    return made


def received(service: HttpService) -> list[int]:
    return sorted({each["id"] for request in service.received for each in request.json()})


def state_of(pipeline: Pipeline) -> dict[str, Any]:
    return dict(json.loads(pipeline.checkpoint.read_bytes())["state"])


def intake_bytes_read(state: dict[str, Any]) -> int:
    return sum(each["position"]["offset"] for each in state["sources"].get("intake", {"generations": []})["generations"])


def lanes_of(pipeline: Pipeline) -> dict[str, Any]:
    return dict(json.loads((pipeline.folder / "state" / "history" / "lanes.json").read_bytes()))


def called(pipeline: Pipeline, *arguments: str) -> str:
    finished = pipeline.command_of(*arguments)
    assert finished.exit_code == 0, finished
    return finished.stderr


def fill(pipeline: Pipeline, service: HttpService) -> None:
    """Pauses the sink of a daemon that runs, and writes until nothing more is read."""
    wait_until(lambda: len(received(service)) == FIRST, "the first records are sent")
    called(pipeline, "sinks", "pause", "remote")
    wait_until(lambda: lanes_of(pipeline)["lanes"][0]["state"] == "paused", "the lane is paused")
    with pipeline.log.open("ab") as log:
        log.write(lines(*(event(number) for number in range(FIRST + 1, FIRST + MORE + 1))))
    wait_until(lambda: lanes_of(pipeline)["outbox"]["undelivered_bytes"] >= OUTBOX_BYTES, "the outbox is full")


def retry_the_rejected(pipeline: Pipeline) -> None:
    """Repairs the dead letter of the log."""
    letters = pipeline.folder / "letters.jsonl"
    called(pipeline, "dead-letters", "export", "--output", str(letters))
    (letter,) = map(json.loads, letters.read_text().splitlines())
    letter["record"] = letter["record"].replace('"value": "x"', '"value": 1')
    letters.write_text(json.dumps(letter))
    called(pipeline, "dead-letters", "retry", str(letters))


def end(daemon: Daemon) -> None:
    daemon.send(signal.SIGTERM)
    finished = daemon.wait()
    assert finished.exit_code == 0, finished


def test_a_full_outbox_stops_the_sources_and_nothing_else(
    pipeline: Pipeline, service: HttpService, monkeypatch: pytest.MonkeyPatch
) -> None:
    daemon = pipeline.start()
    fill(pipeline, service)
    called(pipeline, "verify")

    synced: list[tuple[str, int]] = []
    fsync = os.fsync

    def spy(descriptor: int) -> None:
        fsync(descriptor)
        synced.append((os.readlink(f"/proc/self/fd/{descriptor}"), os.fstat(descriptor).st_size))

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", spy)
        assert post(load(str(pipeline.folder / "pipeline.toml")), [event(number) for number in POSTED]) == len(POSTED)
    intake = pipeline.folder / "state" / "intake.jsonl"
    assert (str(intake), intake.stat().st_size) in synced

    retry_the_rejected(pipeline)
    called(pipeline, "verify")
    # All the time, the sources were paused, no silence flushed the buffer, and nothing was sent.
    paused = state_of(pipeline)
    assert paused["order"]["held"] == BUFFERED
    assert FIRST < paused["counts"]["accepted"] < FIRST + MORE
    assert intake_bytes_read(paused) == 0
    assert len(received(service)) == FIRST

    called(pipeline, "sinks", "resume", "remote")
    expected = [*range(1, FIRST + MORE + 1), REJECTED, *POSTED]
    wait_until(lambda: len(received(service)) == len(expected), "everything is sent")
    assert received(service) == expected
    assert intake_bytes_read(state_of(pipeline)) == intake.stat().st_size
    end(daemon)
    called(pipeline, "verify")
    assert pipeline.run("--once").exit_code == 0
    assert received(service) == expected
