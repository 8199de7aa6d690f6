"""What of a running daemon can be seen from outside: its commits, its processor time, its memory, what it writes.

Always: a commit is seen by the file in the checkpoint's place, which is another inode each time: the new one is made while the last two are
still there. Processes that it started are counted with it.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

import msgspec

from benchmarks.measure import MeasurementError

__all__ = ["Commits", "Stolen", "anonymous_bytes", "cpu_s", "drop_caches", "peak_bytes", "resident_bytes", "wait_for", "written"]


class _Counts(msgspec.Struct):
    records: int


class _State(msgspec.Struct):
    counts: _Counts


class _Document(msgspec.Struct):
    state: _State


class Commits:
    """The commits of one daemon, as they appear."""

    def __init__(self, checkpoint: Path) -> None:
        self._path: Final = str(checkpoint)
        self._decoder: Final = msgspec.json.Decoder(_Document)
        self._seen: tuple[int, int, int] | None = None
        self.records = -1

    def look(self) -> bool:
        """Whether there is a new one since the last look; `records` is then what it counts. A few microseconds where there is none."""
        try:
            status = os.stat(self._path)
            seen = (status.st_ino, status.st_mtime_ns, status.st_size)
            if seen == self._seen:
                return False
            with open(self._path, "rb", buffering=0) as file:
                self.records = self._decoder.decode(file.read()).state.counts.records
        except FileNotFoundError:
            return False
        self._seen = seen
        return True

    def wait_for(self, records: int, limit_s: float) -> None:
        """Until a commit counts so many. Raises `MeasurementError` after `limit_s`."""
        deadline_s = time.monotonic() + limit_s
        while self.records < records:
            if not self.look() and time.monotonic() > deadline_s:
                raise MeasurementError(f"{records} records were not committed within {limit_s:.0f} s, but {self.records}")


def wait_for(condition: Callable[[], bool], what: str, limit_s: float) -> None:
    """Until it holds. Raises `MeasurementError` after `limit_s`."""
    deadline_s = time.monotonic() + limit_s
    while not condition():
        if time.monotonic() > deadline_s:
            raise MeasurementError(f"not within {limit_s:.0f} s: {what}")
        time.sleep(0.01)


def _family(process_id: int) -> Iterator[int]:
    """The process and all that descend from it."""
    yield process_id
    for task in Path(f"/proc/{process_id}/task").glob("*/children"):
        for child in task.read_text(encoding="ascii").split():
            yield from _family(int(child))


def cpu_s(process_id: int) -> float:
    """User and system time of the process, its threads and its processes, in seconds, as the scheduler counts it: finer than ticks."""
    total = 0.0
    for each in _family(process_id):
        # The clock of a process, as clock_getcpuclockid(3) makes its number: the inverted id above two bits, which choose the scheduler's count.
        with suppress(OSError):  # it has ended
            total += time.clock_gettime(~each << 3 | 2)
    return total


class Stolen:
    """How much of this machine's processors others took, where it is a virtual one: that time is in every wall time, and in no CPU time."""

    def __init__(self) -> None:
        self._begin: Final = _processor_times()

    def share(self) -> float:
        """Of the processors' time since this was made."""
        stolen, total = (now - then for now, then in zip(_processor_times(), self._begin, strict=True))
        return stolen / total if total else 0.0


def _processor_times() -> tuple[int, int]:
    """Ticks of all processors since the start: stolen, and in all."""
    ticks = list(map(int, Path("/proc/stat").read_text(encoding="ascii").split("\n", 1)[0].split()[1:9]))
    return ticks[7], sum(ticks)


def anonymous_bytes(process_id: int) -> int:
    """Anonymous resident memory of the process and its processes: what the kernel could not drop."""
    total = 0
    for each in _family(process_id):
        try:
            lines = Path(f"/proc/{each}/status").read_text(encoding="utf-8").splitlines()
        except (FileNotFoundError, ProcessLookupError):
            continue
        total += sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon"))
    return total


def resident_bytes(process_id: int) -> int:
    """Resident memory of the process now, shared pages too, without its processes."""
    lines = Path(f"/proc/{process_id}/status").read_text(encoding="utf-8").splitlines()
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmRSS"))


def peak_bytes(process_id: int) -> int:
    """The most resident memory that the process has had so far, without its processes; 0 after its end."""
    try:
        lines = Path(f"/proc/{process_id}/status").read_text(encoding="utf-8").splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))


def written(process_id: int) -> tuple[int, int]:
    """Bytes that the living process has written: as it asked, and as pages."""
    pairs = dict(line.split(": ") for line in Path(f"/proc/{process_id}/io").read_text(encoding="ascii").splitlines())
    return int(pairs["wchar"]), int(pairs["write_bytes"])


def drop_caches(paths: list[Path]) -> None:
    """Takes the files at and below these paths out of the page cache, as far as nobody has them mapped. Touches no other file."""
    os.sync()
    for top in paths:
        for path in [top, *top.rglob("*")]:
            if path.is_file() and not path.is_symlink():
                descriptor = os.open(path, os.O_RDONLY)
                try:
                    os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
                finally:
                    os.close(descriptor)
