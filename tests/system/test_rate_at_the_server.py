"""The limit where it counts, at the server: under twice the load, with failures, over a kill and a reload, in real time."""

from __future__ import annotations

import json
import signal
import time
from pathlib import Path

from support.documents import ROOT
from support.modules import modules_of
from support.processes import Pipeline, wait_until

RULES, API = modules_of(ROOT / "examples" / "001-streams", "downstream_rules", "downstream_api")
LIMIT = 15
RECORDS = 75
CONFIGURATION = """
[sources.user_events]
path = "events.jsonl"
[order]
buffer_events = 0
[event]
id = "number"
category = "source"
value = ""
[state]
dir = "durable/state"
[services.api]
base_url = "{url}"
requests_per_s = {limit}
timeout_s = 4
[sinks.downstream]
type = "http"
service = "api"
path = "/records"
[sinks.downstream.fields]
source = "source"
timestamp = "timestamp"
priority = "priority"
processed_at = "@now_s"
processing_time_ms = "@elapsed_ms"
transformed_data = "data"
"""


def write(log: Path, first: int, count: int) -> None:
    with log.open("a") as file:
        for number in range(first, first + count):
            record = {"number": number, "source": "user_events", "timestamp": time.time(), "priority": 1, "data": {"n": number}}
            file.write(json.dumps(record) + "\n")


def test_no_second_at_the_server_has_more_requests_than_the_limit_and_nothing_is_lost(tmp_path: Path) -> None:
    with API.RunningApi(RULES.Settings(fail=0.15)) as running:
        pipeline = Pipeline(tmp_path, tmp_path / "durable")
        pipeline.durable.mkdir()
        configuration = CONFIGURATION.format(url=running.address, limit=LIMIT)
        (tmp_path / "pipeline.toml").write_text(configuration)
        # All at once: more than twice the limit until the end.
        write(pipeline.log, 1, RECORDS // 3)
        api = running.api

        def arrived(count: int) -> None:
            wait_until(lambda: len(api.figures.keys) >= count, f"{count} records arrived")

        daemon = pipeline.start()
        arrived(RECORDS // 6)
        daemon.kill()
        write(pipeline.log, 1 + RECORDS // 3, RECORDS - RECORDS // 3)
        daemon = pipeline.start()
        arrived(RECORDS // 2)
        (tmp_path / "pipeline.toml").write_text(configuration.replace("timeout_s = 4", "timeout_s = 5"))
        daemon.send(signal.SIGHUP)
        arrived(RECORDS)
        daemon.send(signal.SIGTERM)
        finished = daemon.wait()
        assert finished.exit_code == 0, finished
        assert "reloaded" in finished.stderr
        assert api.window.worst <= LIMIT
        assert api.figures.limited_429 == 0
        assert api.figures.changed == 0
        assert len(api.figures.keys) == RECORDS
        assert not (tmp_path / "durable" / "state" / "delivery" / "downstream.failed.jsonl").read_bytes()
