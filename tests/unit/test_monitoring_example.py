"""Alerts and dashboard: each alert fires in a test of promtool and has its entry in the runbook, and all names are names of our metrics."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from support.command_line import Shell, shell_in
from support.documents import ROOT
from support.metrics import needs_promtool

FOLDER = ROOT / "examples" / "monitoring"
ALERTS = FOLDER / "alerts.yml"
OF_THE_PROCESS = {
    "event_processor_commit_duration_seconds_bucket",
    "event_processor_commit_duration_seconds_count",
    "event_processor_lag_seconds",
}
"""What only /metrics has."""


def rules() -> list[dict[str, object]]:
    groups = yaml.safe_load(ALERTS.read_text(encoding="utf-8"))["groups"]
    return [rule for group in groups for rule in group["rules"]]


def queries() -> Iterator[str]:
    """The queries of the dashboard, with values in place of Grafana's variables."""
    dashboard = json.loads((FOLDER / "dashboard.json").read_text(encoding="utf-8"))
    texts = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    texts += [each["expr"] for each in dashboard["annotations"]["list"]]
    for text in texts:
        yield text.replace("$__rate_interval", "5m").replace("$instance", ".*")


def promtool(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["promtool", *arguments], cwd=FOLDER, capture_output=True, text=True, check=False)


@needs_promtool
def test_promtool_accepts_the_rules_and_every_tested_alert_fires_and_is_silent() -> None:
    checked = promtool("check", "rules", ALERTS.name)
    assert checked.returncode == 0, checked.stderr
    tested = promtool("test", "rules", "alerts.test.yml")
    assert tested.returncode == 0, tested.stdout + tested.stderr


@needs_promtool
def test_every_query_of_the_dashboard_can_be_read(tmp_path: Path) -> None:
    records = [{"record": f"query:number_{number}", "expr": text} for number, text in enumerate(queries())]
    file = tmp_path / "queries.yml"
    file.write_text(json.dumps({"groups": [{"name": "queries", "rules": records}]}))
    checked = promtool("check", "rules", str(file))
    assert checked.returncode == 0, checked.stderr
    assert f"{len(records)} rules found" in checked.stdout


def test_each_alert_has_a_test_in_which_it_fires_and_one_in_which_it_is_silent() -> None:
    tests = yaml.safe_load((FOLDER / "alerts.test.yml").read_text(encoding="utf-8"))["tests"]
    expected = [(each["alertname"], bool(each.get("exp_alerts"))) for test in tests for each in test["alert_rule_test"]]
    names = {str(rule["alert"]) for rule in rules()}
    assert {name for name, fires in expected if fires} == names
    assert {name for name, fires in expected if not fires} == names


def test_each_alert_has_its_entry_in_the_runbook() -> None:
    page = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    headings = re.findall(r"^### (EventProcessor\w+)$", page, re.MULTILINE)
    assert headings == [rule["alert"] for rule in rules()]
    for rule in rules():
        annotations = rule["annotations"]
        assert isinstance(annotations, dict)
        assert annotations["runbook_url"] == f"docs/operations.md#{str(rule['alert']).lower()}"


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Shell:
    return shell_in(tmp_path, monkeypatch, capsys)


def test_every_metric_that_is_named_is_one_of_ours_or_of_the_process(shell: Shell) -> None:
    assert shell.call("run", "--once") == 0
    assert shell.call("metrics") == 0
    ours = set(re.findall(r"^# TYPE (\w+) ", shell.out, re.MULTILINE)) | OF_THE_PROCESS
    texts = [*queries(), *(str(rule["expr"]) for rule in rules())]
    named = set(re.findall(r"\b(?:event_processor|process)_\w+", " ".join(texts)))
    assert named <= ours | {"process_start_time_seconds", "process_resident_memory_bytes", "process_cpu_seconds_total"}
    assert ours - named == {
        "event_processor_build_info", "event_processor_categories", "event_processor_dead_letters", "event_processor_foreign_total",
        "event_processor_lag_records", "event_processor_lag_unknown", "event_processor_snapshot_behind",
        "event_processor_source_lag_bytes",
    }  # fmt: skip
