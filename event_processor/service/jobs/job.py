"""What is known of a job, and why a request for one is refused.

Owns: `Job`, the content of `job.json`; the names of the files in the folder of a job; `RefusedError`.
Always: a job that is recorded as waiting may run: whether it does is never recorded, so it cannot be wrong after a crash.
Never: writes a file (`store.py` does).
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias

import msgspec

from event_processor.assembly import LOCK_NAME
from event_processor.engine.dead_letters import DEAD_LETTERS_NAME

__all__ = ["Job", "JobFolder", "JobInput", "JobRequest", "JobState", "ParameterValues", "Reason", "RefusedError"]

JobState: TypeAlias = Literal["queued", "done", "failed", "cancelled"]
Reason: TypeAlias = Literal["missing", "conflict", "invalid", "too_large", "full", "closed"]
ParameterValues: TypeAlias = dict[str, bool | int | float | str | list[str]]


class RefusedError(Exception):
    """A request that is not carried out. `hint` says what to do. `wait_s`: when to come again; 0: not at all.

    `offset`: of an upload, if the request was for another one.
    """

    def __init__(self, reason: Reason, message: str, hint: str = "", *, wait_s: int = 0, offset: int | None = None) -> None:
        super().__init__(message)
        self.reason: Final = reason
        self.message: Final = message
        self.hint: Final = hint
        self.wait_s: Final = wait_s
        self.offset: Final = offset


class JobInput(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What a job reads: one of an upload's id, a path below `jobs.input_dirs`, or a URL."""

    upload: str = ""
    path: str = ""
    url: str = ""


class JobRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a client asks for. `parameters`: keys of the pipeline, with their values."""

    pipeline: str
    input: JobInput
    parameters: ParameterValues = {}


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """One job, as it is kept.

    `number`: the order of submission. `key`: the client's own name of the request; empty if it gave none. `argument`: the input as the
    process gets it. `exit_code`: of the last process that ended. `failures`: of processes, without progress between them.
    `summary`: what the process said at its end. `is_deleted`: it is removed as soon as nothing runs in its folder.
    """

    id: str
    number: int
    request: JobRequest
    argument: str
    submitted_at: str
    key: str = ""
    state: JobState = "queued"
    ended_at: str | None = None
    error: str = ""
    hint: str = ""
    exit_code: int | None = None
    failures: int = 0
    failed_at_bytes: int = 0
    summary: dict[str, Any] | None = None
    is_deleted: bool = False
    version: int = 1

    @property
    def is_open(self) -> bool:
        """Whether it waits or runs."""
        return self.state == "queued" and not self.is_deleted


@dataclass(frozen=True, slots=True)
class JobFolder:
    """The names of the files of one job."""

    path: str

    @property
    def document(self) -> str:
        """What is known of the job: the one file that is relied on."""
        return os.path.join(self.path, "job.json")

    @property
    def state(self) -> str:
        """The state directory of its process."""
        return os.path.join(self.path, "state")

    @property
    def lock(self) -> str:
        """The lock that its process holds from before its first step: the server takes it, and hands it on."""
        return os.path.join(self.path, LOCK_NAME)

    @property
    def result(self) -> str:
        """The rows."""
        return os.path.join(self.path, "result.jsonl")

    @property
    def dead_letters(self) -> str:
        """The rejected records."""
        return os.path.join(self.state, DEAD_LETTERS_NAME)

    @property
    def progress(self) -> str:
        """How far the process is."""
        return os.path.join(self.path, "progress.json")

    @property
    def said(self) -> str:
        """What the last process wrote on its standard error."""
        return os.path.join(self.path, "said.jsonl")
