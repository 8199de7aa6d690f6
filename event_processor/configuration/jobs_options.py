"""The keys of jobs over HTTP: which pipelines a request may run, over which input, and how much of it at a time.

Owns: `JobsOptions`, the keys of `[jobs]`; which keys of a pipeline a request may ever set.
Always: a request can set no path, no secret, no class to import, and nothing outside the totals, windows and groups of its own job.
Never: opens a file (`service/jobs/` does).
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from typing import Final, TypeAlias

from pydantic import Field, field_validator
from pydantic_core import PydanticCustomError

from event_processor.model.options import ConfiguredPath, Section

__all__ = ["UPLOAD_BYTES_MAX", "JobsOptions", "ParameterValue", "may_be_set"]

ParameterValue: TypeAlias = bool | int | float | str | Sequence[str]

JOBS_FOLDER: Final = "jobs"
UPLOAD_BYTES_MAX: Final = 999_999_999_999
_SETTABLE: Final = re.compile(r"(aggregates|dead_letters|dedup|event|order|totals)(\.[A-Za-z0-9_-]{1,64}){1,8}")
_NEVER: Final = frozenset({"event.model"})
"""It names a class to import."""
_URL: Final = re.compile(r"s3://[a-z0-9][a-z0-9.-]{1,62}/\S*")


def may_be_set(key: str) -> bool:
    """Whether a pipeline may let requests set this key."""
    return _SETTABLE.fullmatch(key) is not None and key not in _NEVER


class JobsOptions(Section):
    """Jobs over HTTP: a client names a pipeline and a finished input, and fetches the result. Needs `http.listen`."""

    pipelines_dir: ConfiguredPath | None = Field(default=None, examples=["pipelines"])
    """The folder of the pipelines that a job may run: NAME.toml is the pipeline NAME, a configuration like this one. Not set: no jobs."""
    dir: ConfiguredPath | None = Field(default=None, examples=["/var/lib/event-processor/jobs"])
    """The folder of the jobs: what was asked, uploads, states and results. By default `jobs` in the state directory. A change needs a restart."""
    input_dirs: tuple[ConfiguredPath, ...] = ()
    """The folders whose files a job may read. Links out of them are refused."""
    input_urls: tuple[str, ...] = ()
    """The beginnings of the URLs that a job may read, such as "s3://bucket/prefix/"."""
    parameters: tuple[str, ...] = ()
    """In the file of a pipeline: the keys that a request may set, such as "aggregates.delivery_time.window.size_s". Only keys of
    aggregates, dead_letters, dedup, event, order and totals."""
    processes_max: int = Field(default=2, ge=1, le=64)
    """The maximum number of jobs that run at the same time, each in a process of its own."""
    queue_max: int = Field(default=100, ge=1, le=10_000)
    """The maximum number of jobs that have not ended. Another one is answered with 429. Jobs whose upload still comes are counted apart, up to the same number."""
    upload_bytes_max: int = Field(default=1_073_741_824, ge=1, le=UPLOAD_BYTES_MAX)
    """The maximum bytes of an upload. A longer one is refused when it is announced."""
    uploads_max: int = Field(default=100, ge=1, le=10_000)
    """The maximum number of uploads that are kept. Another one is answered with 429."""
    free_bytes_min: int = Field(default=134_217_728, ge=0)
    """An upload that would leave less free space than this on the disk of the jobs, what other uploads may still bring included, is answered
    with 503, as is a piece while there is less. No job is started then."""
    keep_s: int = Field(default=604_800, ge=60)
    """How long a job is kept after its end, and an upload after its last byte, in seconds. Then it is removed."""

    @field_validator("parameters")
    @classmethod
    def _parameters_can_be_given_away(cls, keys: tuple[str, ...]) -> tuple[str, ...]:
        if wrong := [key for key in keys if not may_be_set(key)]:
            raise PydanticCustomError(
                "parameters",
                "dotted keys of aggregates, dead_letters, dedup, event (not event.model), order or totals; not {key}",
                {"key": wrong[0]},
            )
        return keys

    @field_validator("input_urls")
    @classmethod
    def _urls_have_a_bucket(cls, urls: tuple[str, ...]) -> tuple[str, ...]:
        if any(not _URL.fullmatch(url) for url in urls):
            raise PydanticCustomError("url", 'beginnings of URLs with a bucket, such as "s3://bucket/prefix/"')
        return urls

    @property
    def is_enabled(self) -> bool:
        """Whether there are jobs."""
        return self.pipelines_dir is not None

    def directory(self, state_directory: str) -> str:
        """The folder of the jobs."""
        return os.path.join(state_directory, JOBS_FOLDER) if self.dir is None else str(self.dir)

    def refused(self, parameters: Mapping[str, ParameterValue]) -> str:
        """The first key that this pipeline does not let a request set; empty if there is none."""
        return next((key for key in parameters if key not in self.parameters), "")
