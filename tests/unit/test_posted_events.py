"""`POST /v1/events`: the forms of a body, the answer to each record, and what is refused."""

from __future__ import annotations

import errno
import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from event_processor.cli.context import Invocation, load
from event_processor.model.errors import ConfigurationError
from event_processor.service.web.answers import ProblemError
from event_processor.service.web.pressure import Pressure
from event_processor.service.web.receipts import wait_of
from event_processor.storage.append_file import append_lines
from event_processor.storage.shared_log import SharedLog
from support.asgi import Answer, asked
from support.engine import FakeClock
from support.simulated_fs import Fault, SimulatedFileSystem
from support.sites import application_here, open_intake

CONFIGURATION = """
[http]
listen = "127.0.0.1:0"
body_bytes_max = 4096
[intake]
enabled = true
free_bytes_min = 0
[sources.log]
path = "log.jsonl"
"""
GOOD = '{"id": 1, "category": "a", "value": 2}'
BAD = '{"id": 2, "category": "a", "value": "x"}'
WRONG_VALUE = {"status": "invalid", "reason": '"value" is not a number: "x"', "field": "value"}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("EVENT_PROCESSOR_CONFIG", raising=False)
    monkeypatch.delenv("STATE_DIRECTORY", raising=False)
    (tmp_path / "event-processor.toml").write_text(CONFIGURATION)
    (tmp_path / "state").mkdir()
    return tmp_path


def post(body: bytes | str, *, log: SharedLog | None = None, waiting_bytes: int = 0, **headers: str) -> Answer:
    intake = open_intake(log, waiting_bytes=waiting_bytes)
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    try:
        content = body.encode() if isinstance(body, str) else body
        return asked(application_here(intake=intake), "/v1/events", "POST", headers=named, body=[content])
    finally:
        intake.close()


def appended(folder: Path) -> list[Any]:
    path = folder / "state" / "intake.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


@pytest.mark.parametrize(
    ("body", "media_type"),
    [
        (f"{GOOD}\n{BAD}\n\n  \r\n{GOOD}\r\n", "application/x-ndjson"),
        (f"{GOOD}\n{BAD}\n{GOOD}", ""),
        (f" [{GOOD},\n {BAD} ,{GOOD} ]\n", "application/json"),
        (f"[{GOOD},{BAD},{GOOD}]", "application/x-ndjson"),
    ],
)
def test_lines_and_arrays_are_answered_record_by_record(folder: Path, body: str, media_type: str) -> None:
    answer = post(body, content_type=media_type)
    assert answer.status == 202, answer.content
    assert answer.json == {
        "appended": 2,
        "invalid": 1,
        "lines": [
            {"status": "appended", "position": "1:0"},
            WRONG_VALUE,
            {"status": "appended", "position": f"1:{len(GOOD) + 1}"},
        ],
    }
    assert appended(folder) == [json.loads(GOOD)] * 2


def test_one_object_over_several_lines_is_one_record(folder: Path) -> None:
    answer = post(json.dumps(json.loads(GOOD), indent=2), content_type="application/json; charset=utf-8")
    assert answer.status == 202
    assert answer.json["lines"] == [{"status": "appended", "position": "1:0"}]
    assert (folder / "state" / "intake.jsonl").read_bytes().count(b"\n") == 1
    assert appended(folder) == [json.loads(GOOD)]


def test_if_no_record_is_valid_nothing_is_appended_and_it_is_422(folder: Path) -> None:
    answer = post(f"{BAD}\nno object\n")
    assert answer.status == 422
    assert answer.json["appended"] == 0
    assert answer.json["invalid"] == 2
    assert [each["status"] for each in answer.json["lines"]] == ["invalid", "invalid"]
    assert post("\n \n").json == {"appended": 0, "invalid": 0, "lines": []}
    assert appended(folder) == []


def test_positions_go_on_after_what_others_appended(folder: Path) -> None:
    log = SharedLog(fs := SimulatedFileSystem(1), "/state/intake.jsonl")
    fs.plant("/state/intake.jsonl", b"")
    assert post(GOOD, log=log).json["lines"][0]["position"] == "1:0"
    append_lines(fs, "/state/intake.jsonl", [b"retried"])
    assert post(GOOD, log=log).json["lines"][0]["position"] == f"1:{len(GOOD) + 1 + 8}"


