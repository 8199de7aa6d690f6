from pathlib import Path

import pytest

from support.command_line import Shell, shell_in


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Shell:
    shell = shell_in(tmp_path, monkeypatch, capsys)
    assert shell.call("run", "--once") == 0
    return shell


def test_inspect_shows_counts_sources_and_categories(shell: Shell) -> None:
    assert shell.call("inspect") == 0
    rows = [line.split() for line in shell.out.splitlines()]
    assert ["records", "5"] in rows
    assert ["log", "1", "log.jsonl", f"{shell.path('log.jsonl').stat().st_size}", "5"] in rows
    assert ["a", "2", "1.5", "0.5", "1.0", "0.75", "1", "2"] in rows


def test_inspect_as_json_keeps_its_contract(shell: Shell) -> None:
    document = shell.json("inspect", "--category", "b")
    assert list(document) == [
        "state_directory",
        "state_id",
        "config_hash",
        "written_at",
        "counts",
        "categories",
        "aggregates",
        "sources",
        "held_events",
        "released",
        "left_out",
        "lost",
    ]
    assert list(document["categories"]) == ["b"]
    total = document["categories"]["b"]
    assert (total["count"], total["sum"], total["first_id"], total["last_timestamp"]) == (1, 2.0, "1", None)


def test_inspect_of_a_category_that_is_not_there_says_so(shell: Shell) -> None:
    assert shell.call("inspect", "--category", "\x1b[31m") == 0
    assert shell.out == "no event of category '\\\\x1b[31m' is committed\n"


def test_inspect_without_a_state_is_66(shell: Shell) -> None:
    assert shell.call("inspect", "--state", "elsewhere") == 66
    assert "no state here yet" in shell.err


def test_ids_and_names_of_groups_are_shown_as_they_can_be_typed_again(shell: Shell) -> None:
    shell.path("numbers.jsonl").write_text('{"a": 2999, "b": "x", "category": "c", "value": 1000}\n')
    configuration = """
sources.numbers.path = "numbers.jsonl"
event.id = ["a", "b"]
[aggregates.all]
group_by = ["a"]
measures = { events = "count", total = "sum(value)" }
"""
    shell.path("two.toml").write_text(configuration)
    arguments = ("--config", "two.toml", "--state", "two")
    assert shell.call(*arguments, "run", "--once") == 0
    assert shell.call(*arguments, "inspect") == 0
    assert ["2999", "1"] in [line.split()[:2] for line in shell.out.splitlines()]
    assert '[2999, "x"]' in shell.out
    assert "(2999" not in shell.out
    assert shell.call(*arguments, "explain", '[2999, "x"]') == 0
    assert "accepted" in shell.out
