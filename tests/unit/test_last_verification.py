"""The result of the last `verify`: kept beside the state, and shown by what tells about the state."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from support.asgi import asked
from support.command_line import Shell, shell_in
from support.remote_shell import remote_shell_in
from support.sites import application_here


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Shell:
    shell = shell_in(tmp_path, monkeypatch, capsys)
    assert shell.call("run", "--once") == 0
    return shell


def verified(shell: Shell) -> Any:
    shell.call("status", "--json")
    return json.loads(shell.out)["verified"]


def spoil(shell: Shell) -> None:
    sink = shell.path("out", "ordered.jsonl")
    sink.write_bytes(sink.read_bytes().replace(b"0.5", b"0.7"))


def test_a_state_that_was_never_verified_says_how(shell: Shell) -> None:
    assert verified(shell) is None
    shell.call("status")
    assert "verified      never (event-processor verify)" in shell.out


def test_a_verify_beside_a_daemon_is_remembered_and_does_not_age_with_the_state(shell: Shell) -> None:
    committed = json.loads(shell.path("state", "checkpoint.json").read_bytes())
    with shell.daemon():
        assert shell.call("verify") == 0
        found = verified(shell)
    assert list(found) == ["at", "state_id", "written_at", "records", "verdict", "exit_code", "words"]
    assert (found["state_id"], found["written_at"]) == (committed["state"]["state_id"], committed["meta"]["written_at"])
    assert (found["records"], found["verdict"], found["exit_code"], found["words"]) == (5, "ok", 0, "")
    with shell.path("log.jsonl").open("ab") as log:
        log.write(b'{"id": 7, "category": "a", "value": 1}\n')
    assert shell.call("run", "--once") == 0
    assert verified(shell) == found, "it says of how many records it is"
    shell.call("status")
    assert f"ok, 5 records at {found['at']}" in shell.out
    assert asked(application_here(), "/v1/state").json["verified"] == found
    assert not [name for name in os.listdir(shell.path("state")) if name.endswith(".partial")]


def test_a_difference_makes_status_fail_until_a_verify_is_right(shell: Shell) -> None:
    spoil(shell)
    with shell.daemon():
        assert shell.call("verify") == 65
        difference = shell.out.strip()
        assert shell.call("status") == 69
        assert f"the state differs from the log: {difference}" in shell.out
        assert asked(application_here(), "/readyz").status == 503
        sink = shell.path("out", "ordered.jsonl")
        sink.write_bytes(sink.read_bytes().replace(b"0.7", b"0.5"))
        assert shell.call("verify") == 0
        assert shell.call("status") == 0


def test_a_replay_ends_the_difference(shell: Shell) -> None:
    spoil(shell)
    assert shell.call("verify") == 65
    assert verified(shell)["verdict"] == "differs"
    assert shell.call("replay", "--yes") == 0, shell.err
    assert verified(shell) is None


def test_a_replay_that_keeps_the_id_of_the_state_ends_it_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    remote = remote_shell_in(tmp_path, monkeypatch, capsys)
    remote.deliver_all()
    assert remote.call("verify") == 0
    before = verified(remote)
    assert remote.call("replay", "--yes") == 0, remote.err
    remote.call("status", "--json")
    assert json.loads(remote.out)["committed"]["state_id"] == before["state_id"]
    assert verified(remote) is None


def test_a_log_that_is_gone_is_remembered_too_and_is_no_shortfall(shell: Shell) -> None:
    shell.path("log.jsonl").write_bytes(b"")
    assert shell.call("verify") == 66
    found = verified(shell)
    assert (found["verdict"], found["exit_code"]) == ("cannot tell", 66)
    assert "source 'log', generation 1" in found["words"]
    with shell.daemon():
        shell.call("status")
    assert "differs" not in shell.out


def test_a_verify_of_one_sink_says_nothing_of_the_whole(shell: Shell) -> None:
    assert shell.call("verify", "--sink", "ordered") == 0
    assert verified(shell) is None


@pytest.mark.parametrize(
    "altered",
    [
        {"state_id": "another"},
        {"records": 6},  # an older checkpoint was restored
        {"verdict": "fine"},
        {"version": 2},
    ],
)
def test_a_result_about_something_else_counts_as_none(shell: Shell, altered: dict[str, Any]) -> None:
    assert shell.call("verify") == 0
    path = shell.path("state", "verification.json")
    path.write_text(json.dumps({**json.loads(path.read_bytes()), **altered}))
    assert verified(shell) is None
    path.write_bytes(b"\x00")
    assert verified(shell) is None


def test_a_reset_moves_the_result_aside(shell: Shell) -> None:
    assert shell.call("verify") == 0
    assert shell.call("reset", "--yes") == 0
    assert not shell.path("state", "verification.json").exists()
    assert len(list(shell.path("state").glob("aside-*/verification.json"))) == 1


def test_a_result_that_cannot_be_kept_is_a_note_and_changes_no_exit_code(shell: Shell) -> None:
    shell.path("state", "verification.json").mkdir()
    assert shell.call("verify") == 0
    assert shell.out.startswith("ok: 5 records")
    assert "note: 'status' will not show this result: " in shell.err
    assert shell.err.rstrip().endswith(
        "verification.json: rename failed: Is a directory"
    )  # no hint for a failed commit, and no escape
    assert not [name for name in os.listdir(shell.path("state")) if name.endswith(".partial")]