@pytest.mark.parametrize(
    "record",
    [
        b"\xef\xbb\xbf" + GOOD.encode(),
        b"\0" + GOOD.encode(),
        b'{"id": 1, "category": "\xff", "value": 1}',
        b"[" * 500,
        b'{"id": 1e999}',
    ],
)
def test_what_the_pipeline_would_reject_or_skip_is_never_appended(folder: Path, record: bytes) -> None:
    answer = post(b"%s\n%s\n" % (GOOD.encode(), record))
    assert answer.status == 202
    assert [each["status"] for each in answer.json["lines"]] == ["appended", "invalid"]
    assert appended(folder) == [json.loads(GOOD)]


def test_a_record_over_the_limit_of_records_is_invalid(folder: Path) -> None:
    (folder / "event-processor.toml").write_text(CONFIGURATION.replace("4096", "2000000"))
    answer = post(f'{{"id": 1, "category": "a", "value": 1, "pad": "{"x" * 1_048_576}"}}\n{GOOD}\n')
    assert [each.get("reason", "") for each in answer.json["lines"]] == ["record over the size limit (record_bytes_max)", ""]
    assert answer.json["lines"][1]["position"] == "1:0"


def test_gzip_is_read_also_in_several_members(folder: Path) -> None:
    body = gzip.compress(f"{GOOD}\n".encode()) + gzip.compress(GOOD.encode())
    assert post(body, content_encoding="gzip").json["appended"] == 2
    assert appended(folder) == [json.loads(GOOD)] * 2


@pytest.mark.parametrize(
    ("body", "encoding", "status"),
    [
        (gzip.compress(b" " * 4097, mtime=0), "gzip", 413),
        (gzip.compress(b"\n" * 100_000_000, mtime=0), "gzip", 413),
        (gzip.compress(GOOD.encode(), mtime=0)[:-4], "gzip", 400),
        (b"no gzip", "gzip", 400),
        (GOOD.encode(), "br", 415),
        (b" " * 4097, "", 413),
        (b'[{"id": 1}, ', "", 400),
        (b"[" * 4000, "", 400),
    ],
    ids=["gzip over the limit", "gzip bomb", "cut gzip", "no gzip", "brotli", "too long", "no array", "deep"],
)
def test_a_body_that_cannot_be_read_or_is_too_long_is_a_problem_and_nothing_is_appended(
    folder: Path, body: bytes, encoding: str, status: int
) -> None:
    answer = post(body, content_encoding=encoding)
    assert (answer.status, answer.json["status"]) == (status, status)
    assert answer.json["hint"]
    assert appended(folder) == []


def test_a_failed_fsync_is_an_answer_and_nothing_is_taken_after_it(folder: Path) -> None:
    fs = SimulatedFileSystem(1)
    fs.plant("/state/intake.jsonl", b"")
    log = SharedLog(fs, "/state/intake.jsonl")
    ended: list[bool] = []
    intake = open_intake(log)
    intake.opened = type(intake.opened)(lambda: 1, intake.opened.wakeup, lambda: 0, lambda: ended.append(True))  # type: ignore[misc, union-attr]
    app = application_here(intake=intake)
    fs.fail(Fault(errno=errno.EIO, kinds={"sync"}))
    for _ in range(2):
        answer = asked(app, "/v1/events", "POST", body=[GOOD.encode()])
        assert answer.status == 503
        assert "fsync failed" in answer.json["detail"]
        assert answer.json["hint"]
    intake.close()
    assert ended
    assert fs.content("/state/intake.jsonl") == b""
    assert folder.exists()


def test_while_another_process_holds_the_lock_it_waits_and_does_not_fail(folder: Path) -> None:
    path = folder / "state" / "intake.jsonl"
    path.touch()
    fs = SimulatedFileSystem(1)
    fs.plant("/state/intake.jsonl", b"")
    holder = fs.open("/state/intake.jsonl", 0)
    assert fs.lock(holder)
    locks = fs.lock
    tries: list[bool] = []

    def third_time(descriptor: int) -> bool:
        tries.append(True)
        if len(tries) == 3:
            fs.close(holder)
        return locks(descriptor)

    fs.lock = third_time  # type: ignore[method-assign]
    assert post(GOOD, log=SharedLog(fs, "/state/intake.jsonl")).status == 202
    assert len(tries) == 3


