"""The outside world as connectors see it.

Owns: `World`, the contract of what is passed in.
Never: contains an implementation (`assembly/environment.py` does).
"""

from __future__ import annotations

from typing import Protocol

from event_processor.model.contracts import Clock, Wakeup
from event_processor.model.file_system import FileSystem
from event_processor.model.telemetry import Telemetry

__all__ = ["World"]


class World(Protocol):
    """The outside world. It is passed in, so that a test can replace it."""

    @property
    def fs(self) -> FileSystem:
        """The disk."""
        ...

    @property
    def clock(self) -> Clock:
        """The time."""
        ...

    @property
    def telemetry(self) -> Telemetry:
        """Gets a call for each thing that happens."""
        ...

    @property
    def wakeup(self) -> Wakeup:
        """Set it, from any thread, if there may be something to read."""
        ...
