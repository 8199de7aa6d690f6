"""The world outside, passed in.

Owns: what a pipeline is given beside its configuration: disk, clock, telemetry, names, threads.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from event_processor.deduplication.index import IndexLimits
from event_processor.deduplication.merge import BackgroundThreads, Executor
from event_processor.engine.commit import CommitExecutor, CommitThread
from event_processor.model.clock import SystemClock, SystemWakeup
from event_processor.model.contracts import Clock, Wakeup
from event_processor.model.telemetry import Telemetry
from event_processor.storage.durable import FileSystem, OperatingSystem

__all__ = ["Environment"]

TOKEN_BYTES: Final = 8


@dataclass(frozen=True, slots=True)
class Environment:
    """The world outside, passed in: a test brings its own."""

    fs: FileSystem = field(default_factory=OperatingSystem)
    clock: Clock = field(default_factory=SystemClock)
    telemetry: Telemetry = field(default_factory=Telemetry)
    wakeup: Wakeup = field(default_factory=SystemWakeup)
    random_bytes: Callable[[int], bytes] = secrets.token_bytes
    background: Callable[[], Executor] = BackgroundThreads
    """Where an index merges."""
    committing: Callable[[], CommitExecutor] = CommitThread
    """Where a processor commits while it reads on; asked once for each processor, which closes it."""
    index_limits: IndexLimits = field(default_factory=IndexLimits)

    def new_token(self) -> str:
        """A part of a name that was never used before and will not be again."""
        return self.random_bytes(TOKEN_BYTES).hex()
