"""Commands over a state with a lane: the real command line in this process, and a real small service."""

from __future__ import annotations

import json
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


def summary_of(shell: Shell) -> list[str]:
    """The lines about the remote sink, and the verdict."""
    lines = shell.out.splitlines()
    return lines[next(place for place, line in enumerate(lines) if line.startswith("sink ")) :]


TARGETS = "[targets]\nrate_min = {rate}\nerror_rate_max = 0.3\nbacklog_max = 100\n"


def test_the_summary_has_the_figures_and_the_verdict(shell: Shell, service: HttpService) -> None:
    service.answers = [Reply(429), Reply(422), Reply(200)]
    configure(shell, service, TARGETS.format(rate=0.001))
    # One of three records fails for good: more than 30 %.
    assert shell.call("run", "--once", "--check-targets") == 69
    counts, figures, by_source, by_category, verdict = summary_of(shell)
    assert counts == "sink down: 2 delivered, 1 failed, 0 skipped, 0 pending"
    assert figures.startswith("  3 processed, ")
    assert "; error rate 50.0% before retries, 33.3% after; backlog 0; 1 limit hits" in figures
    assert by_source == "  by source: log 3 (1 failed)"
    assert sorted(by_category.removeprefix("  by category: ").replace(" (1 failed)", "").split(", ")) == ["a 2", "b 1"]
    assert verdict == "targets: missed: error rate 33.3 %, at most 30 %"


def test_targets_that_are_met_are_said_too(shell: Shell, service: HttpService) -> None:
    configure(shell, service, TARGETS.format(rate=0.001))
    assert shell.call("run", "--once", "--check-targets") == 0
    assert summary_of(shell)[-1] == "targets: met"


def test_a_miss_changes_the_exit_code_only_if_it_is_asked_to(shell: Shell, service: HttpService) -> None:
    configure(shell, service, TARGETS.format(rate=1e9))
    assert shell.call("run", "--once") == 0
    assert summary_of(shell)[-1].startswith("targets: missed: rate ")


def test_records_that_wait_at_the_end_are_the_backlog(shell: Shell, service: HttpService) -> None:
    service.answers = [Reply(503)]
    configure(shell, service, "[targets]\nbacklog_max = 2\n", wait_s=0)
    assert shell.call("run", "--once", "--check-targets") == 69
    assert summary_of(shell)[-1] == "targets: missed: backlog 3, at most 2"


def test_without_remote_sinks_the_targets_are_those_of_what_is_committed(shell: Shell) -> None:
    with shell.path("event-processor.toml").open("a") as file:
        file.write("[targets]\nrate_min = 0.001\nerror_rate_max = 0.1\nbacklog_max = 0\n")
    with shell.path("log.jsonl").open("ab") as log:
        log.write(b'{"torn')
    assert shell.call("run", "--once", "--check-targets") == 69
    assert shell.out.splitlines()[-1] == "targets: missed: error rate 20.0 %, at most 10 %; backlog 1, at most 0"


def test_targets_that_are_not_configured_cannot_be_checked(shell: Shell) -> None:
    assert shell.call("run", "--once", "--check-targets") == 64
    assert "no target is configured" in shell.err
