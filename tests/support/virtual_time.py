"""An event loop whose time is virtual: it never waits, it moves its clock to the next timer."""

from __future__ import annotations

import asyncio
import math
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class _Selector(selectors.SelectSelector):
    """Instead of waiting, moves the clock."""

    def __init__(self) -> None:
        super().__init__()
        self.now_s = 1000.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if not ready:
            assert timeout is not None, "nothing can happen any more: a deadlock"
            self.now_s += timeout
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    """A loop in which an hour takes no time."""

    def __init__(self) -> None:
        self._virtual = _Selector()
        super().__init__(self._virtual)

    @property
    def _clock_resolution(self) -> float:
        """A timer is due at its time and not a nanosecond before, however late it is.

        The clock stands still while anything is ready. If timers were due a little early, two tasks that wait for that little would
        keep each other awake, and time would never pass.
        """
        return math.ulp(self.time())

    @_clock_resolution.setter
    def _clock_resolution(self, _of_a_real_clock: float) -> None:
        """The base class sets it."""

    def time(self) -> float:
        return self._virtual.now_s


def run_in_virtual_time(main: Coroutine[Any, Any, T]) -> T:
    """The result of a coroutine in virtual time."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(main)
