"""The commands of `sinks`, with and without a running daemon."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from support.processes import wait_until
from support.remote_shell import RemoteShell, remote_shell_in

KEYS = [
    "sink", "input", "state", "words", "remedy", "released", "started_after", "delivered", "failed", "skipped", "pending", "retried",
    "detached_after",
]  # fmt: skip


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> RemoteShell:
    return remote_shell_in(tmp_path, monkeypatch, capsys)


def figures(shell: RemoteShell, sink: str = "remote") -> tuple[str, int, int, int, int]:
    """State, delivered, failed, skipped, pending."""
    (found,) = [each for each in shell.json("sinks", "list")["sinks"] if each["sink"] == sink]
    assert found["released"] - found["started_after"] == sum(
        found[name] for name in ("delivered", "failed", "skipped", "pending")
    )
    return found["state"], found["delivered"], found["failed"], found["skipped"], found["pending"]


def failed(shell: RemoteShell, sink: str = "remote") -> list[tuple[int, str]]:
    return [(each["sequence"], each["stage"]) for each in shell.json("dead-letters", "list", "--sink", sink)["failed"]]


def paused_with(shell: RemoteShell, count: int) -> None:
    """Everything is delivered, then `count` more records wait for a paused sink; no daemon runs."""
    shell.deliver_all()
    assert shell.call("sinks", "pause", "remote") == 0
    shell.append(7, count)
    assert shell.run_once() == 69


def test_a_sink_is_listed_before_its_lane_begins_and_after(shell: RemoteShell) -> None:
    assert shell.json("sinks", "list")["sinks"][0]["state"] == "new"
    shell.deliver_all()
    (found,) = shell.json("sinks", "list")["sinks"]
    assert list(found) == KEYS
    assert figures(shell) == ("not running", 5, 1, 0, 0)
    assert shell.call("sinks", "list") == 0
    assert shell.out.splitlines()[0].split() == ["sink", "input", "state", "pending", "delivered", "failed", "skipped"]


def test_without_a_remote_sink_there_is_nothing_to_list(shell: RemoteShell) -> None:
    shell.path("event-processor.toml").write_text('[sources.log]\npath = "log.jsonl"\n')
    assert shell.call("sinks", "list") == 0
    assert shell.out == "no sink here is remote\n"


@pytest.mark.parametrize("command", ["pause", "resume", "drop", "rename", "skip"])
def test_an_unknown_sink_is_named_with_those_that_are_known(shell: RemoteShell, command: str) -> None:
    shell.run_once()
    more = {"drop": ["--yes"], "rename": ["new"], "skip": ["--first"]}.get(command, [])
    assert shell.call("sinks", command, "other", *more) == 64
    assert "other" in shell.err
    assert "the remote sinks are: remote" in shell.err


def test_a_paused_sink_is_sent_nothing_by_run_once_and_is_69(shell: RemoteShell) -> None:
    assert shell.call("sinks", "pause", "remote") == 0
    assert shell.run_once() == 69
    assert figures(shell) == ("paused", 0, 0, 0, 6)
    assert shell.taken() == []
    assert shell.call("sinks", "pause", "remote") == 0
    assert "was paused already" in shell.out
    assert shell.call("sinks", "resume", "remote") == 0
    assert shell.call("sinks", "resume", "remote") == 0
    assert "was not paused" in shell.out
    assert figures(shell) == ("not running", 0, 0, 0, 6)


def test_a_running_daemon_pauses_and_resumes_and_says_so(shell: RemoteShell) -> None:
    with shell.running():
        shell.waits_for(delivered=5, failed=1, pending=0)
        assert shell.call("sinks", "pause", "remote") == 0
        shell.waits_for(state="paused")
        # The figures and the conditions are published by two threads.
        wait_until(lambda: "is paused: its records wait" in json.dumps(shell.json("status")["conditions"]), "the note")
        assert shell.call("status") == 0
        assert "note: sink remote is paused" in shell.out.replace("source remote: ", "")
        shell.append(7, 2)
        shell.waits_for(pending=2)
        assert shell.call("sinks", "resume", "remote") == 0
        shell.waits_for(delivered=7, pending=0)
        wait_until(lambda: "paused" not in json.dumps(shell.json("status")["conditions"]), "the end of the note")
    assert [id_ for _, id_, _ in shell.taken()] == [1, 2, 4, 5, 6, 7, 8]


def test_records_are_skipped_without_a_daemon_and_kept_as_failed(shell: RemoteShell) -> None:
    paused_with(shell, 4)
    assert shell.call("sinks", "skip", "remote", "--first") == 0
    assert shell.call("sinks", "skip", "remote", "9", "10") == 0
    assert figures(shell) == ("paused", 5, 1, 3, 1)
    assert failed(shell) == [(3, "deliver"), (7, "skipped"), (9, "skipped"), (10, "skipped")]
    shell.call("sinks", "resume", "remote")
    shell.deliver_all()
    assert [id_ for _, id_, _ in shell.taken()] == [1, 2, 4, 5, 6, 8]


def test_only_pending_records_can_be_skipped_and_a_fault_skips_none(shell: RemoteShell) -> None:
    paused_with(shell, 2)
    assert shell.call("sinks", "skip", "remote", "1", "7", "99") == 64
    assert "record 1 was answered already" in shell.err
    assert "record 99 was not released yet: the last one is 8" in shell.err
    assert figures(shell) == ("paused", 5, 1, 0, 2)
    assert shell.call("sinks", "skip", "remote", "7", "8") == 0
    assert shell.call("sinks", "skip", "remote", "--first") == 64
    assert "no record is pending" in shell.err
    assert shell.call("sinks", "skip", "remote") == 64
    assert shell.call("sinks", "skip", "remote", "7", "--first") == 64


def test_a_running_daemon_skips_and_the_command_waits_for_it(shell: RemoteShell) -> None:
    paused_with(shell, 3)
    with shell.running():
        shell.waits_for(state="paused", pending=3)
        assert shell.call("sinks", "skip", "remote", "8") == 0
        assert "running daemon" in shell.out
        shell.waits_for(pending=2, skipped=1)
        assert failed(shell)[-1] == (8, "skipped")
        assert shell.call("sinks", "drop", "remote", "--yes") == 75
        assert shell.call("sinks", "rename", "remote", "new") == 75
    assert not list(shell.path("state", "delivery").glob("*.skip.*"))


def test_a_dropped_lane_begins_anew_after_everything_and_keeps_its_failed_records(shell: RemoteShell) -> None:
    paused_with(shell, 4)
    shell.call("sinks", "resume", "remote")
    assert shell.call("sinks", "drop", "remote") == 64
    assert shell.call("sinks", "drop", "remote", "--yes") == 0
    assert shell.out.startswith("remote: dropped; 4 pending records given up\n")
    (kept,) = shell.path("state", "delivery").glob("remote.dropped-*.json")
    assert json.loads(kept.read_bytes())["sequence"] == 6
    assert failed(shell) == [(3, "deliver")]
    assert figures_state(shell) == "new"
    shell.append(11, 2)
    shell.deliver_all()
    assert figures(shell)[1:] == (2, 0, 0, 0)
    assert failed(shell) == [(3, "deliver")]
    assert [id_ for _, id_, _ in shell.taken()] == [1, 2, 4, 5, 6, 11, 12]


def figures_state(shell: RemoteShell) -> str:
    return shell.state()


def test_a_sink_that_was_removed_is_listed_and_can_be_dropped(shell: RemoteShell) -> None:
    paused_with(shell, 2)
    shell.path("event-processor.toml").write_text('[sources.log]\npath = "log.jsonl"\n[order]\nbuffer_events = 0\n')
    (found,) = shell.json("sinks", "list")["sinks"]
    assert (found["state"], found["pending"], found["words"]) == ("removed", 2, "it was removed")
    assert shell.run_once() == 78
    assert shell.call("sinks", "drop", "remote", "--yes") == 0
    assert shell.run_once() == 0
    assert shell.json("sinks", "list") == {"sinks": [], "snapshots": []}


def test_a_renamed_lane_goes_on_with_the_keys_of_before(shell: RemoteShell) -> None:
    paused_with(shell, 3)
    state_id = json.loads(shell.path("state", "checkpoint.json").read_bytes())["state"]["state_id"]
    shell.configure("other")
    assert shell.run_once() == 78
    assert "sinks rename remote" in shell.err
    assert shell.call("sinks", "rename", "remote", "other") == 0
    assert figures(shell, "other") == ("paused", 5, 1, 0, 3)
    assert failed(shell, "other") == [(3, "deliver")]
    shell.call("sinks", "resume", "other")
    shell.append(10, 2)
    shell.deliver_all()
    assert figures(shell, "other") == ("not running", 10, 1, 0, 0)
    names = {id_: key.split(":")[1] for key, id_, _ in shell.taken()}
    assert names == {**dict.fromkeys((1, 2, 4, 5, 6, 7, 8, 9), "remote"), 10: "other", 11: "other"}
    assert {key.split(":")[0] for key, _, _ in shell.taken()} == {state_id}
    assert not list(shell.path("state", "delivery").glob("remote.*"))


def test_a_name_that_is_taken_or_is_no_name_is_refused(shell: RemoteShell) -> None:
    paused_with(shell, 1)
    assert shell.call("sinks", "rename", "remote", "remote") == 64
    assert shell.call("sinks", "rename", "remote", "a.b") == 64
    shell.path("state", "delivery", "old.failed.jsonl").write_bytes(b"")
    assert shell.call("sinks", "rename", "remote", "old") == 64
    assert "from an earlier sink" in shell.err
    assert figures(shell) == ("paused", 5, 1, 0, 1)
