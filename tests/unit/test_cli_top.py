from pathlib import Path

import pytest

from support.command_line import Shell, shell_in


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Shell:
    shell = shell_in(tmp_path, monkeypatch, capsys)
    assert shell.call("run", "--once") == 0
    return shell


def test_top_in_a_pipe_writes_a_line_for_each_look(shell: Shell) -> None:
    assert shell.call("top", "--count", "2", "--interval-s", "0.1") == 0
    looks = [dict(word.split("=") for word in line.split()) for line in shell.out.splitlines()]
    assert [look["records_per_s"] for look in looks] == ["-", "0"]
    assert {(look["alive"], look["records"], look["lag_bytes"], look["dead_letters"]) for look in looks} == {
        ("false", "5", "0", "1")
    }


def test_top_before_the_first_commit_says_what_there_is(shell: Shell) -> None:
    assert shell.call("top", "--count", "1", "--state", "elsewhere") == 0
    assert shell.out == "alive=false conditions=0\n"
