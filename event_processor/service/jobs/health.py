"""What an operator must know of the jobs: one line, or nothing.

Owns: `problem_of`: which job cannot go on, and why; which one failed again and again.
Always: pure. The fault of a client (a wrong input, a wrong pipeline) is none: it is said to the client, in its job.
Never: decides what is done about it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Final

from event_processor.service.jobs.job import Job

__all__ = ["AGAIN_AND_AGAIN", "problem_of"]

AGAIN_AND_AGAIN: Final = 3
"""So many failures or tries in a row are a problem, and no accident."""


def problem_of(
    jobs: Iterable[Job], tries: Mapping[str, int], *, troubles: Mapping[str, str], unreadable: Sequence[str], is_full: bool
) -> str:
    """The problems of the jobs in one line; empty if there is none.

    `jobs`: without those that go on again. `tries`: of jobs that wait for something outside. `troubles`: why nothing could be done for a job. `unreadable`: documents of jobs.
    """
    found = ["no job is started: the disk has less room than jobs.free_bytes_min"] if is_full else []
    found += _several("cannot be read", list(unreadable))
    found += _several("cannot be worked on", [f"{job_id}: {reason}" for job_id, reason in sorted(troubles.items())])
    waiting, failed = [], []
    for job in jobs:
        if job.is_open and (tries.get(job.id, 0) >= AGAIN_AND_AGAIN or job.failures >= AGAIN_AND_AGAIN):
            waiting.append(f"{job.id}: {job.error}")
        elif job.state == "failed" and not job.is_deleted and job.failures >= AGAIN_AND_AGAIN:
            failed.append(f"{job.id}: {job.error}")
    found += _several("tried again and again", waiting)
    found += _several("failed again and again", failed)
    return "; ".join(" ".join(each.split()) for each in found)


def _several(what: str, found: Collection[str]) -> list[str]:
    if not found:
        return []
    count = f"{len(found)} job{'s' if len(found) > 1 else ''}"
    return [f"{count} {what}, {'such as ' if len(found) > 1 else ''}{next(iter(found))}"]
