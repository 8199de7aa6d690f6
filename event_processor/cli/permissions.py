"""What to do after "Permission denied": who this is, who owns the file, and the command to run as that user.

Owns: the words.
Never: changes a permission; raises.
"""

from __future__ import annotations

import os
import pwd
import shlex
from collections.abc import Sequence

__all__ = ["permission_hint"]


def permission_hint(path: str, program: str, arguments: Sequence[str]) -> str:
    """The hint for a call on `path` that was not permitted; empty if nothing useful is known."""
    user_id = os.geteuid()
    owner_id = _owner_of(path)
    if owner_id is None:
        return ""
    if user_id in {owner_id, 0}:
        return f"this is user {_name_of(user_id)}, who owns it: the file system or a sandbox forbids it, or its mode does"
    command = shlex.join(["sudo", "-u", _name_of(owner_id), program, *arguments])
    return f"this is user {_name_of(user_id)}, but {_name_of(owner_id)} owns it; run: {command}"


def _owner_of(path: str) -> int | None:
    """The user that owns the file, or else the nearest folder above it that we can see."""
    if not os.path.isabs(path):
        return None
    while True:
        try:
            return os.stat(path).st_uid
        except OSError:
            parent = os.path.dirname(path)
        if parent == path:
            return None
        path = parent


def _name_of(user_id: int) -> str:
    try:
        return pwd.getpwuid(user_id).pw_name
    except KeyError:
        return f"#{user_id}"  # as sudo reads it
