from pathlib import Path

import pytest

from support.command_line import Shell, shell_in


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Shell:
    shell = shell_in(tmp_path, monkeypatch, capsys)
    assert shell.call("run", "--once") == 0
    return shell


def test_explain_tells_both_kinds_of_an_id_apart(shell: Shell) -> None:
    assert shell.call("explain", "1") == 0
    assert [line.split()[:2] for line in shell.out.splitlines()] == [
        ["1", "(string):"],
        ["accepted", "log.jsonl:2"],
        ["1", "(integer):"],
        ["accepted", "log.jsonl:1"],
        ["duplicate", "log.jsonl:3"],
    ]


def test_explain_gives_the_reason_of_a_rejection(shell: Shell) -> None:
    assert shell.call("explain", "3") == 0
    assert "rejected   log.jsonl:4 " in shell.out
    assert '"value" is not a number' in shell.out


def test_explain_of_an_unknown_id_says_how_much_was_read(shell: Shell) -> None:
    assert shell.call("explain", "99") == 0
    assert shell.out == "99 (string) or 99 (integer): not found in 5 records\n"


def test_explain_as_json_keeps_its_contract(shell: Shell) -> None:
    document = shell.json("explain", "1")
    assert list(document) == ["text", "ids", "records", "size_bytes"]
    string, integer = document["ids"]
    assert list(integer) == ["id", "accepted", "duplicates", "rejected", "unlisted"]
    assert (string["id"], integer["id"]) == ("1", 1)
    place = {"source": "log", "path": "log.jsonl", "generation": 1, "line": 1, "offset": 0, "reason": "", "is_numbered": False}
    assert integer["accepted"] == [place]


def test_explain_without_its_log_is_66(shell: Shell) -> None:
    shell.path("log.jsonl").unlink()
    assert shell.call("explain", "1") == 66
    assert "are gone" in shell.err
