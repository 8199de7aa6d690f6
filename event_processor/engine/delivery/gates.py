"""The gates of all services of one process, over its reloads.

Owns: which gate a service has, how a changed rate takes over, and how long a start waits for the requests of the process before.
Always: however a process ended, no request of the next one comes too early for a service's limit. After a clean end all answers were
received, so a period is enough. After an unclean end, a request may be on its way for as long as its timeout.
Never: stores times: the clocks of two processes cannot be compared.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from enum import Enum
from typing import Final

from event_processor.engine.delivery.cursor_file import DELIVERY_FOLDER
from event_processor.engine.delivery.gate import Gate
from event_processor.engine.delivery.limiter import Limiter, Rate
from event_processor.model.remote import ServiceOptions
from event_processor.storage.durable import FileSystem, prepare_directory, read_file, replace_file

__all__ = ["Before", "Gates", "begin_sending", "end_sending"]

MARK_NAME: Final = "sending"
RUNNING: Final = b"a process sends, or one was killed while it sent\n"
ENDED: Final = b"the last process that sent ended cleanly\n"
CONCURRENCY: Final = 4
"""How many requests run at once if neither a number nor a rate is configured."""


class Before(Enum):
    """How the process before ended, as far as its requests matter."""

    NOTHING_SENT = "nothing was sent"
    CLEAN = "clean"
    UNCLEAN = "unclean"


def begin_sending(fs: FileSystem, directory: str) -> Before:
    """Says how the process before ended, and marks that this one sends, durably. Raises `StorageError`."""
    prepare_directory(fs, os.path.join(directory, DELIVERY_FOLDER))
    path = os.path.join(directory, DELIVERY_FOLDER, MARK_NAME)
    found = read_file(fs, path)
    # If we die before this, nothing was sent by this process. If we die after it, the next one finds the mark.
    replace_file(fs, path, [RUNNING], "new")
    if found is None:
        return Before.NOTHING_SENT
    return Before.CLEAN if found == ENDED else Before.UNCLEAN


def end_sending(fs: FileSystem, directory: str) -> None:
    """Marks that every request was answered or timed out. If we die before, the next start waits longer. Raises `StorageError`."""
    replace_file(fs, os.path.join(directory, DELIVERY_FOLDER, MARK_NAME), [ENDED], "new")


class Gates:
    """The gates by service. Used by one delivery loop at a time."""

    def __init__(self, before: Before, now: Callable[[], float], random: Callable[[], float]) -> None:
        """`now`: the monotonic clock of every delivery loop, in seconds."""
        self._before: Final = before
        self._now: Final = now
        self._random: Final = random
        self._begun_s: Final = now()
        self._gates: Final[dict[str, Gate]] = {}
        self._is_first = True

    def of(self, name: str, options: ServiceOptions) -> Gate:
        """The gate of the service `name` with these options; the same one as before a reload."""
        rate = None if options.requests_per_s is None else Rate.of(options.requests_per_s)
        concurrency = _concurrency(options, rate)
        gate = self._gates.get(name)
        if gate is None:
            limiter = None if rate is None else Limiter(rate, self._first_s(rate, options.timeout_s))
            gate = self._gates[name] = Gate(concurrency, limiter, self._random, timeout_s=options.timeout_s)
        else:
            limiter = self._limiter(gate.limiter, rate, max(gate.timeout_s, options.timeout_s))
            gate.change(concurrency, limiter, options.timeout_s)
        return gate

    def _first_s(self, rate: Rate, timeout_s: float) -> float:
        """When the first request of a gate that is new may start."""
        if self._gates and not self._is_first:
            # The same service may have had another name before the reload.
            return self._now() + timeout_s + rate.per_s
        return self._begun_s + self._blocked_s(rate, timeout_s)

    def begin(self) -> None:
        """A delivery loop begins. Only the gates of the first loop continue what the process before sent."""
        self._is_first = not self._gates

    def _blocked_s(self, rate: Rate, timeout_s: float) -> float:
        if self._before is Before.NOTHING_SENT:
            return 0.0
        return rate.per_s + (timeout_s if self._before is Before.UNCLEAN else 0.0)

    def _limiter(self, present: Limiter | None, rate: Rate | None, timeout_s: float) -> Limiter | None:
        """The limiter after a reload. With another rate it starts when the requests under the present one are over."""
        if rate is None or (present is not None and present.rate == rate):
            return None if rate is None else present
        now_s = self._now()
        if present is None:
            # Until now nothing was counted, so requests may be on their way.
            return Limiter(rate, now_s + timeout_s + rate.per_s)
        return Limiter(rate, present.busy_until_s(now_s, timeout_s) + max(0, rate.per_s - present.rate.per_s))


def _concurrency(options: ServiceOptions, rate: Rate | None) -> int | None:
    """How many requests may run at once; None if the service's answers decide."""
    if options.concurrency == "auto":
        return None
    return options.concurrency or (CONCURRENCY if rate is None else rate.requests)
