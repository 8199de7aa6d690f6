"""One receiver for two lanes of the same sink: the main one, and that of its retried records.

Owns: `SharedReceiver`: when the receiver is opened, and when it is closed.
Always: it is opened once, before the first request, and closed once, after the last lane has closed its share.
Never: sends.
"""

from __future__ import annotations

import asyncio
from typing import Final

from event_processor.model.answers import Answer
from event_processor.model.delivery import Receiver, Request

__all__ = ["SharedReceiver"]


class SharedReceiver:
    """Used in one event loop."""

    def __init__(self, receiver: Receiver) -> None:
        """Opens nothing yet."""
        self.receiver: Final = receiver
        self.shares = 0
        self._opening: asyncio.Future[None] | None = None

    def share(self) -> Receiver:
        """A receiver for one more lane. The lane closes it."""
        self.shares += 1
        return _Share(self)

    async def open(self) -> None:
        """Opens the receiver, or waits until it is open."""
        if self._opening is None:
            self._opening = asyncio.ensure_future(self.receiver.open())
        await asyncio.shield(self._opening)

    async def close(self) -> None:
        """One lane has ended."""
        self.shares -= 1
        if not self.shares:
            await self.receiver.close()


class _Share:
    """See `Receiver`."""

    def __init__(self, shared: SharedReceiver) -> None:
        self._shared: Final = shared

    async def open(self) -> None:
        await self._shared.open()

    async def deliver(self, request: Request) -> Answer:
        return await self._shared.receiver.deliver(request)

    async def refresh(self) -> None:
        await self._shared.receiver.refresh()

    async def close(self) -> None:
        await self._shared.close()
