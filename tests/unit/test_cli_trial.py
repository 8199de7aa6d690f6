"""`test`: what sample records would become, and the tests of a configuration."""

from __future__ import annotations

import io
import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from support.command_line import LOG, Shell, shell_in

AGGREGATE = """
[aggregates.bought]
group_by = ["user"]
measures = { n = "count", total = "sum(value)" }
where = { kind = "buy" }
"""
TESTS = """
[[tests]]
name = "an id counts once"
records = ['{"id": 1, "category": "a", "value": 5}', { id = 1, category = "a", value = 7 }, '{"id": 2, "category": "a"}', ""]
outcomes = ["accepted", "duplicate", "rejected: is missing", "blank"]
rows = [{ category = "a", count = 1, sum = 5 }]
"""
DIFFERS = """
[[tests]]
name = "all of this differs"
records = ['{"id": 1, "category": "a", "value": 5}', "{"]
outcomes = ["duplicate", "rejected: no such reason"]
rows = [{ category = "b", colour = "red" }]
[[tests]]
name = "another number of rows"
records = ['{"id": 1, "category": "a", "value": 5}']
rows = []
"""


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Shell:
    return shell_in(tmp_path, monkeypatch, capsys)


def configure(shell: Shell, text: str) -> None:
    path = shell.path("event-processor.toml")
    path.write_text(path.read_text() + text, encoding="utf-8")


def outcomes(document: Mapping[str, Any]) -> list[str]:
    return [record["outcome"] for record in document["records"]]


def test_each_record_has_its_outcome_and_the_state_and_sinks_are_not_touched(shell: Shell) -> None:
    document = shell.json("test", "log.jsonl")
    assert outcomes(document) == ["accepted", "accepted", "duplicate", "rejected", "accepted"]
    assert [record["id"] for record in document["records"]] == [1, "1", 1, None, 2]
    assert document["records"][3]["reason"] == '"value" is not a number: "x"'
    assert [record["offset"] for record in document["records"][:2]] == [0, LOG.index(b"\n") + 1]
    assert [(row["category"], row["count"], row["sum"]) for row in document["rows"]] == [("a", 2, 1.5), ("b", 1, 2.0)]
    assert sorted(path.name for path in shell.folder.iterdir()) == ["event-processor.toml", "log.jsonl"]


def test_an_event_shows_its_groups_and_what_it_is_after_the_transforms(shell: Shell) -> None:
    configure(shell, AGGREGATE + '[[transforms]]\nrename = { user = "who" }\n')
    lines = [
        '{"id": 1, "category": "a", "value": 5, "who": "x", "kind": "buy"}',
        "",
        '{"id": 2, "category": "a", "value": 5, "who": "x", "kind": "look"}',
    ]
    shell.path("s.jsonl").write_text("\n".join(lines))
    bought, blank, looked = shell.json("test", "s.jsonl")["records"]
    assert bought["event"] == {"id": 1, "category": "a", "value": 5, "kind": "buy", "user": "x"}
    assert (bought["groups"], looked["groups"]) == ({"bought": {"user": "x"}}, {"bought": None})
    assert (blank["outcome"], blank["line"], blank["event"]) == ("blank", 2, None)
    assert shell.call("test", "s.jsonl") == 0
    assert shell.out.splitlines()[1:3] == ['    aggregate bought: {"user": "x"}', "s.jsonl:2  blank"]
    assert shell.out.splitlines()[-1] == 'row: {"user": "x", "n": 1, "total": 5}'


def test_a_record_over_a_limit_is_rejected_with_its_reason(shell: Shell) -> None:
    configure(shell, "[totals]\ncategories_max = 1\n")
    shell.path("event-processor.toml").write_text(
        shell.path("event-processor.toml").read_text().replace('"log.jsonl"', '"log.jsonl"\nrecord_bytes_max = 64', 1)
    )
    sample = '{"id": 1, "category": "a", "value": 1}\n{"id": 2, "category": "b", "value": 1}\n"' + "x" * 100 + '"\n'
    shell.path("s.jsonl").write_text(sample + '{"id": 3, "category": "a", "value": 1}\n')
    records = shell.json("test", "s.jsonl")["records"]
    assert [record["outcome"] for record in records] == ["accepted", "rejected", "rejected", "accepted"]
    assert ("category" in records[1]["reason"], "record_bytes_max" in records[2]["reason"]) == (True, True)


