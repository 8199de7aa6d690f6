"""The jobs that are kept: a folder for each, with one file that says everything about it.

Owns: `JobStore`: which jobs there are, what changes of a job, and when that is durable.
Always: a change is durable before any caller sees it; that a job is cancelled or deleted counts at once, even if it cannot be written. One process at a time has the folder, by its lock.
Never: starts a process (`runner.py` does).
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from threading import RLock
from typing import Final

import msgspec

from event_processor.assembly import LOCK_NAME, Environment, this_process
from event_processor.configuration.configuration import JobsOptions
from event_processor.model.clock import utc_text, wall_ns_of
from event_processor.model.errors import StorageError
from event_processor.service.jobs.counts import JobCounts
from event_processor.service.jobs.job import Job, JobFolder, JobRequest, RefusedError
from event_processor.service.jobs.uploads import UploadStore
from event_processor.storage.durable import prepare_directory, read_file, remove_files, remove_tree, replace_file, storage_call
from event_processor.storage.lock import DirectoryLock

__all__ = ["JobStore"]

JOBS_MAX: Final = 10_000
"""So many jobs are kept, those that ended included."""
TOKEN: Final = "job"  # noqa: S105 - a part of a file's name
"""There is one writer, so its unfinished file may always have the same name."""
_ID: Final = re.compile(r"[0-9a-f]{16}")


class JobStore:
    """The jobs of one folder. Used by several threads, from `open` to `close`."""

    def __init__(
        self, environment: Environment, directory: str, changed: Callable[[], None], uploads: UploadStore | None = None
    ) -> None:
        """`changed` is called after each change, by any thread. `uploads`: those that jobs read; they have the same counts."""
        self.directory: Final = directory
        self.counts: Final = uploads.counts if uploads else JobCounts()
        self._uploads: Final = uploads
        self._environment: Final = environment
        self._fs: Final = environment.fs
        self._changed: Final = changed
        self._lock: Final = RLock()
        self._owned: DirectoryLock | None = None
        self._jobs: dict[str, Job] = {}
        self._by_key: dict[str, str] = {}
        self._unfinished: dict[str, Job] = {}
        """Those that wait or run, or are to be removed: the runner looks at them often, however many have ended."""
        self._unwritten: set[str] = set()
        self.unreadable: Sequence[str] = ()
        """Files of jobs that cannot be read. Their folders stay as they are; `look_again` tries them again."""

    @property
    def is_open(self) -> bool:
        """Whether jobs can be asked for."""
        return self._owned is not None

    def open(self) -> None:
        """Takes the folder and reads its jobs. Raises `LockedError` if another process has it, `StorageError`."""
        prepare_directory(self._fs, self.directory)
        owned = DirectoryLock(self._fs, os.path.join(self.directory, LOCK_NAME), this_process())
        with self._lock:
            try:
                self._load()
            except BaseException:
                owned.release()
                raise
            self._owned = owned

    def look_again(self) -> Sequence[Job]:
        """Reads the documents that could not be read. The jobs that can be read now, in the order of submission."""
        found = []
        with self._lock:
            for path in self.unreadable:
                with suppress(StorageError, OSError, msgspec.DecodeError, UnicodeDecodeError):
                    job = self._read(JobFolder(os.path.dirname(path)))
                    self.unreadable = [each for each in self.unreadable if each != path]
                    if job is not None:
                        self._keep(job)
                        found.append(job)
        return sorted(found, key=lambda job: job.number)

    def close(self) -> None:
        """Gives the folder back. What is kept stays."""
        with self._lock:
            owned, self._owned = self._owned, None
            if owned is not None:
                owned.release()

    def folder(self, job_id: str) -> JobFolder:
        """The files of a job."""
        return JobFolder(os.path.join(self.directory, job_id))

    def all(self) -> Sequence[Job]:
        """Every job, in the order of submission, the deleted ones that are still there included."""
        with self._lock:
            return sorted(self._jobs.values(), key=lambda job: job.number)

    def unfinished(self) -> Sequence[Job]:
        """The jobs that wait or run, and the deleted ones that are still there, in the order of submission."""
        with self._lock:
            return sorted(self._unfinished.values(), key=lambda job: job.number)

    def get(self, job_id: str) -> Job:
        """One job. Raises `RefusedError`."""
        with self._lock:
            self._require_open()
            job = self._jobs.get(job_id)
        if job is None or job.is_deleted:
            raise RefusedError("missing", "no such job", "GET /v1/jobs lists them")
        return job

    def submitted(self, key: str, request: JobRequest) -> Job | None:
        """The job of an earlier request with this key; None if there is none. Raises `RefusedError` if that one asked for something else."""
        with self._lock:
            self._require_open()
            job = self._jobs.get(self._by_key.get(key, "")) if key else None
        if job is None or job.is_deleted:
            return None
        if job.request != request:
            raise RefusedError("invalid", f"the Idempotency-Key was used for job {job.id}, which is another one", "use a new key")
        return job

    def submit(self, request: JobRequest, argument: str, key: str, options: JobsOptions) -> tuple[Job, bool]:
        """A new job, durable; or the one of the same key, and False. Raises `RefusedError` if too many wait, `StorageError`."""
        with self._lock:
            known = self.submitted(key, request)
            if known is not None:
                return known, False
            # Counted apart: clients that never send what they announced keep no other one out.
            is_coming = self._is_coming(request)
            waiting = sum(job.is_open and self._is_coming(job.request) is is_coming for job in self._unfinished.values())
            if waiting >= options.queue_max:
                wait_s = self.counts.next_place_s(options.processes_max)
                words = f"{waiting} jobs wait{' for their upload' if is_coming else ''} (jobs.queue_max)"
                raise RefusedError("full", words, "send it again then", wait_s=wait_s)
            if len(self._jobs) >= JOBS_MAX:
                raise RefusedError("full", f"{JOBS_MAX} jobs are kept", "delete some that ended", wait_s=60)
            number = 1 + max((job.number for job in self._jobs.values()), default=0)
            now = utc_text(self._environment.clock.wall_ns())
            job = Job(
                id=self._environment.new_token(), number=number, request=request, argument=argument, submitted_at=now, key=key
            )
            # If we die before the file is written, the folder is empty, and the next start removes it. Nothing was answered.
            prepare_directory(self._fs, self.folder(job.id).path)
            self._write(job)
        self._changed()
        return job, True

    def _is_coming(self, request: JobRequest) -> bool:
        return self._uploads is not None and self._uploads.is_coming(request.input.upload)

    def change(self, job: Job, **changes: object) -> Job | None:
        """`job` with these changes, durable. None, and nothing changes, if it has ended meanwhile. Raises `StorageError`."""
        with self._lock:
            present = self._jobs.get(job.id)
            if present is None or not present.is_open:
                return None
            changed = msgspec.structs.replace(present, **changes)
            if changed.state != "queued":
                changed = msgspec.structs.replace(changed, ended_at=utc_text(self._environment.clock.wall_ns()))
            self._write(changed)
        if changed.state != "queued":
            self.counts.ends(changed.state)
        self._changed()
        return changed

    def cancel(self, job_id: str) -> Job:
        """The job, cancelled unless it has ended. Raises `RefusedError`: if it cannot be written, the job is cancelled all the same."""
        with self._lock:
            job = self.get(job_id)
            # If we die after this is durable, the next start ends a process that still runs. Before, the job goes on.
            if job.is_open:
                job = msgspec.structs.replace(job, state="cancelled", ended_at=utc_text(self._environment.clock.wall_ns()))
                self.counts.ends("cancelled")
                self._write_or_keep(job, "cancelled")
            elif job_id in self._unwritten:
                self._write_or_keep(job, "cancelled")
        self._changed()
        return job

    def delete(self, job_id: str) -> None:
        """The job is gone for every caller. Its files go when nothing runs in them.

        Raises `RefusedError`: if it cannot be written, the job is deleted all the same; `StorageError`: then it is not.
        """
        with self._lock:
            job = self.get(job_id)
            deleted = msgspec.structs.replace(job, is_deleted=True)
            if job.is_open:
                # Else it would count as at work until the process of this server ends.
                self.counts.ends("cancelled")
            if job.state in ("done", "failed"):
                # Nothing runs in its folder, so no tombstone is needed, for which a full disk has no room.
                self._forget(job)
                self._keep(deleted)
            else:
                self._write_or_keep(deleted, "deleted")
        self._changed()

    def write_again(self, job_id: str) -> None:
        """Writes a job that could not be written. Raises `StorageError`."""
        with self._lock:
            job = self._jobs.get(job_id)
            if job is not None and job_id in self._unwritten:
                self._write(job)

    @property
    def unwritten(self) -> Sequence[str]:
        """The jobs that were cancelled or deleted, and whose document does not say so yet."""
        with self._lock:
            return list(self._unwritten)

    def remove(self, job: Job) -> None:
        """Removes the files of a job in which nothing runs. Raises `StorageError`, `OSError`; then it is tried again."""
        with self._lock:
            # If we die after this, the rest is a folder without a document, and goes at the next start.
            self._forget(job)
            self._unwritten.discard(job.id)
            self._keep(msgspec.structs.replace(job, is_deleted=True))
            remove_tree(self._fs, self.folder(job.id).path)
            with storage_call("fsync", self.directory):
                self._fs.sync_directory(self.directory)
            self._jobs.pop(job.id, None)
            self._unfinished.pop(job.id, None)
            if self._by_key.get(job.key) == job.id:
                del self._by_key[job.key]

    def _forget(self, job: Job) -> None:
        """Removes the document of a job, durably. It needs no room on the disk. The caller holds the lock."""
        folder = self.folder(job.id)
        remove_files(self._fs, [folder.document])
        with storage_call("fsync", folder.path):
            if self._fs.status(folder.path) is not None:
                self._fs.sync_directory(folder.path)

    def _write_or_keep(self, job: Job, done: str) -> None:
        """Writes `job`. If that fails, it counts until this server stops, and is written later. Raises `RefusedError`."""
        try:
            self._write(job)
        except StorageError as error:
            self._keep(job)
            self._unwritten.add(job.id)
            self._changed()
            # If we die before it is written, the job goes on at the next start: so the answer is an error.
            words = f"the job is {done}, and a process of it is ended, but a restart would undo that: {error.message}"
            raise RefusedError("closed", words, "free some space; it is written as soon as that works", wait_s=5) from error

    def ended_before(self, age_s: int) -> Sequence[Job]:
        """The jobs that ended more than `age_s` seconds ago, and those that are deleted."""
        limit_ns = self._environment.clock.wall_ns() - age_s * 10**9
        return [
            job
            for job in self.all()
            if job.is_deleted or (job.ended_at is not None and (wall_ns_of(job.ended_at) or 0) < limit_ns)
        ]

    def uploads_in_use(self) -> frozenset[str]:
        """The uploads that a job reads, or will read."""
        return frozenset(job.request.input.upload for job in self.unfinished() if job.is_open)

    def _require_open(self) -> None:
        if self._owned is None:
            raise RefusedError("closed", "the jobs are being opened", "send it again", wait_s=1)

    def _write(self, job: Job) -> None:
        """The caller holds the lock."""
        replace_file(self._fs, self.folder(job.id).document, [msgspec.json.encode(job), b"\n"], TOKEN)
        self._unwritten.discard(job.id)
        self._keep(job)

    def _keep(self, job: Job) -> None:
        """The caller holds the lock, and the document says the same."""
        self._jobs[job.id] = job
        self._unfinished.pop(job.id, None)
        if job.is_open or job.is_deleted:
            self._unfinished[job.id] = job
        present = self._jobs.get(self._by_key.get(job.key, ""))
        # A change of an older job takes the key from no newer one.
        if job.key and not job.is_deleted and (present is None or present.is_deleted or present.number <= job.number):
            self._by_key[job.key] = job.id

    def _load(self) -> None:
        """The caller holds the lock."""
        jobs, unreadable = {}, []
        with storage_call("list", self.directory):
            names = self._fs.names(self.directory)
        for name in filter(_ID.fullmatch, names):
            folder = self.folder(name)
            try:
                job = self._read(folder)
            except (StorageError, OSError, msgspec.DecodeError, UnicodeDecodeError):
                # The others do not wait for it.
                unreadable.append(folder.document)
                continue
            if job is not None:
                jobs[name] = job
        self._jobs = jobs
        self._unfinished = {job.id: job for job in jobs.values() if job.is_open or job.is_deleted}
        # A key may be used again after its job was deleted: the last one that is there has it.
        kept = sorted((job for job in jobs.values() if job.key and not job.is_deleted), key=lambda job: job.number)
        self._by_key = {job.key: job.id for job in kept}
        self.unreadable = unreadable

    def _read(self, folder: JobFolder) -> Job | None:
        """The job of a folder; None, and the folder is removed, without a document. Raises `StorageError`, `OSError`, a `ValueError`."""
        content = read_file(self._fs, folder.document)
        if content is None:
            remove_tree(self._fs, folder.path)
            return None
        return msgspec.json.decode(content, type=Job)