def test_at_its_deadline_a_wait_is_answered_with_202_and_the_receipt_says_appended(folder: Path) -> None:
    intake = open_intake()
    app = application_here(intake=intake)
    answer = asked(app, "/v1/events", "POST", body=[GOOD.encode()], headers={"prefer": "wait=0"})
    assert (answer.status, answer.json["counted"], answer.json["appended"]) == (202, False, 1)
    assert answer.headers["preference-applied"] == "wait=0"
    assert asked(app, "/v1/receipts/1:0").json == {"position": "1:0", "status": "appended"}
    intake.close()
    assert appended(folder) == [json.loads(GOOD)]


@pytest.mark.parametrize(
    ("prefer", "wait_s"),
    [
        ("", None),
        ("return=minimal", None),
        ("wait=counted", 30),
        ("wait=5, wait=9", 5),
        ("respond-async; wait=99", 30),
        ("await=5", None),
    ],
)
def test_the_preference_of_a_client_is_read_as_rfc_7240_says(prefer: str, wait_s: float | None) -> None:
    assert wait_of(prefer, 30) == wait_s


def test_before_a_pipeline_is_open_it_is_503_and_without_the_key_404(folder: Path) -> None:
    answer = asked(application_here(), "/v1/events", "POST", body=[GOOD.encode()])
    assert (answer.status, answer.headers["retry-after"]) == (503, "1")
    (folder / "event-processor.toml").write_text(CONFIGURATION.replace("enabled = true", "enabled = false"))
    answer = post(GOOD)
    assert answer.status == 404
    assert "intake.enabled" in answer.json["hint"]


@pytest.mark.parametrize(
    ("change", "key"),
    [
        ("[dedup]\nenabled = false\n", "dedup.enabled"),
        ('[event]\nid = "@position"\n', "event.id"),
        ('[engine]\nshard = "1/2"\n[state]\ndir = "state-{shard}"\n', "engine.shard"),
    ],
)
def test_an_intake_without_ids_that_count_once_or_of_a_shard_is_refused(folder: Path, change: str, key: str) -> None:
    (folder / "event-processor.toml").write_text(CONFIGURATION + change)
    with pytest.raises(ConfigurationError, match=key):
        load(Invocation())


def test_an_intake_without_a_server_is_refused(folder: Path) -> None:
    (folder / "event-processor.toml").write_text("[intake]\nenabled = true\n")
    with pytest.raises(ConfigurationError, match=r"http\.listen"):
        load(Invocation())


def test_a_full_outbox_and_a_disk_without_room_are_503_with_a_time(folder: Path) -> None:
    answer = post(GOOD, waiting_bytes=1 << 30)
    assert answer.status == 503
    assert 1 <= int(answer.headers["retry-after"]) <= 300
    assert "outbox" in answer.json["detail"]
    (folder / "event-processor.toml").write_text(CONFIGURATION.replace("free_bytes_min = 0", f"free_bytes_min = {1 << 60}"))
    answer = post(GOOD)
    assert (answer.status, answer.headers["retry-after"]) == (503, "1")
    assert "intake.free_bytes_min" in answer.json["detail"]
    assert appended(folder) == []


def test_the_time_that_a_client_waits_follows_from_how_fast_the_disk_gets_room(folder: Path) -> None:
    (folder / "event-processor.toml").write_text(CONFIGURATION.replace("free_bytes_min = 0", "free_bytes_min = 1000"))
    clock, free_bytes = FakeClock(), 400
    pressure = Pressure(load(Invocation()).configuration, clock, lambda _: free_bytes)
    opened = open_intake().opened
    assert opened is not None

    def told(free: int, after_s: float) -> int | None:
        nonlocal free_bytes
        free_bytes = free
        clock.now_s += after_s
        try:
            pressure.require_room(opened)
        except ProblemError as error:
            return int(error.headers["Retry-After"])
        return None

    assert told(400, 1) == 1, "it was found short now"
    assert told(400, 20) == 20, "it has been short for so long, and nothing was freed"
    assert told(500, 20) == 200, "100 of 600 bytes in 40 s"
    assert told(200, 20) == 1, "less than before: it begins anew"
    assert told(200, 4000) == 300, "the longest"
    assert told(1000, 1) is None
    assert told(900, 1) == 1, "another shortage"
