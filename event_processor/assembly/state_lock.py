"""The owner of a state directory.

Owns: the lock of a state directory, and how this process is named in it.
Always: the caller releases the lock. The lock file is never removed.
Never: opens a pipeline.
"""

from __future__ import annotations

import os
from typing import Final

from event_processor.assembly.environment import Environment
from event_processor.configuration.configuration import Configuration
from event_processor.model.clock import SystemWakeup
from event_processor.model.errors import LockedError
from event_processor.storage.durable import prepare_directory, storage_boundary
from event_processor.storage.lock import DirectoryLock

__all__ = ["LOCK_NAME", "lock_state", "process_name", "this_process"]

LOCK_NAME: Final = "lock"
LOCK_TRIES: Final = 3
LOCK_RETRY_S: Final = 0.05


def this_process() -> str:
    """This process as the lock file and `conditions.json` describe it."""
    return process_name(os.getpid())


def process_name(process_id: int) -> str:
    """A process of this machine as a lock file describes it."""
    return f"process {process_id} on {os.uname().nodename}"


def lock_state(configuration: Configuration, environment: Environment) -> DirectoryLock:
    """Creates the state directory if it is missing, and becomes its owner. Raises `LockedError`, `StorageError`."""
    directory = configuration.state.dir
    prepare_directory(environment.fs, directory)
    path, owner = os.path.join(directory, LOCK_NAME), this_process()
    with storage_boundary(directory):
        for _ in range(LOCK_TRIES - 1):
            try:
                return DirectoryLock(environment.fs, path, owner)
            except LockedError:
                # A process that only checks the lock holds it for an instant.
                environment.clock.wait(SystemWakeup(), LOCK_RETRY_S)
        return DirectoryLock(environment.fs, path, owner)
