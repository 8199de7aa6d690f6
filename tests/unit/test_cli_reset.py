from pathlib import Path

import pytest

from support.command_line import Shell, shell_in


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Shell:
    shell = shell_in(tmp_path, monkeypatch, capsys)
    assert shell.call("run", "--once") == 0
    return shell


def test_reset_moves_the_state_aside_and_the_next_start_is_the_first(shell: Shell) -> None:
    assert shell.call("reset", "--yes") == 0
    assert "checkpoint.json -> " in shell.out
    assert not shell.path("state", "checkpoint.json").exists()
    assert shell.call("inspect") == 66
    assert shell.call("run", "--once") == 0
    assert shell.json("inspect")["counts"]["records"] == 5


def test_reset_of_nothing_says_so(shell: Shell) -> None:
    assert shell.call("reset", "--yes", "--state", "elsewhere") == 0
    assert shell.call("reset", "--yes") == 0
    assert shell.call("reset", "--yes") == 0
    assert "nothing to move" in shell.out


def test_reset_without_a_terminal_wants_yes(shell: Shell) -> None:
    assert shell.call("reset") == 64
    assert shell.path("state", "checkpoint.json").exists()


def test_reset_beside_a_daemon_is_75(shell: Shell) -> None:
    with shell.daemon():
        assert shell.call("reset", "--yes") == 75
    assert shell.path("state", "checkpoint.json").exists()
