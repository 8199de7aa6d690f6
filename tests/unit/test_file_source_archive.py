"""Finding the bytes of a generation again, and the notices of changes."""

from __future__ import annotations

import gzip
import os
import threading
from collections.abc import Mapping
from pathlib import Path

import pytest

from event_processor.connectors.files.content import CompressedContent, open_content
from event_processor.connectors.files.following.watch import LogWatcher
from event_processor.connectors.files.past_generation import find_generation
from event_processor.connectors.files.paths import PathPattern
from event_processor.model.errors import StateError
from event_processor.model.event import Json
from event_processor.storage.durable import OperatingSystem
from support.file_source import LogFolder, Reader, Recorder

LOG = "events.jsonl"
NOTICE_TIMEOUT_S = 10.0


@pytest.fixture
def folder(tmp_path: Path) -> LogFolder:
    return LogFolder(tmp_path)


@pytest.mark.parametrize("compressed", [False, True])
def test_every_generation_is_found_where_it_went(folder: LogFolder, compressed: bool) -> None:
    reader = Reader(folder)
    resumes: list[Mapping[str, Json]] = []
    for record in (b"a" * 5000, b"b", b"c"):
        if resumes:
            folder.rotate()
        folder.append(LOG, record + b"\n")
        reader.read_all()
        resumes.append(max(reader.parts.items())[1])
    if compressed:
        folder.compress(f"{LOG}.2")
    for resume, expected in zip(resumes, (b"a" * 5000, b"b", b"c"), strict=True):
        found = find_generation(resume, reader.options, OperatingSystem())
        assert found is not None
        assert found.read(10_000, 0) == expected + b"\n"
        assert found.read(2, len(expected) - 1) == expected[-1:] + b"\n"
        assert found.size_bytes == len(expected) + 1
        found.close()


def test_a_generation_that_is_gone_is_not_found(folder: LogFolder) -> None:
    reader = Reader(folder)
    folder.append(LOG, b"a\n")
    reader.read()
    folder.write_at(LOG, 0, b"b\n")
    assert find_generation(reader.parts[1], reader.options, OperatingSystem()) is None


def test_a_position_that_is_none_is_refused_by_the_archive(folder: LogFolder) -> None:
    with pytest.raises(StateError):
        find_generation({"path": LOG}, Reader(folder).options, OperatingSystem())


def test_compressed_content_is_read_at_any_offset(folder: LogFolder) -> None:
    content = bytes(range(256)) * 20_000
    folder.append("x.gz", gzip.compress(content[:3_000_000]) + gzip.compress(content[3_000_000:]) + b"\0" * 512)
    opened = open_content(OperatingSystem(), folder.path("x.gz"))
    assert isinstance(opened, CompressedContent)
    for offset, size_bytes in (
        (0, 10),
        (2_999_990, 20),
        (5, 3),
        (len(content) - 4, 100),
        (len(content) + 9, 5),
        (1_000_000, 100),
    ):
        assert opened.read(size_bytes, offset) == content[offset : offset + size_bytes]
    assert opened.damage == ""
    opened.close()


def test_what_is_not_sound_gzip_says_so(folder: LogFolder) -> None:
    packed = bytearray(gzip.compress(b"one\n" * 1000))
    packed[-6] ^= 1
    folder.append("x.gz", bytes(packed))
    opened = open_content(OperatingSystem(), folder.path("x.gz"))
    opened.read(10_000, 0)
    assert "invalid gzip" in opened.damage
    opened.close()


def test_a_glob_reads_as_in_a_shell(folder: LogFolder) -> None:
    for name in ("a.log", ".b.log", "c.txt", "d/e.log", "[x].log"):
        path = Path(folder.path(name))
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"")
    fs = OperatingSystem()

    def expand(pattern: str) -> list[str]:
        return [os.path.relpath(path, folder.root) for path in PathPattern(folder.path(pattern)).expand(fs)]

    assert expand("*.log") == ["[x].log", "a.log"]
    assert expand("*/*.log") == ["d/e.log"]
    assert expand(".*.log") == [".b.log"]
    assert expand("[[]x].log") == ["[x].log"]
    assert expand("none/*") == []
    assert PathPattern(folder.path("*.log")).matches(folder.path("a.log"))
    assert not PathPattern(folder.path("*.log")).matches(folder.path("d/e.log"))


def watching() -> set[str]:
    """The kinds of threads that there are."""
    return {type(thread).__name__ for thread in threading.enumerate()}


def test_a_change_of_a_watched_file_wakes_and_that_of_another_does_not(folder: LogFolder) -> None:
    wakeup = threading.Event()
    telemetry = Recorder()
    watcher = LogWatcher([folder.path(LOG)], wakeup, fs=OperatingSystem(), telemetry=telemetry)
    watcher.start()
    if telemetry.reports:
        watcher.stop()
        pytest.skip(f"no inotify here: {telemetry.reports}")
    folder.append("other", b"x\n")
    other_woke = wakeup.is_set()
    folder.append(LOG, b"x\n")
    assert wakeup.wait(NOTICE_TIMEOUT_S)
    assert not other_woke
    watcher.stop()
    watcher.stop()
    assert not watching() & {"InotifyObserver", "InotifyEmitter"}


def test_a_resting_watch_says_nothing_and_says_it_again_when_it_is_wanted(folder: LogFolder) -> None:
    wakeup = threading.Event()
    telemetry = Recorder()
    watcher = LogWatcher([folder.path(LOG)], wakeup, fs=OperatingSystem(), telemetry=telemetry)
    watcher.start()
    if telemetry.reports:
        watcher.stop()
        pytest.skip(f"no inotify here: {telemetry.reports}")
    for _ in range(3):
        watcher.rest()
        wakeup.clear()
        folder.append(LOG, b"x\n")
        assert "InotifyEmitter" not in watching()
        assert not wakeup.is_set()
        watcher.attend()
        assert "InotifyEmitter" in watching()
        folder.append(LOG, b"x\n")
        assert wakeup.wait(NOTICE_TIMEOUT_S)
    watcher.stop()
    watcher.rest()
    watcher.attend()
    assert not watching() & {"InotifyObserver", "InotifyEmitter"}


def test_a_folder_that_cannot_be_watched_is_reported(folder: LogFolder) -> None:
    telemetry = Recorder()
    watcher = LogWatcher([folder.path("none/events.jsonl")], threading.Event(), fs=OperatingSystem(), telemetry=telemetry)
    watcher.start()
    watcher.rest()
    watcher.attend()
    watcher.stop()
    # Once, however often it is tried.
    assert [facts["path"] for facts in telemetry.facts("watcher_unavailable")] == [folder.path("none")]
