"""Lanes over states that are not the newest: nothing is missed in silence, and nothing comes under another key."""

from __future__ import annotations

import json
import shutil
import signal
from collections import defaultdict
from pathlib import Path

import pytest

from support.command_line import Shell, shell_in
from support.http_service import HttpService, Reply
from support.processes import Pipeline, wait_until
from support.remote_sink import remote_configuration


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Shell:
    return shell_in(tmp_path, monkeypatch, capsys)


def configure(shell: Shell, url: str, *, buffer_events: int = 0, wait_s: int = 60) -> None:
    order, more = f"buffer_events = {buffer_events}\nidle_release_ms = 50", f"[outbox]\nonce_wait_s = {wait_s}\n"
    text = remote_configuration(url, order=order, more=f'[state]\ndir = "durable/state"\n{more}')
    shell.path("event-processor.toml").write_text(text)
    shell.path("pipeline.toml").write_text(text)


def write(shell: Shell, *ids: int) -> None:
    with shell.path("events.jsonl").open("a") as log:
        for number in ids:
            log.write(json.dumps({"id": number, "category": "a", "value": number}) + "\n")


def keys(service: HttpService) -> dict[int, list[str]]:
    """The keys that each id came under, one for each time."""
    found: dict[int, list[str]] = defaultdict(list)
    for request in service.received:
        found[request.json()["id"]].append(request.headers["idempotency-key"])
    return dict(found)


def accepted(shell: Shell) -> int:
    count: int = json.loads(shell.path("durable", "state", "checkpoint.json").read_text())["state"]["counts"]["accepted"]
    return count


@pytest.mark.parametrize("has_tail", [True, False])
def test_a_fallback_after_an_idle_release_that_was_delivered(shell: Shell, service: HttpService, has_tail: bool) -> None:
    """Then an event comes that sorts before what was released. The journal's tail still has the release; without it, the lane stops."""
    configure(shell, service.base_url, buffer_events=5)
    shell.path("durable").mkdir()
    write(shell, 10, 20, 30)
    daemon = Pipeline(shell.folder, shell.path("durable")).start()
    service.wait_for(3)
    cursor = shell.path("durable", "state", "delivery", "remote.json")
    wait_until(lambda: json.loads(cursor.read_bytes())["sequence"] == 3, "the cursor is saved")
    daemon.send(signal.SIGTERM)
    assert daemon.wait().exit_code == 0
    before = keys(service)

    checkpoint = shell.path("durable", "state", "checkpoint.json")
    predecessor = json.loads(checkpoint.with_name("checkpoint.previous.json").read_bytes())["state"]
    assert predecessor["order"]["held"]
    checkpoint.write_bytes(checkpoint.read_bytes().replace(b'"accepted":3', b'"accepted":4'))
    if not has_tail:
        journal = checkpoint.with_name("journal.jsonl")
        journal.write_bytes(journal.read_bytes()[: predecessor["appended"]["journal.jsonl"]])
    write(shell, 5)
    code = shell.call("run", "--once", "--drain")
    assert accepted(shell) == 4, "the commits go on"
    after = keys(service)
    if has_tail:
        assert code == 0
        assert "read again in the order of the lost checkpoint" in shell.err
        assert set(after) == {5, 10, 20, 30}
        assert all(after[number] == before[number] for number in before), "sent again, or under another key"
        assert len(after[5]) == 1
        return
    assert code == 65
    assert "another record at sequence 3" in shell.out
    assert after == before
    assert json.loads(cursor.read_bytes())["sequence"] == 3
    # It stays so, and the rest goes on.
    write(shell, 40)
    assert shell.call("run", "--once", "--drain") == 65
    assert accepted(shell) == 5
    assert keys(service) == before


def test_a_log_that_was_cut_after_its_checkpoint_broke_stops_the_lane(shell: Shell, service: HttpService) -> None:
    configure(shell, service.base_url)
    for first in (1, 4):
        write(shell, *range(first, first + 3))
        assert shell.call("run", "--once") == 0
    before = keys(service)
    shell.path("durable", "state", "checkpoint.json").unlink()
    log = shell.path("events.jsonl")
    log.write_bytes(b"".join(log.read_bytes().splitlines(keepends=True)[:4]))
    write(shell, 50, 60, 70)
    assert shell.call("run", "--once") == 65
    assert "another record at sequence 6" in shell.out
    assert "could not be read again in the order of the lost checkpoint" in shell.err
    assert keys(service) == before
    assert accepted(shell) == 7


