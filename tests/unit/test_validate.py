"""`validate` names everything that is wrong in one pass, and what differs from the present state."""

import json
from pathlib import Path

import pytest

from event_processor.cli import COMMANDS
from event_processor.cli.boundary import run
from event_processor.model.errors import ExitCode

PLANTED = """\
[sources.events]
path = "events/a.jsonl"
[sources.again]
path = "./events/a.jsonl"
[surces]
path = "x"
[[transforms]]
convrt = { amount = "number" }
[event]
valu = "amount"
timestamp_zone = "Europe/Nowhere"
model = "no_such_package.models:Model"
[dedup]
enabled = "yes"
[batch]
bytes_max = 12
[aggregates.right]
measures = { events = "count" }
window = { size_s = 60 }
[aggregates.bad_window]
measures = { events = "count" }
window = { size_s = -1 }
[aggregates.bad_measure]
measures = { middle = "median(value)", events = "count" }
[sinks.unknown_type]
type = "elastic"
[sinks.no_path]
type = "file"
[sinks.one]
path = "out/a.jsonl"
[sinks.two]
path = "out/a.jsonl"
[sinks.inside]
path = "state/out.jsonl"
[sinks.columns]
path = "out/rows.csv"
format = "csv"
input = "aggregates.right"
columns = ["events", "no_such_column"]
[sinks.input]
path = "out/rows.jsonl"
input = "aggregates.no_such_aggregate"
[sinks.of_a_bad_window]
path = "out/bad.jsonl"
input = "aggregates.bad_window"
"""

NAMED = {
    "surces": (5, "a known key", "sources"),
    "transforms[0].convrt": (8, "a known key", "transforms[0].convert"),
    "event.valu": (10, "a known key", "event.value"),
    "event.timestamp_zone": (11, 'such as "Europe/Lisbon"', None),
    "event.model": (12, "No module named 'no_such_package'", None),
    "dedup.enabled": (14, "true or false", None),
    "batch.bytes_max": (16, "1024 or more", None),
    "aggregates.bad_window.window.size_s": (22, "1 or more", None),
    "aggregates.bad_measure.measures.middle": (24, '"count", or count, sum, mean, min, max, first or last of a field', None),
    "sources.again.path": (4, "sources.events reads this file too", None),
    "sinks.unknown_type.type": (26, '"file" or "http"', None),
    "sinks.no_path.path": (27, "a value: this key has no default", None),
    "sinks.two.path": (32, "sinks.one.path writes this file too", None),
    "sinks.inside.path": (34, "a path outside the state directory", None),
    "sinks.columns.columns": (39, 'it has no "no_such_column"', None),
    "sinks.input.input": (42, '"aggregates.right"', None),
}
"""By key: the line, a part of what is wanted, and the suggestion. Sixteen mistakes, and nothing that only follows from one."""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("EVENT_PROCESSOR_CONFIG", raising=False)
    monkeypatch.delenv("STATE_DIRECTORY", raising=False)
    return tmp_path


def configure(text: str) -> None:
    Path("event-processor.toml").write_text(text, encoding="utf-8")


def test_sixteen_mistakes_in_one_configuration_are_all_named_in_one_pass(capsys: pytest.CaptureFixture[str]) -> None:
    configure(PLANTED)
    assert run(["validate", "--json"], COMMANDS) == ExitCode.CONFIGURATION
    found = {fault["key"]: fault for fault in json.loads(capsys.readouterr().out)["faults"]}
    assert found.keys() == NAMED.keys()
    for key, (line, wanted, suggestion) in NAMED.items():
        assert (found[key]["line"], found[key]["suggestion"]) == (line, suggestion), key
        assert wanted in found[key]["wanted"], key
    assert run(["validate"], COMMANDS) == ExitCode.CONFIGURATION
    said = capsys.readouterr().err
    assert said.startswith("event-processor: 16 faults in the configuration:\n  event-processor.toml:4: sources.again.path = ")
    assert all(fault["message"] in said for fault in found.values())


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ('[event]\nmodel = "json:JSONDecoder"', "event.model"),
        ('[event]\nmodel = "json:NoModel"', "event.model"),
        ('[[transforms]]\nclass = "no_such_package:Own"', "transforms[0].class"),
        ('[sources.a]\npath = "a"\nformat = "no_such_package:Own"', "sources.a.format"),
        (
            '[services.s]\nbase_url = "http://localhost"\n[sinks.a]\ntype = "python"\nservice = "s"\nclass = "json:Own"',
            "sinks.a.class",
        ),
    ],
)
def test_a_class_that_cannot_be_used_is_a_fault(text: str, key: str, capsys: pytest.CaptureFixture[str]) -> None:
    configure(text)
    assert run(["validate", "--json"], COMMANDS) == ExitCode.CONFIGURATION
    assert [fault["key"] for fault in json.loads(capsys.readouterr().out)["faults"]] == [key]


