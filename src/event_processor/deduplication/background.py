"""Where merges run, so that no commit waits for one, and how they take turns.

Always: a job's result or failure is in its future; nothing is lost in a thread. Of jobs that take turns the least goes on.
Never: a job outlives the process: the threads are daemons, and what a job had not finished is an orphan file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from threading import Condition, Thread
from typing import Final, Protocol, TypeVar

__all__ = ["BackgroundThreads", "Executor", "Inline", "Turns"]

Result = TypeVar("Result")


class Executor(Protocol):
    """Runs jobs, some time. The index has at most one under way a level, and all but one of them wait for their turn."""

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


class Turns:
    """Lets one of several jobs go on: the one of the least rank that is under way. For the threads of all of them."""

    def __init__(self) -> None:
        self._changed: Final = Condition()
        self._ranks: Final[list[int]] = []

    @contextmanager
    def under_way(self, rank: int) -> Iterator[None]:
        """A job of this rank is under way within this context: from now on those of greater ranks wait for it."""
        with self._changed:
            self._ranks.append(rank)
        try:
            yield
        finally:
            with self._changed:
                self._ranks.remove(rank)
                self._changed.notify_all()

    def wait(self, rank: int) -> None:
        """Returns when no job of a lesser rank is under way; a job calls it between its steps."""
        with self._changed:
            self._changed.wait_for(lambda: self.may_go_on(rank))

    def may_go_on(self, rank: int) -> bool:
        """Whether no job of a lesser rank is under way."""
        return min(self._ranks, default=rank) >= rank


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
