from pathlib import Path

import pytest

from support.command_line import LOG, Shell, shell_in


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Shell:
    shell = shell_in(tmp_path, monkeypatch, capsys)
    assert shell.call("run", "--once") == 0
    return shell


COMMITTED = [
    "state_id",
    "written_at",
    "age_s",
    "counts",
    "categories",
    "lag_bytes",
    "held_events",
    "dead_letters",
    "lost",
    "first_lost",
    "left_out",
    "lag_records",
    "lag_unknown",
    "lag_by_source",
]


def test_status_says_69_where_nothing_runs_and_0_where_something_does(shell: Shell) -> None:
    assert shell.call("status") == 69
    assert "not keeping up: no process owns" in shell.out
    with shell.daemon():
        assert shell.call("status") == 0
        assert "process " in shell.out


def test_status_as_json_keeps_its_contract(shell: Shell) -> None:
    with shell.daemon():
        document = shell.json("status")
    assert list(document) == [
        "state_directory",
        "alive",
        "owner",
        "keeping_up",
        "shortfalls",
        "committed",
        "conditions",
        "last_known_conditions",
        "lanes",
        "outbox",
        "snapshots",
        "verified",
    ]
    assert list(document["committed"]) == COMMITTED
    assert (document["lanes"], document["outbox"]) == ([], None)
    assert (document["alive"], document["keeping_up"], document["shortfalls"]) == (True, True, [])
    assert document["committed"]["counts"] == {"records": 5, "accepted": 3, "duplicate": 1, "rejected": 1, "blank": 0, "late": 0}
    assert (document["committed"]["lag_bytes"], document["committed"]["dead_letters"]) == (0, 1)


def test_status_says_69_where_more_bytes_wait_than_may(shell: Shell) -> None:
    with shell.path("log.jsonl").open("ab") as log:
        log.write(LOG)
    with shell.daemon():
        assert shell.call("status", "--lag-bytes-max", str(len(LOG))) == 0
        assert shell.call("status", "--lag-bytes-max", str(len(LOG) - 1)) == 69
        assert f"{len(LOG)} bytes behind" in shell.out


def test_status_names_the_lag_of_each_source_that_has_one_if_there_are_several(shell: Shell) -> None:
    with shell.path("log.jsonl").open("ab") as log:
        log.write(b"unread")
    shell.call("status")
    assert "lag           6 bytes\nheld" in shell.out
    shell.path("state", "intake.jsonl").write_bytes(b'{"id": 9, "category": "a", "value": 1}\n')
    shell.call("status")
    assert "lag           45 bytes\nlag intake    39 bytes\nlag log       6 bytes\nheld" in shell.out


def test_status_without_a_state_says_so(shell: Shell) -> None:
    assert shell.call("status", "--state", "elsewhere", "--json") == 69
    assert '"committed": null' in shell.out
    assert not shell.path("elsewhere").exists()
