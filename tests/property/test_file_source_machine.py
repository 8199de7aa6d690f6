"""A random life of a log against a model that knows only what was written, and what its rotation loses by itself.

The model keeps the file system's names as lists of lines. It never looks at the code under test.
"""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from support.file_source import RETIRE_S, LogFolder, Reader

LOG = "events.jsonl"
KEPT_ROTATIONS = 4


@dataclass
class ModelFile:
    """One file: its whole lines in order, and an unfinished one."""

    lines: list[bytes] = field(default_factory=list)
    torn: bytes = b""


class FileSourceMachine(RuleBasedStateMachine):
    """Appends, rotates, cuts, replaces and removes a log, while a reader follows it, stops, and forgets what it did not commit."""

    def __init__(self) -> None:
        super().__init__()
        self.root = Path(tempfile.mkdtemp(prefix="machine-"))
        self.folder = LogFolder(self.root)
        self.reader = Reader(self.folder, bytes_max=16, record_bytes_max=64)
        self.reader.open()
        self.line_number = 0
        self.live: ModelFile | None = None
        self.rotated: list[ModelFile] = []
        self.expected: list[bytes] = []
        """Every record in the order of writing, of which only those in `losable` may be missing."""
        self.losable: set[bytes] = set()
        self.behind: set[bytes] = set()
        """What was written and not read at some commit since the reader last was at the end."""
        self.is_trace_lost = False
        """Whether a file was destroyed since then, so that a restart may have nothing to find its place by but that commit's time."""

    def teardown(self) -> None:
        self.reader.stop()
        shutil.rmtree(self.root)

    # What the world does.

    @initialize()
    def begin(self) -> None:
        """What was rotated before anything was committed is history; so begin with a commit."""
        self.append(2, 3)
        self.reader.read_all()
        self.reader.commit()

    @rule(lines=st.integers(1, 4), length=st.integers(0, 30))
    def append(self, lines: int, length: int) -> None:
        live = self._live()
        for _ in range(lines):
            record = live.torn + self._text(length)
            self.folder.append(LOG, record[len(live.torn) :] + b"\n")
            live.lines.append(record)
            live.torn = b""
            self.expected.append(record if len(record) <= 64 else b"over the limit: %d" % (len(record) + 1))

    @rule(length=st.integers(0, 80))
    def tear(self, length: int) -> None:
        live = self._live()
        text = self._text(length)
        self.folder.append(LOG, text)
        live.torn += text

    @precondition(lambda self: self.live is not None)
    @rule(times=st.sampled_from([1, 1, 1, 3]), compress=st.booleans())
    def rotate(self, times: int, compress: bool) -> None:
        for turn in range(times):
            if turn:
                self.append(1, 5)
            self._shift()
            assert self.live is not None
            self._end_torn(self.live)
            self.folder.rotate(LOG, KEPT_ROTATIONS)
            self.rotated.insert(0, self.live)
            self.live = None
        if compress and (self.root / f"{LOG}.2").exists() and self.reader.source is None:
            self.folder.compress(f"{LOG}.2")

    @precondition(lambda self: self.live is not None)
    @rule()
    def copytruncate(self) -> None:
        self._shift()
        assert self.live is not None
        self._end_torn(self.live)
        self.folder.copytruncate(LOG, KEPT_ROTATIONS)
        self.rotated.insert(0, self.live)
        self.live = ModelFile()

    @precondition(lambda self: self.live is not None)
    @rule()
    def truncate(self) -> None:
        self._lose(self.live)
        self.folder.truncate(LOG)
        self.live = ModelFile()

    @precondition(lambda self: self.live is not None)
    @rule()
    def rewrite(self) -> None:
        """Another content in the same file, as long as the old or longer."""
        assert self.live is not None
        self._lose(self.live)
        size_bytes = (self.root / LOG).stat().st_size
        record = self._text(0).ljust(max(size_bytes - 1, 1), b"x")
        self.folder.write_at(LOG, 0, record + b"\n")
        self.live = ModelFile([record])
        self.expected.append(record if len(record) <= 64 else b"over the limit: %d" % (len(record) + 1))

    @precondition(lambda self: self.live is not None)
    @rule()
    def replace(self) -> None:
        self._lose(self.live)
        record = self._text(4)
        self.folder.replace(LOG, record + b"\n")
        self.live = ModelFile([record])
        self.expected.append(record)

    @precondition(lambda self: self.live is not None)
    @rule()
    def delete(self) -> None:
        self._lose(self.live)
        (self.root / LOG).unlink()
        self.live = None

    # What the reader does.

    @rule(chunks=st.integers(1, 5))
    def read_some(self, chunks: int) -> None:
        self.reader.read(chunks)

    @rule()
    def read_all(self) -> None:
        self.reader.read_all()

    @rule()
    def commit(self) -> None:
        self.reader.commit()
        self.behind.update(set(self.expected) - set(self.reader.records))
        self._forget()

    @rule()
    def commit_all(self) -> None:
        self.reader.read_all()
        self.reader.commit()
        self.behind.clear()
        self.is_trace_lost = False

    @rule(commit=st.booleans())
    def stop_or_crash(self, commit: bool) -> None:
        if commit:
            self.commit()
        self.reader.stop(commit=False)

    @rule(seconds=st.sampled_from([1.0, RETIRE_S]))
    def pass_time(self, seconds: float) -> None:
        self.folder.clock.now_s += seconds

    @invariant()
    def records_come_once_and_in_order(self) -> None:
        """What was read is what was written, in order, but for what the world itself destroyed."""
        self._compare(complete=False)

    @precondition(lambda self: self.live is not None)
    @rule()
    def settle(self) -> None:
        """Once everything is read, every record is there that was not destroyed."""
        self.append(1, 3)
        self.reader.read_all()
        self._compare(complete=True)
        self.reader.commit()
        self.behind.clear()
        self.is_trace_lost = False
        self.losable.clear()
        self.expected = list(self.reader.records)
        for file in (self._live(), *self.rotated):
            self.losable -= set(file.lines)

    # The model's bookkeeping.

    def _live(self) -> ModelFile:
        if self.live is None:
            self.live = ModelFile()
        return self.live

    def _text(self, length: int) -> bytes:
        self.line_number += 1
        return b"%d:" % self.line_number + b"." * length

    def _end_torn(self, file: ModelFile) -> None:
        """The last line of a rotated file is ended by the file's end."""
        if file.torn:
            self.expected.append(file.torn if len(file.torn) <= 64 else b"over the limit: %d" % len(file.torn))
            self.losable.add(self.expected[-1])
            file.torn = b""

    def _lose(self, file: ModelFile | None) -> None:
        """The world destroys `file`: what was not read of it may be gone; an unfinished line may count or not."""
        assert file is not None
        self._end_torn(file)
        self._may_lose(file)

    def _forget(self) -> None:
        if self.is_trace_lost:
            self.losable |= self.behind

    def _may_lose(self, file: ModelFile) -> None:
        self.is_trace_lost = True
        self._forget()
        self.losable.update(each if len(each) <= 64 else b"over the limit: %d" % (len(each) + 1) for each in file.lines)

    def _shift(self) -> None:
        while len(self.rotated) >= KEPT_ROTATIONS:
            self._may_lose(self.rotated.pop())

    def _compare(self, *, complete: bool) -> None:
        got = self.reader.records
        named = [record for record in got if not record.startswith(b"over the limit")]
        assert len(named) == len(set(named)), "a record was read twice"
        place = 0
        for record in got:
            while place < len(self.expected) and self.expected[place] != record:
                assert self.expected[place] in self.losable, f"{self.expected[place]!r} was passed over for {record!r}"
                place += 1
            assert place < len(self.expected), f"{record!r} was never written, or came out of order"
            place += 1
        if complete:
            missing = [record for record in self.expected[place:] if record not in self.losable]
            assert not missing, "records that still stand were not read"


TestFileSourceMachine = FileSourceMachine.TestCase
TestFileSourceMachine.settings = settings(
    max_examples=120, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
)