def test_standard_input_is_read_in_the_named_format(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    content = io.TextIOWrapper(io.BytesIO(b"id,category,value\n1,a,5\n1,a,6\n"))
    monkeypatch.setattr(sys, "stdin", content)
    assert outcomes(shell.json("test", "-", "--format", "csv")) == ["blank", "accepted", "duplicate"]


def test_the_tests_of_a_configuration_are_run_and_a_difference_is_named(shell: Shell) -> None:
    configure(shell, TESTS)
    assert shell.call("test") == 0
    assert shell.out == "ok: an id counts once\n1 test: 1 ok, 0 differ\n"
    configure(shell, DIFFERS)
    assert shell.call("test") == 65
    differing = (
        "record 1: expected duplicate; it is accepted",
        'row 1: category: expected "b"; it is "a"',
        "row 1: no column colour: ",
    )
    assert all(words in shell.out for words in (*differing, "record 2: expected rejected: no such reason; it is rejected: "))
    assert "rows: expected 0; there are 1" in shell.out
    assert [line for line in shell.out.splitlines() if not line.startswith(" ")] == [
        "ok: an id counts once",
        "differs: all of this differs",
        "differs: another number of rows",
        "3 tests: 1 ok, 2 differ",
    ]
    assert shell.call("test", "--json") == 65
    document = json.loads(shell.out)
    assert (document["ok"], [each["ok"] for each in document["tests"]]) == (False, [True, False, False])


def test_a_test_changes_neither_the_state_nor_the_other_commands(shell: Shell) -> None:
    assert shell.call("run", "--once") == 0
    configure(shell, TESTS)
    assert shell.call("run", "--once") == 0
    assert shell.call("validate") == 0
    assert shell.call("config") == 0
    assert 'rows = [{ category = "a", count = 1, sum = 5 }]' in shell.out


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ('[[tests]]\nname = "n"\nrecords = ["a"]\n', "outcomes or rows: what must become of the records"),
        ('[[tests]]\nname = "n"\nrecords = ["a"]\noutcomes = []\n', "as many outcomes as records (1)"),
        ('[[tests]]\nname = "n"\nrecords = ["a"]\noutcomes = ["lost"]\n', 'tests[0].outcomes[0] = "lost": wanted: "accepted"'),
    ],
)
def test_a_test_that_cannot_be_meant_is_a_fault(shell: Shell, text: str, fault: str) -> None:
    configure(shell, text)
    assert shell.call("validate") == 78
    assert fault in shell.err


@pytest.mark.parametrize(
    ("record", "wanted"), [("{ at = 2026-01-31 }", '"at" as a string, a finite 64-bit number'), ("5", "a text, or a table")]
)
def test_a_bad_record_of_a_test_is_one_fault_with_its_place(shell: Shell, record: str, wanted: str) -> None:
    configure(shell, f'[[tests]]\nname = "n"\nrecords = ["a", {record}]\nrows = []\n')
    assert shell.call("validate") == 78
    assert shell.err.count("tests[0]") == 1
    assert "tests[0].records[1]" in shell.err
    assert f"wanted: {wanted}" in shell.err


def test_without_a_file_and_without_tests_the_call_is_wrong(shell: Shell) -> None:
    assert shell.call("test") == 64
    assert "the configuration has no [[tests]]" in shell.err
    assert shell.call("test", "no-such-file") == 66


@pytest.mark.parametrize("number", ["1e400", "7" * 5000, "1.500", "-0"])
@pytest.mark.parametrize("field", ["n", "timestamp", "payload"])
def test_a_number_of_an_event_is_shown_as_it_is_written(shell: Shell, field: str, number: str) -> None:
    value = f'{{"deep": {number}}}' if field == "payload" else number
    line = f'{{"id": 1, "category": "a", "value": 5, "{field}": {value}}}'
    shell.path("s.jsonl").write_text(line)
    assert shell.call("test", "s.jsonl") == 0
    assert line in shell.out
    assert shell.call("test", "s.jsonl", "--json") == 0
    assert f": {number}\n" in shell.out
    json.loads(shell.out, parse_int=str, parse_constant=pytest.fail)


def test_a_pipe_is_read_as_standard_input_is(shell: Shell) -> None:
    read, write = os.pipe()
    try:
        os.write(write, b"id,category,value\n1,a,5\n1,a,6\n")
        os.close(write)
        assert outcomes(shell.json("test", f"/dev/fd/{read}", "--format", "csv")) == ["blank", "accepted", "duplicate"]
    finally:
        os.close(read)
