"""Whether this user may read or write a path, and how much room there is, before anything is written.

Owns: `unreadable`, `unwritable`, `free_bytes`.
Always: changes nothing. The kernel decides, by the rights of this process.
Never: takes a permission for a promise: a full disk or a sandbox may still refuse.
"""

from __future__ import annotations

import os

__all__ = ["free_bytes", "unreadable", "unwritable"]


def unreadable(path: str) -> str:
    """Why the file at `path` cannot be read by this user; "" if it can."""
    try:
        os.close(os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK))
    except OSError as error:
        return error.strerror or str(error)
    return ""


def unwritable(folder: str) -> str:
    """Why no file can be made in `folder`, or in the folder that it would be made in; "" if one can."""
    existing = _existing(folder)
    if not os.path.isdir(existing):
        return f"{existing} is not a folder"
    if not os.access(existing, os.W_OK | os.X_OK):
        return f"{existing} is not writable for this user"
    return ""


def free_bytes(folder: str) -> int:
    """The free bytes, for users other than root, of the disk that has `folder` or will have it."""
    found = os.statvfs(_existing(folder))
    return found.f_bavail * found.f_frsize


def _existing(path: str) -> str:
    """The path, or the nearest one above it that exists."""
    path = os.path.abspath(path)
    while not os.path.lexists(path) and path != "/":
        path = os.path.dirname(path)
    return path
