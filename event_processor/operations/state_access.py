"""What is committed in a state directory, for those who only look: the checkpoint, its files' committed bytes, the lock's owner.

Always: nothing is changed here, and no lock is needed; a checkpoint is replaced by a rename, so that whoever reads sees one whole.
Never: a file is not read beyond its committed length, since what lies there was never committed.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from event_processor.assembly import LOCK_NAME, Environment, lock_state
from event_processor.configuration.configuration import Configuration
from event_processor.engine.checkpoint import Checkpoint, CheckpointStore
from event_processor.model.errors import InputGoneError
from event_processor.storage.durable import OperatingSystem, storage_boundary, storage_call

__all__ = [
    "UnsyncedFileSystem",
    "committed_length",
    "lock_owner",
    "owned_state",
    "peek",
    "require_checkpoint",
    "scratch_directory",
]


class UnsyncedFileSystem(OperatingSystem):
    """The real file system, with each fsync left out."""

    def begin_writing(self, descriptor: int) -> None:
        """Nothing, as for `sync`."""

    def sync(self, descriptor: int) -> None:
        """Nothing: what a crash takes away here is not missed."""

    def sync_directory(self, path: str) -> None:
        """Nothing, likewise."""


@contextmanager
def scratch_directory() -> Iterator[str]:
    """A new folder below $TMPDIR, gone at the end. Raises `StorageError`."""
    with storage_call("mkdir", tempfile.gettempdir()):
        folder = tempfile.TemporaryDirectory(prefix="event-processor-")
    with folder as path:
        yield path


@contextmanager
def owned_state(configuration: Configuration, environment: Environment) -> Iterator[None]:
    """The state directory is ours inside. Raises `LockedError` naming who holds it, `StorageError`."""
    with storage_boundary(str(configuration.state.dir)):
        lock = lock_state(configuration, environment)
    try:
        yield
    finally:
        lock.release()


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
