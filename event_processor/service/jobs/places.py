"""Which job has a place, if there are fewer places than jobs.

Owns: the rank of a job, and which jobs that run make room for those that wait.
Always: pure. A job makes room only for one of a lower rank, so two jobs never take turns for each other's sake.
Never: starts or ends a process.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from event_processor.service.jobs.job import Job
from event_processor.service.jobs.uploads import UploadStore

__all__ = ["Place", "rank_of", "to_leave"]

INPUT_IS_THERE: Final = 0
UPLOAD_COMES: Final = 1
UPLOAD_IS_SILENT: Final = 2
SILENT_S: Final = 30
"""An upload is silent if nothing came for this long."""


@dataclass(frozen=True, slots=True)
class Place:
    """A job that runs, its rank, and since when, by the monotonic clock."""

    job_id: str
    rank: int
    since_s: float


def rank_of(job: Job, uploads: UploadStore) -> int:
    """The lowest goes first; among equals, the first that was submitted."""
    upload = job.request.input.upload
    if not upload or not uploads.is_coming(upload):
        return INPUT_IS_THERE
    return UPLOAD_IS_SILENT if uploads.is_silent(upload, SILENT_S) else UPLOAD_COMES


def to_leave(waiting: Sequence[int], places: Sequence[Place], latest_s: float) -> list[str]:
    """The jobs that make room: of the highest rank, and of these the one that has run longest.

    `waiting`: the ranks of jobs for which there is no place, ascending. A job that runs since after `latest_s` stays.
    """
    last_first = sorted((each for each in places if each.since_s <= latest_s), key=lambda each: (-each.rank, each.since_s))
    return [place.job_id for rank, place in zip(waiting, last_first, strict=False) if place.rank > rank]
