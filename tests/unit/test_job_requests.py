"""What a request for a job or an upload may have: only what is inside the folders, and what the pipeline allows. Without a process."""

from __future__ import annotations

import asyncio
import errno
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import chdir
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from starlette.types import ASGIApp

from event_processor.service.jobs import uploads
from event_processor.service.web import file_answer
from event_processor.service.web.answers import ProblemError
from event_processor.service.web.readings import ReaderThreads
from event_processor.storage.durable import OperatingSystem
from support import asgi
from support.asgi import Answer, asked
from support.operated import Place, event_line
from support.sites import application_here

CONFIGURATION = """
[http]
listen = "127.0.0.1:0"
body_bytes_max = 4096
[jobs]
pipelines_dir = "pipelines"
input_dirs = ["inputs", "more"]
input_urls = ["s3://bucket/part/"]
queue_max = 3
upload_bytes_max = 10_000
uploads_max = 2
"""
PIPELINE = '[jobs]\nparameters = ["event.category", "totals.categories_max", "event.id"]\n'


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    for name in ("pipelines", "inputs/below", "more", "outside"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "event-processor.toml").write_text(CONFIGURATION)
    (tmp_path / "pipelines" / "counts.toml").write_text(PIPELINE)
    (tmp_path / "outside" / "other.toml").write_text(PIPELINE)
    for name in ("inputs/a.jsonl", "inputs/below/b.jsonl", "more/c.jsonl", "outside/d.jsonl"):
        (tmp_path / name).write_text("{}\n")
    (tmp_path / "inputs" / "within.jsonl").symlink_to("below/b.jsonl")
    (tmp_path / "inputs" / "out.jsonl").symlink_to("../outside/d.jsonl")
    (tmp_path / "inputs" / "out").symlink_to("../outside")
    (tmp_path / "pipelines" / "link.toml").symlink_to("../outside/other.toml")
    with chdir(tmp_path):
        yield tmp_path


@pytest.fixture
def app(folder: Path) -> ASGIApp:
    return application_here()


def posted(app: ASGIApp, path: str, value: object, **headers: str) -> Answer:
    return asked(app, path, "POST", headers={"Content-Type": "application/json", **headers}, body=[json.dumps(value).encode()])


def submitted(app: ASGIApp, given: Mapping[str, object], pipeline: str = "counts", **parameters: object) -> Answer:
    return posted(app, "/v1/jobs", {"pipeline": pipeline, "input": given, "parameters": parameters})


@pytest.mark.parametrize("path", ["a.jsonl", "below/b.jsonl", "c.jsonl", "within.jsonl", "./a.jsonl"])
def test_a_file_inside_one_of_the_folders_may_be_read(app: ASGIApp, path: str) -> None:
    answer = submitted(app, {"path": path})
    assert (answer.status, answer.json["state"], answer.json["ahead"]) == (201, "queued", 0)
    assert answer.headers["location"] == f"/v1/jobs/{answer.json['id']}"


def test_an_absolute_path_inside_may_be_read_and_one_outside_may_not(app: ASGIApp, folder: Path) -> None:
    assert submitted(app, {"path": str(folder / "inputs" / "a.jsonl")}).status == 201
    assert submitted(app, {"path": str(folder / "outside" / "d.jsonl")}).status == 422


@pytest.mark.parametrize(
    "path",
    [
        "out.jsonl",
        "out/d.jsonl",
        "../outside/d.jsonl",
        "below/../a.jsonl",
        "/etc/passwd",
        "below",
        ".",
        "none.jsonl",
        "a\0.jsonl",
    ],
)
def test_what_is_not_a_file_inside_is_refused_with_the_same_words(app: ASGIApp, path: str) -> None:
    answer = submitted(app, {"path": path})
    assert (answer.status, answer.json["detail"]) == (422, f"no file of jobs.input_dirs: {path!r}")


@pytest.mark.parametrize("name", ["link", "none", "../outside/other", "counts.toml", "", "a" * 65])
def test_a_pipeline_is_the_name_of_a_file_of_the_folder(app: ASGIApp, name: str) -> None:
    answer = submitted(app, {"path": "a.jsonl"}, name)
    assert (answer.status, answer.json["hint"]) == (404, "known: counts")