def test_other_commands_do_not_import_the_classes_of_the_user() -> None:
    configure('[event]\nmodel = "no_such_package:Model"')
    assert run(["config"], COMMANDS) == ExitCode.OK


def test_a_source_whose_file_matches_the_glob_of_another_one_reads_it_twice(capsys: pytest.CaptureFixture[str]) -> None:
    configure(
        '[sources.all]\npath = "logs/*.jsonl"\n[sources.one]\npath = "logs/a.jsonl"\n[sources.other]\npath = "logs/a.txt"\n'
    )
    assert run(["validate", "--json"], COMMANDS) == ExitCode.CONFIGURATION
    assert [fault["key"] for fault in json.loads(capsys.readouterr().out)["faults"]] == ["sources.one.path"]


def test_what_only_follows_from_a_bad_service_is_not_a_second_fault(capsys: pytest.CaptureFixture[str]) -> None:
    configure('[services.api]\nbase_url = 5\n[sinks.a]\ntype = "http"\nservice = "api"\n')
    assert run(["validate", "--json"], COMMANDS) == ExitCode.CONFIGURATION
    assert [fault["key"] for fault in json.loads(capsys.readouterr().out)["faults"]] == ["services.api.base_url"]


def test_windows_with_time_between_them_are_a_note(capsys: pytest.CaptureFixture[str]) -> None:
    configure('[aggregates.a]\nmeasures = { n = "count" }\nwindow = { size_s = 5, every_s = 10 }\n')
    assert run(["validate"], COMMANDS) == ExitCode.OK
    assert "note: aggregates.a.window.every_s = 10: it is over size_s = 5" in capsys.readouterr().out


def test_what_differs_from_the_present_state_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    Path("a.jsonl").write_text('{"id": 1, "category": "a", "value": 1}\n')
    configure('sources.a.path = "a.jsonl"\n')
    assert run(["run", "--once"], COMMANDS) == ExitCode.OK
    assert run(["validate"], COMMANDS) == ExitCode.OK
    capsys.readouterr()
    configure('sources.a.path = "a.jsonl"\ndedup.enabled = false\norder.buffer_events = 3\n')
    assert run(["validate"], COMMANDS) == ExitCode.CONFIGURATION
    said = capsys.readouterr().err
    assert "dedup.enabled: true -> false; order.buffer_events: 1024 -> 3" in said
    assert "event-processor replay" in said
    assert run(["validate", "--json"], COMMANDS) == ExitCode.CONFIGURATION
    document = json.loads(capsys.readouterr().out)
    assert (document["ok"], document["faults"]) == (False, [])
    assert document["state"]["changes"] == [
        {"key": "dedup.enabled", "before": True, "after": False},
        {"key": "order.buffer_events", "before": 1024, "after": 3},
    ]


def test_a_state_that_cannot_be_read_is_a_note(capsys: pytest.CaptureFixture[str]) -> None:
    configure("")
    Path("state").mkdir()
    Path("state/checkpoint.json").write_text("{}")
    assert run(["validate"], COMMANDS) == ExitCode.OK
    assert capsys.readouterr().out.startswith("note: not compared with the state: ")
    assert Path("state/checkpoint.json").read_text() == "{}"
