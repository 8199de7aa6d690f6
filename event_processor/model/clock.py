"""The real clock, and what the loop waits for. Everything else gets them through its constructor, so that a test can bring its own."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from queue import Empty, SimpleQueue
from typing import Final

from event_processor.model.contracts import Wakeup

__all__ = ["SystemClock", "SystemWakeup", "utc_text", "wall_ns_of"]


class SystemClock:
    """The kernel's wall clock, which may jump, and its monotonic one, which does not."""

    def wall_ns(self) -> int:
        return time.time_ns()

    def monotonic_s(self) -> float:
        return time.monotonic()

    def wait(self, wakeup: Wakeup, timeout_s: float) -> None:
        wakeup.wait(timeout_s)


class SystemWakeup:
    """`contracts.Wakeup` that a signal handler may set whatever it interrupts.

    A `threading.Event` may not: its lock is taken in Python, and a handler that runs within `clear` or `wait` would wait for
    itself, for ever. A `SimpleQueue` can be entered anew.
    """

    def __init__(self) -> None:
        self._settings: Final[SimpleQueue[None]] = SimpleQueue()

    def wait(self, timeout: float | None = None) -> bool:
        try:
            self._settings.get(timeout=timeout)
        except Empty:
            return False
        self.set()
        return True

    def clear(self) -> None:
        # What is put meanwhile stays. Nobody else takes any.
        for _ in range(self._settings.qsize()):
            self._settings.get_nowait()

    def set(self) -> None:
        # Two who set it at once may both put: `clear` takes all.
        if self._settings.empty():
            self._settings.put(None)


def utc_text(wall_ns: int) -> str:
    """RFC 3339 in UTC, to the millisecond."""
    return datetime.fromtimestamp(wall_ns / 1e9, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def wall_ns_of(text: str) -> int | None:
    """The nanoseconds that `utc_text` made `text` of, to the millisecond; None where it did not."""
    try:
        return int(datetime.fromisoformat(text).timestamp() * 1000) * 1_000_000
    except ValueError:
        return None