@pytest.mark.parametrize(
    ("given", "status"),
    [
        ({"url": "s3://bucket/part/a.jsonl"}, 201),
        ({"url": "s3://bucket/other/a.jsonl"}, 422),
        ({"url": "s3://bucket/part/../other/a.jsonl"}, 422),
        ({"url": "s3://bucket/part/a b"}, 422),
        ({"url": "file:///etc/passwd"}, 422),
        ({"path": "-"}, 422),
        ({}, 422),
        ({"path": "a.jsonl", "url": "s3://bucket/part/a"}, 422),
        ({"upload": "0123456789abcdef"}, 404),
        ({"upload": "../../inputs/a.jsonl"}, 404),
        ({"command": "rm"}, 400),
    ],
)
def test_the_input_is_one_upload_path_or_url(app: ASGIApp, given: Mapping[str, object], status: int) -> None:
    assert submitted(app, given).status == status


def test_a_request_sets_only_what_the_pipeline_allows(app: ASGIApp, folder: Path) -> None:
    def answer(**parameters: object) -> tuple[int, str]:
        found = submitted(app, {"path": "a.jsonl"}, "counts", **parameters)
        return found.status, found.json.get("detail", "")

    allowed: dict[str, object] = {"event.category": "kind", "totals.categories_max": 5, "event.id": ["a", "b"]}
    assert answer(**allowed)[0] == 201
    assert answer(**{"state.dir": "/tmp"}) == (422, "the pipeline counts does not let a request set 'state.dir'")
    assert answer(**{"event.category": "${HOME}"})[0] == 422
    assert answer(**{"totals.categories_max": 0})[0] == 422
    assert answer(**{"totals.categories_max": {"a": 1}})[0] == 400
    for key in ("state.dir", "event.model", "sources.events.path", "http.token_file", "jobs.dir"):
        (folder / "pipelines" / "counts.toml").write_text(f'[jobs]\nparameters = ["{key}"]\n')
        assert answer() == (422, "the pipeline is not valid"), key


def test_the_same_key_is_the_same_job_and_cannot_be_another(app: ASGIApp) -> None:
    asked_for = {"pipeline": "counts", "input": {"path": "a.jsonl"}}
    first = posted(app, "/v1/jobs", asked_for, **{"Idempotency-Key": "k"})
    again = posted(app, "/v1/jobs", asked_for, **{"Idempotency-Key": "k"})
    assert (first.status, again.status, again.json["id"]) == (201, 200, first.json["id"])
    other = {"pipeline": "counts", "input": {"path": "c.jsonl"}}
    assert posted(app, "/v1/jobs", other, **{"Idempotency-Key": "k"}).status == 422
    assert posted(app, "/v1/jobs", other, **{"Idempotency-Key": "l"}).status == 201


def test_a_full_queue_is_429_until_a_job_is_cancelled_or_deleted(app: ASGIApp) -> None:
    ids = [submitted(app, {"path": "a.jsonl"}).json["id"] for _ in range(3)]
    refused = submitted(app, {"path": "a.jsonl"})
    assert (refused.status, refused.headers["retry-after"]) == (429, "5")
    assert asked(app, f"/v1/jobs/{ids[0]}/cancel", "POST").json["state"] == "cancelled"
    assert submitted(app, {"path": "a.jsonl"}).status == 201
    assert asked(app, f"/v1/jobs/{ids[1]}", "DELETE").status == 204
    assert [asked(app, f"/v1/jobs/{each}").status for each in ids] == [200, 404, 200]
    page = asked(app, "/v1/jobs?limit=1").json
    assert (page["total"], page["counts"]["queued"], page["counts"]["cancelled"], page["pipelines"]) == (
        3,
        2,
        1,
        ["counts"],
    )


