"""`POST /v1/dead-letters/retry`: letters by their place, repaired or not, through the intake or to their sink alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from support.asgi import Answer, asked
from support.command_line import Shell, shell_in
from support.remote_shell import RemoteShell, remote_shell_in
from support.sites import application_here

LINES = ['{"id": 1, "category": "a", "value": 1}', '{"id": 2, "category": "a", "value": "x"}', "no object", "7"]
BAD, NO_OBJECT, NUMBER = 39, 80, 90
REPAIRED = '{"id": 2, "category": "a",\n "value": 5}'


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Shell:
    shell = shell_in(tmp_path, monkeypatch, capsys)
    shell.path("event-processor.toml").write_text('[sources.log]\npath = "log.jsonl"\n')
    shell.path("log.jsonl").write_text("".join(f"{line}\n" for line in LINES))
    assert shell.call("run", "--once") == 0, shell.err
    return shell


@pytest.fixture
def remote(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> RemoteShell:
    shell = remote_shell_in(tmp_path, monkeypatch, capsys)
    shell.deliver_all()
    return shell


def asked_to_retry(**body: Any) -> Answer:
    return asked(application_here(), "/v1/dead-letters/retry", "POST", body=[json.dumps(body).encode()])


def chosen(offset: int, record: str | None = None, source: str = "log") -> dict[str, Any]:
    return {"source": source, "generation": 1, "offset": offset, **({} if record is None else {"record": record})}


def refused(offset: int, reason: str, source: str = "log") -> dict[str, Any]:
    return {"source": source, "generation": 1, "offset": offset, "reason": reason}


def intake(shell: Shell) -> bytes:
    return shell.path("state", "intake.jsonl").read_bytes()


def test_a_repaired_record_comes_back_through_the_intake_and_counts(shell: Shell) -> None:
    answer = asked_to_retry(records=[chosen(BAD, REPAIRED)])
    assert (answer.status, answer.json) == (200, {"retried": 1, "refused": [], "dry_run": False})
    assert intake(shell) == REPAIRED.replace("\n", " ").encode() + b"\n"
    assert shell.call("run", "--once") == 0
    assert shell.json("inspect")["counts"]["accepted"] == 2


def test_what_cannot_be_retried_is_refused_with_its_reason_and_the_rest_is_retried(shell: Shell) -> None:
    answer = asked_to_retry(
        records=[chosen(BAD), chosen(NO_OBJECT), chosen(NUMBER, "[1]"), chosen(5), chosen(BAD, REPAIRED), chosen(BAD, source="x")]
    )
    assert answer.json["retried"] == 1
    reasons = {(each["source"], each["offset"]): each["reason"] for each in answer.json["refused"]}
    assert reasons.pop(("log", NO_OBJECT)).startswith('its "record" is not a JSON object: ')
    assert reasons == {
        ("log", BAD): "it is there twice",
        ("log", NUMBER): 'its "record" is not a JSON object',
        ("log", 5): "there is no dead letter of this place",
        ("x", BAD): "there is no dead letter of this place",
    }
    assert intake(shell) == LINES[1].encode() + b"\n"


def test_a_dry_run_says_the_same_and_changes_nothing(shell: Shell) -> None:
    answer = asked_to_retry(records=[chosen(BAD, REPAIRED), chosen(5)], dry_run=True)
    assert answer.json == {"retried": 1, "refused": [refused(5, "there is no dead letter of this place")], "dry_run": True}
    assert intake(shell) == b""


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b'{"records": 1}',
        b'{"records": [{"source": "log"}]}',
        b'{"records": [{"source": "log", "generation": 1, "offset": 0, "key": "k"}]}',
        b'{"records": [{"record": "{}"}]}',
        b'{"records": [], "else": 1}',
        b'{"records": [], "sink": "../x"}',
    ],
)
def test_a_body_of_another_form_is_400_and_says_the_form(shell: Shell, body: bytes) -> None:
    answer = asked(application_here(), "/v1/dead-letters/retry", "POST", body=[body])
    assert answer.status == 400
    assert '"records"' in answer.json["hint"]
    assert intake(shell) == b""


def test_a_sink_that_is_not_there_is_404(shell: Shell) -> None:
    assert asked_to_retry(records=[], sink="other").status == 404
    assert intake(shell) == b""


def test_a_failed_record_goes_to_its_sink_alone_and_once(remote: RemoteShell) -> None:
    (letter,) = remote.json("dead-letters", "list", "--sink", "remote")["failed"]
    place = {name: letter["place"][name] for name in ("source", "generation", "offset")}
    body = {"records": [{**place, "record": '{"id": 3, "category": "a", "value": 3}'}], "sink": "remote"}
    path = remote.path("state", "delivery", "remote.retry.jsonl")
    before = set(remote.path("state", "delivery").iterdir())
    assert asked_to_retry(**body, dry_run=True).json == {"retried": 1, "refused": [], "dry_run": True}
    assert set(remote.path("state", "delivery").iterdir()) == before
    assert asked_to_retry(**body).json == {"retried": 1, "refused": [], "dry_run": False}
    (added,) = set(remote.path("state", "delivery").iterdir()) - before
    (line,) = added.read_text().splitlines()
    assert json.loads(line)["object"] == {"id": 3, "category": "a", "value": 3}
    again = asked_to_retry(**body).json
    assert again == {"retried": 0, "refused": [{**place, "reason": "a retry of it waits, or was delivered"}], "dry_run": False}
    assert added.read_text().splitlines() == [line]
    assert not path.parent.parent.joinpath("intake.jsonl").read_bytes()


def test_a_repaired_record_of_a_sink_that_is_no_object_or_unknown_is_refused(remote: RemoteShell) -> None:
    (letter,) = remote.json("dead-letters", "list", "--sink", "remote")["failed"]
    place = {name: letter["place"][name] for name in ("source", "generation", "offset")}
    answer = asked_to_retry(records=[{**place, "record": "[]"}, chosen(999_999)], sink="remote")
    assert answer.json["retried"] == 0
    assert [each["reason"] for each in answer.json["refused"]] == [
        "the record is not a JSON object",
        "sink remote has no failed record of this place",
    ]


def listed(query: str) -> Any:
    answer = asked(application_here(), f"/v1/dead-letters?{query}")
    assert answer.status == 200, answer.content
    return answer.json


def test_the_failed_records_of_a_sink_are_listed_the_newest_first_with_those_that_failed_again(remote: RemoteShell) -> None:
    (letter,) = remote.json("dead-letters", "list", "--sink", "remote")["failed"]
    record, record_9 = '{"id": 3, "category": "a", "value": -1}', '{"id": 9, "category": "a", "value": -9}'
    assert listed("sink=remote") == {"count": 1, "dead_letters": [{**letter, "record": record}], "next_offset": None}
    assert asked_to_retry(records=[{"key": letter["key"], "record": '{"id": 3, "value": -1.000}'}], sink="remote").json["retried"]
    with remote.path("log.jsonl").open("a") as log:
        log.write(f"{record_9}\n")
    remote.deliver_all()
    exported = remote.json("dead-letters", "list", "--sink", "remote")["failed"]
    assert len(exported) == 3, "one of them twice, and a further one"
    # Two lanes fail beside each other, so either may be the newest.
    retried = '{"id": 3, "value": -1.000}'
    for each in exported:
        each["record"] = retried if each["key"].endswith(":r1") else record if each["object"]["id"] == 3 else record_9
    assert listed("sink=remote") == {"count": 3, "dead_letters": exported[::-1], "next_offset": None}
    assert listed("sink=remote&limit=1&offset=1") == {"count": 3, "dead_letters": [exported[1]], "next_offset": 2}
    assert listed("sink=remote&offset=3") == {"count": 3, "dead_letters": [], "next_offset": None}
    assert listed("") == {"count": 0, "dead_letters": [], "next_offset": None}


def test_a_failed_record_keeps_the_digits_that_it_has_in_every_list_and_when_it_is_retried_as_it_was(remote: RemoteShell) -> None:
    record = '{"id": 9, "category": "a", "value": -9, "n": 12345678901234567890123, "m": 1.50, "huge": 1e400}'
    with remote.path("log.jsonl").open("a") as log:
        log.write(f"{record}\n")
    remote.deliver_all()
    (newest, _) = listed_bytes("sink=remote")
    digits = b'"n": 12345678901234567890123, "m": 1.50, "huge": 1e400}'
    assert digits in asked(application_here(), "/v1/dead-letters/export?sink=remote").content
    assert remote.call("dead-letters", "export", "--sink", "remote") == 0
    assert digits.decode() in remote.out
    assert remote.call("dead-letters", "export", "--sink", "remote", "--output", "new.jsonl") == 0
    assert digits in remote.path("new.jsonl").read_bytes()
    for options in ((), ("--json",)):
        assert remote.call("dead-letters", "list", "--sink", "remote", *options) == 0
        assert '"n": 123456789012345' in remote.out, "a table has the beginning"
    assert newest["record"] == record
    assert remote.call("report", "ticket.html") == 0, remote.err
    assert asked_to_retry(records=[{"key": newest["key"]}], sink="remote").json["retried"] == 1
    (line,) = remote.path("state", "delivery", "remote.retry.jsonl").read_bytes().splitlines()
    assert f'"object":{record}'.encode() in line


def listed_bytes(query: str) -> list[dict[str, Any]]:
    """As `listed`, without the huge number, which is infinite to this reader."""
    content = asked(application_here(), f"/v1/dead-letters?{query}").content
    return list(json.loads(content.replace(b'"huge": 1e400}', b'"huge": 0}', 1))["dead_letters"])


def test_a_failed_record_is_retried_by_its_key_once(remote: RemoteShell) -> None:
    (letter,) = listed("sink=remote")["dead_letters"]
    place = {name: letter["place"][name] for name in ("source", "generation", "offset")}
    by_key = {"key": letter["key"], "record": '{"id": 3, "category": "a", "value": 3}'}
    nothing = {"source": "", "generation": 0, "offset": 0}
    both = asked_to_retry(records=[by_key, place, {"key": "none"}], sink="remote").json
    assert both["retried"] == 1
    assert both["refused"] == [
        {**place, "reason": "it is there twice"},
        {**nothing, "reason": "sink remote has no failed record with this key", "key": "none"},
    ]
    again = asked_to_retry(records=[by_key], sink="remote").json
    assert again["refused"] == [{**nothing, "reason": "a retry of it waits, or was delivered", "key": letter["key"]}]
    remote.deliver_all()
    assert remote.taken()[2] == (f"{letter['key']}:r1", 3, 3)
    wrong = asked_to_retry(records=[by_key]).json
    assert [each["reason"] for each in wrong["refused"]] == ["only the failed records of a sink have keys"]


def test_failed_records_of_a_sink_that_is_not_there_are_404_and_name_those_that_are(remote: RemoteShell) -> None:
    answer = asked(application_here(), "/v1/dead-letters?sink=other")
    assert (answer.status, answer.json["hint"]) == (404, "the remote sinks are: remote")
