"""The program with a remote sink, against a real HTTP service: what arrives, what it says, and how it ends."""

from __future__ import annotations

import json
from collections import Counter
from functools import partial
from pathlib import Path

import pytest

from event_processor.assembly import outbox
from event_processor.storage.outbox import OutboxSeries
from support.command_line import Shell, shell_in
from support.http_service import HttpService, Received, Reply
from support.processes import wait_until
from support.remote_sink import remote_configuration


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Shell:
    return shell_in(tmp_path, monkeypatch, capsys)


def configure(shell: Shell, url: str, *, service: str = "", sink: str = "", outbox: str = "once_wait_s = 60") -> None:
    text = remote_configuration(url, service=service, sink=f'path = "/records"\n{sink}', more=f"[outbox]\n{outbox}\n")
    shell.path("event-processor.toml").write_text(text)


def write(shell: Shell, count: int, first: int = 1, pad: str = "") -> None:
    with shell.path("events.jsonl").open("a") as log:
        for number in range(first, first + count):
            log.write(json.dumps({"id": number, "category": "a", "value": number, "pad": pad}) + "\n")


def keys(service: HttpService) -> Counter[str]:
    return Counter(request.headers["idempotency-key"] for request in service.received)


def ids(service: HttpService) -> list[int]:
    return sorted(request.json()["id"] for request in service.received)


def test_once_ends_when_everything_is_delivered(shell: Shell, service: HttpService) -> None:
    configure(shell, service.base_url)
    write(shell, 40)
    assert shell.call("run", "--once") == 0
    assert "sink remote: 40 delivered, 0 failed, 0 skipped, 0 pending" in shell.out
    assert ids(service) == list(range(1, 41))
    assert set(keys(service).values()) == {1}
    write(shell, 5, 41)
    assert shell.call("run", "--once") == 0
    assert ids(service) == list(range(1, 46))
    assert shell.call("verify") == 0


def test_once_exits_with_69_if_records_still_wait(shell: Shell) -> None:
    with HttpService([Reply(503)]) as service:
        configure(shell, service.base_url, outbox="once_wait_s = 0")
        write(shell, 5)
        assert shell.call("run", "--once") == 69
        assert "5 pending" in shell.out
    with HttpService() as service:
        configure(shell, service.base_url)
        assert shell.call("run", "--once") == 0
        assert ids(service) == [1, 2, 3, 4, 5]


def test_a_refused_record_is_a_failed_record_and_nothing_is_sent_again(shell: Shell) -> None:
    def answers(request: Received) -> Reply:
        return Reply(422, b"no threes") if request.json()["id"] == 3 else Reply()

    with HttpService(answers) as service:
        configure(shell, service.base_url)
        write(shell, 6)
        assert shell.call("run", "--once") == 0
        (failed,) = map(json.loads, shell.path("state", "delivery", "remote.failed.jsonl").read_text().splitlines())
        assert (failed["sequence"], failed["status"], failed["object"]["id"]) == (3, "422", 3)
        sent = len(service.received)
        assert shell.call("run", "--once") == 0
        assert len(service.received) == sent == 6


def test_the_sources_pause_while_the_outbox_is_full_and_go_on_when_it_is_not(shell: Shell) -> None:
    """With 1 MiB allowed, 9 MiB of events never need more than the limit and the commits that were under way."""
    waiting: list[int] = []

    def written() -> int:
        return sum(path.stat().st_size for path in shell.path("state", "outbox").iterdir())

    def answers(request: Received) -> Reply:
        if not waiting:
            wait_until(lambda: written() >= 1_048_576, "the outbox is full before anything is delivered")
        waiting.append(written() - 1200 * (request.json()[0]["id"] - 1))
        return Reply()

    with HttpService(answers) as service:
        configure(
            shell,
            service.base_url,
            sink='body = "array"\nrequest_events_max = 500',
            service="concurrency = 1\ntimeout_s = 100",
            outbox="bytes_max = 1048576\nkeep_s = 0\nonce_wait_s = 60\n[batch]\nbytes_max = 65536",
        )
        write(shell, 8000, pad="x" * 1000)
        assert shell.call("run", "--once") == 0
        delivered = sorted(each["id"] for request in service.received for each in request.json())
        assert delivered == list(range(1, 8001))
        state = json.loads(shell.path("state", "checkpoint.json").read_text())["state"]
        assert state["counts"]["accepted"] == 8000
        assert 1_048_576 <= max(waiting) < 2 * 1_048_576


