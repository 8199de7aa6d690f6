"""A remote sink that is added to the state of a long log: it starts after everything, and its start costs no second reading."""

from __future__ import annotations

import json
import signal
from pathlib import Path

from support.http_service import HttpService
from support.processes import Pipeline, wait_until
from support.remote_sink import remote_configuration

EVENTS = 1_000_000
LATER = 40


def events(first: int, count: int) -> bytes:
    return b"".join(b'{"id":%d,"category":"a","value":1}\n' % number for number in range(first, first + count))


def read_bytes(process_id: int) -> int:
    """All bytes that a process has read, from whatever file."""
    pairs = dict(line.split(": ") for line in Path(f"/proc/{process_id}/io").read_text().splitlines())
    return int(pairs["rchar"])


def test_a_sink_added_after_a_million_events_is_sent_the_later_ones_only(tmp_path: Path, service: HttpService) -> None:
    pipeline = Pipeline(tmp_path, tmp_path, batch_bytes_max=4_194_304)
    configuration = tmp_path / "pipeline.toml"
    with_sink = remote_configuration(service.base_url)
    configuration.write_text(with_sink.partition("[services.api]")[0])
    pipeline.log.write_bytes(events(1, EVENTS))
    log_bytes = pipeline.log.stat().st_size
    assert pipeline.run("--once").exit_code == 0
    assert pipeline.progress() == log_bytes

    configuration.write_text(with_sink)
    daemon = pipeline.start()
    published, cursor = tmp_path / "state" / "history" / "lanes.json", tmp_path / "state" / "delivery" / "remote.json"
    wait_until(published.exists, "the lane works")
    with pipeline.log.open("ab") as log:
        log.write(events(EVENTS + 1, LATER))
    wait_until(lambda: cursor.exists() and json.loads(cursor.read_bytes())["counts"]["delivered"] == LATER, "all are delivered")
    # Recent ids and both ends of the log, but not the log.
    assert read_bytes(daemon.process_id) < log_bytes / 4
    daemon.send(signal.SIGTERM)
    finished = daemon.wait()
    assert finished.exit_code == 0, finished
    assert f"sink remote: {LATER} delivered, 0 failed, 0 skipped, 0 pending" in finished.stderr
    assert sorted(request.json()["id"] for request in service.received) == list(range(EVENTS + 1, EVENTS + LATER + 1))
    assert pipeline.verify().exit_code == 0