def test_jobs_and_uploads_are_there_after_a_restart(folder: Path) -> None:
    first = application_here()
    job = submitted(first, {"path": "a.jsonl"}, **{"event.category": "kind"}).json
    upload = posted(first, "/v1/uploads", {"length": 4}).json["id"]
    asked(first, f"/v1/uploads/{upload}", "PATCH", headers={"Upload-Offset": "0"}, body=[b"ab"])
    # What a crash left behind: bytes that no answer covers, and folders without a document.
    with (folder / "state" / "jobs" / "uploads" / upload / "content").open("ab") as content:
        content.write(b"garbage")
    for name in ("0123456789abcdef", "uploads/0123456789abcdef"):
        (folder / "state" / "jobs" / name).mkdir()
    del first
    second = restarted(folder)
    assert asked(second, f"/v1/jobs/{job['id']}").json == job
    assert asked(second, f"/v1/uploads/{upload}").json["offset"] == 2
    assert asked(second, f"/v1/uploads/{upload}", "PATCH", headers={"Upload-Offset": "2"}, body=[b"cd"]).status == 204
    assert (folder / "state" / "jobs" / "uploads" / upload / "content").read_bytes() == b"abcd"
    assert not (folder / "state" / "jobs" / "0123456789abcdef").exists()


def failed_job(folder: Path, app: ASGIApp) -> tuple[ASGIApp, str, Path]:
    """A job that failed, in the application after a restart, and its folder."""
    job_id = submitted(app, {"path": "a.jsonl"}).json["id"]
    document = folder / "state" / "jobs" / job_id / "job.json"
    document.write_text(json.dumps({**json.loads(document.read_text()), "state": "failed"}))
    return restarted(folder), job_id, document.parent


def test_only_the_committed_rejections_of_a_job_that_failed_are_given_out(app: ASGIApp, folder: Path) -> None:
    later, job_id, kept = failed_job(folder, app)
    place = Place.real(kept)
    place.append(event_line(1) + b"no record\n" + event_line(2) + b"nor this\n")
    place.run(drain=True)
    letters = kept / "state" / "dead_letters.jsonl"
    committed = letters.read_bytes()
    letters.write_bytes(committed + b'{"half a lett')
    url = f"/v1/jobs/{job_id}/dead-letters"
    whole = asked(later, url)
    assert (whole.status, whole.content, whole.content.count(b"\n")) == (200, committed, 2)
    assert whole.headers["content-length"] == str(len(committed))
    part = asked(later, url, headers={"Range": "bytes=-5"})
    assert (part.status, part.content) == (206, committed[-5:])
    assert asked(later, url, "HEAD").headers["content-length"] == str(len(committed))
    for checkpoint in kept.glob("state/checkpoint*"):
        checkpoint.unlink()
    assert (asked(later, url).status, asked(later, url).content) == (200, b"")