@pytest.mark.parametrize(("change", "words"), [('path = "/other"', "its target was changed"), ("", "it was removed")])
def test_a_sink_with_pending_records_cannot_be_changed(shell: Shell, change: str, words: str) -> None:
    with HttpService([Reply(503)]) as service:
        configure(shell, service.base_url, outbox="once_wait_s = 0")
        write(shell, 5)
        assert shell.call("run", "--once") == 69
        text = shell.path("event-processor.toml").read_text()
        changed = text.replace('path = "/records"', change)
        if not change:
            changed = text[: text.index("[sinks.remote]")]
        shell.path("event-processor.toml").write_text(changed)
        assert shell.call("run", "--once") == 78
        said = shell.err
        assert words in said
        assert "5 records" in said


def test_a_sink_that_is_added_starts_after_everything_that_was_released(shell: Shell, service: HttpService) -> None:
    shell.path("event-processor.toml").write_text('[sources.events]\npath = "events.jsonl"\n[order]\nbuffer_events = 0\n')
    write(shell, 30)
    assert shell.call("run", "--once") == 0
    configure(shell, service.base_url)
    assert shell.call("run", "--once") == 0
    assert ids(service) == []
    write(shell, 4, 31)
    assert shell.call("run", "--once") == 0
    assert ids(service) == [31, 32, 33, 34]


def test_an_outbox_that_others_changed_stops_its_sink_with_65_and_nothing_else(
    shell: Shell,
) -> None:
    with HttpService([Reply(503)]) as service:
        configure(shell, service.base_url, outbox="once_wait_s = 0")
        write(shell, 5)
        assert shell.call("run", "--once") == 69
    (file,) = shell.path("state", "outbox").iterdir()
    file.write_text(file.read_text().replace('"value": 2', '"value": 9'))
    write(shell, 5, 6)
    with HttpService() as service:
        configure(shell, service.base_url)
        assert shell.call("run", "--once") == 65
        assert "does not follow from the one before" in shell.out
        assert all(request.json()["value"] != 9 for request in service.received)
    assert json.loads(shell.path("state", "checkpoint.json").read_text())["state"]["counts"]["accepted"] == 10


def test_files_that_every_lane_has_passed_are_removed_and_the_rest_goes_on(
    shell: Shell, service: HttpService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox, "OutboxSeries", partial(OutboxSeries, file_bytes_max=10_000))
    configure(shell, service.base_url, outbox="keep_s = 0\n[batch]\nbytes_max = 4096")
    for first in (1, 201, 401):
        write(shell, 200, first)
        assert shell.call("run", "--once") == 0
    files = sorted(path.name for path in shell.path("state", "outbox").iterdir())
    # Each file has some forty records; the open one, and those that the predecessor names, are still there.
    assert len(files) < 8
    assert int(files[0].split(".")[1]) > 400
    assert ids(service) == list(range(1, 601))
    assert set(keys(service).values()) == {1}


def test_files_are_kept_for_as_long_as_is_configured(shell: Shell, service: HttpService, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox, "OutboxSeries", partial(OutboxSeries, file_bytes_max=10_000))
    configure(shell, service.base_url, outbox="[batch]\nbytes_max = 4096")
    for first in (1, 201):
        write(shell, 200, first)
        assert shell.call("run", "--once") == 0
    files = sorted(path.name for path in shell.path("state", "outbox").iterdir())
    assert int(files[0].split(".")[1]) == 1
    assert json.loads(shell.path("state", "delivery", "passed.json").read_text())["events"][0][1] <= 400


def test_records_are_enriched_by_one_service_and_sent_to_another(shell: Shell, service: HttpService) -> None:
    def predict(request: Received) -> Reply:
        asked = request.json()
        if any(each["id"] == 7 for each in asked):
            return Reply(422, b"no sevens")
        rows = [{"transaction_id": each["id"], "category": f"c{each['id'] % 3}"} for each in reversed(asked)]
        return Reply(200, json.dumps(rows).encode())

    with HttpService(predict) as predictor:
        configure(
            shell,
            service.base_url,
            sink=f"""enrich = ["predict"]
[services.ml]
base_url = "{predictor.base_url}"
[enrichers.predict]
service = "ml"
path = "/predict"
request_events_max = 20
fields = {{ id = "id" }}
join = {{ answer = "transaction_id", event = "id" }}
set = {{ "prediction.category" = "category" }}""",
        )
        write(shell, 60)
        assert shell.call("run", "--once") == 0
        assert max(len(request.json()) for request in predictor.received) == 20
    sent = {request.json()["id"]: request.json()["prediction"] for request in service.received}
    assert sent == {number: {"category": f"c{number % 3}"} for number in range(1, 61) if number != 7}
    assert set(keys(service).values()) == {1}
    (failed,) = map(json.loads, shell.path("state", "delivery", "remote.failed.jsonl").read_text().splitlines())
    assert (failed["sequence"], failed["stage"], failed["status"]) == (7, "predict", "422")


