"""One life of a lane that writes into a real receiver, until it is idle or killed.

Owns: how such a life ends, and the error that stands for a kill.
Always: a killed lane writes nothing more.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from event_processor.engine.delivery.reports import LaneReport
from support.lanes import Bench

__all__ = ["WITHIN_S", "KilledError", "killed", "lived"]

WITHIN_S: Final = 120.0


class KilledError(BaseException):
    """The process is gone."""


def killed() -> None:
    raise KilledError


def lived(make: Callable[[], Bench]) -> LaneReport:
    """One process that ends when nothing is pending, or when its lane failed. `make` is called in its loop. Raises `KilledError`."""

    async def main() -> LaneReport:
        process = make()
        try:
            async with asyncio.timeout(WITHIN_S):
                await process.idle()
            return await process.close()
        except KilledError:
            await process.kill()
            raise

    return asyncio.run(main())
