"""Where a test lets commits run: late, by chance, or in a thread that waits for the test.

Always: at most one commit is under way, as the loop promised; a second one fails the test.
Never: no thread here but `GatedCommits`'.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from random import Random
from threading import Event as Flag
from typing import Final

from event_processor.engine.commit import CommitExecutor, CommitThread

__all__ = ["DEADLINE_S", "Committing", "GatedCommits", "LateCommits", "NoCommits", "RandomCommits"]

Committing = Callable[[], CommitExecutor]
DEADLINE_S: Final = 20.0
"""How long a thread waits for what a right program does at once."""


class _Postponed(Future[int]):
    """A job that runs when its result is asked for, or at a look at which `runs_now` says so."""

    def __init__(self, job: Callable[[], int], runs_now: Callable[[], bool]) -> None:
        super().__init__()
        self._job: Callable[[], int] | None = job
        self._runs_now: Final = runs_now

    def has_run(self) -> bool:
        return self._job is None

    def done(self) -> bool:
        if not self.has_run() and self._runs_now():
            self._run()
        return self.has_run()

    def result(self, timeout: float | None = None) -> int:
        if not self.has_run():
            self._run()
        return super().result(timeout)

    def _run(self) -> None:
        job, self._job = self._job, None
        assert job is not None
        try:
            result = job()
        except BaseException as error:  # noqa: BLE001 - as the real thread does
            self.set_exception(error)
        else:
            self.set_result(result)


class RandomCommits:
    """A commit runs at some look that the loop takes at it, by chance; at the latest when its result is asked for."""

    def __init__(self, seed: int, *, odds: float = 0.3) -> None:
        self.submitted = 0
        self._random: Final = Random(seed)
        self._odds: Final = odds
        self._last: _Postponed | None = None

    def submit(self, job: Callable[[], int]) -> Future[int]:
        assert self._last is None or self._last.has_run(), "two commits are under way"
        self.submitted += 1
        self._last = _Postponed(job, lambda: self._random.random() < self._odds)
        return self._last

    def close(self) -> None:
        assert self._last is None or self._last.has_run(), "closed under a commit"


class LateCommits(RandomCommits):
    """A commit runs only when its result is asked for: as late as can be."""

    def __init__(self) -> None:
        super().__init__(0, odds=0.0)


class NoCommits:
    """Takes none: for a log without a backlog."""

    def submit(self, job: Callable[[], int]) -> Future[int]:
        raise AssertionError(f"{job} was handed over")

    def close(self) -> None:
        """Nothing was begun."""


class GatedCommits(CommitThread):
    """The real thread, in which each commit first waits until the test sets `gate`."""

    def __init__(self) -> None:
        super().__init__()
        self.gate: Final = Flag()

    def submit(self, job: Callable[[], int]) -> Future[int]:
        self.gate.clear()

        def wait_first() -> int:
            assert self.gate.wait(DEADLINE_S), "the loop did not go on while the commit was under way"
            return job()

        return super().submit(wait_first)
