"""What the end of a process means for its job: done, failed, or tried again after a pause.

Owns: `Retries`: how an end is kept, and when a job may be started again.
Always: a job whose process fails without progress `FAILURES_MAX` times, or in a way that does not change, has failed; one that lacks
something outside waits for it, without limit.
Never: starts or ends a process.
"""

from __future__ import annotations

import random
from collections.abc import Collection, Iterable
from typing import Final

from event_processor.assembly import Environment
from event_processor.model.backoff import Backoff
from event_processor.model.errors import ExitCode, StorageError
from event_processor.operations.progress_file import RunProgress, read_progress
from event_processor.service.jobs.inputs import JobInputs
from event_processor.service.jobs.job import Job
from event_processor.service.jobs.process import End
from event_processor.service.jobs.store import JobStore
from event_processor.service.jobs.troubles import Troubles

__all__ = ["FAILURES_MAX", "Retries"]

FAILURES_MAX: Final = 5
BACKOFF: Final = Backoff(random.random, first_s=1.0, cap_s=60.0)


class Retries:
    """Used by the thread of the runner."""

    def __init__(self, environment: Environment, store: JobStore, troubles: Troubles) -> None:
        self._environment: Final = environment
        self._store: Final = store
        self._troubles: Final = troubles
        self._not_before_s: dict[str, float] = {}
        self._tries: dict[str, int] = {}
        """Of jobs that wait for something outside: how often, since the last start of this server, a failure of their own or progress."""
        self._tried_at_bytes: dict[str, int] = {}
        """How far these jobs were at their last try."""

    @property
    def has_pauses(self) -> bool:
        """Whether a job waits until it may be started again."""
        return bool(self._not_before_s)

    @property
    def tries(self) -> dict[str, int]:
        """How often jobs were tried that wait for something outside."""
        return dict(self._tries)

    def going_on(self, jobs: Iterable[Job]) -> frozenset[str]:
        """Those of these jobs, which run, that have progressed since they failed or were tried in vain."""
        found = set()
        for job in jobs:
            reached_bytes = max(job.failed_at_bytes, self._tried_at_bytes.get(job.id, 0))
            if (job.failures or job.id in self._tries) and self._done_bytes(job) > reached_bytes:
                found.add(job.id)
                self._tries.pop(job.id, None)
        return frozenset(found)

    def _done_bytes(self, job: Job) -> int:
        progress = read_progress(self._environment, self._store.folder(job.id).progress) or RunProgress()
        return progress.done_bytes

    def is_due(self, job_id: str) -> bool:
        """Whether a job may be started now."""
        return self._not_before_s.get(job_id, 0.0) <= self._environment.clock.monotonic_s()

    def keep_only(self, job_ids: Collection[str]) -> None:
        """Forgets the pauses of all other jobs, such as those that were cancelled while they waited."""
        self._not_before_s = {job_id: until_s for job_id, until_s in self._not_before_s.items() if job_id in job_ids}

    def starts(self, job_id: str) -> None:
        """The job is started: its pause is over."""
        self._not_before_s.pop(job_id, None)

    def forget(self, job_id: str) -> None:
        """The job is gone."""
        self._not_before_s.pop(job_id, None)
        self._tries.pop(job_id, None)
        self._tried_at_bytes.pop(job_id, None)

    def ended(self, job: Job, end: End, inputs: JobInputs) -> None:
        """Keeps how the process of a job ended. Raises `StorageError`: then the process counts as running, and this is tried again."""
        if end.exit_code is None or end.is_locked:
            # Unknown, or the process of an earlier server has the lock: the next one finds what is done, and says how it ended.
            return
        if end.exit_code == 0:
            self._tries.pop(job.id, None)
            # The result is durable: the process made it so. If we die before the state is, another process finds that all is done.
            self.tell(self._store.change(job, state="done", exit_code=0, summary=end.summary, error="", hint="", failures=0))
            return
        is_gone = end.exit_code == ExitCode.INPUT_GONE and inputs.is_away(job.argument)
        if end.is_temporary or is_gone:
            self.try_later(job, end)
            return
        self._failed(job, end)

    def _failed(self, job: Job, end: End) -> None:
        done_bytes = self._done_bytes(job)
        self._tries.pop(job.id, None)
        has_progressed = done_bytes > job.failed_at_bytes
        failures = 1 if has_progressed else job.failures + 1
        is_final = end.is_permanent or failures >= FAILURES_MAX
        changed = self._store.change(
            job,
            state="failed" if is_final else "queued",
            exit_code=end.exit_code,
            summary=end.summary,
            error=end.error,
            hint=end.hint,
            failures=failures,
            failed_at_bytes=done_bytes,
        )
        if not is_final:
            self._not_before_s[job.id] = self._environment.clock.monotonic_s() + BACKOFF.wait_s(failures)
        self.tell(changed)

    def try_later(self, job: Job, end: End) -> None:
        """The job waits, however often this happened: what it needs may come back. It is no failure of the job."""
        tries = self._tries[job.id] = self._tries.get(job.id, 0) + 1
        self._tried_at_bytes[job.id] = self._done_bytes(job)
        self._not_before_s[job.id] = self._environment.clock.monotonic_s() + BACKOFF.wait_s(tries)
        try:
            self._store.change(job, exit_code=end.exit_code, error=end.error, hint=end.hint)
        except StorageError as error:
            # Nothing relies on it, and the disk may be what is missing.
            if tries == 1:
                self._troubles.tell(self._store.folder(job.id).path, error.message)

    def fail(self, job: Job, reason: str, hint: str) -> None:
        """The job has failed without a process. Raises `StorageError`."""
        self.tell(self._store.change(job, state="failed", error=reason, hint=hint))

    def tell(self, job: Job | None) -> None:
        """Reports a job that has ended; nothing for others."""
        if job is not None and job.state != "queued":
            self._environment.telemetry.job_ended(
                job=job.id, pipeline=job.request.pipeline, outcome=job.state, exit_code=job.exit_code or 0, reason=job.error
            )
