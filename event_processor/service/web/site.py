"""What every answer is made of.

Owns: `Site`.
Always: one for each configuration; a reload makes another.
Never: answers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from event_processor.configuration.http_options import HttpOptions
from event_processor.operations.status import Status
from event_processor.service.jobs.jobs import JobsSite
from event_processor.service.web.commits import Commits
from event_processor.service.web.gate import Gate
from event_processor.service.web.intake_writer import IntakeWriter
from event_processor.service.web.readings import ReaderThreads, Readings

__all__ = ["Site"]


@dataclass(frozen=True, slots=True)
class Site:
    """The committed state, the threads that read it, and who may ask.

    `intake`: what appends posted events; None if this process appends none.
    `jobs`: None if this configuration has none. `job_threads`: wait for the disk of the jobs, so that other answers do not.
    `report` gets method, path and reason of a request that an unexpected error ended.
    """

    options: HttpOptions
    readings: Readings
    threads: ReaderThreads
    gate: Gate
    commits: Commits
    report: Callable[[str, str, str], None]
    intake: IntakeWriter | None = None
    jobs: JobsSite | None = None
    job_threads: ReaderThreads | None = None

    async def status(self) -> Status:
        """The status. Raises `StateError`, `StorageError`."""
        return await self.threads.call(self.readings.status)
