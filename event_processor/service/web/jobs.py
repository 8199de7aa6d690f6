"""Jobs over HTTP: `/v1/jobs`, and the page for people at `/jobs`.

Owns: what a request for a job is, and the answers about jobs; how a refusal becomes a problem.
Always: a job that was answered with 201 is durable. The disk is waited for in threads of the jobs.
Never: decides what a job may read (`service/jobs/inputs.py` does).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar

import msgspec
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, Response

from event_processor.service.jobs.job import Job, JobRequest, Reason, RefusedError
from event_processor.service.jobs.jobs import JobFile, JobsSite
from event_processor.service.jobs.jobs import Jobs as AllJobs
from event_processor.service.web.answers import ProblemError, json_answer
from event_processor.service.web.file_answer import FileAnswer
from event_processor.service.web.operation import integer_of, text_of
from event_processor.service.web.page import jobs_page
from event_processor.service.web.site import Site

__all__ = ["JOB_PAGE", "KEY", "JobCalls", "Jobs", "body_of", "jobs_front"]

Value = TypeVar("Value")
Query = Mapping[str, Any]
STATUSES: Final[Mapping[Reason, int]] = {
    "missing": 404,
    "conflict": 409,
    "too_large": 413,
    "invalid": 422,
    "full": 429,
    "closed": 503,
}
HINT: Final = 'send {"pipeline": "NAME", "input": {"upload": "ID"} or {"path": …} or {"url": …}, "parameters": {…}}'
JOB_PAGE: Final = (
    integer_of("offset", "The number of jobs to pass over.", default=0, least=0, most=10_000_000),
    integer_of("limit", "The maximum number of jobs.", default=50, least=1, most=1000),
)
KEY: Final = text_of("Idempotency-Key", "A name of this request: sent again, it gets the same job.", default="", length_max=255)
_KEY: Final = re.compile(r"[!-~]{1,255}")


async def jobs_front(_request: Request, _query: Query) -> Response:
    """The page of the jobs. It has no data itself."""
    content, policy = jobs_page()
    return HTMLResponse(content, headers={"content-security-policy": policy})


async def body_of(request: Request, kind: type[Value], hint: str) -> Value:
    """The body of a request. Raises `ProblemError`."""
    try:
        return msgspec.json.decode(await request.body(), type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ProblemError(400, f"the body cannot be read: {error}", hint=hint) from error
    except ClientDisconnect as error:
        raise ProblemError(400, "the client left before its body was complete") from error


class JobCalls:
    """Calls what waits for the disk of the jobs, in a thread."""

    def __init__(self, site: Site) -> None:
        self._site: Final = site

    @property
    def jobs(self) -> JobsSite:
        """The jobs. Raises `ProblemError` if there are none."""
        if self._site.jobs is None:
            raise ProblemError(404, "this server takes no jobs", hint="set jobs.pipelines_dir")
        return self._site.jobs

    async def call(self, function: Callable[[JobsSite], Value]) -> Value:
        """The value of `function`. Raises `ProblemError` for what is refused."""
        jobs, threads = self.jobs, self._site.job_threads
        assert threads is not None, "there are jobs"
        try:
            return await threads.call(lambda: function(jobs))
        except RefusedError as error:
            jobs.jobs.store.counts.refuses(error.reason)
            raise _problem_of(error) from error


def _problem_of(error: RefusedError) -> ProblemError:
    headers = {"Retry-After": str(error.wait_s)} if error.wait_s else {}
    if error.offset is not None:
        headers["Upload-Offset"] = str(error.offset)
    return ProblemError(STATUSES[error.reason], error.message, hint=error.hint, headers=headers)


class Jobs:
    """The answers about jobs. Used by the loop of the server."""

    def __init__(self, site: Site) -> None:
        self._calls: Final = JobCalls(site)

    async def submit(self, request: Request, query: Query) -> Response:
        """201 with the job; 200 if an earlier request had the same Idempotency-Key."""
        key = str(query["Idempotency-Key"])
        if key and not _KEY.fullmatch(key):
            raise ProblemError(400, "the Idempotency-Key has other characters than visible ones", hint="such as a UUID")
        asked = await body_of(request, JobRequest, HINT)
        job, is_new = await self._calls.call(lambda jobs: jobs.submit(asked, key))
        return json_answer(job, 201 if is_new else 200, {"Location": f"/v1/jobs/{job.id}"})

    async def list(self, _request: Request, query: Query) -> Response:
        """The jobs, the newest first."""
        offset, limit = query["offset"], query["limit"]
        page = await self._calls.call(lambda jobs: jobs.jobs.page(offset=offset, limit=limit, pipelines=jobs.inputs.pipelines()))
        return json_answer(page)

    async def job(self, request: Request, _query: Query) -> Response:
        """One job."""
        job_id = request.path_params["id"]
        return json_answer(await self._calls.call(lambda jobs: jobs.jobs.shown(jobs.jobs.store.get(job_id))))

    async def result(self, request: Request, _query: Query) -> Response:
        """The rows of a job that has ended, or a range of them."""
        return await self._file(request, AllJobs.result_of, "")

    async def dead_letters(self, request: Request, _query: Query) -> Response:
        """The records that a job which has ended has rejected, or a range of them."""
        return await self._file(request, AllJobs.dead_letters_of, "-dead-letters")

    async def _file(self, request: Request, chosen: Callable[[AllJobs, Job], JobFile | None], suffix: str) -> Response:
        job_id = request.path_params["id"]
        return FileAnswer(await self._calls.call(lambda jobs: _file_of(jobs.jobs, job_id, chosen)), f"{job_id}{suffix}.jsonl")

    async def cancel(self, request: Request, _query: Query) -> Response:
        """The job, cancelled; as it is if it has ended."""
        job_id = request.path_params["id"]
        return json_answer(await self._calls.call(lambda jobs: jobs.jobs.shown(jobs.jobs.store.cancel(job_id))))

    async def delete(self, request: Request, _query: Query) -> Response:
        """204: the job is gone, and is ended if it runs."""
        job_id = request.path_params["id"]
        await self._calls.call(lambda jobs: jobs.jobs.store.delete(job_id))
        return Response(status_code=204)


def _file_of(jobs: AllJobs, job_id: str, chosen: Callable[[AllJobs, Job], JobFile | None]) -> JobFile:
    """A file of a job that has ended: nothing writes to it any more. Raises `RefusedError`, `StateError`, `StorageError`."""
    job = jobs.store.get(job_id)
    found = chosen(jobs, job) if job.state in ("done", "failed") else None
    if found is None:
        shown = jobs.shown(job)
        raise RefusedError("conflict", f"the job is {shown.state}: there is no such file of it", f"see GET /v1/jobs/{job.id}")
    return found
