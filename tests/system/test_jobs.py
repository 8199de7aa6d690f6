"""Jobs over HTTP, as clients and operators see them: submitted, cancelled, deleted; the server killed; an upload broken off."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from support.jobs_server import JobsServer, jobs_server, numbered, rows_of
from support.metrics import samples
from support.processes import wait_until
from support.s3_server import ACCESS_KEY, SECRET, s3_of_tests

SUBMISSIONS = int(os.environ.get("EVENT_PROCESSOR_JOBS", "5"))
UPLOAD_BYTES = int(os.environ.get("EVENT_PROCESSOR_UPLOAD_BYTES", "1"))
"""The whole trials are 50 jobs and 1 GB."""
BREAKS = 5
EVENTS = 50_000
PIECE_BYTES = 400_000
SLOW_EVENTS = 40_000


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[JobsServer]:
    with jobs_server(tmp_path_factory.mktemp("jobs"), queue_max=1000) as server:
        (server.inputs / "slow.jsonl").write_bytes(numbered(SLOW_EVENTS))
        yield server


def test_every_submission_ends_once_with_its_rows_although_the_server_is_killed(tmp_path: Path) -> None:
    """The server dies twice while jobs run: once alone, so that their processes go on, and once with them. Between, it reloads."""
    with jobs_server(tmp_path) as server:
        for number in range(SUBMISSIONS):
            (server.inputs / f"{number}.jsonl").write_bytes(numbered(1000 + number, first=number))

        def submitted(number: int) -> str:
            pipeline = "slow" if number < 2 else "counts"
            asked = {"pipeline": pipeline, "input": {"path": f"{number}.jsonl"}}
            answers = [server.post("/v1/jobs", asked, **{"Idempotency-Key": f"key-{number}"}) for _ in range(2)]
            assert [answer.status for answer in answers] == [201, 200]
            assert answers[0].json["id"] == answers[1].json["id"]
            return str(answers[0].json["id"])

        (server.inputs / "long.jsonl").write_bytes(numbered(SLOW_EVENTS))
        cancelled = server.submit("slow", {"path": "long.jsonl"}).json["id"]
        with ThreadPoolExecutor(SUBMISSIONS) as clients:
            known = list(clients.map(submitted, range(SUBMISSIONS)))
        wait_until(lambda: server.is_at_work(cancelled), "a process is at work")
        server.kill_the_server_alone()
        assert server.is_at_work(cancelled), "nothing ended it"
        torn = server.jobs / "0123456789abcdef" / "job.json"
        torn.parent.mkdir()
        torn.write_bytes(b"torn")
        server.restart()
        wait_until(
            lambda: server.conditions() == [("jobs_unavailable", f"1 job cannot be read, {torn}")], "an operator must look"
        )
        torn.unlink()
        # It has no other connection to that process than the lock, and the number in it.
        server.served.ask(f"/v1/jobs/{cancelled}/cancel", "POST")
        wait_until(lambda: not server.is_at_work(cancelled), "the process of the earlier server has ended")
        os.kill(server.served.daemon.process_id, signal.SIGHUP)
        wait_until(lambda: '"reloaded"' in server.served.daemon.said(), "it has reloaded")
        wait_until(lambda: any(server.job(each)["state"] == "done" for each in known), "a job is done")
        server.served.daemon.kill()
        server.restart()
        for number, job_id in enumerate(known):
            job = server.ended(job_id)
            assert (job["state"], job["error"]) == ("done", "")
            assert job["summary"]["accepted"] == 1000 + number
            assert server.rows(job_id) == rows_of(1000 + number, first=number)
        wait_until(lambda: not server.conditions(), "all jobs can go on")
        page = server.served.ask("/v1/jobs?limit=1000").json
        assert {each["id"] for each in page["jobs"]} == {*known, cancelled}
        assert page["counts"] == {"queued": 0, "running": 0, "done": SUBMISSIONS, "failed": 0, "cancelled": 1}


def test_a_job_that_is_cancelled_while_it_works_ends_without_a_result(server: JobsServer) -> None:
    job_id = server.submit("slow", {"path": "slow.jsonl"}).json["id"]
    wait_until(lambda: server.job(job_id)["progress"] is not None, "it has committed something")
    assert server.served.ask(f"/v1/jobs/{job_id}/cancel", "POST").json["state"] == "cancelled"
    wait_until(lambda: not server.is_at_work(job_id), "its process has ended")
    assert server.job(job_id)["state"] == "cancelled"
    assert server.served.ask(f"/v1/jobs/{job_id}/result").status == 409
    done_bytes = server.job(job_id)["progress"]["done_bytes"]
    assert 0 < done_bytes < len(numbered(SLOW_EVENTS))


def test_a_job_that_is_deleted_while_it_works_leaves_nothing(server: JobsServer) -> None:
    job_id = server.submit("slow", {"path": "slow.jsonl"}).json["id"]
    wait_until(lambda: server.is_at_work(job_id), "its process is at work")
    assert server.served.ask(f"/v1/jobs/{job_id}", "DELETE").status == 204
    assert server.served.ask(f"/v1/jobs/{job_id}").status == 404
    wait_until(lambda: not (server.jobs / job_id).exists(), "its folder is gone")


def test_an_upload_that_is_broken_off_again_and_again_is_processed_while_it_comes(server: JobsServer) -> None:
    """Half way, the server is killed with the process of the job."""
    once = numbered(EVENTS)
    content = once * -(-UPLOAD_BYTES // len(once))
    upload = server.post("/v1/uploads", {"length": len(content)}).json["id"]
    path = f"/v1/uploads/{upload}"
    stored = server.jobs / "uploads" / upload / "content"

    def offset() -> int:
        return int(server.served.ask(path, "HEAD").headers["upload-offset"])

    def sent(end: int) -> None:
        while (begin := offset()) < end:
            piece = content[begin : min(end, begin + PIECE_BYTES)]
            answer = server.served.ask(path, "PATCH", headers={"Upload-Offset": str(begin)}, body=piece)
            assert (answer.status, answer.headers["upload-offset"]) == (204, str(begin + len(piece)))

    def counted_bytes(job_id: str) -> int:
        progress = server.job(job_id)["progress"]
        return progress["done_bytes"] if progress else 0

    job_id = server.submit("counts", {"upload": upload}).json["id"]
    for number in range(BREAKS):
        sent(len(content) * number // (BREAKS + 1))
        if number == BREAKS // 2:
            server.served.daemon.kill()
            server.restart()
        begin = offset()
        head = f"PATCH {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nUpload-Offset: {begin}\r\nContent-Length: {PIECE_BYTES}\r\n\r\n"
        with server.served.connect() as client:
            client.sendall(head.encode() + content[begin : begin + PIECE_BYTES - 1])
            wait_until(lambda begin=begin: stored.stat().st_size > begin, "a part of the piece is written")  # type: ignore[misc]
        wait_until(lambda begin=begin: offset() > begin, "the part that came counts")  # type: ignore[misc]
        wrong = server.served.ask(path, "PATCH", headers={"Upload-Offset": str(begin)}, body=b"again")
        assert wrong.status == 409
        wait_until(lambda begin=begin: counted_bytes(job_id) > begin, "what has come is counted")  # type: ignore[misc]
        assert server.job(job_id)["state"] == "running"
        assert server.served.ask(path, "DELETE").status == 409
    sent(len(content))
    assert server.ended(job_id)["state"] == "done"
    assert server.rows(job_id) == rows_of(EVENTS)
    ranged = server.served.ask(f"/v1/jobs/{job_id}/result", headers={"Range": "bytes=0-13"})
    assert (ranged.status, ranged.content) == (206, b'{"category":"c')
    assert server.served.ask(path, "DELETE").status == 204


def test_an_object_becomes_rows(server: JobsServer) -> None:
    with s3_of_tests() as objects:
        bucket = objects.new_bucket()
        objects.put(bucket, "part/a.jsonl", numbered(3000))
        (server.pipeline.folder / "secret").write_text(SECRET)
        source = f'[sources.objects]\ntype = "s3"\nurl = "s3://{bucket}/part/*"\nendpoint = "{objects.address}"\n'
        access = f'access_key_id = "{ACCESS_KEY}"\nsecret_access_key_file = "../secret"\n'
        (server.pipeline.folder / "pipelines" / "objects.toml").write_text(source + access)
        assert server.submit("objects", {"url": f"s3://{bucket}/other/a.jsonl"}).status == 422
        job = server.ended(server.submit("objects", {"url": f"s3://{bucket}/part/a.jsonl"}).json["id"])
        assert (job["state"], job["error"]) == ("done", "")
        assert server.rows(job["id"]) == rows_of(3000)
        assert server.served.ask(f"/v1/jobs/{job['id']}/dead-letters").content == b""
        gone = server.ended(server.submit("objects", {"url": f"s3://{bucket}/part/none.jsonl"}).json["id"])
        assert (gone["state"], gone["exit_code"], "none.jsonl: no such file" in gone["error"]) == ("failed", 66, True)


def test_a_job_that_cannot_succeed_is_not_tried_again(server: JobsServer) -> None:
    (server.inputs / "bad.jsonl").write_bytes(numbered(2) + b'{"id": 3}\n')
    partly = server.ended(server.submit("counts", {"path": "bad.jsonl"}).json["id"])
    assert (partly["state"], partly["summary"]["accepted"], partly["summary"]["rejected"]) == ("done", 2, 1)
    letters = server.served.ask(f"/v1/jobs/{partly['id']}/dead-letters").content.splitlines()
    assert [json.loads(letter)["line"] for letter in letters] == [3]
    (server.inputs / "damaged.jsonl.gz").write_bytes(b"\x1f\x8b\x08\x00 no gzip after all")
    job = server.ended(server.submit("counts", {"path": "damaged.jsonl.gz"}).json["id"])
    assert (job["state"], job["failures"], job["exit_code"]) == ("failed", 1, 66)
    assert "damaged.jsonl.gz" in job["error"]
    assert json.loads((server.jobs / job["id"] / "job.json").read_bytes())["state"] == "failed"
    assert server.submit("none", {"path": "bad.jsonl"}).status == 404
    found = samples(server.served.ask("/metrics").content.decode())
    counts = server.served.ask("/v1/jobs").json["counts"]
    assert {state: found["event_processor_jobs", state] for state in counts} == counts
    assert found["event_processor_jobs_ended_total", "failed"] >= 1
    assert found["event_processor_job_requests_refused_total", "missing"] >= 1
    assert found["event_processor_jobs_started_total",] >= 2
    assert found["event_processor_job_wait_seconds_total",] > 0
