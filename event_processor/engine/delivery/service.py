"""A service as the lanes of one delivery loop see it: a line in which requests wait for the gate.

Owns: the waiting. The gate decides.
Always: who came first is let through first, so that no lane starves another.
Never: sends.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from event_processor.engine.delivery.gate import Gate, Ticket
from event_processor.model.answers import Answer

__all__ = ["Service"]


class Service:
    """The line before a gate. Used by the tasks of one event loop."""

    def __init__(self, gate: Gate, now: Callable[[], float]) -> None:
        """`now`: the gate's clock, in seconds."""
        self.gate: Final = gate
        self._now: Final = now
        self._line: Final = asyncio.Lock()
        self._released: Final = asyncio.Event()
        self._watchers: Final[list[Callable[[], object]]] = []

    def watch(self, watcher: Callable[[], object]) -> None:
        """Calls `watcher` whenever an outage begins or ends."""
        self._watchers.append(watcher)

    async def turn(self) -> Ticket:
        """Waits until a request may start. Give the ticket back with `done`."""
        async with self._line:
            while True:
                self._released.clear()
                now_s = self._now()
                ticket = self.gate.acquire(now_s)
                if ticket is not None:
                    return ticket
                await _wait(self._released, self.gate.wait_s(now_s))

    def give_up(self, ticket: Ticket) -> None:
        """The request was given up."""
        self.gate.give_up(ticket, self._now())
        self._released.set()

    def done(self, ticket: Ticket, answer: Answer | None) -> None:
        """The request was answered (None: it was never sent)."""
        before = self.gate.outage_since_s
        self.gate.release(ticket, self._now(), answer)
        self._released.set()
        if (before is None) != (self.gate.outage_since_s is None):
            for watcher in self._watchers:
                watcher()


async def _wait(event: asyncio.Event, timeout_s: float | None) -> None:
    """Waits until the event is set, at most `timeout_s` seconds; None: as long as it takes."""
    try:
        async with asyncio.timeout(timeout_s):
            await event.wait()
    except TimeoutError:
        return
