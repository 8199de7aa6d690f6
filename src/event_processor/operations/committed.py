"""What is committed in a state directory, for those who only look: the checkpoint, its files' committed bytes, the lock's owner.

Always: nothing is changed here, and no lock is needed; a checkpoint is replaced by a rename, so that whoever reads sees one whole.
Never: a file is not read beyond its committed length, since what lies there was never committed.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Final

from event_processor.assembly import LOCK_NAME, Environment
from event_processor.checkpoint import Checkpoint, CheckpointStore
from event_processor.config import Configuration
from event_processor.durable import FileSystem, read_range, storage_call
from event_processor.errors import InputGoneError, StateError

__all__ = ["committed_length", "committed_lines", "count_lines", "lock_owner", "peek", "require_checkpoint"]

READ_BYTES: Final = 1_048_576
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


def committed_lines(fs: FileSystem, path: str, length_bytes: int) -> Iterator[list[bytes]]:
    """The lines of a file's first `length_bytes`, without their ends, in order; in lists, so that a file of any size may be read.

    Raises `StateError` where the file is shorter, `StorageError`.
    """
    if not length_bytes:
        return
    with storage_call("read", path):
        descriptor = fs.open(path, os.O_RDONLY) if fs.status(path) is not None else None
    if descriptor is None:
        raise _too_short(path, length_bytes)
    try:
        rest = b""
        offset = 0
        while offset < length_bytes:
            with storage_call("read", path):
                block = read_range(fs, descriptor, min(READ_BYTES, length_bytes - offset), offset)
            if not block:
                raise _too_short(path, length_bytes)
            offset += len(block)
            *lines, rest = (rest + block).split(b"\n")
            yield lines
        if rest:
            yield [rest]
    finally:
        fs.close(descriptor)


def count_lines(fs: FileSystem, path: str, length_bytes: int) -> int:
    """How many lines a file's first `length_bytes` hold. Raises as `committed_lines` does."""
    return sum(map(len, committed_lines(fs, path, length_bytes)))


def _too_short(path: str, length_bytes: int) -> StateError:
    return StateError(
        f"{path}: gone or shorter than the {length_bytes} bytes of it that were committed",
        hint="put the file back, or make the state anew from the log: event-processor replay",
    )


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
