"""The lock around an operation that changes a state: a daemon must be stopped first, and none can start meanwhile."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from event_processor.assembly import Environment, lock_state
from event_processor.config import Configuration
from event_processor.durable import storage_boundary

__all__ = ["owned_state"]


@contextmanager
def owned_state(configuration: Configuration, environment: Environment) -> Iterator[None]:
    """The state directory is ours inside. Raises `LockedError` naming who holds it, `StorageError`."""
    with storage_boundary(str(configuration.state.dir)):
        lock = lock_state(configuration, environment)
    try:
        yield
    finally:
        lock.release()
