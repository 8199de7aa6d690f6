"""What is counted of the jobs of one process.

Owns: `JobCounts`: how many jobs started, ended and were refused, how long they waited and took, and when a place in the queue is free.
Always: any thread counts; each call returns at once.
Never: survives a restart; no answer but `Retry-After` depends on it.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from threading import Lock
from typing import Final, get_args

from event_processor.service.jobs.job import Reason

__all__ = ["JobCounts"]

REASONS: Final[tuple[Reason, ...]] = get_args(Reason)
MEMORY: Final = 8
"""How many jobs the expected duration is smoothed over."""
UNKNOWN_WAIT_S: Final = 5
WAIT_S_MAX: Final = 300


class JobCounts:
    """Counts from the start of the process on."""

    def __init__(self) -> None:
        self._lock: Final = Lock()
        self._ended: Final[Counter[str]] = Counter()
        self._refused: Final[Counter[str]] = Counter(dict.fromkeys(REASONS, 0))
        self._took_s: float | None = None
        self.started = 0
        self.wait_s = 0.0
        self.upload_bytes = 0

    def starts(self, wait_s: float) -> None:
        """A job is started for the first time, after it waited for so long."""
        with self._lock:
            self.started += 1
            self.wait_s += max(0.0, wait_s)

    def ends(self, state: str) -> None:
        """A job has ended for good."""
        with self._lock:
            self._ended[state] += 1

    def took(self, seconds: float) -> None:
        """A process with an input that was there has read it to its end, in so many seconds."""
        with self._lock:
            before_s = seconds if self._took_s is None else self._took_s
            self._took_s = before_s + (seconds - before_s) / MEMORY

    def refuses(self, reason: Reason) -> None:
        """A request is refused."""
        with self._lock:
            self._refused[reason] += 1

    def receives(self, size_bytes: int) -> None:
        """So many more bytes of an upload are durable."""
        with self._lock:
            self.upload_bytes += size_bytes

    @property
    def ended(self) -> Mapping[str, int]:
        """The jobs that ended, by state."""
        with self._lock:
            return dict(self._ended)

    @property
    def refused(self) -> Mapping[str, int]:
        """The requests that were refused, by reason: every reason is there."""
        with self._lock:
            return dict(self._refused)

    def next_place_s(self, processes_max: int) -> int:
        """In how many seconds one of these processes will probably be free for the next job: at least 1, at most `WAIT_S_MAX`."""
        with self._lock:
            took_s = self._took_s
        if took_s is None:
            return UNKNOWN_WAIT_S
        return min(WAIT_S_MAX, max(1, math.ceil(took_s / processes_max)))
