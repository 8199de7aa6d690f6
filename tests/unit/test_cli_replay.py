from io import StringIO
from pathlib import Path

import pytest

from support.command_line import Shell, shell_in


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Shell:
    shell = shell_in(tmp_path, monkeypatch, capsys)
    assert shell.call("run", "--once") == 0
    return shell


def test_replay_under_another_configuration_says_what_changes_and_swaps(shell: Shell) -> None:
    with shell.path("event-processor.toml").open("a") as configuration:
        configuration.write('[event]\nvalue = ""\n')
    assert shell.call("run", "--once") == 78
    assert shell.call("replay", "--yes") == 0
    assert "accepted: 3 before, 4 after" in shell.out
    assert ["a", "2", "3", "1.5", "0.0"] in [line.split() for line in shell.out.splitlines()]
    assert shell.call("run", "--once") == 0
    assert shell.call("verify") == 0


def test_replay_without_a_terminal_wants_yes_before_it_works(shell: Shell) -> None:
    before = sorted(shell.path("state").iterdir())
    assert shell.call("replay") == 64
    assert "use --yes" in shell.err
    assert sorted(shell.path("state").iterdir()) == before


def test_replay_beside_a_daemon_is_75_and_says_who(shell: Shell) -> None:
    with shell.daemon():
        assert shell.call("replay", "--yes") == 75
    assert "held by process" in shell.err


def test_replay_as_json_keeps_its_contract(shell: Shell) -> None:
    document = shell.json("replay", "--yes")
    keys = ["changes", "counts_before", "counts_after", "categories", "aggregates", "unread_reason", "lost", "files"]
    keys += ["lanes", "keeps_state_id"]
    assert list(document) == keys
    assert document["changes"] is False
    assert document["counts_before"] == document["counts_after"]


def test_a_no_leaves_the_present_state_and_nothing_beside_it(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint = shell.path("state", "checkpoint.json").read_bytes()
    monkeypatch.setattr("sys.stdin", Terminal("n\n"))
    assert shell.call("replay") == 64
    assert "the answer was no" in shell.err
    assert shell.path("state", "checkpoint.json").read_bytes() == checkpoint
    assert not list(shell.folder.rglob("*replay-*"))


def test_a_yes_on_the_terminal_swaps(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint = shell.path("state", "checkpoint.json").read_bytes()
    monkeypatch.setattr("sys.stdin", Terminal("y\n"))
    assert shell.call("replay") == 0
    assert shell.path("state", "checkpoint.json").read_bytes() != checkpoint
    assert shell.call("verify") == 0


class Terminal(StringIO):
    """Somebody who has typed an answer."""

    def isatty(self) -> bool:
        return True
