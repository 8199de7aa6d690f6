"""`report`: one file with what a daemon would answer."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from support.asgi import asked
from support.command_line import Shell, shell_in
from support.sites import application_here

CONFIGURATION = """
[sources.log]
path = "log.jsonl"
[aggregates.by_category]
group_by = ["category"]
measures = { events = "count" }
[aggregates.hourly]
measures = { events = "count" }
window = { size_s = 3600 }
[sinks.hours]
input = "aggregates.hourly"
path = "out/hours.jsonl"
"""
SECRET = "a-word-to-keep-secret"
EVENTS = [
    {"id": number, "category": f"c{number % 3}", "value": number, "timestamp": 1_700_000_000 + 1800 * number}
    for number in range(20)
]


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Shell:
    shell = shell_in(tmp_path, monkeypatch, capsys)
    shell.path("event-processor.toml").write_text(CONFIGURATION)
    shell.path("log.jsonl").write_text("".join(json.dumps(each) + "\n" for each in EVENTS) + f"</script>{SECRET}\n")
    assert shell.call("run", "--once", "--drain") == 0, shell.err
    return shell


def embedded(path: Path) -> Any:
    found = re.search(r'<script type="application/json" id="report" nonce="[^"]+">(.*?)</script>', path.read_text(), re.DOTALL)
    assert found is not None
    return json.loads(found[1])


def test_a_report_has_what_the_server_would_answer(shell: Shell) -> None:
    assert shell.call("report", "ticket.html") == 0, shell.err
    assert re.fullmatch(r"/.*/ticket\.html: [\d,]+ bytes\n", shell.out)
    report, app = embedded(shell.path("ticket.html")), application_here()
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT.*Z", report["made_at"])
    assert set(report["answers"]) == {
        "/v1/state",
        "/v1/pipeline",
        "/v1/categories",
        "/v1/aggregates",
        "/v1/aggregates/by_category",
        "/v1/aggregates/hourly",
        "/v1/aggregates/hourly/rows",
        "/v1/sources",
        "/v1/dead-letters",
        "/v1/history",
        "/v1/bottleneck",
    }
    for path, answer in report["answers"].items():
        query = "?sort=count&order=desc&limit=1000" if path == "/v1/categories" else ""
        expected = asked(app, f"{path}{query}").json
        if path == "/v1/history":
            # A step may have ended between the two looks.
            assert expected["from"] - answer["from"] in (0, answer["step_s"])
            expected["from"] = answer["from"]
        for document in (answer, expected):
            document.pop("state_id", None)
            document.pop("written_at", None)
            if path == "/v1/state":
                del document["committed"]["age_s"]
            if path == "/v1/aggregates/hourly/rows":
                document.pop("name", None)
        assert answer == expected, path
    assert SECRET in report["answers"]["/v1/dead-letters"]["dead_letters"][0]["record"]


def test_without_records_their_places_and_reasons_stay(shell: Shell) -> None:
    assert shell.call("report", "ticket.html", "--without-records") == 0, shell.err
    assert SECRET not in shell.path("ticket.html").read_text()
    letters = embedded(shell.path("ticket.html"))["answers"]["/v1/dead-letters"]
    assert letters["count"] == 1
    assert (letters["dead_letters"][0]["line"], letters["dead_letters"][0]["stage"]) == (21, "decode")
    assert letters["dead_letters"][0]["reason"]


def test_a_file_that_is_no_page_by_its_name_is_not_replaced(shell: Shell) -> None:
    before = shell.path("log.jsonl").read_bytes()
    assert shell.call("report", "log.jsonl") == 64
    assert "log.jsonl: a report's name ends with .html" in shell.err
    assert shell.path("log.jsonl").read_bytes() == before


def test_a_folder_that_is_missing_is_named(shell: Shell) -> None:
    assert shell.call("report", "nowhere/ticket.html") == 74
    assert "nowhere/" in shell.err


def test_before_the_first_commit_a_report_says_so(shell: Shell) -> None:
    assert shell.call("report", "ticket.html", "--state", "elsewhere") == 0
    assert embedded(shell.path("ticket.html"))["answers"]["/v1/state"]["committed"] is None
