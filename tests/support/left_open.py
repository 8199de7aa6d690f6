"""What a test opened in this process: how it is closed, and whether a module of tests left anything open.

Always: what was registered is closed at the end of its test, whatever its outcome. A thread that was told to end has `DEADLINE_S` for it.
Never: a module that leaves a thread, or many descriptors, passes: a process of the tests has the whole suite before it.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Final

__all__ = ["DESCRIPTORS_MAX", "LeftOpen", "close_after_test", "close_what_is_open"]

DEADLINE_S: Final = 30.0
DESCRIPTORS_MAX: Final = 12
"""A module may leave so many: servers and warm processes are started once, by the first test that needs them, for all that follow."""
_registered: Final = ExitStack()


def close_after_test(close: Callable[[], object]) -> None:
    """Calls `close` at the end of this test."""
    _registered.callback(close)


def close_what_is_open() -> None:
    """Closes everything that was registered, the last first."""
    _registered.close()


class LeftOpen:
    """What was open in this process before a module of tests began."""

    def __init__(self) -> None:
        self._threads: Final = frozenset(threading.enumerate())
        self._descriptors: Final = _descriptors()

    def require_nothing(self, module: str) -> None:
        """Raises `AssertionError` if the module left a thread or many descriptors."""
        threads = [each for each in threading.enumerate() if each not in self._threads]
        for each in threads:
            each.join(DEADLINE_S)
        names = sorted(each.name for each in threads if each.is_alive())
        assert not names, f"{module}: it left threads that run: {names}; stop them, or use close_after_test"
        left = [target for number, target in _descriptors().items() if self._descriptors.get(number) != target]
        assert len(left) <= DESCRIPTORS_MAX, (
            f"{module}: it left {len(left)} descriptors open: {left[:5]}; close them, or use close_after_test"
        )


def _descriptors() -> dict[str, str]:
    """What each descriptor of this process is."""
    found = {}
    for path in Path("/proc/self/fd").iterdir():
        try:
            found[path.name] = os.readlink(path)
        except FileNotFoundError:
            continue
    return found
