"""Random programs of a log whose files begin alike, against a model that knows only the lines in the order of writing.

The lines are of a tiny alphabet, so files with equal beginnings, and equal files, are frequent. A program renames, compresses and
removes rotated files, gives the inode of a removed file to the live one, and stops and kills the reader. At its end every line was read
once and in order. If files were copied or removed, so that nothing can tell two files apart, a difference needs a report.

ALIKE_PROGRAMS=5000 runs so many programs.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final, TypeAlias

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from support.file_source import RETIRE_S, LogFolder, Reader

LOG: Final = "app.jsonl"
PROGRAMS: Final = int(os.environ.get("ALIKE_PROGRAMS", "60"))
LINES: Final = (b"header", b"a", b"b")
LONG: Final = b"-" * 5000
FIRST_DAY: Final = datetime(2026, 11, 29, tzinfo=UTC)
SAID: Final = {"file_lost", "file_truncated", "file_replaced", "file_uncertain"}

Operation: TypeAlias = tuple[str, int]


@dataclass
class World:
    """The folder, and the lines in the order of writing. `pad`: each file begins with a line longer than what is compared."""

    root: Path
    scheme: str
    start: str
    pad: bool
    written: list[bytes] = field(default_factory=list)
    ends: list[int] = field(default_factory=list)
    """For each rotated file, oldest first, how many lines were written up to its end."""
    is_trace_lost: bool = False
    """Whether the file that was being read was removed, or a later one: then nothing can tell it from a later file that begins alike."""
    days: int = 0

    def __post_init__(self) -> None:
        self.folder = LogFolder(self.root)
        for number in (2, 1) if self.start != "late" else ():
            if self.scheme == "numbers":
                self.folder.append(f"{LOG}.{number}", b"header\nhistory\n")
                self.written += [b"header", b"history"] if self.start == "oldest" else []
                self.ends.append(len(self.written))
        self.reader = Reader(
            self.folder, LOG, bytes_max=64, record_bytes_max=8192, start="oldest" if self.start == "oldest" else "beginning"
        )
        self.append(0)
        self.reader.read_all()
        self.reader.commit()

    def append(self, number: int) -> None:
        lines: list[bytes] = []
        if not os.path.exists(self.folder.path(LOG)):
            lines = [LONG] if self.pad else [b"header"]
        lines += [LINES[(number + place) % 3] for place in range(number % 4)]
        self.written += lines
        if lines:
            self.folder.append(LOG, b"".join(line + b"\n" for line in lines))

    def rotate(self, number: int) -> None:
        if not os.path.exists(self.folder.path(LOG)):
            return
        name = self._new_name()
        self.ends.append(len(self.written))
        os.rename(self.folder.path(LOG), self.folder.path(name))
        if number % 2:
            self.folder.compress(name)
        if number % 3:
            self.append(number // 2)

    def compress(self, number: int) -> None:
        plain = [name for name in self._rotated() if not name.endswith(".gz")]
        if plain:
            self.folder.compress(plain[number % len(plain)])

    def copytruncate(self, number: int) -> None:
        if os.path.exists(self.folder.path(LOG)):
            if self.reader.source is not None:
                # What is cut and written again within one turn of reading leaves no trace either.
                self.reader.read()
            name = self._new_name()
            self.ends.append(len(self.written))
            shutil.copy(self.folder.path(LOG), self.folder.path(name))
            self.folder.touch(name)
            self.folder.truncate(LOG)
            self.append(number)
            if self.reader.source is not None:
                # A reader that does not look between two rotations may see no trace of the first.
                self.reader.read(1)

    def copy_folder(self, _number: int) -> None:
        self.stop(0)
        copied = self.root.with_name(self.root.name + "-copied")
        shutil.copytree(self.root, copied, copy_function=shutil.copyfile)
        shutil.rmtree(self.root)
        copied.rename(self.root)

    def remove_oldest(self, _number: int) -> None:
        names = self._in_order()
        if names:
            os.unlink(self.folder.path(names[0]))
            self.is_trace_lost |= self.ends.pop(0) >= min(len(self.reader.records), self.reader.committed[2])

    def reuse_inode(self, _number: int) -> None:
        """While the reader is stopped, the live file gets the inode of the file that was read, if that was compressed."""
        if self.reader.source is not None or not os.path.exists(self.folder.path(LOG)):
            return
        inodes = {os.stat(self.folder.path(name)).st_ino for name in os.listdir(self.root)}
        live = os.stat(self.folder.path(LOG)).st_ino
        self.reader.parts = {
            number: position if position["inode"] in inodes else {**position, "inode": live}
            for number, position in self.reader.parts.items()
        }

    def read_some(self, number: int) -> None:
        self.reader.read(1 + number % 3)

    def read_all(self, _number: int) -> None:
        self.reader.read_all()

    def commit(self, _number: int) -> None:
        self.reader.commit()

    def stop(self, number: int) -> None:
        self.reader.stop(commit=bool(number % 3))

    def finish(self) -> None:
        self.append(1)
        for _ in range(2):
            self.reader.read_all()
            # A rotated file without a record is left after it was quiet for long enough.
            self.folder.clock.now_s += 2 * RETIRE_S
        self.reader.read_all()

    def run(self, program: list[Operation]) -> None:
        for name, number in program:
            getattr(self, name)(number)
        self.finish()

    def _rotated(self) -> list[str]:
        return sorted(name for name in os.listdir(self.root) if name != LOG)

    def _in_order(self) -> list[str]:
        names = self._rotated()
        return sorted(names, key=lambda name: -int(name.split(".")[2])) if self.scheme == "numbers" else names

    def _new_name(self) -> str:
        if self.scheme == "numbers":
            for name in self._in_order():
                number, *suffix = name.removeprefix(f"{LOG}.").split(".")
                os.rename(self.folder.path(name), self.folder.path(".".join([LOG, str(int(number) + 1), *suffix])))
            return f"{LOG}.1"
        self.days += 1
        day = FIRST_DAY + timedelta(days=self.days)
        return f"{LOG}-{day:%Y%m%d}" if self.scheme == "dateext" else f"app-{day:%Y-%m-%dT%H-%M-%S}.jsonl"


RENAMING: Final = ("append",) * 4 + ("rotate",) * 5 + ("compress", "reuse_inode", "reuse_inode", "read_some") + ("read_all",) * 2
RENAMING_AND_STOPS: Final = (*RENAMING, "commit", "stop", "stop", "stop")
ANYTHING: Final = (*RENAMING_AND_STOPS, "copytruncate", "copytruncate", "copy_folder", "remove_oldest", "remove_oldest")

SCHEMES: Final = st.sampled_from(["numbers", "dateext", "infix"])
STARTS: Final = st.sampled_from(["beginning", "oldest", "late"])
CHECKED: Final = settings(max_examples=PROGRAMS, deadline=None, suppress_health_check=list(HealthCheck))


def programs(names: tuple[str, ...]) -> st.SearchStrategy[list[Operation]]:
    return st.lists(st.tuples(st.sampled_from(names), st.integers(0, 11)), max_size=14)


def run(world: tuple[str, str, bool], program: list[Operation], check: Callable[[World], None]) -> None:
    root = Path(tempfile.mkdtemp(prefix="alike-", dir="/dev/shm" if os.path.isdir("/dev/shm") else None))
    try:
        (root / "logs").mkdir()
        built = World(root / "logs", *world)
        built.run(program)
        check(built)
        built.reader.stop()
    finally:
        shutil.rmtree(root)


def every_line_once(world: World) -> None:
    assert world.reader.records == world.written
    assert "file_lost" not in world.reader.telemetry.names()


def every_line_once_or_a_report(world: World) -> None:
    # A wrong order loses nothing: copied files may show none.
    if sorted(world.reader.records) != sorted(world.written) and not world.is_trace_lost:
        assert SAID & set(world.reader.telemetry.names())


@CHECKED
@given(st.tuples(SCHEMES, STARTS, st.booleans()), programs(RENAMING_AND_STOPS))
def test_logs_that_begin_alike_are_read_once_and_in_order(world: tuple[str, str, bool], program: list[Operation]) -> None:
    run(world, program, every_line_once)


@CHECKED
@given(st.tuples(SCHEMES, STARTS, st.just(False)), programs(ANYTHING))
def test_what_cannot_be_told_of_logs_that_begin_alike_is_said(world: tuple[str, str, bool], program: list[Operation]) -> None:
    run(world, program, every_line_once_or_a_report)
