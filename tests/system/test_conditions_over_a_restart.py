"""What `status` says of a stopped sink from a restart until the service has answered again."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import pytest

from support.http_service import HttpService, Reply
from support.processes import Daemon, Pipeline, wait_until
from support.remote_sink import remote_configuration


@pytest.fixture
def pipeline(tmp_path: Path, service: HttpService) -> Pipeline:
    made = Pipeline(tmp_path, tmp_path)
    text = remote_configuration(service.base_url, service="timeout_s = 600\nconcurrency = 1", name="down")
    (tmp_path / "pipeline.toml").write_text(text)
    append(made, 1)
    return made


def append(pipeline: Pipeline, number: int) -> None:
    with pipeline.log.open("a") as log:
        log.write(json.dumps({"id": number, "category": "a", "value": 1}) + "\n")


def shortfalls(pipeline: Pipeline) -> list[str]:
    finished = pipeline.command_of("status", "--json")
    # The daemon may log at the same time, into the same file.
    said = finished.stderr
    document, _ = json.JSONDecoder().raw_decode(said, said.index('{\n  "state_directory"'))
    assert finished.exit_code == (69 if document["shortfalls"] else 0)
    return list(document["shortfalls"])


def conditions(pipeline: Pipeline) -> list[dict[str, Any]]:
    path = pipeline.folder / "state" / "conditions.json"
    return list(json.loads(path.read_bytes())["conditions"]) if path.exists() else []


def stopped_lane(pipeline: Pipeline, service: HttpService) -> Daemon:
    """A daemon whose sink the service refuses with 401."""
    service.answers = [Reply(401)]
    daemon = pipeline.start()
    wait_until(lambda: any(each["kind"] == "lane_stopped" for each in conditions(pipeline)), "the stop")
    return daemon


def turn_rounds(pipeline: Pipeline) -> None:
    """Returns after the daemon's loop has made several rounds: each of them commits an event."""
    before = json.loads(pipeline.checkpoint.read_bytes())["state"]["counts"]["records"]
    for number in range(before + 1, before + 4):
        append(pipeline, number)
        wait_until(lambda number=number: committed_records(pipeline) == number, "an event is committed")  # type: ignore[misc]


def committed_records(pipeline: Pipeline) -> int:
    return int(json.loads(pipeline.checkpoint.read_bytes())["state"]["counts"]["records"])


@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGHUP])
def test_a_stopped_sink_stays_so_over_a_restart_until_a_record_is_delivered(
    pipeline: Pipeline, service: HttpService, ending: signal.Signals
) -> None:
    daemon = stopped_lane(pipeline, service)
    (before,) = conditions(pipeline)
    asked = len(service.received)
    # The answer takes as long as this test wants.
    service.answers = [Reply(200, is_held=True)]
    daemon.send(ending)
    if ending == signal.SIGTERM:
        assert daemon.wait().exit_code == 0
        assert conditions(pipeline) == [before]
        daemon = pipeline.start()
    service.wait_for(asked + 1)
    turn_rounds(pipeline)
    assert conditions(pipeline) == [before]
    (shortfall,) = shortfalls(pipeline)
    assert shortfall.startswith("sink down is stopped: ")
    service.release()
    wait_until(lambda: not conditions(pipeline), "the end of the condition")
    assert shortfalls(pipeline) == []
    daemon.send(signal.SIGTERM)
    assert daemon.wait().exit_code == 0


def test_what_was_said_of_a_sink_ends_if_it_has_nothing_to_send_or_is_gone(pipeline: Pipeline, service: HttpService) -> None:
    stopped_lane(pipeline, service).kill()
    assert pipeline.command_of("sinks", "skip", "down", "--first").exit_code == 0
    daemon = pipeline.start()
    wait_until(lambda: not conditions(pipeline), "the end of the condition")
    daemon.send(signal.SIGTERM)
    assert daemon.wait().exit_code == 0

    append(pipeline, 2)
    stopped_lane(pipeline, service).kill()
    assert pipeline.command_of("sinks", "drop", "down", "--yes").exit_code == 0
    configuration = pipeline.folder / "pipeline.toml"
    configuration.write_text(configuration.read_text().partition("[services.api]")[0])
    daemon = pipeline.start()
    wait_until(lambda: not conditions(pipeline), "the end of the condition")
    daemon.send(signal.SIGTERM)
    assert daemon.wait().exit_code == 0
