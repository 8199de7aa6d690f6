"""The world outside, passed in.

Owns: what a pipeline gets besides its configuration: disk, clock, telemetry, names, threads.
Always: the threads' code is imported when a pipeline asks for them: a command that only reads needs none of it.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from event_processor.deduplication.limits import IndexLimits
from event_processor.model.clock import SystemClock, SystemWakeup
from event_processor.model.contracts import Clock, Wakeup
from event_processor.model.telemetry import Telemetry
from event_processor.storage.durable import FileSystem, OperatingSystem

if TYPE_CHECKING:
    from event_processor.deduplication.merge import Executor
    from event_processor.engine.commit import CommitExecutor

__all__ = ["Environment"]

TOKEN_BYTES: Final = 8


def _background_threads() -> Executor:
    from event_processor.deduplication.merge import BackgroundThreads  # noqa: PLC0415 - only to run

    return BackgroundThreads()


def _commit_thread() -> CommitExecutor:
    from event_processor.engine.commit import CommitThread  # noqa: PLC0415 - only to run

    return CommitThread()


@dataclass(frozen=True, slots=True)
class Environment:
    """The world outside, passed in, so that a test can replace it."""

    fs: FileSystem = field(default_factory=OperatingSystem)
    clock: Clock = field(default_factory=SystemClock)
    telemetry: Telemetry = field(default_factory=Telemetry)
    wakeup: Wakeup = field(default_factory=SystemWakeup)
    random_bytes: Callable[[int], bytes] = secrets.token_bytes
    background: Callable[[], Executor] = _background_threads
    """Makes the executor that merges the index's segments."""
    committing: Callable[[], CommitExecutor] = _commit_thread
    """Makes the executor for commits in the background. Called once per processor, which closes it."""
    index_limits: IndexLimits = field(default_factory=IndexLimits)

    def new_token(self) -> str:
        """Part of a name that was never used before and will never be used again."""
        return self.random_bytes(TOKEN_BYTES).hex()
