"""The jobs of a server, as metrics.

Owns: the names of these metrics, and what each is made of.
Always: pure. The values of each label are from a fixed list.
Never: counts anything (`service/jobs/` does).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from event_processor.operations.metrics import MetricFamily

__all__ = ["JOB_STATES", "JobFigures", "job_families"]

JOB_STATES: Final = ("queued", "running", "done", "failed", "cancelled")


@dataclass(frozen=True, slots=True)
class JobFigures:
    """What a server has counted of its jobs.

    `kept`: jobs by state, now. `unreadable`: those whose document cannot be read. `uploads`: those that are kept. Since the start of the
    process: `started` for the first time, after `wait_s` seconds in all; `ended` by state; `refused` requests by reason; and
    `upload_bytes` that became durable.
    """

    kept: Mapping[str, int]
    unreadable: int
    uploads: int
    started: int
    wait_s: float
    ended: Mapping[str, int]
    refused: Mapping[str, int]
    upload_bytes: int


def job_families(figures: JobFigures) -> Iterator[MetricFamily]:
    """Yields the metrics of one moment."""
    kept = [((state,), float(figures.kept.get(state, 0))) for state in JOB_STATES]
    yield MetricFamily("event_processor_jobs", "gauge", "Jobs that are kept, by state.", ("state",), kept)
    yield _of("jobs_unreadable", "gauge", "Jobs whose document cannot be read.", figures.unreadable)
    yield _of("uploads", "gauge", "Uploads that are kept.", figures.uploads)
    words = "Jobs that were started for the first time, since the start of the process."
    yield _of("jobs_started", "counter", words, figures.started)
    words = "How long these jobs had waited, in all."
    yield _of("job_wait_seconds", "counter", words, figures.wait_s)
    ended = [((state,), float(figures.ended.get(state, 0))) for state in JOB_STATES[2:]]
    words = "Jobs that ended, since the start of the process."
    yield MetricFamily("event_processor_jobs_ended", "counter", words, ("state",), ended)
    refused = [((reason,), float(count)) for reason, count in sorted(figures.refused.items())]
    words = "Requests about jobs and uploads that were refused, since the start of the process."
    yield MetricFamily("event_processor_job_requests_refused", "counter", words, ("reason",), refused)
    words = "Bytes of uploads that became durable, since the start of the process."
    yield _of("upload_bytes", "counter", words, figures.upload_bytes)


def _of(name: str, kind: str, words: str, value: float) -> MetricFamily:
    return MetricFamily(f"event_processor_{name}", "counter" if kind == "counter" else "gauge", words, (), [((), float(value))])