@pytest.mark.parametrize("headers", [{}, {"Range": "bytes=0-1"}])
def test_a_result_that_is_removed_while_it_is_asked_for_is_404(
    app: ASGIApp, folder: Path, headers: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    later, job_id, kept = failed_job(folder, app)
    (kept / "result.jsonl").write_bytes(b"{}\n" * 50_000)
    assert asked(later, f"/v1/jobs/{job_id}/result").content == b"{}\n" * 50_000
    found = file_answer.FileAnswer.__init__

    def removed(*given: Any) -> None:
        found(*given)
        (kept / "result.jsonl").unlink()

    monkeypatch.setattr(file_answer.FileAnswer, "__init__", removed)
    assert asked(later, f"/v1/jobs/{job_id}/result", headers=headers).status == 404


def test_a_disk_that_gives_errors_is_503_and_no_fault_of_the_server(
    app: ASGIApp, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patched:
        patched.setattr(OperatingSystem, "names", refused)
        assert asked(app, "/v1/jobs").status == 503
    with monkeypatch.context() as patched:
        patched.setattr(uploads, "free_bytes", refused)
        assert posted(app, "/v1/uploads", {"length": 4}).status == 503
    later, job_id, _ = failed_job(folder, app)
    monkeypatch.setattr(OperatingSystem, "status", refused)
    assert asked(later, f"/v1/jobs/{job_id}").status == 503


def restarted(folder: Path) -> ASGIApp:
    """The lock belongs to an open file, and the first application has it still: another process would find the folder without it."""
    (folder / "state" / "jobs" / "lock").unlink()
    return application_here()


def test_an_upload_over_the_limit_is_refused_before_a_byte_of_it_comes(app: ASGIApp) -> None:
    refused = posted(app, "/v1/uploads", {"length": 10_000_000_000})
    assert (refused.status, "jobs.upload_bytes_max" in refused.json["detail"]) == (413, True)
    assert posted(app, "/v1/uploads", {"length": -1}).status == 400
    assert [posted(app, "/v1/uploads", {"length": 1}).status for _ in range(3)] == [201, 201, 429]


def test_a_piece_must_begin_at_the_offset_and_end_at_the_length(app: ASGIApp) -> None:
    upload = posted(app, "/v1/uploads", {"length": 5}).json["id"]

    def sent(offset: str, *parts: bytes) -> tuple[int, str]:
        answer = asked(app, f"/v1/uploads/{upload}", "PATCH", headers={"Upload-Offset": offset}, body=parts or (b"",))
        return answer.status, answer.headers.get("upload-offset", "")

    assert sent("0", b"a", b"b") == (204, "2")
    assert sent("0", b"a") == (409, "2")
    assert sent("3", b"a") == (409, "2")
    assert sent("2", b"cdef") == (413, "2")
    assert sent("") == (400, "")
    assert sent("x") == (400, "")
    assert sent("2", b"x" * 5000)[0] == 413, "the limit of a body"
    assert submitted(app, {"upload": upload}).status == 201, "it works on what has come"
    assert asked(app, f"/v1/uploads/{upload}", "DELETE").status == 409
    assert sent("2", b"cde") == (204, "5")
    assert asked(app, f"/v1/uploads/{upload}", "DELETE").status == 409
    assert asked(app, "/v1/uploads/none", "PATCH", headers={"Upload-Offset": "0"}).status == 404


def test_an_upload_is_not_in_use_after_a_request_that_found_the_threads_busy_at_its_end(
    app: ASGIApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload = posted(app, "/v1/uploads", {"length": 4}).json["id"]
    call, calls = ReaderThreads.call, iter(range(9))

    async def busy(threads: ReaderThreads, function: Callable[[], Any]) -> Any:
        if next(calls) >= 2:
            raise ProblemError(503, "too many requests are being answered")
        return await call(threads, function)

    with monkeypatch.context() as patched:
        patched.setattr(ReaderThreads, "call", busy)
        asked(app, f"/v1/uploads/{upload}", "PATCH", headers={"Upload-Offset": "0"}, body=[b"ab"])
    assert asked(app, f"/v1/uploads/{upload}", "PATCH", headers={"Upload-Offset": "2"}, body=[b"cd"]).status == 204


def test_an_upload_is_not_in_use_after_a_request_that_was_dropped_while_it_began(
    app: ASGIApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload = posted(app, "/v1/uploads", {"length": 4}).json["id"]
    begin, may_begin, begins, closed = uploads.UploadStore.begin, Event(), Event(), Event()
    ended = uploads.UploadStore.ended

    def slow(*given: Any) -> Any:
        begins.set()
        may_begin.wait(30)
        return begin(*given)

    def heard(*given: Any) -> Any:
        try:
            return ended(*given)
        finally:
            closed.set()

    async def dropped() -> None:
        headers = {"host": "127.0.0.1", "Upload-Offset": "0"}
        request = asyncio.ensure_future(asgi._asked(app, f"/v1/uploads/{upload}", "PATCH", headers, [b"ab"]))
        await asyncio.to_thread(begins.wait, 30)
        request.cancel()
        await asyncio.wait([request])
        may_begin.set()
        await asyncio.to_thread(closed.wait, 5)

    with monkeypatch.context() as patched:
        patched.setattr(uploads.UploadStore, "begin", slow)
        patched.setattr(uploads.UploadStore, "ended", heard)
        asyncio.run(dropped())
    assert asked(app, f"/v1/uploads/{upload}", "PATCH", headers={"Upload-Offset": "0"}, body=[b"ab"]).status == 204


def test_without_a_folder_of_pipelines_there_are_no_jobs(folder: Path) -> None:
    (folder / "event-processor.toml").write_text('[http]\nlisten = "127.0.0.1:0"\n')
    app = application_here()
    assert asked(app, "/v1/jobs").status == submitted(app, {"path": "a.jsonl"}).status == 404
    assert asked(app, "/jobs").status == 200
