"""What a test opened in this process, and how it is closed.

Always: what was registered is closed at the end of its test, whatever its outcome.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from typing import Final

__all__ = ["close_after_test", "close_what_is_open"]

_registered: Final = ExitStack()


def close_after_test(close: Callable[[], object]) -> None:
    """Calls `close` at the end of this test."""
    _registered.callback(close)


def close_what_is_open() -> None:
    """Closes everything that was registered, the last first."""
    _registered.close()