def test_a_fallback_over_what_was_delivered_sends_nothing_again_and_nothing_else(shell: Shell, service: HttpService) -> None:
    configure(shell, service.base_url)
    for first in (1, 4):
        write(shell, *range(first, first + 3))
        assert shell.call("run", "--once") == 0
    checkpoint = shell.path("durable", "state", "checkpoint.json")
    checkpoint.write_bytes(checkpoint.read_bytes().replace(b'"accepted": 6', b'"accepted": 7'))
    write(shell, 7)
    assert shell.call("run", "--once") == 0
    assert {number: len(each) for number, each in keys(service).items()} == dict.fromkeys(range(1, 8), 1)


def test_a_copy_of_an_hour_ago_sends_again_under_the_same_keys(shell: Shell, service: HttpService) -> None:
    configure(shell, service.base_url, buffer_events=2)
    state, copy = shell.path("durable", "state"), shell.path("copy")
    write(shell, 3, 1, 2, 9, 5)
    assert shell.call("run", "--once") == 0
    shutil.copytree(state, copy)
    write(shell, 4, 11, 12, 8, 13)
    assert shell.call("run", "--once", "--drain") == 0
    before = keys(service)
    shutil.rmtree(state)
    shutil.copytree(copy, state)
    write(shell, 14)
    assert shell.call("run", "--once", "--drain") == 0
    after = keys(service)
    assert set(after) == {1, 2, 3, 4, 5, 8, 9, 11, 12, 13, 14}
    assert all(len(set(each)) == 1 for each in after.values()), after
    assert len({each[0] for each in after.values()}) == len(after)
    again = {number for number, each in after.items() if len(each) == 2}
    assert again <= set(before)
    assert {4, 11, 12, 8, 13} <= again


def test_a_cursor_that_is_gone_sends_everything_again_under_the_same_keys(shell: Shell, service: HttpService) -> None:
    configure(shell, service.base_url)
    write(shell, 1, 2, 3)
    assert shell.call("run", "--once") == 0
    shell.path("durable", "state", "delivery", "remote.json").unlink()
    assert shell.call("run", "--once") == 0
    assert {number: (len(each), len(set(each))) for number, each in keys(service).items()} == dict.fromkeys((1, 2, 3), (2, 1))


@pytest.mark.parametrize(("name", "content"), [("remote.json", "torn"), ("remote.failed.jsonl", ""), ("remote.json", "foreign")])
def test_a_lane_whose_files_cannot_be_trusted_stops_alone(shell: Shell, name: str, content: str) -> None:
    with HttpService(lambda request: Reply(422) if request.json()["id"] == 2 else Reply()) as service:
        configure(shell, service.base_url)
        write(shell, 1, 2, 3)
        assert shell.call("run", "--once") == 0
        path = shell.path("durable", "state", "delivery", name)
        text = path.read_text()
        path.write_text(text.replace('"state_id": "', '"state_id": "0') if content == "foreign" else text[:20] if content else "")
        damaged = path.read_text()
        write(shell, 4, 5)
        assert shell.call("run", "--once") == 65
        assert "sink remote" in shell.out
        assert name in shell.out
        assert "Traceback" not in shell.out + shell.err
        assert accepted(shell) == 5
        assert path.read_text() == damaged
        assert set(keys(service)) == {1, 2, 3}
        path.write_text(text)
        assert shell.call("run", "--once") == 0
        assert {number: len(each) for number, each in keys(service).items()} == dict.fromkeys((1, 2, 3, 4, 5), 1)


def test_a_line_of_the_outbox_that_became_unreadable_stops_its_lane_alone(shell: Shell) -> None:
    with HttpService() as service:
        configure(shell, service.base_url)
        write(shell, 1, 2, 3)
        assert shell.call("run", "--once") == 0
        (file,) = shell.path("durable", "state", "outbox").iterdir()
        file.write_bytes(b"!" + file.read_bytes()[1:])
        write(shell, 4)
        assert shell.call("run", "--once") == 65
        assert "is not a record of an outbox" in shell.out
        assert accepted(shell) == 4
        assert set(keys(service)) == {1, 2, 3}


def test_a_sink_with_pending_records_cannot_be_renamed(shell: Shell) -> None:
    with HttpService([Reply(503)]) as service:
        configure(shell, service.base_url, wait_s=0)
        write(shell, 1, 2)
        assert shell.call("run", "--once") == 69
    text = shell.path("event-processor.toml").read_text()
    shell.path("event-processor.toml").write_text(text.replace("[sinks.remote]", "[sinks.other]"))
    assert shell.call("run", "--once") == 78
    assert "2 records of events still wait" in shell.err
    assert "sinks rename remote" in shell.err
