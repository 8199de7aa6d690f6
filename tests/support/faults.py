"""Kills and faults at one system call of a real process, and how every such point of a run is gone through.

Owns: the command lines of strace, what its records say, and the sweep over all points.
Always: calls are counted a file and a system call at a time (strace counts a thread at a time; counting by file keeps two
threads from hiding each other's calls), and only on the files that the job writes: what the interpreter does is left alone.
A point is reached where the record says so, never by assumption.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, TypeAlias

__all__ = ["CALLS", "READING_CALLS", "Failure", "Site", "fault_prefix", "injected", "record_prefix", "sites", "sweep"]

CALLS: Final = {
    "write": ("write", "pwrite64", "writev", "pwritev", "pwritev2", "copy_file_range", "sendfile"),
    "fsync": ("fsync", "fdatasync", "sync_file_range", "syncfs"),
    "rename": ("rename", "renameat", "renameat2"),
    "link": ("link", "linkat", "symlink", "symlinkat"),
    "truncate": ("truncate", "ftruncate", "fallocate"),
    "unlink": ("unlink", "unlinkat", "rmdir"),
    "mkdir": ("mkdir", "mkdirat"),
}
"""The system calls that change what is on disk, by kind."""
READING_CALLS: Final = {"open": ("open", "openat", "openat2"), "read": ("read", "pread64", "readv", "preadv", "preadv2")}
"""Those that can fail too, but that leave the disk as it is: a kill there is a kill at the next call that changes it."""

Failure: TypeAlias = Literal["ENOSPC once", "ENOSPC from then on", "EIO once", "EIO from then on"]

_RECORD: Final = re.compile(r"^\d+ +(\w+)\((.*)$")
_DESCRIPTOR_PATH: Final = re.compile(r"^\d+<([^>]*)>")
_QUOTED: Final = re.compile(r'"((?:[^"\\]|\\.)*)"')


@dataclass(frozen=True, slots=True, order=True)
class Site:
    """Where a run meets the disk: a system call on a file, whose name is relative to the pipeline's durable folder.

    A rename or a link changes the new name, `file`; strace knows it by the old one, `known_by`. Elsewhere they are the same.
    """

    kind: str
    call: str
    file: str
    known_by: str


def record_prefix(trace: Path) -> list[str]:
    """The command that runs a job and records in `trace` every call that changes the disk or reads from it."""
    calls = ",".join(f"?{call}" for group in (CALLS | READING_CALLS).values() for call in group)
    return ["strace", "-f", "-y", "-qq", "-o", str(trace), "-e", f"trace={calls}"]


def fault_prefix(site: Site, action: Failure | Literal["SIGKILL"], when: int, *, durable: Path, trace: Path) -> list[str]:
    """The command that runs a job and does `action` at the `when`th call (from 1) of `site`, recorded in `trace`."""
    if action == "SIGKILL":
        done = f"signal=KILL:when={when}"
    else:
        errno, _, repeated = action.partition(" ")
        done = f"error={errno}:when={when}{'' if repeated == 'once' else '+'}"
    path = os.path.normpath(durable / site.known_by)
    injection = ["-e", f"trace={site.call}", "-e", f"inject={site.call}:{done}", "-P", path]
    # The filter in the kernel makes the start three times as fast, but signals are not delivered through it.
    quick = [] if action == "SIGKILL" else ["--seccomp-bpf"]
    return ["strace", "-f", *quick, "-qq", "-o", str(trace), *injection]


def injected(trace: Path) -> bool:
    """Whether the run of `trace` met its fault."""
    record = trace.read_text(errors="replace")
    return "(INJECTED)" in record or "killed by SIGKILL" in record


def sites(trace: Path, durable: Path) -> Counter[Site]:
    """Every site below `durable` in a record, and how many calls were made there."""
    kinds = {call: kind for kind, group in (CALLS | READING_CALLS).items() for call in group}
    found: Counter[Site] = Counter()
    for line in trace.read_text(errors="replace").splitlines():
        record = _RECORD.match(line)
        if record is None or record[1] not in kinds:
            continue
        paths = [os.path.relpath(path, durable) for path in _paths(record[2]) if Path(path).is_relative_to(durable)]
        if paths:
            found[Site(kinds[record[1]], record[1], file=paths[-1], known_by=paths[0])] += 1
    return found


def _paths(arguments: str) -> list[str]:
    """The files that a call names, from the arguments as strace prints them: the one its descriptor is open on, or the paths."""
    if descriptor := _DESCRIPTOR_PATH.match(arguments):
        return [descriptor[1]]
    return _QUOTED.findall(arguments)


def sweep(calls: Mapping[Site, int], attempt: Callable[[Site, int], bool]) -> int:
    """Goes through every point: each of the recorded calls at each site. Returns how many there were.

    `attempt` runs one point and says whether it was met. Asserts that every point was: the runs are alike up to there.
    """

    def met(site: Site, when: int) -> None:
        assert attempt(site, when), f"call {when} of {site.call} on {site.file}: recorded, but not met again"

    with ThreadPoolExecutor(_threads()) as pool:
        running = [pool.submit(met, site, when) for site, count in sorted(calls.items()) for when in range(1, count + 1)]
        try:
            for point in running:
                point.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return len(running)


def _threads() -> int:
    """As many points at once as there are cores; one where the tests themselves already run side by side."""
    return 1 if "PYTEST_XDIST_WORKER" in os.environ else os.cpu_count() or 1
