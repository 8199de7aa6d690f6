"""What the tests of the file source stand on: a folder with a clock of its own, a recorder, and a reader that commits.

Never: no expected value comes from here; it moves files about and keeps what a checkpoint would keep.
"""

from __future__ import annotations

import gzip
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from event_processor.connectors.files.finished import InputFiles
from event_processor.connectors.files.following.source import FileSource
from event_processor.connectors.files.source_options import FileSourceOptions, InputFilesOptions
from event_processor.model.contracts import Wakeup
from event_processor.model.event import Chunk, Json
from event_processor.model.telemetry import Telemetry
from event_processor.storage.durable import OperatingSystem
from support.left_open import close_after_test

RETIRE_S = 5.0
CHUNKS_MAX = 10_000
ROUNDS_MAX = 1000


class ManualClock:
    """Time that passes only when it is told to."""

    def __init__(self) -> None:
        self.now_s = 1_000_000.0

    def wall_ns(self) -> int:
        return int(self.now_s * 1_000_000_000)

    def monotonic_s(self) -> float:
        return self.now_s

    def wait(self, wakeup: Wakeup, timeout_s: float) -> None:
        self.now_s += timeout_s


class Recorder(Telemetry):
    """Keeps every report: (what, facts)."""

    def __init__(self) -> None:
        self.reports: list[tuple[str, dict[str, object]]] = []

    def __getattribute__(self, name: str) -> Any:
        if name.startswith("_") or name in {"reports", "names", "facts"}:
            return super().__getattribute__(name)
        return lambda **facts: self.reports.append((name, facts))

    def names(self) -> list[str]:
        return [name for name, _ in self.reports]

    def facts(self, name: str) -> list[dict[str, object]]:
        return [facts for reported, facts in self.reports if reported == name]


@dataclass
class LogFolder:
    """A real folder whose files are modified at the times of a manual clock, a second apart."""

    root: Path
    clock: ManualClock = field(default_factory=ManualClock)

    def path(self, name: str) -> str:
        return str(self.root / name)

    def append(self, name: str, content: bytes) -> None:
        with open(self.path(name), "ab") as file:
            file.write(content)
        self.touch(name)

    def write_at(self, name: str, offset: int, content: bytes) -> None:
        with open(self.path(name), "r+b") as file:
            file.seek(offset)
            file.write(content)
        self.touch(name)

    def touch(self, name: str) -> None:
        self.clock.now_s += 1
        os.utime(self.path(name), ns=(self.clock.wall_ns(), self.clock.wall_ns()))

    def replace(self, name: str, content: bytes) -> None:
        """Another file in its place, as an editor does."""
        self.append(name + "~", content)
        os.replace(self.path(name + "~"), self.path(name))

    def truncate(self, name: str) -> None:
        os.truncate(self.path(name), 0)
        self.touch(name)

    def shift(self, name: str = "events.jsonl", keep: int = 9) -> None:
        """Moves the numbered files one up, as logrotate does before it rotates; the last falls off."""
        for number in range(keep, 0, -1):
            for suffix in ("", ".gz"):
                old = self.path(f"{name}.{number}{suffix}")
                if not os.path.exists(old):
                    continue
                if number == keep:
                    os.unlink(old)
                else:
                    os.rename(old, self.path(f"{name}.{number + 1}{suffix}"))

    def rotate(self, name: str = "events.jsonl", keep: int = 9) -> None:
        self.shift(name, keep)
        os.rename(self.path(name), self.path(f"{name}.1"))

    def copytruncate(self, name: str = "events.jsonl", keep: int = 9) -> None:
        self.shift(name, keep)
        shutil.copy(self.path(name), self.path(f"{name}.1"))
        self.touch(f"{name}.1")
        self.truncate(name)

    def compress(self, name: str) -> None:
        """As gzip does it: the modification time is kept, the original goes."""
        status = os.stat(self.path(name))
        with open(self.path(name), "rb") as plain, gzip.open(self.path(name + ".gz"), "wb") as packed:
            packed.write(plain.read())
        os.utime(self.path(name + ".gz"), ns=(status.st_mtime_ns, status.st_mtime_ns))
        os.unlink(self.path(name))


