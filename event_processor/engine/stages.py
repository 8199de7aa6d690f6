"""Where the time of the loop goes.

Owns: the names of the stages, `StageClock`, and a commit that measures itself.
Always: each moment of the loop belongs to one stage, so the stages add up to the time that passed. Commits may run beside the loop: then only
the time in which the loop waits for one counts, divided as the commit was.
Never: is relied on; reads a clock more than a few times for a chunk.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from event_processor.model.contracts import Clock

__all__ = [
    "COMMIT",
    "DECODING",
    "FSYNC",
    "IDS",
    "ORDER",
    "READING",
    "STAGES",
    "TOTALS",
    "WAITING",
    "StageClock",
    "TimedCommit",
    "unmeasured",
]

WAITING: Final = "waiting"
READING: Final = "reading"
DECODING: Final = "decoding"
IDS: Final = "ids"
ORDER: Final = "order"
TOTALS: Final = "totals"
FSYNC: Final = "fsync"
COMMIT: Final = "commit"
STAGES: Final = (WAITING, READING, DECODING, IDS, ORDER, TOTALS, FSYNC, COMMIT)
"""`order`: the order stage, windows and aggregates. `totals`: the rest of a step. `commit`: without its fsyncs."""


def unmeasured(_stage: str) -> None:
    """Measures nothing."""


class TimedCommit:
    """A commit that measures itself. `seconds`, `syncs` and `sync_s` (of its fsyncs) are 0 until it is done."""

    def __init__(self, job: Callable[[], int], clock: Clock, synced: Callable[[], tuple[int, float]]) -> None:
        """`synced`: the fsyncs of the calling thread so far, and their seconds."""
        self._job: Final = job
        self._clock: Final = clock
        self._synced: Final = synced
        self.seconds = 0.0
        self.syncs = 0
        self.sync_s = 0.0

    def __call__(self) -> int:
        """Runs it. Returns the checkpoint's size in bytes, or raises the failure."""
        began_s, (count, sync_s) = self._clock.monotonic_s(), self._synced()
        checkpoint_bytes = self._job()
        self.seconds = self._clock.monotonic_s() - began_s
        now_count, now_s = self._synced()
        self.syncs, self.sync_s = now_count - count, now_s - sync_s
        return checkpoint_bytes


class StageClock:
    """Adds the loop's time up by stage. Used by the loop's thread."""

    def __init__(self, clock: Clock, synced: Callable[[], tuple[int, float]]) -> None:
        """`synced`: as in `TimedCommit`."""
        self._clock: Final = clock
        self._synced: Final = synced
        self._last_s: float | None = None
        """None before the first call: what was before it is no time of the loop."""
        self._seconds: Final = dict.fromkeys(STAGES, 0.0)
        self._syncs = 0
        self._sync_s = 0.0

    def lap(self, stage: str) -> None:
        """The time since the last call was for `stage`."""
        self._seconds[stage] += self._passed_s()

    def timed(self, job: Callable[[], int]) -> TimedCommit:
        """A commit that measures itself."""
        return TimedCommit(job, self._clock, self._synced)

    def committed(self, commit: TimedCommit) -> None:
        """The loop has run this commit, or waited for it, since the last call."""
        passed_s = self._passed_s()
        sync_s = passed_s * commit.sync_s / commit.seconds if commit.seconds else 0.0
        self._seconds[FSYNC] += sync_s
        self._seconds[COMMIT] += passed_s - sync_s
        self._syncs += commit.syncs
        self._sync_s += commit.sync_s

    def _passed_s(self) -> float:
        """The seconds since the last call."""
        now_s = self._clock.monotonic_s()
        before_s, self._last_s = self._last_s, now_s
        return 0.0 if before_s is None else now_s - before_s

    def seconds(self) -> tuple[float, ...]:
        """The seconds of each of `STAGES` so far."""
        return tuple(self._seconds.values())

    def syncs(self) -> tuple[int, float]:
        """The fsyncs of all commits so far, beside the loop too, and their seconds."""
        return self._syncs, self._sync_s
