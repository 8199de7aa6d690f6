"""Where merges run, so that no commit waits for one.

Always: a job's result or failure is in its future; nothing is lost in a thread.
Never: a job outlives the process: the threads are daemons, and what a job had not finished is an orphan file.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from threading import Thread
from typing import Protocol, TypeVar

__all__ = ["BackgroundThreads", "Executor", "Inline"]

Result = TypeVar("Result")


class Executor(Protocol):
    """Runs jobs, some time. The index has at most one job under way."""

    def submit(self, job: Callable[[], Result]) -> Future[Result]:
        """Takes a job; its future tells when it is done. Does not raise what the job raises."""
        ...


class BackgroundThreads:
    """A daemon thread a job."""

    def submit(self, job: Callable[[], Result]) -> Future[Result]:
        future: Future[Result] = Future()
        Thread(target=_run, args=(job, future), name="ids-merge", daemon=True).start()
        return future


class Inline:
    """At once, in the caller's thread: for a command that has nothing else to do, and for a repeatable test."""

    def submit(self, job: Callable[[], Result]) -> Future[Result]:
        future: Future[Result] = Future()
        _run(job, future)
        return future


def _run(job: Callable[[], Result], future: Future[Result]) -> None:
    """The job's outcome, whatever it is, into `future`."""
    if not future.set_running_or_notify_cancel():
        return
    try:
        result = job()
    except BaseException as error:  # noqa: BLE001 - the thread that asks for the result raises it
        future.set_exception(error)
    else:
        future.set_result(result)
