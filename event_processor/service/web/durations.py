"""How long things take, over the life of one process: commits, and unread bytes.

Owns: `Durations`, a histogram; what the server knows of its process.
Always: bounded memory, whatever happens.
Never: survives a restart; nothing relies on it.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import accumulate
from threading import Lock
from typing import Final

from event_processor.service.lag_clock import LagClock
from event_processor.service.web.source_lags import SourceLags

__all__ = ["DurationCounts", "Durations", "ProcessFigures"]

LIMITS_S: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


@dataclass(frozen=True, slots=True)
class DurationCounts:
    """Durations by their size: `counts` has one more than there are limits. `sum_s` is their sum in seconds."""

    counts: tuple[int, ...] = (0,) * (len(LIMITS_S) + 1)
    sum_s: float = 0.0

    def cumulative(self) -> Iterator[tuple[float | None, int]]:
        """Yields each limit, and how many durations were at most that long; None for all."""
        return zip((*LIMITS_S, None), accumulate(self.counts), strict=True)


class Durations:
    """Counts durations. One thread adds, others read."""

    def __init__(self) -> None:
        self._lock: Final = Lock()
        self._counts: Final = [0] * (len(LIMITS_S) + 1)
        self._sum_s = 0.0

    def add(self, seconds: float) -> None:
        """Adds one. Returns at once."""
        place = bisect_left(LIMITS_S, seconds)
        with self._lock:
            self._counts[place] += 1
            self._sum_s += seconds

    def counts(self) -> DurationCounts:
        """All of them so far."""
        with self._lock:
            return DurationCounts(tuple(self._counts), self._sum_s)


class ProcessFigures:
    """What the server knows of its process over reloads. One thread adds, one thread at a time looks."""

    def __init__(self) -> None:
        self.commits: Final = Durations()
        self._lag: Final = LagClock()
        self._committed_bytes = 0
        self.lag_s = 0.0
        """How long the oldest unread byte has been seen waiting, at the last look."""
        self.source_lags: Final = SourceLags()
        self.lag_s_by_source: Mapping[str, float | None] = {}
        """The same by source; None if that cannot be measured."""

    def committed(self, content_bytes: int) -> None:
        """A checkpoint is durable that covers so many more bytes. Returns at once."""
        self._committed_bytes += content_bytes

    @property
    def committed_bytes(self) -> int:
        """The bytes that this process has committed. Take it before you read the checkpoint: a later commit must not count."""
        return self._committed_bytes

    def look(self, now_s: float, committed_bytes: int, lag_bytes: int) -> None:
        """See `LagClock.look`."""
        self.lag_s = self._lag.look(now_s, committed_bytes, lag_bytes)