class Reader:
    """Reads a source as the processor does: keeps the open parts and all records, and forgets what it did not commit."""

    def __init__(self, folder: LogFolder, path: str = "events.jsonl", *, bytes_max: int = 4096, **options: object) -> None:
        self.folder = folder
        self.options = FileSourceOptions.model_validate({"path": folder.path(path), "retire_ms": int(RETIRE_S * 1000)} | options)
        self.bytes_max = bytes_max
        self.telemetry = Recorder()
        self.chunks: list[Chunk] = []
        self.records: list[bytes] = []
        self.parts: dict[int, Mapping[str, Json]] = {}
        self.next_part = 1
        self.committed: tuple[dict[int, Mapping[str, Json]], int, int] = ({}, 1, 0)
        self.committed_ns: int | None = None
        self.source: FileSource | None = None

    def open(self, *, finished: bool = False) -> FileSource:
        assert self.source is None
        self.source = FileSource(
            "events",
            self.options,
            fs=OperatingSystem(),
            clock=self.folder.clock,
            telemetry=self.telemetry,
            finished=finished,
            last_commit_ns=self.committed_ns,
        )
        self.source.open(self.parts, self.next_part)
        close_after_test(self.source.close)
        return self.source

    def take(self, chunk: Chunk) -> None:
        """Counts a chunk as the pipeline would, and holds it to the contract."""
        known = self.parts.get(chunk.generation)
        if known is None:
            assert chunk.generation == self.next_part, "parts are numbered one after the other"
            self.next_part += 1
        else:
            assert chunk.offset == known["offset"], "chunks of a part follow each other without a gap"
        assert chunk.position["offset"] == chunk.end_offset
        assert not chunk.content or chunk.final or chunk.content.endswith(b"\n")
        self.parts[chunk.generation] = chunk.position
        if chunk.retired:
            del self.parts[chunk.generation]
        self.chunks.append(chunk)
        if chunk.oversized_bytes:
            self.records.append(b"over the limit: %d" % chunk.oversized_bytes)
        self.records += chunk.content.removesuffix(b"\n").split(b"\n") if chunk.content else []

    def read(self, chunks_max: int = CHUNKS_MAX) -> list[bytes]:
        """Reads what is there now, and gives the records of it."""
        source = self.source or self.open()
        before = len(self.records)
        for _ in range(chunks_max):
            chunk = source.read(self.bytes_max)
            if chunk is None:
                break
            self.take(chunk)
        assert chunks_max < CHUNKS_MAX or chunk is None, "there is no end to what is read"
        return self.records[before:]

    def read_all(self) -> list[bytes]:
        """Reads on until no deadline is waited for."""
        before = len(self.records)
        for _ in range(ROUNDS_MAX):
            self.read()
            assert self.source is not None
            wait_s = self.source.wait_s()
            if wait_s is None:
                return self.records[before:]
            self.folder.clock.now_s += wait_s
        raise AssertionError("it waits for ever")

    def commit(self) -> None:
        """Commits what was read; where nothing was, there is nothing to commit."""
        committing = (dict(self.parts), self.next_part, len(self.records))
        if committing != self.committed:
            self.committed = committing
            self.committed_ns = self.folder.clock.wall_ns()

    def stop(self, *, commit: bool = True) -> None:
        """Ends the process, with or without a last commit."""
        if commit:
            self.commit()
        if self.source:
            self.source.close()
        self.source = None
        parts, self.next_part, count = self.committed
        self.parts = dict(parts)
        del self.records[count:]


def chunks_of_lives(options: InputFilesOptions, bytes_max: int) -> list[Chunk]:
    """The chunks of one finished file, which is opened again for each of them, where the one before ended."""
    chunks: list[Chunk] = []
    while not chunks or not chunks[-1].retired:
        source = InputFiles("input", options, fs=OperatingSystem(), telemetry=Recorder())
        source.open({1: chunks[-1].position} if chunks else {}, 2 if chunks else 1)
        chunk = source.read(bytes_max)
        source.close()
        assert chunk is not None
        chunks.append(chunk)
    return chunks