def test_a_record_that_fails_after_an_enricher_is_kept_as_released_and_its_retry_is_enriched_again(shell: Shell) -> None:
    def predict(request: Received) -> Reply:
        rows = [{"id": each["id"], "category": f"answer {len(predictor.received)}"} for each in request.json()]
        return Reply(200, json.dumps(rows).encode())

    def accept(request: Received) -> Reply:
        return Reply() if request.json()["value"] != 1 else Reply(422, b"no ones")

    with HttpService(predict) as predictor, HttpService(accept) as service:
        enricher = f"""enrich = ["predict"]
[services.ml]
base_url = "{predictor.base_url}"
[enrichers.predict]
service = "ml"
join = {{ answer = "id", event = "id" }}
set = {{ "prediction.category" = "category" }}"""
        configure(shell, service.base_url, sink=enricher)
        write(shell, 1)
        assert shell.call("run", "--once") == 0
        (failed,) = shell.json("dead-letters", "list", "--sink", "remote")["failed"]
        assert (failed["stage"], failed["status"], failed["reason"]) == ("deliver", "422", "no ones")
        assert failed["object"] == {"id": 1, "category": "a", "value": 1, "pad": ""}
        failed["object"]["value"] = 2
        shell.path("repaired.jsonl").write_text(json.dumps(failed))
        assert shell.call("dead-letters", "retry", "repaired.jsonl", "--sink", "remote") == 0
        assert shell.call("run", "--once") == 0
        sent = [request.json() for request in service.received]
    assert [(each["value"], each["prediction"]["category"]) for each in sent] == [(1, "answer 1"), (2, "answer 2")]


def test_once_ends_with_69_if_the_outbox_stays_full(shell: Shell) -> None:
    with HttpService([Reply(401)]) as service:
        configure(shell, service.base_url, outbox="bytes_max = 1048576\nonce_wait_s = 1\n[batch]\nbytes_max = 65536")
        write(shell, 3000, pad="x" * 1000)
        assert shell.call("run", "--once") == 69
    with HttpService() as service:
        configure(shell, service.base_url, sink='body = "array"\nrequest_events_max = 500', outbox="once_wait_s = 60")
        assert shell.call("run", "--once") == 0
        assert sorted(each["id"] for request in service.received for each in request.json()) == list(range(1, 3001))


def test_explain_says_every_try_of_a_record(shell: Shell) -> None:
    answers = iter([Reply(503, b"busy"), Reply(), Reply()])
    with HttpService(lambda _: next(answers)) as service:
        configure(shell, service.base_url, service="concurrency = 1")
        write(shell, 1)
        assert shell.call("run", "--once") == 0
    assert shell.call("explain", "1") == 0
    assert "sequence 1" in shell.out
    assert "delivered" in shell.out
    assert "503" in shell.out
    assert "200" in shell.out


def test_a_run_that_ends_cleanly_leaves_the_mark_of_it(shell: Shell, service: HttpService) -> None:
    configure(shell, service.base_url)
    write(shell, 1)
    assert shell.call("run", "--once") == 0
    assert "ended cleanly" in shell.path("state", "delivery", "sending").read_text()


def test_spaces_around_a_record_are_no_part_of_it(shell: Shell, service: HttpService) -> None:
    configure(shell, service.base_url)
    lines = [
        ' {"id": 1, "category": "a", "value": 1}',
        '{"id": 2, "category": "a", "value": 1} \t',
        '\t{"id": 3, "category": "a", "value": 1 }\r',
    ]
    shell.path("events.jsonl").write_text("".join(f"{line}\n" for line in lines))
    assert shell.call("run", "--once") == 0
    assert ids(service) == [1, 2, 3]
    assert all(request.body.startswith(b"{") and request.body.endswith(b"}") for request in service.received)


def test_retried_records_that_cannot_be_read_end_their_lane_alone(shell: Shell, service: HttpService) -> None:
    configure(shell, service.base_url)
    write(shell, 3)
    assert shell.call("run", "--once") == 0
    shell.path("state", "delivery", "remote.retry.jsonl").write_text("garbage\n")
    write(shell, 3, 4)
    assert shell.call("run", "--once") == 65
    assert ids(service) == [1, 2, 3, 4, 5, 6]


def test_a_class_that_exits_makes_its_records_wait(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(shell.folder)
    shell.path("leaving.py").write_text(
        "import sys\nclass Leaving:\n    def __init__(self, options):\n        pass\n    async def deliver(self, records):\n        sys.exit(0)\n"
    )
    shell.path("event-processor.toml").write_text(
        '[sources.events]\npath = "events.jsonl"\n[order]\nbuffer_events = 0\n[outbox]\nonce_wait_s = 1\n'
        '[sinks.remote]\ntype = "python"\nclass = "leaving:Leaving"\n'
    )
    write(shell, 1)
    assert shell.call("run", "--once") == 69, shell.err
    assert "1 pending" in shell.out
