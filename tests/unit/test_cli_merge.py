"""`merge`: which states it adds, which it refuses, and what can be done with the result."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from support.command_line import LOG, Shell, shell_in

CONFIGURATION = """
[sources.log]
path = "log.jsonl"
[event]
timestamp = "time"
[state]
dir = "state-{shard}"
[engine]
shard = "${SHARD}"
"""
WINDOW = """
[aggregates.per_minute]
measures = { events = "count", total = "sum(value)", last = "last(id)" }
window = { size_s = 60 }
"""


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Shell:
    shell = shell_in(tmp_path, monkeypatch, capsys)
    shell.path("event-processor.toml").write_text(CONFIGURATION, encoding="utf-8")
    return shell


def run_shards(shell: Shell, monkeypatch: pytest.MonkeyPatch, count: int, *options: str) -> list[str]:
    """Runs each shard to the end of the log. Returns the state directories."""
    for number in range(1, count + 1):
        monkeypatch.setenv("SHARD", f"{number}/{count}")
        assert shell.call("run", "--once", "--drain", *options) == 0, shell.err
    monkeypatch.delenv("SHARD")
    return [f"state-{number}-of-{count}" for number in range(1, count + 1)]


def merged(shell: Shell, *arguments: str) -> Any:
    assert shell.call("merge", *arguments, "--output", "-") == 0, shell.err
    return json.loads(shell.out)


def test_the_merged_state_has_the_totals_of_the_whole_log(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    states = run_shards(shell, monkeypatch, 3)
    assert shell.call("merge", *states, "--output", "all") == 0, shell.err
    assert shell.out == "3 shards: 5 records: 3 accepted, 1 duplicate, 1 rejected, 0 blank\ncheckpoint: all/checkpoint.json\n"
    state = json.loads(shell.path("all", "checkpoint.json").read_bytes())["state"]
    assert state["counts"] == {"records": 5, "accepted": 3, "duplicate": 1, "rejected": 1, "blank": 0, "late": 0}
    assert {name: (total["count"], total["sum"]) for name, total in state["categories"].items()} == {"a": (2, 1.5), "b": (1, 2.0)}
    assert (state["categories"]["a"]["first_id"], state["categories"]["a"]["last_id"]) == (1, 2)


def test_a_merged_state_is_read_by_inspect_and_refused_by_run(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    assert shell.call("merge", *run_shards(shell, monkeypatch, 2), "--output", "all") == 0
    shell.path("event-processor.toml").write_text(
        '[sources.log]\npath = "log.jsonl"\n[event]\ntimestamp = "time"\n', encoding="utf-8"
    )
    assert shell.json("inspect", "--state", "all")["counts"]["records"] == 5
    for command in (("run", "--once"), ("verify",), ("explain", "1")):
        assert shell.call(*command, "--state", "all") == 78
        assert "merged from shards: it can be read, not resumed" in shell.err


def test_merging_again_replaces_the_merged_state_and_no_other(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    states = run_shards(shell, monkeypatch, 2)
    assert shell.call("merge", *states, "--output", "all") == 0
    shell.path("log.jsonl").write_bytes(LOG + b'{"id": 9, "category": "c", "value": 1}\n')
    run_shards(shell, monkeypatch, 2)
    assert shell.call("merge", *states, "--output", "all") == 0
    assert shell.out.startswith("2 shards: 6 records: 4 accepted")
    assert shell.call("merge", *states, "--output", states[0]) == 64
    assert "a state is here already" in shell.err


def test_a_missing_shard_is_refused_or_named(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    first, _, third = run_shards(shell, monkeypatch, 3)
    assert shell.call("merge", first, third, "--output", "-") == 64
    assert "shards are missing: 2/3" in shell.err
    document = merged(shell, third, first, "--partial")
    assert "note: shards are missing: 2/3" in shell.err
    assert document["meta"]["merged"]["missing"] == ["2/3"]
    counts = document["state"]["counts"]
    assert counts["records"] + counts["foreign"] == 5


def test_a_shard_that_has_read_less_is_refused_or_named(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    states = run_shards(shell, monkeypatch, 2)
    shell.path("log.jsonl").write_bytes(LOG + b'{"id": 9, "category": "c", "value": 1}\n')
    monkeypatch.setenv("SHARD", "2/2")
    assert shell.call("run", "--once", "--drain") == 0
    monkeypatch.delenv("SHARD")
    words = "source log: shard 1/2 has read 5 records, shard 2/2 6"
    assert shell.call("merge", *states, "--output", "-") == 65
    assert words in shell.err
    document = merged(shell, *states, "--partial")
    assert f"note: not at one place of the log: {words}" in shell.err
    assert document["meta"]["merged"]["notes"] == [f"not at one place of the log: {words}"]


def test_shards_of_two_logs_of_one_length_are_refused(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    states = run_shards(shell, monkeypatch, 2)
    shell.path(states[1], "checkpoint.json").unlink()
    shell.path(states[1]).rename(shell.path("aside"))
    shell.path("log.jsonl").write_bytes(LOG.replace(b"0.5", b"0.6"))
    monkeypatch.setenv("SHARD", "2/2")
    assert shell.call("run", "--once", "--drain") == 0, shell.err
    assert shell.call("merge", *states, "--output", "-") == 65
    assert "of another file" in shell.err


@pytest.mark.parametrize(
    ("named", "code", "words"),
    [
        (["state-1-of-2", "state-1-of-2"], 64, "shard 1 is there twice"),
        (["state-1-of-2", "state-2-of-3"], 64, "is shard 2/3, but state-1-of-2 is shard 1/2"),
        (["state-1-of-2", "nowhere"], 66, "no state here"),
        (["state-1-of-2", "whole"], 64, "not the state of a shard"),
    ],
)
def test_states_that_are_not_the_shards_of_one_pipeline_are_refused(
    shell: Shell, monkeypatch: pytest.MonkeyPatch, named: list[str], code: int, words: str
) -> None:
    run_shards(shell, monkeypatch, 2)
    run_shards(shell, monkeypatch, 3)
    monkeypatch.setenv("SHARD", "")
    assert shell.call("run", "--once", "--state", "whole") == 0, shell.err
    monkeypatch.delenv("SHARD")
    assert shell.call("merge", *named, "--output", "-") == code
    assert words in shell.err


def test_shards_of_two_configurations_are_refused(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    run_shards(shell, monkeypatch, 2)
    shell.path("state-2-of-2").rename(shell.path("aside"))
    monkeypatch.setenv("SHARD", "2/2")
    assert shell.call("run", "--once", "--drain", "--set", 'event.value=""') == 0
    assert shell.call("merge", "state-1-of-2", "state-2-of-2", "--output", "-") == 65
    assert "different configurations" in shell.err


def test_a_limit_that_one_process_would_have_reached_is_said(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    states = run_shards(shell, monkeypatch, 8, "--set", "totals.categories_max=1")
    merged(shell, *states)
    assert "totals.categories_max = 1 holds for each shard" in shell.err


def windowed(shell: Shell) -> None:
    shell.path("event-processor.toml").write_text(CONFIGURATION + WINDOW, encoding="utf-8")
    events = [(number, time) for number, time in enumerate(("00:10", "00:20", "00:20", "01:30", "04:00"), start=1)]
    lines = [{"id": number, "category": "a", "value": 0.1, "time": f"2026-01-01T00:{time}Z"} for number, time in events]
    shell.path("log.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines), encoding="utf-8")


def test_the_rows_of_windows_are_written_beside_the_merged_state(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    windowed(shell)
    states = run_shards(shell, monkeypatch, 3)
    assert shell.call("merge", *states, "--output", "all") == 0, shell.err
    rows = [json.loads(line) for line in shell.path("all", "per_minute.jsonl").read_text(encoding="utf-8").splitlines()]
    # 0.1 three times is 0.30000000000000004 in doubles that are added one by one; the exact sum, rounded once, is 0.30000000000000004 too.
    assert [(row["window_end"], row["events"], row["total"]) for row in rows] == [
        ("2026-01-01T00:01:00Z", 3, 0.30000000000000004),
        ("2026-01-01T00:02:00Z", 1, 0.1),
        ("2026-01-01T00:05:00Z", 1, 0.1),
    ]
    assert shell.call("merge", *states, "--output", "-") == 0
    assert "the rows of per_minute are not shown" in shell.err


def test_windows_that_closed_before_a_restart_are_merged_too(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    windowed(shell)
    whole = shell.path("log.jsonl").read_bytes().splitlines(keepends=True)
    expected: list[bytes] = []
    for folder, steps in (("at once", [len(whole)]), ("in steps", [1, 3, len(whole)])):
        for step in steps:
            shell.path("log.jsonl").write_bytes(b"".join(whole[:step]))
            for number in (1, 2):
                monkeypatch.setenv("SHARD", f"{number}/2")
                options = ("--state", f"{folder}-{number}", "--set", "order.buffer_events=0")
                assert shell.call("run", "--once", *(["--drain"] if step == len(whole) else []), *options) == 0, shell.err
        assert shell.call("merge", f"{folder}-1", f"{folder}-2", "--output", folder) == 0, shell.err
        expected.append(shell.path(folder, "per_minute.jsonl").read_bytes())
    assert expected[0] == expected[1]
    assert expected[0].count(b"\n") == 3


def test_windows_of_input_that_is_not_finished_are_left_out_with_words(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    windowed(shell)
    for number in (1, 2):
        monkeypatch.setenv("SHARD", f"{number}/2")
        assert shell.call("run", "--once") == 0
    document = merged(shell, "state-1-of-2", "state-2-of-2")
    assert "aggregate per_minute is left out: the input is not finished" in shell.err
    assert document["state"]["aggregates"] == {}
    assert document["state"]["counts"]["accepted"] == 5


def test_windows_in_another_order_are_left_out_with_words(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    windowed(shell)
    merged(shell, *run_shards(shell, monkeypatch, 2, "--set", 'order.by="id"'))
    assert 'aggregate per_minute is left out: order.by is not "timestamp"' in shell.err


def test_entries_of_closed_windows_that_are_gone_are_65(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    windowed(shell)
    states = run_shards(shell, monkeypatch, 1)
    (closed,) = shell.path(states[0], "closed").iterdir()
    closed.write_bytes(closed.read_bytes()[:-10])
    assert shell.call("merge", *states, "--output", "-") == 65
    assert "closed" in shell.err


def test_values_of_one_instant_in_two_shards_are_counted(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    windowed(shell)
    lines = [{"id": number, "category": "a", "value": 1, "time": "2026-01-01T00:00:10Z"} for number in range(40)]
    shell.path("log.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines), encoding="utf-8")
    merged(shell, *run_shards(shell, monkeypatch, 2))
    assert "2 first or last values have the same time in two shards" in shell.err
