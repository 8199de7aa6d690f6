"""`doctor`: one line for each thing that is looked at, the exit codes, and that it changes nothing and sends no record."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from event_processor.model.clock import SystemClock
from event_processor.operations.doctor import _clock
from support.command_line import Shell, shell_in
from support.engine import FakeClock
from support.http_service import HttpService, Reply, make_certificate, server_tls

REMOTE = """
[services.api]
base_url = "{base_url}"
timeout_s = 5
{service}
[sinks.down]
type = "http"
service = "api"
[sinks.again]
type = "http"
service = "api"
"""


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Shell:
    return shell_in(tmp_path, monkeypatch, capsys)


def configure(shell: Shell, more: str) -> None:
    with shell.path("event-processor.toml").open("a", encoding="utf-8") as file:
        file.write(more)


def examined(shell: Shell, code: int) -> list[dict[str, Any]]:
    """The findings that are not ok; or, if all are, every finding."""
    assert shell.call("doctor", "--json") == code
    document = json.loads(shell.out)
    assert list(document) == ["ok", "findings"]
    assert document["ok"] == (code == 0)
    assert all(list(each) == ["what", "state", "words", "remedy"] for each in document["findings"])
    return [each for each in document["findings"] if each["state"] != "ok"] or document["findings"]


def test_a_sound_pipeline_is_ok_in_every_line_and_nothing_is_made(shell: Shell) -> None:
    before = sorted(shell.folder.rglob("*"))
    assert shell.call("doctor") == 0
    lines = shell.out.splitlines()
    assert all(line.startswith("ok: ") for line in lines)
    assert [line.split(": ")[1] for line in lines] == [
        "clock",
        "state.dir",
        "state.dir",
        "disk",
        "sources.log",
        "sources.log",
        "sinks.ordered",
    ]
    assert sorted(shell.folder.rglob("*")) == before


def test_a_daemon_that_runs_is_named_and_the_checkpoint_is_read(shell: Shell) -> None:
    assert shell.call("run", "--once") == 0
    with shell.daemon():
        words = [each["words"] for each in examined(shell, 0)]
    assert any(each.startswith("owned by process ") for each in words)
    assert "its checkpoint can be read: 5 records" in words


def test_a_log_that_is_not_there_is_unreachable_and_a_folder_in_its_place_is_wrong(shell: Shell) -> None:
    shell.path("log.jsonl").unlink()
    (missing,) = examined(shell, 69)
    assert (missing["what"], missing["state"]) == ("sources.log", "unreachable")
    assert missing["words"].endswith("log.jsonl: no such file")
    shell.path("log.jsonl").mkdir()
    (folder,) = examined(shell, 78)
    assert "is a folder, not a file" in folder["words"]
    assert folder["remedy"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may do everything")
def test_what_this_user_may_not_read_or_write_is_wrong(shell: Shell) -> None:
    shell.path("log.jsonl").chmod(0)
    for name in ("state", "out"):
        shell.path(name).mkdir()
        shell.path(name).chmod(0o500)
    assert sorted(each["what"] for each in examined(shell, 78)) == ["sinks.ordered", "sources.log", "state.dir"]


def test_a_folder_in_place_of_a_sinks_file_is_wrong_and_stops_the_start(shell: Shell) -> None:
    shell.path("out").mkdir(exist_ok=True)
    (path,) = [
        Path(each["words"].removesuffix(" can be written")) for each in examined(shell, 0) if each["what"] == "sinks.ordered"
    ]
    path.mkdir()
    (found,) = examined(shell, 78)
    assert (found["what"], found["words"]) == ("sinks.ordered", f"{path} is not a regular file")
    assert shell.call("run", "--once") == 78
    assert f"{path}: is not a regular file, so nothing can be appended to it" in shell.err


def test_a_file_in_place_of_a_folder_is_wrong(shell: Shell) -> None:
    shell.path("out").write_text("")
    (found,) = examined(shell, 78)
    assert (found["what"], found["words"]) == ("sinks.ordered", f"{shell.path('out')} is not a folder")


def test_a_glob_without_a_file_is_ok(shell: Shell) -> None:
    configure(shell, '[sources.many]\npath = "many/*.jsonl"\n')
    assert any(each["words"].endswith("many/*.jsonl matches no file yet") for each in examined(shell, 0))


def test_a_state_that_cannot_be_read_is_wrong(shell: Shell) -> None:
    assert shell.call("run", "--once") == 0
    for name in ("checkpoint.json", "checkpoint.previous.json"):
        shell.path("state", name).write_text("{}")
    assert {each["what"] for each in examined(shell, 78)} == {"state.dir"}


@pytest.mark.parametrize("status", [200, 204, 301, 404, 405, 500, 503])
def test_any_answer_but_a_refusal_of_the_token_is_an_answer(shell: Shell, service: HttpService, status: int) -> None:
    service.answers = [Reply(status)]
    configure(shell, REMOTE.format(base_url=service.base_url, service=""))
    (found,) = [each for each in examined(shell, 0) if each["what"] == "services.api"]
    assert f"answers ({status} to HEAD" in found["words"]
    assert [(request.method, request.body) for request in service.received] == [("HEAD", b"")]


@pytest.mark.parametrize("status", [401, 403])
def test_a_token_that_the_service_refuses_is_wrong(
    shell: Shell, service: HttpService, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("API_TOKEN", "very-secret")
    service.answers = [Reply(status)]
    configure(shell, REMOTE.format(base_url=service.base_url, service='token_env = "API_TOKEN"'))
    (found,) = examined(shell, 78)
    assert (found["what"], found["state"]) == ("services.api", "wrong")
    assert str(status) in found["words"]
    assert service.received[0].headers["authorization"] == "Bearer very-secret"
    assert "very-secret" not in shell.out + shell.err


def test_a_token_that_is_missing_is_wrong_and_nothing_is_asked(shell: Shell, service: HttpService) -> None:
    configure(shell, REMOTE.format(base_url=service.base_url, service='token_file = "gone.token"'))
    (found,) = examined(shell, 78)
    assert "gone.token does not exist" in found["words"]
    assert service.connections == 0


def test_a_service_that_does_not_run_is_unreachable(shell: Shell, service: HttpService) -> None:
    port = HttpService()
    with port:
        base_url = port.base_url
    configure(shell, REMOTE.format(base_url=base_url, service=""))
    (found,) = examined(shell, 69)
    assert (found["what"], found["state"]) == ("services.api", "unreachable")
    assert "Connection refused" in found["words"]


def test_a_certificate_that_is_not_trusted_is_wrong(shell: Shell, tmp_path: Path) -> None:
    certificate, key = make_certificate(tmp_path)
    with HttpService(tls=server_tls(certificate, key)) as service:
        configure(shell, REMOTE.format(base_url=service.base_url, service=""))
        (found,) = examined(shell, 78)
        assert "is not trusted" in found["words"]
        trusted = f'[services.api.tls]\nca_file = "{certificate}"'
        text = shell.path("event-processor.toml").read_text().replace("[sinks.down]", f"{trusted}\n[sinks.down]")
        shell.path("event-processor.toml").write_text(text)
        examined(shell, 0)
        with shell.daemon():
            examined(shell, 0)


def test_while_a_daemon_runs_no_request_is_made(shell: Shell, service: HttpService) -> None:
    configure(shell, REMOTE.format(base_url=service.base_url, service="requests_per_s = 15"))
    with shell.daemon():
        (found,) = [each for each in examined(shell, 0) if each["what"] == "services.api"]
    assert "accepts a connection; no request was made" in found["words"]
    assert service.received == []


def test_the_service_of_an_enricher_is_looked_at_too(shell: Shell) -> None:
    with HttpService([Reply(401)]) as service:
        table = f'[services.ml]\nbase_url = "{service.base_url}"\n[enrichers.predict]\nservice = "ml"\nset = {{ a = "b" }}\n'
        configure(shell, table)
        (found,) = examined(shell, 78)
    assert (found["what"], found["state"]) == ("services.ml", "wrong")


def test_a_class_of_the_users_is_imported_and_not_called(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(shell.folder))
    shell.path("doctored.py").write_text(
        "class Own:\n    def __init__(self, options): raise AssertionError\n    async def deliver(self, records): ...\n"
        "class NoCoroutine:\n    def deliver(self, records): ...\n"
    )
    sinks = {"own": "doctored:Own", "plain": "doctored:NoCoroutine", "gone": "doctored_not_there:Own"}
    for name, reference in sinks.items():
        configure(shell, f'[sinks.{name}]\ntype = "python"\nclass = "{reference}"\n')
    plain, gone = examined(shell, 78)
    assert (plain["what"], gone["what"]) == ("sinks.plain.class", "sinks.gone")
    assert 'has no "async def deliver"' in plain["words"]
    assert 'cannot import "doctored_not_there"' in gone["words"]


def test_a_model_that_cannot_be_imported_is_wrong(shell: Shell) -> None:
    configure(shell, '[event]\nmodel = "model_not_there:Model"\n')
    (found,) = examined(shell, 78)
    assert (found["what"], found["state"]) == ("sources.log", "wrong")
    assert "model_not_there" in found["words"]


def test_a_clock_of_another_century_is_wrong() -> None:
    clock = FakeClock()
    assert _clock(clock).state == "wrong"
    assert _clock(SystemClock()).state == "ok"


def test_the_disk_must_have_room_for_the_rest_of_the_outbox(shell: Shell, service: HttpService) -> None:
    configure(shell, REMOTE.format(base_url=service.base_url, service="") + "[outbox]\nbytes_max = 1_000_000_000_000_000\n")
    (found,) = examined(shell, 78)
    assert (found["what"], found["state"]) == ("disk", "wrong")
    assert "outbox.bytes_max allows 1,000,000,000,000,000 more" in found["words"]
