"""Rejected records, as an operator sees them: a line in the log now and then, and an end before a wrong schema goes on all night.

Owns: how often the log says it, and when `dead_letters.stop_above` is exceeded.
Always: at most one line a minute, and a last one at the end, so every rejected record is in one line's count. The limit is
checked after a commit: everything that was read is committed, with its dead letters, so the state is what it would be without
the limit. Counting starts with the process, or with a reload.
Never: changes an outcome.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final

from event_processor.configuration.configuration import DeadLettersOptions
from event_processor.model.contracts import Clock
from event_processor.model.telemetry import Telemetry

__all__ = ["RejectionReports"]

LINE_INTERVAL_S: Final = 60.0
WINDOW_RECORDS: Final = 10_000
"""A share is of this number of latest records. A commit counts as a whole, so after a large one it is of more."""


class RejectionReports(Telemetry):
    """Gets the commits, and reports to `telemetry`. Used by the loop's thread."""

    def __init__(self, telemetry: Telemetry, clock: Clock, limit: DeadLettersOptions, stop: Callable[[], None]) -> None:
        """`stop` is called once, after the commit that exceeds the limit."""
        self._telemetry: Final = telemetry
        self._clock: Final = clock
        self._limit: Final = limit
        self._stop: Final = stop
        self._next_line_s = clock.monotonic_s()
        self._count = 0
        self._first: dict[str, object] = {}
        self._rejected = 0
        self._window: Final[deque[tuple[int, int]]] = deque()
        """Records and rejected records of the latest commits: the fewest that cover the window."""
        self._window_records = 0
        self._window_rejected = 0
        self.excess = ""
        """How the limit was exceeded; empty while it is not."""

    def records_rejected(self, *, count: int, source: str, path: str, line: int, offset: int, reason: str) -> None:
        if not self._count:
            self._first = {"source": source, "path": path, "line": line, "offset": offset, "reason": reason}
        self._count += count
        self._say_if_due()

    def batch_committed(
        self,
        *,
        records: int,
        accepted: int,  # noqa: ARG002
        duplicate: int,  # noqa: ARG002
        rejected: int,
        released: int,  # noqa: ARG002
        content_bytes: int,  # noqa: ARG002
    ) -> None:
        self._rejected += rejected
        self._window.append((records, rejected))
        self._window_records += records
        self._window_rejected += rejected
        while self._window_records - self._window[0][0] >= WINDOW_RECORDS:
            old_records, old_rejected = self._window.popleft()
            self._window_records -= old_records
            self._window_rejected -= old_rejected
        if not self.excess and (excess := self._excess()):
            self.excess = excess
            self._stop()

    def progressed(self) -> None:
        self._say_if_due()

    def flush(self) -> None:
        """Says what no line has said yet."""
        if self._count:
            self._next_line_s = self._clock.monotonic_s() + LINE_INTERVAL_S
            self._telemetry.rejections_counted(count=self._count, **self._first)  # type: ignore[arg-type]  # as they came
            self._count = 0

    def _say_if_due(self) -> None:
        if self._count and self._clock.monotonic_s() >= self._next_line_s:
            self.flush()

    def _excess(self) -> str:
        count_max, share_max = self._limit.count_max, self._limit.share_max
        if count_max is not None and self._rejected > count_max:
            return f"{self._rejected:,} records were rejected since the start"
        if share_max is not None and self._window_rejected > share_max * max(self._window_records, WINDOW_RECORDS):
            return f"{self._window_rejected:,} of the last {self._window_records:,} records were rejected"
        return ""
