"""What is committed in a state directory, for those who only look: the checkpoint, its files' committed bytes, the lock's owner.

Always: nothing is changed here, and no lock is needed; a checkpoint is replaced by a rename, so that whoever reads sees one whole.
Never: a file is not read beyond its committed length, since what lies there was never committed.
"""

from __future__ import annotations

import os
from typing import Final

from event_processor.assembly import LOCK_NAME, Environment
from event_processor.checkpoint import Checkpoint, CheckpointStore
from event_processor.config import Configuration
from event_processor.durable import FileSystem, committed_lines, storage_call
from event_processor.errors import InputGoneError

__all__ = ["committed_length", "count_lines", "lock_owner", "peek", "require_checkpoint"]

OWNER_BYTES_MAX: Final = 200


def peek(configuration: Configuration, environment: Environment) -> Checkpoint | None:
    """The checkpoint as a start would find it; None where no state is. Raises `StateError`, `StorageError`."""
    return CheckpointStore(environment.fs, str(configuration.state.dir), environment.telemetry).peek()


def require_checkpoint(configuration: Configuration, environment: Environment) -> Checkpoint:
    """The same, where there is nothing to say without one. Raises `InputGoneError` where no state is."""
    checkpoint = peek(configuration, environment)
    if checkpoint is None:
        raise InputGoneError(
            f"{configuration.state.dir}: no state here yet",
            hint="name the state's folder with --state, or make one: event-processor run --once",
        )
    return checkpoint


def committed_length(checkpoint: Checkpoint, name: str) -> int:
    """How many bytes of one of our own append files are committed."""
    return checkpoint.state.appended.get(name, 0)


def count_lines(fs: FileSystem, path: str, length_bytes: int) -> int:
    """How many lines a file's first `length_bytes` hold. Raises as `committed_lines` does."""
    return sum(map(len, committed_lines(fs, path, length_bytes)))


def lock_owner(configuration: Configuration, environment: Environment) -> str | None:
    """Who owns the state directory now, in the words of the lock's file; None where nobody does. Raises `StorageError`.

    The lock is tried on a descriptor of its own, and given back at once.
    """
    path = os.path.join(str(configuration.state.dir), LOCK_NAME)
    fs = environment.fs
    with storage_call("lock", path):
        if fs.status(path) is None:
            return None
        descriptor = fs.open(path, os.O_RDONLY)
        try:
            if fs.lock(descriptor):
                return None
            owner = fs.read(descriptor, OWNER_BYTES_MAX, 0).decode("utf-8", "replace").strip()
        finally:
            fs.close(descriptor)
    return owner or "another process"
