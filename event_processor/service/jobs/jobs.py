"""The jobs of a server, as one object: what its endpoints ask, over its reloads.

Owns: `Jobs`: the store, the uploads and the runner of one folder, and what is shown of a job.
Always: what is shown as running is a process at work at this moment.
Never: answers a request (`service/web/` does).
"""

from __future__ import annotations

import os
import stat
from bisect import bisect_left
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from event_processor.assembly import Environment
from event_processor.configuration.configuration import Configuration, JobsOptions
from event_processor.engine.checkpoint import CheckpointStore
from event_processor.engine.dead_letters import DEAD_LETTERS_NAME
from event_processor.model.errors import StorageError
from event_processor.operations.job_metrics import JOB_STATES, JobFigures
from event_processor.operations.progress_file import RunProgress, read_progress
from event_processor.operations.state_access import committed_length
from event_processor.service.jobs.inputs import JobInputs
from event_processor.service.jobs.job import Job, JobInput, JobRequest, ParameterValues, RefusedError
from event_processor.service.jobs.runner import Runner, Settings
from event_processor.service.jobs.store import JobStore
from event_processor.service.jobs.uploads import UploadStore
from event_processor.storage.durable import storage_call

__all__ = ["JobFile", "JobPage", "Jobs", "JobsSite", "ShownJob", "jobs_site"]

UPLOADS_FOLDER: Final = "uploads"


class ShownJob(msgspec.Struct, frozen=True):
    """A job as it is answered.

    `state`: queued, running, done, failed or cancelled. `ahead`: how many jobs wait before it; null unless it waits. `progress`: null until
    its process has committed something. `result_bytes`: null without a result. `summary`: what the process said at its end: the counts, and
    what the result leaves out.
    """

    id: str
    pipeline: str
    input: JobInput
    parameters: ParameterValues
    state: str
    submitted_at: str
    ended_at: str | None
    ahead: int | None
    progress: RunProgress | None
    error: str
    hint: str
    exit_code: int | None
    failures: int
    result_bytes: int | None
    summary: dict[str, Any] | None


class JobPage(msgspec.Struct, frozen=True):
    """Jobs, the newest first. `counts`: of all jobs, by state. `pipelines`: the names that a job may have."""

    total: int
    offset: int
    limit: int
    counts: dict[str, int]
    pipelines: Sequence[str]
    unreadable: int
    jobs: Sequence[ShownJob]


@dataclass(frozen=True, slots=True)
class _Queue:
    """The jobs at work, and the numbers of those that wait, ascending."""

    running: frozenset[str]
    waiting: Sequence[int]


@dataclass(frozen=True, slots=True)
class JobFile:
    """A file of a job. Only the first `status.st_size` bytes of it count."""

    path: str
    status: os.stat_result


