"""The error classes. Each class says what the caller must do, and has the exit code of a process that it ends.

Owns: `ExitCode`, the classes, and the hint for a failed system call.
Always: a message says where, what, and what now. The facts are kept as attributes.
Never: these errors are not caught and ignored. A bad *record* is an outcome, not an error (`rejections.py`).
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
    "NotAnsweredError",
    "RejectionLimitError",
    "StateError",
    "StorageError",
    "UsageError",
]


class ExitCode(IntEnum):
    """How a process ends. The numbers come from sysexits.h, so that a supervisor can tell them apart."""

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
    """The base class of every error of this package. `hint` says what to do now. It is printed below the message."""

    exit_code: ExitCode = ExitCode.INTERNAL

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message: Final = message
        self.hint: Final = hint

    def __str__(self) -> str:
        return f"{self.message}\n  {self.hint}" if self.hint else self.message


class UsageError(EventProcessorError):
    """The command line is wrong. Correct it."""

    exit_code = ExitCode.USAGE


class ConfigurationError(EventProcessorError):
    """Do not start: fix the configuration, or a file that it names, first. A restart does not help."""

    exit_code = ExitCode.CONFIGURATION


class StateError(EventProcessorError):
    """Do not start and do not reset: the state cannot be trusted. An operator must decide."""

    exit_code = ExitCode.STATE


class InputGoneError(EventProcessorError):
    """The bytes that are needed for the answer are gone."""

    exit_code = ExitCode.INPUT_GONE


class LockedError(EventProcessorError):
    """Another process owns the state directory. Stop that process, or name another directory."""

    exit_code = ExitCode.LOCKED


class RejectionLimitError(EventProcessorError):
    """Stop: too many records are rejected, so the input is not what the configuration says. An operator must look at it."""

    exit_code = ExitCode.STATE


class NotAnsweredError(EventProcessorError):
    """The process that should do it is not running, or did not answer in time. Look at it, then repeat the command."""

    exit_code = ExitCode.NOT_KEEPING_UP


class StorageError(EventProcessorError):
    """Stop: a write, an fsync or a read of our own files failed. The last commit is valid; a restart resumes from it.

    `operation` is the system call, `path` is the file, `errno` is the kernel's error number (0 if there is none).
    """

    exit_code = ExitCode.STORAGE

    def __init__(self, operation: str, path: str, errno: int, reason: str, *, hint: str = "") -> None:
        super().__init__(f"{path}: {operation} failed: {reason}", hint=hint or _storage_hint(errno))
        self.operation: Final = operation
        self.path: Final = path
        self.errno: Final = errno

    @classmethod
    def from_os(cls, operation: str, path: str, error: OSError) -> StorageError:
        """Converts `error`, and adds the operation and the path, because `error` may not have them."""
        return cls(operation, path, error.errno or 0, error.strerror or str(error))


def _storage_hint(errno: int) -> str:
    """What the operator should do about `errno`."""
    kept = "nothing was counted that is not durable; the next start resumes from the last checkpoint"
    if errno in (errno_names.ENOSPC, errno_names.EDQUOT, errno_names.EFBIG):
        return f"free some space or raise the quota, then start again: {kept}"
    if errno in (errno_names.EACCES, errno_names.EPERM, errno_names.EROFS):
        return f"make it writable for this user, then start again: {kept}"
    if errno in (errno_names.EMFILE, errno_names.ENFILE):
        return f"raise the limit of open files (LimitNOFILE), then start again: {kept}"
    if errno in (errno_names.ENOENT, errno_names.ENOTDIR):
        return f"make its folder, or name another path, then start again: {kept}"
    if errno in (errno_names.EISDIR, errno_names.ELOOP):
        return f"move away what is in the place of the file, or name another path, then start again: {kept}"
    return f"check the disk (dmesg, smartctl), then start again: {kept}"
