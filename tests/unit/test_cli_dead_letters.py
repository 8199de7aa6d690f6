import json
from pathlib import Path

import pytest

from support.command_line import Shell, shell_in


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Shell:
    shell = shell_in(tmp_path, monkeypatch, capsys)
    assert shell.call("run", "--once") == 0
    return shell


def test_letters_are_listed_with_place_reason_and_record(shell: Shell) -> None:
    assert shell.call("dead-letters", "list") == 0
    assert '"value" is not a number: "x"' in shell.out
    assert shell.out.splitlines()[-1] == "1 dead letter"


def test_letters_as_json_keep_their_contract(shell: Shell) -> None:
    document = shell.json("dead-letters", "list")
    assert list(document) == ["count", "dead_letters"]
    letter = document["dead_letters"][0]
    assert list(letter) == ["source", "generation", "line", "offset", "stage", "reason", "field", "record"]
    assert (letter["source"], letter["generation"], letter["line"], letter["field"]) == ("log", 1, 4, "value")


def test_exported_repaired_and_retried_an_event_is_accepted(shell: Shell) -> None:
    assert shell.call("dead-letters", "export", "--output", "letters.jsonl") == 0
    letter = json.loads(shell.path("letters.jsonl").read_bytes())
    letter["record"] = letter["record"].replace('"x"', "7")
    shell.path("letters.jsonl").write_text(json.dumps(letter), encoding="utf-8")
    assert shell.json("dead-letters", "retry", "letters.jsonl")["retried"] == 1
    assert shell.call("run", "--once") == 0
    assert shell.json("inspect")["categories"]["a"]["sum"] == 8.5
    assert shell.call("verify") == 0


def test_an_export_goes_to_standard_output_without_a_file(shell: Shell) -> None:
    assert shell.call("dead-letters", "export") == 0
    assert json.loads(shell.out)["line"] == 4


def test_an_export_never_overwrites_what_somebody_repaired(shell: Shell) -> None:
    shell.path("letters.jsonl").write_text("mine", encoding="utf-8")
    assert shell.call("dead-letters", "export", "--output", "letters.jsonl") == 64
    assert shell.path("letters.jsonl").read_text(encoding="utf-8") == "mine"


def test_one_bad_line_refuses_the_whole_retry(shell: Shell) -> None:
    shell.path("repaired.jsonl").write_text('{"id": 5}\nnot JSON\n', encoding="utf-8")
    intake = shell.path("state", "intake.jsonl").read_bytes()
    assert shell.call("dead-letters", "retry", "repaired.jsonl") == 64
    assert "repaired.jsonl:2: not a JSON object" in shell.err
    assert shell.path("state", "intake.jsonl").read_bytes() == intake


def test_a_file_that_is_not_there_is_a_usage_error(shell: Shell) -> None:
    assert shell.call("dead-letters", "retry", "nothing.jsonl") == 64
    assert "nothing.jsonl: No such file" in shell.err


def test_purged_letters_are_gone_and_the_counts_stay(shell: Shell) -> None:
    assert shell.call("dead-letters", "purge") == 64
    assert shell.call("dead-letters", "purge", "--yes") == 0
    assert shell.out == "purged: 1 dead letter\n"
    assert shell.json("dead-letters", "list") == {"count": 0, "dead_letters": []}
    assert shell.json("inspect")["counts"]["rejected"] == 1
    with shell.daemon():
        assert shell.call("dead-letters", "purge", "--yes") == 75


def test_the_group_alone_is_a_usage_error(shell: Shell) -> None:
    assert shell.call("dead-letters") == 64


@pytest.mark.parametrize("command", [("list",), ("list", "--json"), ("export",), ("purge", "--yes")])
def test_a_folder_without_a_state_has_no_dead_letters_to_speak_of(shell: Shell, command: tuple[str, ...]) -> None:
    assert shell.call("--state", "elsewhere", "dead-letters", *command) == 66
    assert shell.out == ""
    assert "elsewhere: no state here yet" in shell.err
