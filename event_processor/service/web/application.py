"""The application: which path answers what.

Owns: the list of operations, from which the router and the description are made; what a path or a method that is not known becomes.
Always: every request passes the guard first.
Never: answers (the modules of the endpoints do).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route, Router
from starlette.types import ASGIApp, Receive, Scope, Send

from event_processor.service.web.answers import ProblemError, json_answer
from event_processor.service.web.committed import CATEGORY_PAGE, GROUP_PAGE, ROW_LIMIT, Committed
from event_processor.service.web.figures import Figures
from event_processor.service.web.front import front
from event_processor.service.web.guard import BodyLimits, Guard
from event_processor.service.web.health import Health
from event_processor.service.web.intake import Intake
from event_processor.service.web.jobs import JOB_PAGE, KEY, Jobs, jobs_front
from event_processor.service.web.openapi import (
    JOB,
    NOT_FOUND,
    POSTED,
    RETRY,
    UNREAD_ENCODING,
    UPLOAD,
    described,
    named,
    problem,
)
from event_processor.service.web.operation import Content, Endpoint, Operation
from event_processor.service.web.past import SPAN, Past
from event_processor.service.web.receipts import Receipts
from event_processor.service.web.records import ID, LETTER_PAGE, SINK, Records
from event_processor.service.web.retries import Retries
from event_processor.service.web.sessions import Sessions
from event_processor.service.web.site import Site
from event_processor.service.web.uploads import OFFSET, Uploads

__all__ = ["application", "operations"]

REFUSALS: Final = {404: "no such path", 405: "this path does not have that method"}
NOTHING: Final = Content("Done; there is no content.", None)
HTML: Final = Content("HTML.", "text/html", {"type": "string"})


def application(site: Site) -> ASGIApp:
    """The guarded application."""
    options = site.options
    limits = BodyLimits(options.body_bytes_max, options.stall_timeout_s, options.body_rate_min)
    known = operations(site)
    description = described(known)

    async def describe(_request: Request, _query: Mapping[str, Any]) -> Response:
        return json_answer(description)

    about = Operation("/openapi.json", describe, "This description.", {200: Content("OpenAPI 3.1.")})
    return Guard(_Routed([*known, about]), site.gate, limits, site.report)


def operations(site: Site) -> Sequence[Operation]:
    """Everything that can be asked, except the description of it."""
    return [
        *_process(site, Health(site)),
        *_committed(Committed(site)),
        *_records(Records(site)),
        *_past(Past(site)),
        *_posts(Retries(site), Intake(site), Receipts(site)),
        *_jobs(Jobs(site)),
        *_uploads(Uploads(site)),
        *_sessions(Sessions(site.gate)),
    ]


def _process(site: Site, health: Health) -> Sequence[Operation]:
    return [
        Operation("/", front, "The page for people.", {200: HTML}, is_open=True),
        Operation("/healthz", health.alive, "Whether the process answers.", {200: named("Alive", "It does.")}, is_open=True),
        Operation(
            "/readyz",
            health.ready,
            "Whether nothing needs an operator.",
            {200: named("Ready", "Nothing does."), 503: named("Ready", "Something does: the reasons.")},
        ),
        Operation(
            "/metrics",
            Figures(site).metrics,
            "Metrics for Prometheus.",
            {200: Content("Metrics.", "text/plain", {"type": "string"})},
        ),
        Operation("/v1/state", health.state, "As status --json.", {200: named("State", "The status.")}),
        Operation(
            "/v1/commits",
            site.commits.follow,
            "The state, then an event for each commit.",
            {200: Content("Server-sent events.", "text/event-stream", {"type": "string"})},
        ),
    ]


def _committed(committed: Committed) -> Sequence[Operation]:
    return [
        Operation(
            "/v1/categories", committed.categories, "Categories as a table.", {200: named("Categories", "A page.")}, CATEGORY_PAGE
        ),
        Operation("/v1/aggregates", committed.aggregates, "The aggregates.", {200: named("Aggregates", "All of them.")}),
        Operation(
            "/v1/aggregates/{name}",
            committed.aggregate,
            "One aggregate with its groups.",
            {200: named("Aggregate", "A page."), 404: NOT_FOUND},
            GROUP_PAGE,
            path_parameter="name",
        ),
        Operation(
            "/v1/aggregates/{name}/rows",
            committed.rows,
            "The newest rows of its windows, if a sink has them in a file of JSON lines.",
            {200: named("Rows", "The oldest first."), 404: NOT_FOUND},
            ROW_LIMIT,
            path_parameter="name",
        ),
        Operation(
            "/v1/pipeline", committed.pipeline, "Its name and its parts.", {200: named("Pipeline", "From the configuration.")}
        ),
        Operation("/v1/sources", committed.sources, "The sources with their files.", {200: named("Sources", "All of them.")}),
        Operation("/v1/sinks", committed.sinks, "As sinks list --json.", {200: named("Sinks", "The remote sinks.")}),
    ]


def _records(records: Records) -> Sequence[Operation]:
    return [
        Operation(
            "/v1/records", records.explain, "As explain --json. Reads the log.", {200: named("Explanation", "Its life.")}, (ID,)
        ),
        Operation(
            "/v1/dead-letters",
            records.dead_letters,
            "Rejected records, or the failed records of a remote sink, the newest first.",
            {200: named("DeadLetters", "A page."), 404: NOT_FOUND},
            LETTER_PAGE,
        ),
        Operation(
            "/v1/dead-letters/export",
            records.export,
            "As dead-letters export: JSON lines, the oldest first.",
            {200: Content("JSON lines.", "application/x-ndjson", {"type": "string"}), 404: NOT_FOUND},
            (SINK,),
        ),
    ]


def _past(past: Past) -> Sequence[Operation]:
    return [
        Operation(
            "/v1/history",
            past.history,
            "What the daemon did, in steps of equal length. A step in which none ran is null.",
            {200: named("History", "The last seconds, in steps that are over.")},
            SPAN,
        ),
        Operation(
            "/v1/bottleneck",
            past.bottleneck,
            "Why it is not faster, in words.",
            {200: named("Bottleneck", "What limits it, of the last minute.")},
        ),
    ]


def _posts(retries: Retries, intake: Intake, receipts: Receipts) -> Sequence[Operation]:
    """What appends something, and what became of it."""
    return [
        Operation(
            "/v1/dead-letters/retry",
            retries.retry,
            "As dead-letters retry: through the intake, or with a sink to that sink alone.",
            {200: named("Retried", "What was retried, and what was not."), 404: NOT_FOUND},
            method="POST",
            body=RETRY,
            needs_body=True,
        ),
        Operation(
            "/v1/events",
            intake.post,
            "Takes events: one, an array of them, or one on each line.",
            {
                200: named("Appended", "With Prefer: wait=counted: all that were appended are counted."),
                202: named("Appended", "At least one is durable: the answer to each, in order."),
                404: NOT_FOUND,
                415: UNREAD_ENCODING,
                422: named("Appended", "None was appended: the reason for each."),
            },
            method="POST",
            body=POSTED,
        ),
        Operation(
            "/v1/receipts/{position}",
            receipts.receipt,
            "Whether the event at a position of the intake is counted, what it counted as, and what remote sinks did with it.",
            {200: named("Receipt", "It is durable, or counted."), 404: NOT_FOUND},
            path_parameter="position",
        ),
    ]


def _jobs(jobs: Jobs) -> Sequence[Operation]:
    """Finished input, processed in a process of its own."""
    shown = named("ShownJob", "The job.")
    return [
        Operation("/jobs", jobs_front, "The page of the jobs.", {200: HTML}, is_open=True),
        Operation(
            "/v1/jobs", jobs.list, "The jobs, the newest first.", {200: named("JobPage", "A page."), 404: NOT_FOUND}, JOB_PAGE
        ),
        Operation(
            "/v1/jobs",
            jobs.submit,
            "Takes a job: a pipeline, an input and parameters.",
            {
                200: named("ShownJob", "The job of an earlier request with this Idempotency-Key."),
                201: named("ShownJob", "It is durable, and waits."),
                404: NOT_FOUND,
                422: problem("The input or a parameter is not allowed."),
                429: problem("Too many jobs wait."),
            },
            method="POST",
            body=JOB,
            needs_body=True,
            headers=(KEY,),
        ),
        Operation("/v1/jobs/{id}", jobs.job, "One job.", {200: shown, 404: NOT_FOUND}, path_parameter="id"),
        _file_of_a_job("/v1/jobs/{id}/result", jobs.result, "The rows of a job that has ended, or a range of them."),
        _file_of_a_job("/v1/jobs/{id}/dead-letters", jobs.dead_letters, "The records that it rejected, or a range of them."),
        Operation(
            "/v1/jobs/{id}/cancel",
            jobs.cancel,
            "Ends a job that waits or runs.",
            {200: shown, 404: NOT_FOUND},
            method="POST",
            path_parameter="id",
        ),
        Operation(
            "/v1/jobs/{id}",
            jobs.delete,
            "Removes a job and its result; one that runs is ended.",
            {204: NOTHING, 404: NOT_FOUND},
            method="DELETE",
            path_parameter="id",
        ),
    ]


def _file_of_a_job(path: str, endpoint: Endpoint, words: str) -> Operation:
    answers = {
        200: Content("JSON lines.", "application/x-ndjson", {"type": "string"}),
        206: Content("A range of them.", "application/x-ndjson", {"type": "string"}),
        404: NOT_FOUND,
        409: problem("There is no such file of it, or not yet."),
        416: Content("No such range.", "text/plain", {"type": "string"}),
    }
    return Operation(path, endpoint, words, answers, path_parameter="id")


def _uploads(uploads: Uploads) -> Sequence[Operation]:
    """Input that comes in pieces."""
    conflict = problem("The upload goes on elsewhere, or is in use.")
    return [
        Operation(
            "/v1/uploads",
            uploads.create,
            "Announces an upload of a length.",
            {201: named("Upload", "It is durable, and empty."), 404: NOT_FOUND, 429: problem("Too many uploads are kept.")},
            method="POST",
            body=UPLOAD,
            needs_body=True,
        ),
        Operation(
            "/v1/uploads/{id}",
            uploads.upload,
            "How far an upload is; HEAD: in Upload-Offset.",
            {200: named("Upload", "It."), 404: NOT_FOUND},
            path_parameter="id",
        ),
        Operation(
            "/v1/uploads/{id}",
            uploads.append,
            "Appends a piece.",
            {204: NOTHING, 404: NOT_FOUND, 409: conflict},
            method="PATCH",
            body={"type": "string", "format": "binary"},
            body_type="application/octet-stream",
            path_parameter="id",
            headers=(OFFSET,),
        ),
        Operation(
            "/v1/uploads/{id}",
            uploads.delete,
            "Removes an upload that no job reads.",
            {204: NOTHING, 404: NOT_FOUND, 409: conflict},
            method="DELETE",
            path_parameter="id",
        ),
    ]


def _sessions(sessions: Sessions) -> Sequence[Operation]:
    return [
        Operation(
            "/session",
            sessions.begin,
            "Exchanges the token for a cookie.",
            {204: NOTHING},
            method="POST",
            body={
                "type": "object",
                "properties": {"token": {"type": "string"}},
                "required": ["token"],
                "additionalProperties": False,
            },
            is_open=True,
        ),
        Operation("/session", sessions.end, "Removes the cookie.", {204: NOTHING}, method="DELETE", is_open=True),
    ]


class _Routed:
    """Calls the endpoint of a path. Raises `ProblemError` for a path that is not known, or that does not have the method."""

    def __init__(self, known: Sequence[Operation]) -> None:
        by_path: dict[str, dict[str, Operation]] = {}
        for each in known:
            by_path.setdefault(each.path, {})[each.method] = each
        self._plain: Final = {path: _Methods(methods) for path, methods in by_path.items() if "{" not in path}
        routes = [Route(path, _Methods(methods).answer, methods=list(methods)) for path, methods in by_path.items()]
        self._router: Final = Router(routes, redirect_slashes=False)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        plain = self._plain.get(scope["path"])
        if plain is not None and plain.has(scope["method"]):
            await (await plain.answer(Request(scope, receive, send)))(scope, receive, send)
            return
        # With an application in the scope, the router raises instead of answering in a form of its own.
        scope["app"] = self
        try:
            await self._router(scope, receive, send)
        except HTTPException as error:
            words = REFUSALS.get(error.status_code, error.detail)
            raise ProblemError(error.status_code, words, hint="see /openapi.json", headers=error.headers) from error


class _Methods:
    """The operations of one path."""

    def __init__(self, by_method: Mapping[str, Operation]) -> None:
        self._by_method: Final = by_method

    def has(self, method: str) -> bool:
        """Whether the path has this method."""
        return method in self._by_method

    async def answer(self, request: Request) -> Response:
        """Answers by the method; HEAD as GET."""
        return await self._by_method["GET" if request.method == "HEAD" else request.method].answer(request)
