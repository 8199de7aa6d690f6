"""The real clock and the real wakeup, and times as text.

Owns: `SystemClock`, `SystemWakeup`, and RFC 3339 to and from nanoseconds.
Always: other code gets a clock and a wakeup through its constructor, so that a test can use its own.
Never: no other module reads the time.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime
from queue import Empty, SimpleQueue
from typing import Final

from event_processor.model.contracts import Wakeup

__all__ = ["SystemClock", "SystemWakeup", "utc_text", "wall_ns_of"]


class SystemClock:
    """The kernel's wall clock and its monotonic clock. The wall clock may jump, the monotonic clock does not."""

    def wall_ns(self) -> int:
        return time.time_ns()

    def monotonic_s(self) -> float:
        return time.monotonic()

    def wait(self, wakeup: Wakeup, timeout_s: float) -> None:
        wakeup.wait(timeout_s)


class SystemWakeup:
    """A `contracts.Wakeup` that a signal handler may set at any moment.

    A `threading.Event` does not allow this: it takes its lock in Python code. A handler that interrupts `clear` or `wait` would
    then wait for itself and never return. A `SimpleQueue` is reentrant.
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
        # An entry that is put during this loop stays. No other code takes entries out.
        for _ in range(self._settings.qsize()):
            self._settings.get_nowait()

    def set(self) -> None:
        # Two callers at the same time may both put an entry. That is fine: `clear` takes all of them.
        if self._settings.empty():
            self._settings.put(None)


def utc_text(wall_ns: int) -> str:
    """RFC 3339 in UTC, to the millisecond."""
    return datetime.fromtimestamp(wall_ns / 1e9, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def wall_ns_of(text: str) -> int | None:
    """Reads a text of `utc_text`: nanoseconds, exact to the millisecond. None if `text` is not a time."""
    try:
        return int(datetime.fromisoformat(text).timestamp() * 1000) * 1_000_000
    except ValueError:
        return None
