"""The real clock. Everything else gets it through its constructor, so that a test can bring its own."""

from __future__ import annotations

import time
from datetime import UTC, datetime

from event_processor.contracts import Wakeup

__all__ = ["SystemClock", "utc_text", "wall_ns_of"]


class SystemClock:
    """The kernel's wall clock, which may jump, and its monotonic one, which does not."""

    def wall_ns(self) -> int:
        return time.time_ns()

    def monotonic_s(self) -> float:
        return time.monotonic()

    def wait(self, wakeup: Wakeup, timeout_s: float) -> None:
        wakeup.wait(timeout_s)


def utc_text(wall_ns: int) -> str:
    """RFC 3339 in UTC, to the millisecond."""
    return datetime.fromtimestamp(wall_ns / 1e9, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def wall_ns_of(text: str) -> int | None:
    """The nanoseconds that `utc_text` made `text` of, to the millisecond; None where it did not."""
    try:
        return int(datetime.fromisoformat(text).timestamp() * 1000) * 1_000_000
    except ValueError:
        return None
