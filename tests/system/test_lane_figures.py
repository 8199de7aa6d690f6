"""A daemon with a remote sink, as people run it: what `status` and `top` say of it, and what it says when it is stopped."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import pytest

from support.http_service import HttpService, Reply
from support.processes import Daemon, Pipeline, wait_until
from support.remote_sink import remote_configuration

EVENTS = b"".join(
    b'{"id": %d, "category": "a", "value": 1, "priority": %d}\n' % (number, number % 2 + 1) for number in range(1, 7)
)


@pytest.fixture
def pipeline(tmp_path: Path, service: HttpService) -> Pipeline:
    made = Pipeline(tmp_path, tmp_path)
    made.prepare(EVENTS)
    text = remote_configuration(
        service.base_url,
        service='token_file = "api.token"\ntimeout_s = 5',
        name="down",
        sink='figures_by = ["priority"]',
        more="[targets]\nerror_rate_max = 0.5\n",
    )
    (tmp_path / "pipeline.toml").write_text(text, encoding="utf-8")
    (tmp_path / "api.token").write_text("a-very-secret-token", encoding="utf-8")
    return made


def status_of(pipeline: Pipeline) -> tuple[int, dict[str, Any]]:
    finished = pipeline.command_of("status", "--json")
    # The daemon may log at the same time, into the same file.
    said = finished.stderr
    document, _ = json.JSONDecoder().raw_decode(said, said.index('{\n  "state_directory"'))
    return finished.exit_code, document


def lane_of(pipeline: Pipeline) -> dict[str, Any]:
    lanes = status_of(pipeline)[1]["lanes"]
    return dict(lanes[0]) if lanes else {}


def stopped(daemon: Daemon) -> list[str]:
    """Stops it: the lines about the sink, and the verdict."""
    daemon.send(signal.SIGTERM)
    return summary(daemon)


def summary(daemon: Daemon) -> list[str]:
    """What it says at its end."""
    finished = daemon.wait()
    assert finished.exit_code == 0, finished.stderr
    lines = [line for line in finished.stderr.splitlines() if not line.startswith("{")]
    return lines[max(place for place, line in enumerate(lines) if line.startswith("sink down: ")) :]


def test_status_and_the_summary_have_the_figures_of_a_daemon(pipeline: Pipeline, service: HttpService) -> None:
    service.answers = lambda request: Reply(422 if request.json()["id"] == 3 else 200)
    daemon = pipeline.start()
    try:
        wait_until(lambda: lane_of(pipeline).get("processed") == 6, "every record was answered")
        code, document = status_of(pipeline)
        assert (code, document["shortfalls"]) == (0, [])
        (lane,) = document["lanes"]
        assert (lane["state"], lane["delivered"], lane["failed"], lane["pending"], lane["requests"]) == ("idle", 5, 1, 0, 6)
        assert (lane["released"], lane["error_rate"], lane["error_rate_before"]) == (6, 1 / 6, 1 / 6)
        assert lane["mean_elapsed_ms"] >= lane["mean_request_ms"] > 0
        assert {name: (each["delivered"], each["failed"]) for name, each in lane["by_source"].items()} == {"events": (5, 1)}
        assert {name: (each["delivered"], each["failed"]) for name, each in lane["by_field"]["priority"].items()} == {
            "1": (3, 0),
            "2": (2, 1),
        }
        assert document["outbox"]["undelivered_bytes"] == 0
        assert "lanes=down:idle delivered=5" in pipeline.command_of("top", "--count", "1").stderr
    finally:
        lines = stopped(daemon)
    assert lines[0] == "sink down: 5 delivered, 1 failed, 0 skipped, 0 pending"
    assert lines[1].startswith("  6 processed, ")
    assert lines[2:] == ["  by source: events 6 (1 failed)", "  by priority: 1 3, 2 3 (1 failed)", "targets: met"]


def test_the_summary_counts_what_was_answered_while_the_daemon_stopped(pipeline: Pipeline, service: HttpService) -> None:
    configuration = pipeline.folder / "pipeline.toml"
    configuration.write_text(configuration.read_text().replace("timeout_s = 5", "timeout_s = 60\nconcurrency = 1"))
    service.answers = [Reply(is_held=True)]
    daemon = pipeline.start()
    service.wait_for(1)
    daemon.send(signal.SIGTERM)
    wait_until(lambda: '"event": "stopped"' in daemon.said(), "the end of its loop, while the answer is still out")
    service.release()
    (said, *_) = summary(daemon)
    sent = len(service.received)
    assert said == f"sink down: {sent} delivered, 0 failed, 0 skipped, {6 - sent} pending"


def test_a_sink_that_is_stopped_is_69_with_what_to_do_while_the_daemon_runs(pipeline: Pipeline, service: HttpService) -> None:
    service.answers = [Reply(401)]
    daemon = pipeline.start()
    try:
        wait_until(lambda: any("sink down is stopped" in each for each in status_of(pipeline)[1]["shortfalls"]), "the stop")
        wait_until(lambda: lane_of(pipeline).get("state") == "stopped", "its figures")
        code, document = status_of(pipeline)
        assert (code, document["alive"]) == (69, True)
        (shortfall,) = document["shortfalls"]
        assert shortfall.startswith("sink down is stopped: the service refuses the token of ")
        assert "correct the token" in shortfall
        (lane,) = document["lanes"]
        assert (lane["pending"], lane["delivered"], lane["failed"]) == (6, 0, 0)
        assert "correct the token" in lane["remedy"]
        assert lane["pending_bytes"] == document["outbox"]["undelivered_bytes"] > 0
        text = pipeline.command_of("status").stderr
        assert "sink down" in text
        assert "stopped since " in text
        assert "a-very-secret-token" not in text + daemon.said()
    finally:
        lines = stopped(daemon)
    assert lines[0].startswith("sink down: 0 delivered, 0 failed, 0 skipped, 6 pending; stopped: ")
    code, document = status_of(pipeline)
    assert (code, document["lanes"][0]["state"], document["lanes"][0]["pending"]) == (69, "offline", 6)


def test_the_doctor_says_what_a_run_would_find(pipeline: Pipeline, service: HttpService) -> None:
    assert pipeline.command_of("doctor").exit_code == 0
    service.answers = [Reply(403)]
    refused = pipeline.command_of("doctor")
    assert (refused.exit_code, "wrong: services.api: " in refused.stderr) == (78, True)
    (pipeline.folder / "api.token").unlink()
    assert "api.token does not exist" in pipeline.command_of("doctor").stderr
    assert [(request.method, request.body) for request in service.received] == [("HEAD", b"")] * 2