class Jobs:
    """The jobs of one folder, over reloads."""

    def __init__(self, directory: str, environment: Environment, settings: Settings, uploads: UploadStore) -> None:
        self.directory: Final = directory
        self.uploads: Final = uploads
        self._environment: Final = environment
        self.store: Final = JobStore(environment, directory, self._changed, uploads)
        self._runner: Final = Runner(environment, self.store, uploads, settings)
        self._is_started = False

    def use(self, settings: Settings) -> None:
        """From now on, jobs are started by these settings. The first call starts the thread."""
        self._runner.use(settings)
        if not self._is_started:
            self._is_started = True
            self._runner.start()

    @property
    def problem(self) -> str:
        """What an operator must know of the jobs, in one line; empty if all can go on."""
        return self._runner.problem

    def close(self) -> None:
        """Ends the processes, in bounded time. Their jobs go on at the next start."""
        self._runner.close()

    def shown(self, job: Job, queue: _Queue | None = None) -> ShownJob:
        """A job as it is answered. `queue`: as it is now, if the caller knows it. Raises `StorageError`."""
        queue = queue or self._queue()
        is_running = job.is_open and job.id in queue.running
        folder, fs = self.store.folder(job.id), self._environment.fs
        with storage_call("stat", folder.result):
            result = fs.status(folder.result) if job.state in ("done", "failed") else None
        request = job.request
        return ShownJob(
            id=job.id,
            pipeline=request.pipeline,
            input=request.input,
            parameters=request.parameters,
            state="running" if is_running else job.state,
            submitted_at=job.submitted_at,
            ended_at=job.ended_at,
            ahead=bisect_left(queue.waiting, job.number) if job.is_open and not is_running else None,
            progress=read_progress(self._environment, folder.progress),
            error=job.error,
            hint=job.hint,
            exit_code=job.exit_code,
            failures=job.failures,
            result_bytes=None if result is None else result.size_bytes,
            summary=job.summary,
        )

    def result_of(self, job: Job) -> JobFile | None:
        """The rows of a job that has ended; None if there are none. Raises `StorageError`."""
        return _file(self.store.folder(job.id).result, None)

    def dead_letters_of(self, job: Job) -> JobFile | None:
        """The records that a job has rejected, as far as they are committed: a process that failed may have written more.

        None if there are none. Raises `StateError`, `StorageError`.
        """
        folder = self.store.folder(job.id)
        found = _file(folder.dead_letters, None)
        if found is None:
            return None
        checkpoint = CheckpointStore(self._environment.fs, folder.state, self._environment.telemetry).peek()
        return _file(folder.dead_letters, 0 if checkpoint is None else committed_length(checkpoint, DEAD_LETTERS_NAME))

    def page(self, *, offset: int, limit: int, pipelines: Sequence[str]) -> JobPage:
        """The jobs, the newest first. Raises `RefusedError`, `StorageError`."""
        if not self.store.is_open:
            raise RefusedError("closed", "the jobs are being opened", "ask again", wait_s=1)
        jobs = [job for job in reversed(self.store.all()) if not job.is_deleted]
        queue = self._queue()
        shown = [self.shown(job, queue) for job in jobs[offset : offset + limit]]
        counts = _by_state(jobs, queue.running)
        return JobPage(len(jobs), offset, limit, counts, pipelines, len(self.store.unreadable), shown)

    def figures(self) -> JobFigures:
        """What is counted of the jobs. Reads no file."""
        counts, kept = self.store.counts, [job for job in self.store.all() if not job.is_deleted]
        return JobFigures(
            kept=_by_state(kept, self._runner.running()),
            unreadable=len(self.store.unreadable),
            uploads=len(self.uploads),
            started=counts.started,
            wait_s=counts.wait_s,
            ended=counts.ended,
            refused=counts.refused,
            upload_bytes=counts.upload_bytes,
        )

    def _queue(self) -> _Queue:
        running = self._runner.running()
        return _Queue(running, [job.number for job in self.store.unfinished() if job.is_open and job.id not in running])

    def _changed(self) -> None:
        self._runner.wake()


def _by_state(jobs: Sequence[Job], running: Collection[str]) -> dict[str, int]:
    counts = dict.fromkeys(JOB_STATES, 0)
    for job in jobs:
        counts["running" if job.is_open and job.id in running else job.state] += 1
    return counts


def _file(path: str, bytes_max: int | None) -> JobFile | None:
    try:
        status = os.stat(path)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StorageError.from_os("stat", path, error) from error
    fields = list(status[:10])
    if bytes_max is not None:
        fields[stat.ST_SIZE] = min(status.st_size, bytes_max)
    return JobFile(path, os.stat_result(fields))


class JobsSite:
    """The jobs, as one configuration lets clients ask for them. Used by several threads."""

    def __init__(self, jobs: Jobs, options: JobsOptions, inputs: JobInputs) -> None:
        self.jobs: Final = jobs
        self.options: Final = options
        self.inputs: Final = inputs

    @property
    def settings(self) -> Settings:
        """For the runner."""
        return Settings(self.options, self.inputs)

    def submit(self, request: JobRequest, key: str) -> tuple[ShownJob, bool]:
        """The job that a client asked for, durable, and whether it is new. Raises `RefusedError`, `StorageError`."""
        known = self.jobs.store.submitted(key, request)
        if known is not None:
            return self.jobs.shown(known), False
        self.inputs.overrides(request)
        argument = self.inputs.argument(request.input)
        job, is_new = self.jobs.store.submit(request, argument, key, self.options)
        return self.jobs.shown(job), is_new


def jobs_site(
    configuration: Configuration, environment: Environment, variables: Mapping[str, str], present: Jobs | None
) -> JobsSite | None:
    """The jobs of a configuration; None without. `present`: those that run now; they stay if the folder is the same. Changes nothing."""
    options = configuration.jobs
    if not options.is_enabled:
        return None
    directory = options.directory(str(configuration.state.dir))
    if present is not None and present.directory == directory:
        return JobsSite(present, options, JobInputs(options, environment, variables, present.uploads))
    uploads = UploadStore(environment, os.path.join(directory, UPLOADS_FOLDER))
    inputs = JobInputs(options, environment, variables, uploads)
    return JobsSite(Jobs(directory, environment, Settings(options, inputs), uploads), options, inputs)
