"""The past over HTTP, of real daemons: what one counted is there after a restart, and without the files everything goes on."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from support.http_daemon import Served, ports, served
from support.http_service import HttpService
from support.processes import Pipeline, wait_until
from support.remote_sink import remote_configuration


def lines(begin: int, end: int) -> bytes:
    numbers = range(begin, end)
    return b"".join(b'{"id": %d, "category": "a", "value": 1, "timestamp": 1700000000}\n' % number for number in numbers)


def past(running: Served) -> dict[str, Any]:
    columns: dict[str, Any] = running.ask("/v1/history?span_s=900&points=900").json["columns"]
    return columns


def total(column: list[int | None]) -> int:
    return sum(each for each in column if each is not None)


def test_a_restart_keeps_the_past(tmp_path: Path) -> None:
    pipeline = Pipeline(tmp_path, tmp_path)
    pipeline.prepare(lines(0, 100))
    with served(pipeline) as first:
        first.append(b"not an event\n\n" + lines(0, 20))
        wait_until(lambda: total(past(first)["records"]) == 122, "its records are in the past")
        columns = past(first)
        assert [total(columns[name]) for name in ("accepted", "duplicate", "rejected", "blank")] == [100, 20, 1, 1]
        assert total(columns["commits"]) >= 1
        assert {len(column) for column in columns.values()} == {900}
    daemon = pipeline.start()
    try:
        wait_until(lambda: bool(ports(daemon)) or not daemon.alive, "the server listens again")
        again = Served(pipeline, daemon, ports(daemon)[-1])
        again.append(lines(100, 107))
        wait_until(lambda: total(past(again)["records"]) == 129, "what both counted is in the past")
        assert "history_" not in daemon.said(), "the rings of the first were good"
    finally:
        daemon.kill()


def test_without_the_files_of_the_past_records_are_counted_and_new_files_take_their_place(tmp_path: Path) -> None:
    pipeline = Pipeline(tmp_path, tmp_path)
    pipeline.prepare(lines(0, 3))
    with served(pipeline) as running:
        running.wait_for_records(3)
        folder = tmp_path / "state" / "history"
        shutil.rmtree(folder)
        folder.write_bytes(b"")
        running.append(lines(3, 8))
        running.wait_for_records(8)
        wait_until(lambda: "history_unavailable" in running.daemon.said(), "it says that the past cannot be kept")
        os.unlink(folder)
        running.append(lines(8, 10))
        wait_until(lambda: total(past(running)["records"]) >= 2, "the past is kept again")
        assert running.daemon.said().count("history_unavailable") == 1


def test_a_run_to_the_end_of_the_log_keeps_no_past(tmp_path: Path) -> None:
    pipeline = Pipeline(tmp_path, tmp_path)
    pipeline.prepare(lines(0, 3))
    assert pipeline.run().exit_code == 0
    assert not (tmp_path / "state" / "history").exists()


def test_a_sink_that_waits_for_its_limit_is_named_as_the_bottleneck(tmp_path: Path, service: HttpService) -> None:
    pipeline = Pipeline(tmp_path, tmp_path)
    pipeline.prepare(lines(0, 2000))
    text = remote_configuration(service.base_url, service="requests_per_s = 2", name="slow", sink="request_events_max = 1")
    (tmp_path / "pipeline.toml").write_text(text, encoding="utf-8")
    with served(pipeline) as running:
        wait_until(
            lambda: "2 requests a second" in running.ask("/v1/bottleneck").json["words"], "it names the sink and its limit"
        )
        found = running.ask("/v1/bottleneck").json
        assert found["words"].startswith("Counting keeps up. The sink slow waits for its limit of 2 requests a second.")
        shares = {each["stage"]: each["share"] for each in found["stages"]}
        assert sum(shares.values()) == pytest.approx(1, abs=0.01)
        assert min(shares["waiting"], shares["fsync"], shares["commit"]) > 0
        (sink,) = found["sinks"]
        assert (sink["sink"], max(sink["shares"], key=sink["shares"].get)) == ("slow", "limit")
        wait_until(lambda: total(past(running)["delivered"]) > 1, "its deliveries are in the past")
