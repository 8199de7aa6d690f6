"""The queue: which job runs, which is tried again, which is ended, and which is removed.

Owns: `Runner`, a thread that starts processes and waits for them.
Always: at most `jobs.processes_max` processes work, those that an earlier server left included. A cancelled job ends, however long its
process takes.
Never: waits for a process; reads a record.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from threading import Lock, Thread
from typing import Final, TypeAlias

from event_processor.assembly import Environment
from event_processor.configuration.configuration import JobsOptions
from event_processor.model.clock import SystemWakeup, wall_ns_of
from event_processor.model.errors import LockedError, StorageError
from event_processor.service.jobs.health import problem_of
from event_processor.service.jobs.inputs import JobInputs
from event_processor.service.jobs.job import Job, JobFolder, RefusedError
from event_processor.service.jobs.places import Place, rank_of, to_leave
from event_processor.service.jobs.process import NO_PROCESS, Call, End, FoundProcess, JobProcess, end_of, holds_lock, start
from event_processor.service.jobs.retries import Retries
from event_processor.service.jobs.store import JobStore
from event_processor.service.jobs.troubles import OPEN_RETRY_S, Troubles, words_of
from event_processor.service.jobs.uploads import UploadStore

__all__ = ["Runner", "Settings"]

LOOK_S: Final = 0.05
"""While jobs run, they are looked at this often."""
REST_S: Final = 5.0
"""Without a job, old ones are looked for this often."""
TERM_S: Final = 10.0
"""A process that was asked to end gets this long, then it is killed: what it committed stays."""
STOP_S: Final = 3.0
"""The same when the server stops."""
PLACE_S: Final = 5.0
"""A job whose upload still comes keeps its place for at least this long, so that a start of its process is not in vain."""
Starts: TypeAlias = Callable[[Environment, JobFolder, Call], JobProcess]


@dataclass(frozen=True, slots=True)
class Settings:
    """What a configuration says about jobs."""

    options: JobsOptions
    inputs: JobInputs


@dataclass(slots=True)
class _Running:
    """A process at work. `since_s`, `ask_s`: when it began, and was asked to end, by the monotonic clock.

    `has_all`: its whole input was there when it began. `is_aside`: it makes room for another job, and goes on later.
    """

    process: JobProcess
    since_s: float
    has_all: bool
    is_aside: bool = False
    ask_s: float | None = None
    is_killed: bool = False


class Runner:
    """Runs the jobs of a store. `start`, `use` and `close` are called by one thread; `wake` and `running` by any."""

    def __init__(
        self, environment: Environment, store: JobStore, uploads: UploadStore, settings: Settings, *, starts: Starts = start
    ) -> None:
        """`starts` starts the process of a job."""
        self._starts: Final = starts
        self._environment: Final = environment
        self._clock: Final = environment.clock
        self._store: Final = store
        self._uploads: Final = uploads
        self._settings = settings
        self._wakeup: Final = SystemWakeup()
        self._running: dict[str, _Running] = {}
        self._lock: Final = Lock()
        self._troubles: Final = Troubles(environment, lambda job_id: store.folder(job_id).path)
        self._retries: Final = Retries(environment, store, self._troubles)
        self._unknown: set[str] = set()
        """Jobs of which it is not known yet whether a process of an earlier server works in their folder."""
        self._counted: set[str] = set()
        """Jobs that were counted as started: a process that ends early leaves no state that would show it."""
        self._next_sweep_s = 0.0
        self._is_full = False
        self._full_until_s = 0.0
        self._is_stopping = False
        self._reason = ""
        self._problem = ""
        self._thread: Final = Thread(target=self._work, name="jobs", daemon=True)

    def start(self) -> None:
        """Begins. The folder is taken in the thread, so nothing waits for a long list of jobs."""
        self._thread.start()

    def use(self, settings: Settings) -> None:
        """From now on these settings count."""
        self._settings = settings
        self.wake()

    def wake(self) -> None:
        """Something has changed."""
        self._wakeup.set()

    def running(self) -> frozenset[str]:
        """The jobs whose process is at work."""
        with self._lock:
            return frozenset(self._running)

    @property
    def problem(self) -> str:
        """What an operator must know of the jobs, in one line; empty if all can go on."""
        return self._reason or self._problem

    def close(self) -> None:
        """Ends the processes after their present batch. They go on at the next start. Returns after at most some seconds."""
        self._is_stopping = True
        self.wake()
        if self._thread.is_alive():
            self._thread.join(2 * STOP_S)

    def _work(self) -> None:
        try:
            while not self._is_stopping and not self._guarded(self._open):
                continue
            while not self._is_stopping:
                # Cleared first: what changes during the round makes another one.
                self._wakeup.clear()
                self._guarded(self._round)
                self._wait(LOOK_S if self._running or self._retries.has_pauses else REST_S)
            self._guarded(self._stop)
        finally:
            self._store.close()

    def _wait(self, timeout_s: float) -> None:
        self._clock.wait(self._wakeup, timeout_s)

    def _guarded(self, act: Callable[[], None]) -> bool:
        """Whether `act` was done. What fails now is reported, and does not end the thread: jobs wait until it works."""
        try:
            act()
        except Exception as error:  # noqa: BLE001 - a fault of ours must not end the thread, or show a traceback
            self._report(words_of(error))
        else:
            self._reason = ""
            return True
        self._clock.wait(SystemWakeup(), OPEN_RETRY_S)
        return False

    def _report(self, reason: str) -> None:
        if reason != self._reason:
            self._reason = reason
            self._troubles.tell(self._store.directory, reason)

    def _open(self) -> None:
        try:
            # First the lock of the folder, which the store takes.
            self._store.open()
            self._uploads.open()
        except BaseException:
            self._store.close()
            raise
        for path in self._store.unreadable:
            self._environment.telemetry.jobs_unavailable(path=path, reason="not readable; the job is left as it is")
        self._unknown = {job.id for job in self._store.all() if _may_have_a_process(job)}
        self._find()

    def _find(self) -> None:
        """Looks for the processes of an earlier server."""
        for job_id in list(self._unknown):
            self._troubles.each(job_id, self._found, job_id)

    def _found(self, job_id: str) -> None:
        folder = self._store.folder(job_id)
        if holds_lock(self._environment, folder):
            self._set(job_id, FoundProcess(self._environment, folder), has_all=False)
        self._unknown.discard(job_id)

    def _round(self) -> None:
        self._find()
        # What frees space comes before what needs some: the ends of jobs are written.
        self._end_unwanted()
        self._sweep_sometimes()
        for job_id, running in list(self._running.items()):
            if running.is_aside:
                self._troubles.each(job_id, self._ask, running, TERM_S)
            self._troubles.each(job_id, self._look, job_id, running)
        self._start_waiting()

    def _sweep_sometimes(self) -> None:
        now_s = self._clock.monotonic_s()
        held = self._running.keys() | self._unknown | self._troubles.jobs
        is_due = any(job.is_deleted and job.id not in held for job in self._store.unfinished())
        if now_s >= self._next_sweep_s or is_due:
            self._next_sweep_s = now_s + REST_S
            self._unknown.update(job.id for job in self._store.look_again() if _may_have_a_process(job))
            self._sweep()
            for job_id in self._store.unwritten:
                self._troubles.each(job_id, self._store.write_again, job_id)
            # Without a job that waits, nothing else would find that there is room again.
            self._is_full = self._is_full and not self._uploads.has_room(self._settings.options)
            going_on = self._retries.going_on(job for job in self._store.unfinished() if job.id in self._running)
            self._problem = problem_of(
                [job for job in self._store.all() if job.id not in going_on],
                self._retries.tries,
                troubles=self._troubles.reasons,
                unreadable=self._store.unreadable,
                is_full=self._is_full,
            )

    def _look(self, job_id: str, running: _Running) -> None:
        if running.process.is_over():
            self._over(job_id, running)
        elif running.is_killed and self._clock.monotonic_s() - (running.ask_s or 0.0) >= 2 * TERM_S:
            # It waits for a disk, or another process has its lock: only an operator can say which one may be ended.
            words = "it was killed, and its lock is held still; 'fuser' on the lock in its folder names the process to end"
            raise LockedError(words)

    def _over(self, job_id: str, running: _Running) -> None:
        end = end_of(self._environment, self._store.folder(job_id), running.process.exit_code())
        if end.exit_code == 0 and running.has_all:
            self._store.counts.took(self._clock.monotonic_s() - running.since_s)
            # Once: if the end cannot be written, it is looked at again, and the time of that is none of the job.
            running.has_all = False
        for job in self._store.unfinished():
            if job.id == job_id and job.is_open and not (running.is_aside and end.is_as_asked):
                self._retries.ended(job, end, self._settings.inputs)
        # Only now: as long as the job runs, nothing removes its folder, and it is not started again.
        with self._lock:
            self._running.pop(job_id, None)

    def _end_unwanted(self) -> None:
        """Ends the processes of jobs that were cancelled or deleted."""
        wanted = {job.id for job in self._store.unfinished() if job.is_open}
        for job_id, running in list(self._running.items()):
            if job_id not in wanted:
                self._troubles.each(job_id, self._ask, running, TERM_S)
                self._troubles.each(job_id, self._look, job_id, running)

    def _ask(self, running: _Running, patience_s: float) -> None:
        now_s = self._clock.monotonic_s()
        if running.ask_s is None:
            running.ask_s = now_s
            running.process.send(signal.SIGTERM)
        elif now_s - running.ask_s >= patience_s and not running.is_killed:
            running.is_killed = True
            running.process.send(signal.SIGKILL)

    def _start_waiting(self) -> None:
        now_s = self._clock.monotonic_s()
        open_ids = {job.id for job in self._store.unfinished() if job.is_open}
        # Else a round would be made 20 times a second for jobs that were cancelled while they waited.
        self._retries.keep_only(open_ids)
        held = self._running.keys() | self._unknown
        waiting = [job for job in self._store.unfinished() if job.is_open and job.id not in held]
        ready = [job for job in waiting if self._retries.is_due(job.id)]
        if not ready or not self._has_room(now_s):
            return
        ranks = {job.id: rank_of(job, self._uploads) for job in self._store.unfinished() if job.is_open}
        ready.sort(key=lambda job: ranks[job.id])
        # A process is not ended for a job that cannot be started, again and again: only after its trouble was not seen for a while.
        self._make_room([ranks[job.id] for job in ready if job.id not in self._troubles.jobs], ranks)
        for job in ready:
            if len(self._running) < self._settings.options.processes_max:
                self._troubles.each(job.id, self._start, job)

    def _make_room(self, waiting: Sequence[int], ranks: Mapping[str, int]) -> None:
        """Ends processes of jobs whose upload still comes, if the places of others do not suffice for the jobs of these ranks."""
        staying = {job_id: each for job_id, each in self._running.items() if each.ask_s is None and not each.is_aside}
        free = max(0, self._settings.options.processes_max - len(staying))
        places = [Place(job_id, ranks[job_id], each.since_s) for job_id, each in staying.items() if job_id in ranks]
        for job_id in to_leave(waiting[free:], places, self._clock.monotonic_s() - PLACE_S):
            # If we die from here on, the process ends or not: the job goes on where its last commit was.
            staying[job_id].is_aside = True

    def _has_room(self, now_s: float) -> bool:
        """Whether the disk has room for the rows of another job. Without, jobs wait; those that run go on."""
        if now_s < self._full_until_s:
            return False
        if self._uploads.has_room(self._settings.options):
            self._is_full = False
            return True
        if not self._is_full:
            self._troubles.tell(self._store.directory, "the disk has less room than jobs.free_bytes_min; no job is started")
        self._is_full, self._full_until_s = True, now_s + OPEN_RETRY_S
        return False

    def _start(self, job: Job) -> None:
        self._retries.starts(job.id)
        inputs, folder = self._settings.inputs, self._store.folder(job.id)
        try:
            inputs.require_unmoved(job.request.input, job.argument)
            settings = inputs.overrides(job.request)
            pipeline_file = inputs.pipeline_file(job.request.pipeline)
        except RefusedError as error:
            if error.reason == "closed" or inputs.is_away(job.argument):
                self._retries.try_later(
                    job, End(job.exit_code, error.message, "it is tried again; see that its folders are there")
                )
                return
            self._retries.fail(job, error.message, error.hint)
            return
        if holds_lock(self._environment, folder):
            self._set(job.id, FoundProcess(self._environment, folder), has_all=False)
            return
        try:
            is_first = job.id not in self._counted and self._environment.fs.status(folder.state) is None
            call = Call(pipeline_file, settings, job.argument, inputs.arriving(job.request.input))
            has_all = not self._uploads.is_coming(job.request.input.upload)
            self._set(job.id, self._starts(self._environment, folder, call), has_all=has_all)
            if is_first:
                self._counted.add(job.id)
                self._store.counts.starts((self._clock.wall_ns() - (wall_ns_of(job.submitted_at) or 0)) / 1e9)
        except (OSError, StorageError) as error:
            self._retries.ended(
                job, End(int(getattr(error, "exit_code", NO_PROCESS)), f"no process could be started: {error}"), inputs
            )

    def _set(self, job_id: str, process: JobProcess, *, has_all: bool) -> None:
        with self._lock:
            self._running[job_id] = _Running(process, self._clock.monotonic_s(), has_all)

    def _sweep(self) -> None:
        """Removes what was deleted, and what was kept long enough."""
        keep_s = self._settings.options.keep_s
        for job in self._store.ended_before(keep_s):
            if job.id not in self._running and job.id not in self._unknown:
                self._troubles.each(job.id, self._remove, job)
        old = self._uploads.older_than(keep_s)
        for job in self._store.unfinished():
            if job.is_open and job.request.input.upload in old:
                self._troubles.each(job.id, self._abandon, job)
        in_use = self._store.uploads_in_use()
        for upload_id in old:
            # One that cannot be removed keeps no other one: the next start removes what is left of it.
            with suppress(RefusedError, StorageError, OSError):
                self._uploads.remove(upload_id, in_use)

    def _abandon(self, job: Job) -> None:
        """Fails a job whose upload is old, if a part of it never came. Its process is ended, as if it had been cancelled."""
        upload = self._uploads.get(job.request.input.upload)
        if not upload.is_complete:
            waited = f"nothing more in {self._settings.options.keep_s} s (jobs.keep_s)"
            reason = f"only {upload.offset} of {upload.length} bytes of its upload came, and {waited}"
            self._retries.fail(job, reason, "send the whole input to a new upload, and submit the job again")

    def _remove(self, job: Job) -> None:
        self._store.remove(job)
        self._troubles.forget(job.id)
        self._retries.forget(job.id)
        self._counted.discard(job.id)

    def _stop(self) -> None:
        """Ends every process. A job is not recorded as ended by that: it goes on at the next start."""
        deadline_s = self._clock.monotonic_s() + STOP_S
        while self._running and self._clock.monotonic_s() < deadline_s + 1:
            for job_id, running in list(self._running.items()):
                self._troubles.each(job_id, self._stop_one, job_id, running)
            self._clock.wait(SystemWakeup(), LOOK_S)

    def _stop_one(self, job_id: str, running: _Running) -> None:
        self._ask(running, STOP_S)
        if not running.process.is_over():
            return
        if running.process.exit_code() == 0:
            self._over(job_id, running)
        with self._lock:
            self._running.pop(job_id, None)


def _may_have_a_process(job: Job) -> bool:
    return job.is_deleted or job.state in ("queued", "cancelled")
