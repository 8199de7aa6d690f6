"""Reads what is committed in a state directory: the checkpoint, the committed lengths of its files, the owner of the lock.

Owns: how an operation finds, requires and locks a state.
Always: reading needs no lock. A checkpoint is replaced by a rename, so a reader always sees a whole one.
Never: changes a state; reads a file beyond its committed length, because bytes after it were never committed.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from event_processor.assembly import LOCK_NAME, Environment, lock_state
from event_processor.configuration.configuration import Configuration
from event_processor.engine.checkpoint import CheckpointStore
from event_processor.engine.checkpoint_document import Checkpoint
from event_processor.model.errors import InputGoneError
from event_processor.storage.durable import OperatingSystem, storage_boundary, storage_call

__all__ = [
    "UnsyncedFileSystem",
    "committed_length",
    "lock_owner",
    "owned_state",
    "owner_of",
    "peek",
    "require_checkpoint",
    "scratch_directory",
]


class UnsyncedFileSystem(OperatingSystem):
    """The real file system without fsync."""

    def begin_writing(self, descriptor: int) -> None:
        """Does nothing, as `sync`."""

    def sync(self, descriptor: int) -> None:
        """Does nothing: nothing here has to survive a crash."""

    def sync_directory(self, path: str) -> None:
        """Does nothing, as `sync`."""


@contextmanager
def scratch_directory() -> Iterator[str]:
    """Creates a folder below $TMPDIR and removes it at the end. Raises `StorageError`."""
    with storage_call("mkdir", tempfile.gettempdir()):
        folder = tempfile.TemporaryDirectory(prefix="event-processor-")
    with folder as path:
        yield path


@contextmanager
def owned_state(configuration: Configuration, environment: Environment) -> Iterator[None]:
    """Holds the lock of the state directory. Raises `LockedError`, which names the owner, `StorageError`."""
    with storage_boundary(str(configuration.state.dir)):
        lock = lock_state(configuration, environment)
    try:
        yield
    finally:
        lock.release()


OWNER_BYTES_MAX: Final = 200


def peek(configuration: Configuration, environment: Environment) -> Checkpoint | None:
    """The checkpoint that a start would use; None if there is no state. Raises `StateError`, `StorageError`."""
    return CheckpointStore(environment.fs, str(configuration.state.dir), environment.telemetry).peek()


def require_checkpoint(configuration: Configuration, environment: Environment) -> Checkpoint:
    """As `peek`, for callers that need a checkpoint. Raises `InputGoneError` if there is no state."""
    checkpoint = peek(configuration, environment)
    if checkpoint is None:
        raise InputGoneError(
            f"{configuration.state.dir}: no state here yet",
            hint="name the state's folder with --state, or create a state: event-processor run --once",
        )
    return checkpoint


def committed_length(checkpoint: Checkpoint, name: str) -> int:
    """The committed length in bytes of one of our own append files."""
    return checkpoint.state.appended.get(name, 0)


def lock_owner(configuration: Configuration, environment: Environment) -> str | None:
    """The present owner of the state directory, as the lock file describes it; None if there is none. Raises `StorageError`."""
    return owner_of(str(configuration.state.dir), environment)


def owner_of(directory: str, environment: Environment) -> str | None:
    """As `lock_owner`. Tries the lock on a separate descriptor and releases it at once."""
    path = os.path.join(directory, LOCK_NAME)
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
