"""Random programs of a log and its rotation, against a model that knows only which lines were written and which are gone.

A program also changes modification times, sets the clock back, uses dates as names, compresses, copies the whole folder, shortens
the live file, and stops and kills the reader. At its end each line was counted once, or the file source said that something was lost.
A program that destroys nothing must lose nothing.

ROTATION_PROGRAMS=5000 runs so many programs.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import shutil
import tempfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final, TypeAlias

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from support.file_source import LogFolder, ManualClock, Reader

LOG: Final = "app.jsonl"
PROGRAMS: Final = int(os.environ.get("ROTATION_PROGRAMS", "150"))
COMPRESSIONS: Final[dict[str, Callable[[bytes], bytes]]] = {".gz": gzip.compress, ".xz": lzma.compress, ".bz2": bz2.compress}
SAID: Final = {"file_lost", "file_truncated", "file_replaced"}
FIRST_DAY: Final = datetime(2026, 11, 29, tzinfo=UTC)

Operation: TypeAlias = tuple[str, int]


class SteppedClock(ManualClock):
    """A wall clock that may be set; the monotonic one is not affected."""

    def __init__(self) -> None:
        super().__init__()
        self.step_s = 0.0

    def wall_ns(self) -> int:
        return int((self.now_s + self.step_s) * 1_000_000_000)


@dataclass
class World:
    """The folder, what was written, and what was destroyed. `scheme` says how rotated files are named."""

    root: Path
    scheme: str
    written: list[bytes] = field(default_factory=list)
    gone: set[bytes] = field(default_factory=set)
    days: int = 0

    def __post_init__(self) -> None:
        self.clock = SteppedClock()
        self.folder = LogFolder(self.root, self.clock)
        self.reader = Reader(self.folder, LOG, bytes_max=64)
        self.append(2)
        self.reader.read_all()
        self.reader.commit()

    # What the program does.

    def append(self, number: int) -> None:
        lines = [b'{"id": %d}' % (len(self.written) + place) for place in range(1 + number % 4)]
        self.written += lines
        self.folder.append(LOG, b"".join(line + b"\n" for line in lines))

    def rotate(self, number: int) -> None:
        if self._is_there():
            new_name = self._new_name()
            os.rename(self.folder.path(LOG), self.folder.path(new_name))
            if number % 3:
                self.append(number)

    def copytruncate(self, _number: int) -> None:
        if self._is_there():
            new_name = self._new_name()
            shutil.copy(self.folder.path(LOG), self.folder.path(new_name))
            self.folder.touch(new_name)
            self.folder.truncate(LOG)

    def compress(self, number: int) -> None:
        plain = [name for name in self._rotated() if not name.endswith(tuple(COMPRESSIONS))]
        if plain:
            name = plain[number % len(plain)]
            suffix = list(COMPRESSIONS)[number % len(COMPRESSIONS)]
            status = os.stat(self.folder.path(name))
            packed = COMPRESSIONS[suffix]((self.root / name).read_bytes())
            (self.root / (name + suffix)).write_bytes(packed)
            os.utime(self.folder.path(name + suffix), ns=(status.st_mtime_ns, status.st_mtime_ns))
            os.unlink(self.folder.path(name))

    def touch(self, number: int) -> None:
        names = sorted(os.listdir(self.root))
        if names:
            self.folder.touch(names[number % len(names)])

    def scatter_times(self, number: int) -> None:
        """As a restore without times: all files get times in another order."""
        for place, name in enumerate(
            sorted(os.listdir(self.root), key=lambda name: zlib.crc32(b"%d %s" % (number, name.encode())))
        ):
            time_ns = self.clock.wall_ns() + place * 1_000_000
            os.utime(self.folder.path(name), ns=(time_ns, time_ns))

    def step_clock(self, number: int) -> None:
        self.clock.step_s += (number % 7 - 3) * 86_400
        self.days += number % 7 - 3

    def copy_folder(self, _number: int) -> None:
        self.stop(0)
        copied = self.root.with_name(self.root.name + "-copied")
        shutil.copytree(self.root, copied, copy_function=shutil.copyfile)
        shutil.rmtree(self.root)
        copied.rename(self.root)

    def shorten(self, number: int) -> None:
        """A power cut: everything was counted and committed, and the file loses its last bytes."""
        if not self._is_there():
            return
        self.reader.read_all()
        self.stop(0)
        size_bytes = os.path.getsize(self.folder.path(LOG))
        kept_bytes = size_bytes * (1 + number % 3) // 4
        if 12 < kept_bytes < size_bytes:
            os.truncate(self.folder.path(LOG), kept_bytes)
            self.reader.read_all()
            self.reader.commit()

    def remove(self, number: int) -> None:
        """Destroys a rotated file: the lines in it that no commit covers are gone."""
        names = self._rotated()
        if names:
            os.unlink(self.folder.path(names[number % len(names)]))
            self.gone.update(set(self.written) - set(self.reader.records[: self.reader.committed[2]]))

    def read_some(self, number: int) -> None:
        self.reader.read(1 + number % 3)

    def read_all(self, _number: int) -> None:
        self.reader.read_all()

    def commit(self, _number: int) -> None:
        self.reader.commit()

    def stop(self, number: int) -> None:
        self.reader.stop(commit=not number % 2)

    # What the model knows.

    def check(self) -> None:
        records = self.reader.records
        assert len(records) == len(set(records)), f"counted twice: {sorted({r for r in records if records.count(r) > 1})}"
        assert set(records) <= set(self.written), f"never written: {sorted(set(records) - set(self.written))}"

    def finish(self) -> None:
        self.append(0)
        self.reader.read_all()
        self.reader.read_all()
        self.check()
        missing = set(self.written) - set(self.reader.records)
        assert missing <= self.gone, f"lost, though nothing destroyed them: {sorted(missing - self.gone)}"
        if missing and self.scheme == "numbers":
            # No reader can see that a file came and went between two looks, except by a gap in the numbers.
            assert SAID & set(self.reader.telemetry.names()), f"lost without a word: {sorted(missing)}"
        if not self.done & {"shorten", "remove"}:
            assert "file_lost" not in self.reader.telemetry.names()

    done: set[str] = field(default_factory=set)

    def run(self, program: list[Operation]) -> None:
        for name, number in program:
            self.done.add(name)
            getattr(self, name)(number)
            self.check()
        self.finish()

    def _is_there(self) -> bool:
        return os.path.exists(self.folder.path(LOG)) and os.path.getsize(self.folder.path(LOG)) > 0

    def _rotated(self) -> list[str]:
        return sorted(name for name in os.listdir(self.root) if name != LOG)

    def _new_name(self) -> str:
        if self.scheme == "numbers":
            self._shift()
            return f"{LOG}.1"
        while True:
            self.days += 1
            day = FIRST_DAY + timedelta(days=self.days)
            name = {
                "ascending": f"{LOG}.{len(self._rotated()) + 1}",
                "dateext": f"{LOG}-{day:%Y%m%d}",
                "timestamps": f"{LOG}-{int(day.timestamp())}",
                "infix": f"app-{day:%Y-%m-%dT%H-%M-%S}.jsonl",
            }[self.scheme]
            if not any(each.startswith(name) for each in self._rotated()):
                return name
            if self.scheme == "ascending":
                return f"{LOG}.{1 + max(int(each.split('.')[2]) for each in self._rotated())}"

    def _shift(self) -> None:
        numbered = {int(name.split(".")[2]): name for name in self._rotated()}
        for number in sorted(numbered, reverse=True):
            suffix = "".join(f".{part}" for part in numbered[number].split(".")[3:])
            os.rename(self.folder.path(numbered[number]), self.folder.path(f"{LOG}.{number + 1}{suffix}"))


HARMLESS: Final = (
    "append",
    "append",
    "append",
    "rotate",
    "rotate",
    "copytruncate",
    "compress",
    "touch",
    "scatter_times",
    "step_clock",
    "copy_folder",
    "read_some",
    "read_all",
    "read_all",
    "commit",
    "stop",
    "stop",
)
SCHEMES: Final = ("numbers", "numbers", "ascending", "dateext", "timestamps", "infix")


def programs(names: tuple[str, ...]) -> st.SearchStrategy[list[Operation]]:
    return st.lists(st.tuples(st.sampled_from(names), st.integers(0, 11)), max_size=25)


def run(scheme: str, program: list[Operation]) -> None:
    root = Path(tempfile.mkdtemp(prefix="programs-", dir="/dev/shm" if os.path.isdir("/dev/shm") else None))
    try:
        (root / "logs").mkdir()
        world = World(root / "logs", scheme)
        world.run(program)
        world.reader.stop()
    finally:
        shutil.rmtree(root)


CHECKED: Final = settings(max_examples=PROGRAMS, deadline=None, suppress_health_check=list(HealthCheck))


@CHECKED
@given(st.sampled_from(SCHEMES), programs(HARMLESS))
def test_a_program_that_destroys_nothing_loses_nothing_and_counts_nothing_twice(scheme: str, program: list[Operation]) -> None:
    run(scheme, program)


@CHECKED
@given(st.sampled_from(SCHEMES), programs((*HARMLESS, "shorten", "remove")))
def test_what_a_program_destroys_is_said_and_nothing_is_counted_twice(scheme: str, program: list[Operation]) -> None:
    run(scheme, program)
