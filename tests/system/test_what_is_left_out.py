"""What a result leaves out is said by every command that shows the result, with its number and where it began."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from support.command_line import Shell, shell_in

CONFIGURATION = """
[sources.events]
path = "log.jsonl"
[event]
value = "amount"
value_missing = "count_only"
[order]
by = "timestamp"
buffer_events = 1
[aggregates.groups]
group_by = ["g"]
measures = { total = "sum(size)", typo = "mean(durtion)" }
groups_max = 2
[aggregates.minutes]
measures = { n = "count" }
window = { size_s = 60 }
"""
ROWS = [
    {"id": 1, "category": "c", "g": "a", "size": 1, "timestamp": 60},
    {"id": 2, "category": "c", "g": "b", "size": "2", "timestamp": 120},
    {"id": 3, "category": "c", "g": "c", "size": 4, "timestamp": 240},
    {"id": 4, "category": "c", "g": None, "size": 8, "timestamp": 300},
    {"id": 5, "category": "c", "g": [], "size": "x", "timestamp": 61},
]
LINES = [json.dumps(row) + "\n" for row in ROWS]
START = [sum(map(len, LINES[:number])) for number in range(len(LINES))]
LEFT_OUT = f"""\
none of 5 events has the field "amount"
aggregate groups: 2 events had a value that a measure or a group cannot use (unfit); the first: LOG:2 (byte {START[1]}), field "size"
aggregate groups: groups_max = 2 was reached: 2 events of further groups left out (over_limit); the first: LOG:3 (byte {START[2]})
aggregate groups: none of 5 events has the field "durtion"
"""
LATE = [
    "1 event came too late to be released in order (late)",
    "aggregate minutes: 1 event came too late for a window that was closed (late_window)",
]


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Shell:
    made = shell_in(tmp_path, monkeypatch, capsys)
    made.path("event-processor.toml").write_text(CONFIGURATION)
    made.path("log.jsonl").write_text("".join(LINES))
    return made


def test_every_summary_says_what_is_not_in_the_result(shell: Shell) -> None:
    expected = [*LATE[:1], *LEFT_OUT.replace("LOG", "events").splitlines(), *LATE[1:]]
    assert shell.call("run", "--once", "--drain") == 0
    assert [line for line in shell.out.splitlines() if line in expected] == expected
    logged = [json.loads(line) for line in shell.err.splitlines() if '"left_out"' in line]
    assert [line["message"] for line in logged] == [f"the results are not complete: {each}" for each in expected]
    assert (logged[0]["outcome"], logged[0]["count"]) == ("late", 1)
    assert shell.call("inspect") == 0
    assert [line for line in shell.out.splitlines() if line.startswith("left out: ")] == [
        f"left out: {each}" for each in expected
    ]
    assert shell.call("inspect", "--json") == 0
    assert [each["outcome"] for each in json.loads(shell.out)["left_out"]] == [
        "late", "absent_field", "unfit", "over_limit", "absent_field", "late_window",
    ]  # fmt: skip
    assert shell.call("status") == 69  # nothing runs
    assert [line for line in shell.out.splitlines() if line.startswith("left out: ")] == [
        f"left out: {each}" for each in expected
    ]
    assert shell.call("verify") == 0, shell.out


def test_process_says_it_and_strict_makes_it_an_error(shell: Shell) -> None:
    expected = LEFT_OUT.replace("LOG", "log.jsonl").splitlines()
    assert shell.call("process", "log.jsonl") == 0
    assert set(expected) <= set(shell.err.splitlines())
    assert shell.call("process", "--strict", "log.jsonl") == 65
    assert set(expected) <= set(shell.err.splitlines())
    assert shell.call("--log-format", "json", "process", "log.jsonl") == 0
    (facts,) = [json.loads(line) for line in shell.err.splitlines()]
    unfit = next(each for each in facts["left_out"] if each["outcome"] == "unfit")
    assert unfit == {
        "outcome": "unfit", "count": 2, "aggregate": "groups", "field": "size", "place": f"log.jsonl:2 (byte {START[1]})", "groups_max": 0, "sink": "",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("line", "code"),
    [(LINES[0], 0), (LINES[1], 65), ('{"id": 9}\n', 65), (LINES[0] + LINES[0], 0), (LINES[0] + "\n", 0)],
)
def test_strict_is_about_what_is_left_out_or_rejected_and_not_about_duplicates_or_blanks(
    shell: Shell, line: str, code: int
) -> None:
    configuration = CONFIGURATION.replace(', typo = "mean(durtion)"', "").replace('"amount"', '"size"')
    configuration = configuration.replace('value_missing = "count_only"', "").replace('value = "size"', 'value = "" ')
    shell.path("event-processor.toml").write_text(configuration)
    shell.path("log.jsonl").write_text(line)
    assert shell.call("process", "--strict", "log.jsonl") == code, shell.err


def test_the_first_unfit_event_of_sorted_input_is_named_by_its_number(shell: Shell) -> None:
    rows = [{**row, "size": "x" if row["id"] in (2, 4) else 1} for row in reversed(ROWS)]
    shell.path("log.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    window = '[aggregates.minutes]\nmeasures = { total = "sum(size)" }\nwindow = { size_s = 60 }\n'
    head = (
        CONFIGURATION[: CONFIGURATION.index("[aggregates.groups]")].replace('"amount"', '""').replace("events = 1", "events = 0")
    )
    shell.path("event-processor.toml").write_text(head + window)
    assert shell.call("process", "log.jsonl") == 0
    # By time, event 2 comes before event 4; it is the fourth record of the reversed log.
    wanted = (
        "aggregate minutes: 2 events had a value that a measure or a group cannot use (unfit); the first: record 4 of the input"
    )
    assert f'{wanted}, field "size"' in shell.err.splitlines()


@pytest.mark.parametrize("form", ["csv", "jsonl", "json"])
def test_a_column_whose_field_no_row_has_is_named_by_process_and_by_run(shell: Shell, form: str) -> None:
    path = "out/{n}.json" if form == "json" else "out/all"
    sink = f'[sinks.out]\npath = "{path}"\nformat = "{form}"\ncolumns = ["id", "g", "amonut", "x.y as z"]\n'
    shell.path("event-processor.toml").write_text(CONFIGURATION[: CONFIGURATION.index("[aggregates.groups]")] + sink)
    expected = [f'sink out: none of 5 rows has the field "{field}"' for field in ("amonut", "x.y")]
    assert shell.call("process", "--strict", "log.jsonl") == 65
    assert [line for line in shell.err.splitlines() if line.startswith("sink")] == expected
    for made in shell.path("out").iterdir():
        made.unlink()
    assert shell.call("run", "--once", "--drain") == 0
    assert [line for line in shell.out.splitlines() if line.startswith("sink")] == expected
    logged = [json.loads(line) for line in shell.err.splitlines() if '"column_absent"' in line]
    assert [(line["sink"], line["field"], line["rows"]) for line in logged] == [("out", "amonut", 5), ("out", "x.y", 5)]


def test_a_null_is_a_field(shell: Shell) -> None:
    sink = '[sinks.out]\npath = "out"\nformat = "csv"\ncolumns = ["id", "g"]\n'
    shell.path("event-processor.toml").write_text('[sources.events]\npath = "log.jsonl"\n[event]\nvalue = ""\n' + sink)
    shell.path("log.jsonl").write_text(LINES[3])
    assert shell.call("process", "--strict", "log.jsonl") == 0, shell.err
