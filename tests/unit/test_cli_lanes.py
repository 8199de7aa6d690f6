"""Commands over a state with a lane: the real command line in this process, and a real small service."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from event_processor.engine.delivery.reports import GroupReport, LaneReport, OutboxReport, PublishedLanes
from event_processor.operations.lanes import LanesStatus, outbox_forecast
from support.command_line import Shell, shell_in
from support.http_service import HttpService, Reply

CONFIGURATION = """
[sources.log]
path = "log.jsonl"
[order]
buffer_events = 0
[outbox]
once_wait_s = {wait_s}
[services.api]
base_url = "{base_url}"
timeout_s = 5
[sinks.down]
type = "http"
service = "api"
figures_by = ["category"]
{more}
"""


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Shell:
    return shell_in(tmp_path, monkeypatch, capsys)


@pytest.fixture
def service() -> Iterator[HttpService]:
    with HttpService() as service:
        yield service


def configure(shell: Shell, service: HttpService, more: str = "", wait_s: int = 60) -> None:
    text = CONFIGURATION.format(base_url=service.base_url, more=more, wait_s=wait_s)
    shell.path("event-processor.toml").write_text(text, encoding="utf-8")


def status_of(shell: Shell) -> Any:
    assert shell.call("status", "--json") == 69
    return json.loads(shell.out)


def test_without_a_daemon_the_lanes_are_those_of_the_files(shell: Shell, service: HttpService) -> None:
    service.answers = [Reply(503)]
    configure(shell, service, wait_s=0)
    assert shell.call("run", "--once") == 69
    document = status_of(shell)
    (lane,) = document["lanes"]
    (path,) = shell.path("state", "outbox").iterdir()
    size_bytes = path.stat().st_size
    assert (lane["sink"], lane["state"], lane["guarantee"]) == ("down", "offline", "at least once, with a stable key")
    assert (lane["released"], lane["delivered"], lane["pending"], lane["pending_bytes"]) == (3, 0, 3, size_bytes)
    assert document["outbox"] == {
        "undelivered_bytes": size_bytes,
        "bytes_max": 1 << 30,
        "growth_bytes_per_s": None,
        "full_in_s": None,
    }
    assert shell.call("status") == 69
    assert "sink down     offline: 0 delivered, 0 failed, 0 skipped, 3 pending" in shell.out
    assert shell.call("top", "--count", "1") == 0
    assert " lanes=down:offline delivered=0 delivered_per_s=0.0 pending=3 failed=0 " in shell.out


def test_a_cursor_that_cannot_be_read_is_the_state_of_its_lane(shell: Shell, service: HttpService) -> None:
    service.answers = [Reply(503)]
    configure(shell, service, wait_s=0)
    assert shell.call("run", "--once") == 69
    shell.path("state", "delivery", "down.json").write_text("{}")
    (lane,) = status_of(shell)["lanes"]
    assert (lane["state"], lane["exit_code"], lane["pending"]) == ("failed", 65, 3)
    assert "is not the cursor of a lane" in lane["words"]
    assert lane["remedy"]


def report(pending_bytes: int, **facts: Any) -> LaneReport:
    return LaneReport(
        "down", "events", "sending", "", "2026-01-01T00:00:00.000Z", 0, "", 9, 0, 5, 1, 0, 3, pending_bytes, **facts
    )


def publish(shell: Shell, outbox: OutboxReport, *lanes: LaneReport) -> None:
    """As the daemon that owns the state does."""
    shell.path("state", "history").mkdir(parents=True, exist_ok=True)
    owner = shell.path("state", "lock").read_text().strip()
    published = msgspec.json.encode(PublishedLanes(owner, lanes, outbox))
    shell.path("state", "history", "lanes.json").write_bytes(published)


def test_the_figures_of_a_daemon_are_shown(shell: Shell, service: HttpService) -> None:
    configure(shell, service)
    assert shell.call("run", "--once") == 0
    groups = {"1": GroupReport(processed=4, rate_per_s=0.4), "2": GroupReport(processed=2, failed=1)}
    facts: dict[str, Any] = {"rate_per_s": 4.5, "mean_request_ms": 20.0, "by_field": {"priority": groups}}
    with shell.daemon():
        publish(shell, OutboxReport(100), report(100, **facts))
        document = shell.json("status")
        assert document["lanes"][0]["by_field"]["priority"]["2"]["failed"] == 1
        assert shell.call("status") == 0
        assert "sending since 2026-01-01T00:00:00.000Z: 5 delivered, 4.5/s, 1 failed, 0 skipped, 3 pending" in shell.out
        assert "outbox        100 of 1,073,741,824 bytes wait" in shell.out


def test_an_outbox_that_is_more_than_half_full_is_69_with_a_forecast(shell: Shell, service: HttpService) -> None:
    configure(shell, service)
    assert shell.call("run", "--once") == 0
    half = 1 << 29
    with shell.daemon():
        publish(shell, OutboxReport(half, 1000), report(half))
        assert shell.call("status") == 0
        publish(shell, OutboxReport(half + 1, -1), report(half + 1))
        assert shell.call("status") == 69
        assert "not keeping up: the outbox is 50% full" in shell.out
        assert "full in" not in shell.out
        publish(shell, OutboxReport(half + 1, 44_739), report(half + 1))
        document = status_of(shell)
        assert document["outbox"]["full_in_s"] == 12_000
        assert "full in about 3 h 20 min at the present rate" in document["shortfalls"][0]


def test_figures_of_another_process_are_not_those_of_the_present_one(shell: Shell, service: HttpService) -> None:
    configure(shell, service)
    assert shell.call("run", "--once") == 0
    with shell.daemon():
        publish(shell, OutboxReport(0), report(0))
    with shell.daemon():
        path = shell.path("state", "history", "lanes.json")
        path.write_text(path.read_text().replace('"owner":"', '"owner":"another '))
        (lane,) = shell.json("status")["lanes"]
        assert (lane["state"], lane["delivered"], lane["pending"]) == ("starting", 3, 0)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (None, ""),
        (0.0, "it is full"),
        (90.0, "full in about 90 s at the present rate"),
        (600.0, "full in about 10 min at the present rate"),
        (7200.0, "full in about 2 h at the present rate"),
        (12_000.0, "full in about 3 h 20 min at the present rate"),
        (3 * 86_400.0, "full in about 3 days at the present rate"),
    ],
)
def test_a_forecast_is_rounded_for_people(seconds: float | None, words: str) -> None:
    assert outbox_forecast(seconds) == words


def test_without_lanes_nothing_fills_up() -> None:
    assert list(LanesStatus(outbox=OutboxReport(10), bytes_max=5).shortfalls()) == []
