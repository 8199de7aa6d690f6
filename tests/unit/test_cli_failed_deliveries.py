"""`dead-letters --sink`: failed records are listed, exported, repaired and retried, each once."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from support.remote_shell import RemoteShell, remote_shell_in


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> RemoteShell:
    shell = remote_shell_in(tmp_path, monkeypatch, capsys)
    shell.deliver_all()
    return shell


def exported(shell: RemoteShell) -> list[dict[str, Any]]:
    assert shell.call("dead-letters", "export", "--sink", "remote") == 0
    return [json.loads(line) for line in shell.out.splitlines()]


def repair(shell: RemoteShell, letters: list[dict[str, Any]], value: float) -> None:
    for letter in letters:
        letter["object"]["value"] = value
    shell.path("repaired.jsonl").write_text("".join(json.dumps(letter) + "\n" for letter in letters), encoding="utf-8")


def retry(shell: RemoteShell, *more: str) -> Any:
    return shell.json("dead-letters", "retry", "repaired.jsonl", "--sink", "remote", *more)


def retried(shell: RemoteShell) -> tuple[int, int, int] | None:
    (found,) = shell.json("sinks", "list")["sinks"]
    assert (found["delivered"], found["failed"]) == (5, 1), "retried records are counted apart"
    figures = found["retried"]
    return figures and (figures["delivered"], figures["failed"], figures["pending"])


def test_failed_records_are_listed_and_counted(shell: RemoteShell) -> None:
    document = shell.json("dead-letters", "list", "--sink", "remote")
    assert document["count"] == 1
    (letter,) = document["failed"]
    assert list(letter) == ["sink", "sequence", "key", "place", "stage", "status", "reason", "tries", "failed_at", "object"]
    assert (letter["sequence"], letter["stage"], letter["reason"]) == (3, "deliver", "negative")
    assert shell.call("dead-letters", "list", "--sink", "remote") == 0
    assert shell.out.splitlines()[-1] == "1 failed record"
    assert shell.call("dead-letters", "list", "--sink", "other") == 64
    assert "the remote sinks are: remote" in shell.err


def test_only_committed_failed_records_are_listed(shell: RemoteShell) -> None:
    with shell.path("state", "delivery", "remote.failed.jsonl").open("ab") as file:
        file.write(b'{"sequence": 9}\n{"torn')
    assert shell.json("dead-letters", "list", "--sink", "remote")["count"] == 1


def test_a_dry_run_shows_key_and_object_and_changes_nothing(shell: RemoteShell) -> None:
    letters = exported(shell)
    repair(shell, letters, 3)
    before = sorted(shell.path("state", "delivery").iterdir())
    document = retry(shell, "--dry-run")
    assert [each["key"] for each in document["records"]] == [f"{letters[0]['key']}:r1"]
    assert json.loads(document["records"][0]["body"]) == {"id": 3, "category": "a", "value": 3}
    assert shell.call("dead-letters", "retry", "repaired.jsonl", "--sink", "remote", "--dry-run") == 0
    assert shell.out.splitlines()[-1] == "would retry: 1 record"
    assert sorted(shell.path("state", "delivery").iterdir()) == before
    assert shell.call("dead-letters", "retry", "repaired.jsonl", "--dry-run") == 64


def test_a_repaired_record_is_delivered_once_however_often_it_is_retried(shell: RemoteShell) -> None:
    letters = exported(shell)
    repair(shell, letters, 3)
    assert len(retry(shell)["records"]) == 1
    again = retry(shell)
    assert (again["records"], again["already"]) == ([], [f"{letters[0]['key']}:r1"])
    assert retried(shell) == (0, 0, 1)
    shell.deliver_all()
    assert retried(shell) == (1, 0, 0)
    assert retry(shell)["records"] == []
    shell.deliver_all()
    assert shell.taken()[2] == (f"{letters[0]['key']}:r1", 3, 3)
    assert [id_ for _, id_, _ in shell.taken()] == [1, 2, 3, 4, 5, 6]


def test_a_record_that_fails_again_can_be_repaired_again_under_the_next_number(shell: RemoteShell) -> None:
    (first,) = exported(shell)
    repair(shell, [dict(first)], -5)
    retry(shell)
    shell.deliver_all()
    assert retried(shell) == (0, 1, 0)
    letters = exported(shell)
    assert [each["key"] for each in letters] == [first["key"], f"{first['key']}:r1"]
    # Both lines are the same record.
    repair(shell, letters, 3)
    assert shell.call("dead-letters", "retry", "repaired.jsonl", "--sink", "remote") == 64
    assert "is there twice" in shell.err
    repair(shell, letters[1:], 3)
    assert [each["key"] for each in retry(shell)["records"]] == [f"{first['key']}:r2"]
    shell.deliver_all()
    assert retried(shell) == (1, 1, 0)
    assert shell.taken()[2] == (f"{first['key']}:r2", 3, 3)


def test_a_running_daemon_sends_what_is_retried(shell: RemoteShell) -> None:
    repair(shell, exported(shell), 3)
    with shell.running():
        retry(shell)
        shell.waits_for(retried={"delivered": 1, "failed": 0, "pending": 0, "state": "idle", "words": ""})
    assert retried(shell) == (1, 0, 0)
    assert len(shell.taken()) == 6


def test_skipped_records_can_be_retried_also_after_a_rename(shell: RemoteShell) -> None:
    shell.call("sinks", "pause", "remote")
    shell.append(7, 1)
    shell.run_once()
    shell.call("sinks", "skip", "remote", "7")
    skipped = exported(shell)[1]
    shell.call("sinks", "resume", "remote")
    shell.configure("other")
    assert shell.call("sinks", "rename", "remote", "other") == 0
    shell.path("repaired.jsonl").write_text(json.dumps(skipped), encoding="utf-8")
    assert shell.call("dead-letters", "retry", "repaired.jsonl", "--sink", "other") == 0
    shell.deliver_all()
    assert shell.taken()[-1] == (f"{skipped['key']}:r1", 7, 7)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("nonsense", "repaired.jsonl:1: not a failed record"),
        ('{"id": 3}', "repaired.jsonl:1: not a failed record"),
        ('{"key": "other:key", "object": {}}', "no failed record of sink remote has the key other:key"),
        ('{"key": KEY, "object": [1]}', '"object" is not a JSON object'),
    ],
)
def test_a_line_that_is_no_failed_record_refuses_the_whole_file(shell: RemoteShell, line: str, words: str) -> None:
    key = exported(shell)[0]["key"]
    shell.path("repaired.jsonl").write_text(line.replace("KEY", f'"{key}"'), encoding="utf-8")
    assert shell.call("dead-letters", "retry", "repaired.jsonl", "--sink", "remote") == 64
    assert words in shell.err
    assert retried(shell) is None
