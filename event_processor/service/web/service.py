"""The server of a daemon with what it answers from: one object for the daemon's thread.

Owns: what outlives a reload (the secret that signs sessions, the durations of commits), and how an application is made.
Always: all methods are called by the daemon's thread and return at once.
Never: reads a checkpoint in the daemon's thread.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

import msgspec
from starlette.types import ASGIApp

from event_processor.assembly import Environment, OpenPipeline
from event_processor.configuration.configuration import Configuration
from event_processor.configuration.http_options import HttpOptions
from event_processor.model.contracts import Wakeup
from event_processor.model.telemetry import Telemetry
from event_processor.service.jobs.jobs import Jobs, JobsSite, jobs_site
from event_processor.service.web.application import application
from event_processor.service.web.commits import Commits
from event_processor.service.web.durations import ProcessFigures
from event_processor.service.web.gate import Gate, read_token
from event_processor.service.web.intake_writer import IntakeWriter, OpenIntake
from event_processor.service.web.readings import ReaderThreads, Readings
from event_processor.service.web.server import HttpServer, listening_socket
from event_processor.service.web.site import Site

__all__ = ["Prepared", "WebService"]

READERS: Final = 2
"""A long search of the log leaves one thread for short answers."""


JOB_THREADS: Final = 2
JOB_REQUESTS_MAX: Final = 256
"""So many requests about jobs may wait for the disk."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """An application that can answer, and where."""

    options: HttpOptions
    app: ASGIApp
    commits: Commits
    jobs: JobsSite | None = None


class WebService:
    """The HTTP server of one process, over reloads."""

    def __init__(self, variables: Mapping[str, str], intake: IntakeWriter | None = None) -> None:
        """`variables`: the environment, for the path of the token. `intake`: appends posted events; it is closed with this.

        No other thread may decode anything meanwhile.
        """
        _prepare_types()
        self._intake: Final = intake
        self._variables: Final = variables
        self._secret: Final = secrets.token_bytes(32)
        self._threads: Final = ReaderThreads(READERS)
        self._job_threads: ReaderThreads | None = None
        self._jobs: Jobs | None = None
        self._figures: Final = ProcessFigures()
        self._prepared: Prepared | None = None
        self._server: HttpServer | None = None

    @property
    def is_listening(self) -> bool:
        """Whether the server answers."""
        return self._server is not None and self._server.is_alive

    @property
    def jobs_health(self) -> tuple[str, str]:
        """The folder of the jobs, and what an operator must know of them. Both are empty without jobs, the second if all can go on."""
        return (self._jobs.directory, self._jobs.problem) if self._jobs is not None else ("", "")

    def prepare(self, configuration: Configuration, environment: Environment) -> Prepared:
        """What answers from this configuration. Changes nothing. Raises `ConfigurationError`."""
        options, telemetry = configuration.http, environment.telemetry
        token = read_token(options, environment.fs, self._variables)
        gate = Gate(token, options.allowed_hosts, self._secret, environment.clock)
        readings = Readings(configuration, environment, self._figures)
        commits = Commits(readings, self._threads)
        jobs = jobs_site(configuration, environment, self._variables, self._jobs)
        if jobs is not None and self._job_threads is None:
            self._job_threads = ReaderThreads(JOB_THREADS, "http-jobs", JOB_REQUESTS_MAX)
        site = Site(options, readings, self._threads, gate, commits, _Report(telemetry), self._intake, jobs, self._job_threads)
        return Prepared(options, application(site), commits, jobs)

    def use(self, prepared: Prepared) -> None:
        """Answers so from now on. If the server must listen elsewhere, or with other limits, it stops; `listen` starts it."""
        before, self._prepared = self._prepared, prepared
        self._use_jobs(prepared.jobs)
        if before is not None and before is not prepared:
            # They follow what the other configuration read. Browsers come again within a second.
            before.commits.close()
        if self._server is None:
            return
        if before is not None and before.options == prepared.options:
            self._server.replace(prepared.app)
        else:
            self.stop()

    def _use_jobs(self, site: JobsSite | None) -> None:
        """Runs the jobs of this site from now on. Those of another folder end, and go on when it is configured again."""
        present, self._jobs = self._jobs, site.jobs if site is not None else None
        if present is not None and present is not self._jobs:
            present.close()
        if site is not None:
            site.jobs.use(site.settings)

    def listen(self) -> str:
        """Starts the server if it does not run. Returns its URL. Raises `OSError` if its address cannot be used."""
        assert self._prepared is not None, "it was prepared"
        if self._server is not None and self._server.is_alive:
            return self._server.url
        options = self._prepared.options
        server = HttpServer(listening_socket(options), options, self._prepared.app)
        server.start()
        self._server = server
        return server.url

    def opened(self, pipeline: OpenPipeline, wakeup: Wakeup, failed: Callable[[], None]) -> None:
        """The pipeline is open, so events may be posted. `failed` ends the process, since the intake cannot be written."""
        if self._intake is not None:
            series = list(pipeline.series.values())
            self._intake.opened = OpenIntake(
                pipeline.intake_generation,
                wakeup,
                lambda: sum(each.undelivered_bytes for each in series),
                failed,
                pipeline.outcomes,
            )

    def closed(self) -> None:
        """The pipeline is closed."""
        if self._intake is not None:
            self._intake.opened = None

    def committed(self, content_bytes: int) -> None:
        """A checkpoint is durable that covers so many more bytes."""
        self._figures.committed(content_bytes)
        if self._prepared is not None:
            self._prepared.commits.notify()

    def commit_timed(self, seconds: float) -> None:
        """A commit took this long."""
        self._figures.commits.add(seconds)

    def close(self) -> None:
        """As `stop`, for good: the reading threads end after what they do now."""
        self.stop()
        self._threads.close()
        if self._job_threads is not None:
            self._job_threads.close()
        if self._jobs is not None:
            self._jobs.close()
        if self._intake is not None:
            self._intake.close()

    def stop(self) -> None:
        """Closes the socket and every connection, in bounded time. It can listen again."""
        server, self._server = self._server, None
        if server is not None:
            if self._prepared is not None:
                self._prepared.commits.close()
            server.stop()


def _prepare_types() -> None:
    """Lets msgspec look at every type of ours that is known by now.

    It does that at the first use of a type. If two threads use it first at the same time (the loop and a reader of ours, at a start), one of them
    sees an unfinished description, and the process dies (msgspec 0.22).
    """
    waiting: list[type[msgspec.Struct]] = [msgspec.Struct]
    while waiting:
        for each in waiting.pop().__subclasses__():
            waiting.append(each)
            # A type that is never decoded may have fields that cannot be, or whose types are imported only to run.
            with suppress(TypeError, NameError):
                msgspec.json.Decoder(each)


class _Report:
    """Reports a request that an unexpected error ended."""

    def __init__(self, telemetry: Telemetry) -> None:
        self._telemetry: Final = telemetry

    def __call__(self, method: str, path: str, reason: str) -> None:
        self._telemetry.http_failed(method=method, path=path, reason=reason)
