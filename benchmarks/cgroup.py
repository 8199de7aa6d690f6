"""A memory cgroup for one measurement, below our own; version 1 or 2, whichever there is."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

__all__ = ["CgroupUnavailableError", "memory_cgroup"]

MOUNT: Final = Path("/sys/fs/cgroup")
REMOVALS: Final = 50


class CgroupUnavailableError(Exception):
    """No cgroup can be made here: the message says why."""


@contextmanager
def memory_cgroup(memory_bytes: int) -> Iterator[str]:
    """The folder of a cgroup with that limit, page cache included; a process joins by `cgroup.procs`. Raises `CgroupUnavailableError`."""
    parent, limit_name = _own_group()
    group = parent / f"event-processor-benchmark-{os.getpid()}"
    try:
        group.mkdir()
        (group / limit_name).write_text(str(memory_bytes), encoding="ascii")
    except OSError as error:
        with suppress(OSError):
            group.rmdir()
        raise CgroupUnavailableError(f"no memory cgroup can be made: {error.strerror}") from error
    try:
        yield str(group)
    finally:
        for _ in range(REMOVALS):
            # The kernel lets go of a group a moment after its last process has ended.
            with suppress(OSError):
                group.rmdir()
                break
            time.sleep(0.1)


def _own_group() -> tuple[Path, str]:
    """The folder of our own group, and the name of the file with its limit."""
    for line in Path("/proc/self/cgroup").read_text(encoding="utf-8").splitlines():
        _, controllers, path = line.split(":", 2)
        if "memory" in controllers.split(","):
            group = MOUNT / "memory" / path.lstrip("/")
            return (group if group.is_dir() else MOUNT / "memory"), "memory.limit_in_bytes"
        if not controllers and (MOUNT / "cgroup.controllers").exists():
            return MOUNT / path.lstrip("/"), "memory.max"
    raise CgroupUnavailableError("the kernel has no memory cgroups")
