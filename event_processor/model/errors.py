"""The tree of errors: a class says what the caller must do, and carries the exit code of a process that ends by it.

Always: a message says where, what, and what now; its facts stay as attributes.
Never: an error here is not caught to be ignored. What a *record* does wrong is no error but an outcome (see `event.py`).
"""

from __future__ import annotations

import errno as errno_names
from enum import IntEnum
from typing import Final

__all__ = [
    "ConfigurationError",
    "EventProcessorError",
    "ExitCode",
    "InputGoneError",
    "LockedError",
    "StateError",
    "StorageError",
    "UsageError",
]


class ExitCode(IntEnum):
    """How a process ends; the numbers are those of sysexits.h, so that a supervisor can tell them apart."""

    OK = 0
    USAGE = 64
    STATE = 65
    INPUT_GONE = 66
    NOT_KEEPING_UP = 69
    INTERNAL = 70
    STORAGE = 74
    LOCKED = 75
    CONFIGURATION = 78


class EventProcessorError(Exception):
    """What every error of this package is. `hint` says what now; it is printed below the message."""

    exit_code: ExitCode = ExitCode.INTERNAL

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message: Final = message
        self.hint: Final = hint

    def __str__(self) -> str:
        return f"{self.message}\n  {self.hint}" if self.hint else self.message


class UsageError(EventProcessorError):
    """The command was called wrongly: correct the command line."""

    exit_code = ExitCode.USAGE


class ConfigurationError(EventProcessorError):
    """Do not start: the configuration, or a file it names, must be mended first. Starting again does not help."""

    exit_code = ExitCode.CONFIGURATION


class StateError(EventProcessorError):
    """Do not start and do not reset: the state cannot be trusted as it stands. Somebody must decide."""

    exit_code = ExitCode.STATE


class InputGoneError(EventProcessorError):
    """The bytes that would answer the question are no longer there."""

    exit_code = ExitCode.INPUT_GONE


class LockedError(EventProcessorError):
    """Another process owns the state directory: stop that one, or name another directory."""

    exit_code = ExitCode.LOCKED


class StorageError(EventProcessorError):
    """Stop: a write, an fsync or a read of our own files failed. The last commit stands; a restart resumes from it.

    `operation` is the system call, `path` the file, `errno` the number the kernel gave (0 where it gave none).
    """

    exit_code = ExitCode.STORAGE

    def __init__(self, operation: str, path: str, errno: int, reason: str, *, hint: str = "") -> None:
        super().__init__(f"{path}: {operation} failed: {reason}", hint=hint or _storage_hint(errno))
        self.operation: Final = operation
        self.path: Final = path
        self.errno: Final = errno

    @classmethod
    def from_os(cls, operation: str, path: str, error: OSError) -> StorageError:
        """The same failure, with the operation and the path that `error` may not name."""
        return cls(operation, path, error.errno or 0, error.strerror or str(error))


def _storage_hint(errno: int) -> str:
    """What an operator does about `errno`."""
    kept = "nothing was counted that is not durable; the next start resumes from the last checkpoint"
    if errno in (errno_names.ENOSPC, errno_names.EDQUOT, errno_names.EFBIG):
        return f"free some space or raise the quota, then start again: {kept}"
    if errno in (errno_names.EACCES, errno_names.EPERM, errno_names.EROFS):
        return f"make it writable for this user, then start again: {kept}"
    if errno in (errno_names.EMFILE, errno_names.ENFILE):
        return f"raise the limit of open files (LimitNOFILE), then start again: {kept}"
    return f"check the disk (dmesg, smartctl), then start again: {kept}"
