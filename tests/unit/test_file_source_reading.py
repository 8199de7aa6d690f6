"""The file source on one file: records, torn lines, limits, NULs, what stands in the way."""

from __future__ import annotations

import gzip
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from event_processor.connectors.files.following import tail
from event_processor.connectors.files.following.source import SWEEP_PATHS_MIN
from event_processor.connectors.files.source_options import FileSourceOptions
from event_processor.model.errors import StateError, StorageError
from event_processor.records.record_cutter import whole_records_end
from event_processor.storage.durable import OperatingSystem
from support.file_source import LogFolder, Reader

LOG = "events.jsonl"


@pytest.fixture
def folder(tmp_path: Path) -> LogFolder:
    return LogFolder(tmp_path)


def test_a_torn_line_waits_for_its_end(folder: LogFolder) -> None:
    reader = Reader(folder)
    folder.append(LOG, b"one\ntw")
    assert reader.read() == [b"one"]
    assert reader.read() == []
    folder.append(LOG, b"o\n")
    assert reader.read() == [b"two"]


def test_a_torn_line_across_a_restart_is_counted_once(folder: LogFolder) -> None:
    reader = Reader(folder)
    folder.append(LOG, b"one\ntw")
    assert reader.read() == [b"one"]
    reader.stop()
    folder.append(LOG, b"o\nthree\n")
    assert reader.read() == [b"two", b"three"]


def test_finished_input_ends_its_last_line(folder: LogFolder) -> None:
    folder.append(LOG, b"one\ntwo")
    reader = Reader(folder)
    reader.open(finished=True)
    assert reader.read() == [b"one", b"two"]
    assert reader.chunks[-1].final
    assert not reader.chunks[-1].retired
    assert reader.read() == []


def test_what_was_not_committed_is_read_again(folder: LogFolder) -> None:
    reader = Reader(folder, bytes_max=4)
    folder.append(LOG, b"one\ntwo\nsix\n")
    reader.read(1)
    reader.commit()
    reader.read()
    reader.stop(commit=False)
    reader.read()
    assert reader.records == [b"one", b"two", b"six"]


def test_chunks_hold_whole_records_of_about_the_size_asked_for(folder: LogFolder) -> None:
    reader = Reader(folder, bytes_max=10)
    folder.append(LOG, b"aaa\nbbb\nccc\nddd\n")
    reader.read()
    assert [chunk.content for chunk in reader.chunks] == [b"aaa\nbbb\n", b"ccc\nddd\n"]


def test_a_record_longer_than_a_chunk_comes_alone(folder: LogFolder) -> None:
    reader = Reader(folder, bytes_max=10)
    folder.append(LOG, b"a\n" + b"b" * 50 + b"\nc\n")
    reader.read()
    assert [chunk.content for chunk in reader.chunks] == [b"a\n", b"b" * 50 + b"\n", b"c\n"]


@pytest.mark.parametrize("bytes_max", [4, 10, 17, 18, 19, 1000])
@pytest.mark.parametrize("line_end", [b"\n", b"\r\n"])
def test_the_limit_counts_a_record_without_its_line_end(folder: LogFolder, bytes_max: int, line_end: bytes) -> None:
    reader = Reader(folder, bytes_max=bytes_max, record_bytes_max=16)
    folder.append(LOG, b"x" * 16 + line_end + b"y" * 17 + line_end + b"z" + line_end)
    whole = line_end.removesuffix(b"\n")
    assert reader.read() == [b"x" * 16 + whole, b"over the limit: %d" % (17 + len(line_end)), b"z" + whole]


def test_a_line_over_the_limit_is_delivered_once_its_end_is_seen(folder: LogFolder) -> None:
    reader = Reader(folder, record_bytes_max=16)
    folder.append(LOG, b"a\n" + b"x" * 400_000)
    assert reader.read() == [b"a"]
    folder.append(LOG, b"x" * 300_000)
    assert reader.read() == []
    folder.append(LOG, b"xx\nb\n")
    assert reader.read() == [b"over the limit: 700003", b"b"]
    assert [chunk.offset for chunk in reader.chunks] == [0, 2, 700_005]
    assert all(len(chunk.content) <= 2 for chunk in reader.chunks)


def test_a_line_over_the_limit_that_grows_is_not_scanned_from_its_start_again(folder: LogFolder) -> None:
    reader = Reader(folder, record_bytes_max=16)
    source = reader.open()
    folder.append(LOG, b"x" * 1_000_000)
    reader.read()
    fs = source._context.fs
    read_bytes = 0
    original = fs.read

    def counting_read(descriptor: int, size_bytes: int, offset: int) -> bytes:
        nonlocal read_bytes
        content = original(descriptor, size_bytes, offset)
        read_bytes += len(content)
        return content

    fs.read = counting_read  # type: ignore[method-assign]
    folder.append(LOG, b"xx\n")
    assert reader.read() == [b"over the limit: 1000003"]
    assert read_bytes < 40_000


def test_a_line_over_the_limit_at_the_end_of_finished_input_is_final(folder: LogFolder) -> None:
    folder.append(LOG, b"a\n" + b"x" * 40)
    reader = Reader(folder, record_bytes_max=16)
    reader.open(finished=True)
    assert reader.read() == [b"a", b"over the limit: 40"]
    assert reader.chunks[-1].final


def test_records_are_cut_on_the_line_feed_alone(folder: LogFolder) -> None:
    content = "a\u2028b\rc\x0bd\x85e\n".encode() + b"\xff\x00\n"
    folder.append(LOG, content)
    assert Reader(folder).read() == content.removesuffix(b"\n").split(b"\n")


def test_leading_nuls_are_stepped_over_and_reported(folder: LogFolder) -> None:
    reader = Reader(folder)
    folder.append(LOG, b"\0" * 300_000)
    assert reader.read() == []
    folder.append(LOG, b"one\n")
    assert reader.read() == [b"one"]
    assert reader.chunks[0].offset == 300_000
    assert reader.telemetry.facts("leading_nuls_skipped")[0]["size_bytes"] == 300_000
    reader.stop()
    folder.append(LOG, b"two\n")
    assert reader.read() == [b"two"]


def test_start_at_the_end_counts_only_what_follows(folder: LogFolder) -> None:
    folder.append(LOG, b"old\nold too\nto")
    reader = Reader(folder, start="end")
    assert reader.read() == []
    assert reader.parts[1]["offset"] == 12
    reader.stop()
    folder.append(LOG, b"rn\nnew\n")
    assert reader.read() == [b"torn", b"new"]


def test_start_at_the_end_of_an_empty_file_is_remembered(folder: LogFolder) -> None:
    folder.append(LOG, b"")
    reader = Reader(folder, start="end")
    assert reader.read() == []
    reader.stop()
    folder.append(LOG, b"new\n")
    assert reader.read() == [b"new"]


def test_a_file_that_appears_later_is_read_whole_even_when_starting_at_the_end(folder: LogFolder) -> None:
    reader = Reader(folder, start="end")
    assert reader.read() == []
    folder.append(LOG, b"new\n")
    assert reader.read() == [b"new"]


def test_a_missing_file_is_reported_once_and_read_when_it_comes(folder: LogFolder) -> None:
    reader = Reader(folder)
    for _ in range(3):
        assert reader.read() == []
    assert reader.telemetry.names() == ["file_missing"]
    folder.append(LOG, b"one\n")
    assert reader.read() == [b"one"]


def test_an_empty_file_has_no_part(folder: LogFolder) -> None:
    folder.append(LOG, b"")
    reader = Reader(folder)
    assert reader.read() == []
    assert reader.chunks == []


@pytest.mark.parametrize("obstacle", ["folder", "pipe"])
def test_what_is_no_file_is_reported_once_and_tried_again(folder: LogFolder, obstacle: str) -> None:
    path = folder.path(LOG)
    os.mkdir(path) if obstacle == "folder" else os.mkfifo(path)
    reader = Reader(folder)
    for _ in range(3):
        assert reader.read() == []
    assert reader.telemetry.names() == ["file_unreadable"]
    os.rmdir(path) if obstacle == "folder" else os.unlink(path)
    folder.append(LOG, b"one\n")
    assert reader.read() == [b"one"]


def test_a_dangling_link_is_a_missing_file(folder: LogFolder) -> None:
    os.symlink(folder.path("target"), folder.path(LOG))
    reader = Reader(folder)
    assert reader.read() == []
    assert reader.telemetry.names() == ["file_missing"]
    folder.append("target", b"one\n")
    assert reader.read() == [b"one"]


def refusing_open(refused: str) -> Callable[[OperatingSystem, str, int], int]:
    """The system's `open`, which may not open this path: the tests may run as root."""
    opened = OperatingSystem.open

    def open_others(fs: OperatingSystem, path: str, flags: int) -> int:
        if path == refused:
            raise PermissionError(13, "Permission denied")
        return opened(fs, path, flags)

    return open_others


def test_a_file_without_permission_is_reported_once_and_tried_again(folder: LogFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    folder.append(LOG, b"one\n")
    reader = Reader(folder)
    fs = reader.open()._context.fs
    with monkeypatch.context() as patched:
        patched.setattr(type(fs), "open", refusing_open(folder.path(LOG)))
        for _ in range(3):
            assert reader.read() == []
    assert reader.telemetry.facts("file_unreadable") == [
        {"source": "events", "path": folder.path(LOG), "reason": "Permission denied"}
    ]
    assert reader.read() == [b"one"]
    assert reader.telemetry.facts("file_readable") == [{"source": "events", "path": folder.path(LOG)}]


@pytest.mark.parametrize("name", ["events.jsonl.1", "."], ids=["rotated file", "folder"])
def test_a_rotated_file_or_a_folder_that_cannot_be_opened_is_reported_until_it_can(
    folder: LogFolder, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    folder.append(LOG, b"one\n")
    folder.append("events.jsonl.1", b"zero\n")
    path = folder.path(name) if name != "." else str(folder.root)
    reader = Reader(folder)
    assert reader.read() == [b"one"]
    reader.stop()
    folder.rotate()
    folder.append(LOG, b"two\n")
    with monkeypatch.context() as patched:
        patched.setattr(OperatingSystem, "open", refusing_open(folder.path("events.jsonl.2") if name != "." else path))
        reader.read_all()
    folder.clock.now_s += 10
    reader.read()
    reported = folder.path("events.jsonl.2") if name != "." else path
    names = [said for said, facts in reader.telemetry.reports if facts.get("path") == reported and said.endswith("readable")]
    assert names == ["file_unreadable", "file_readable"]


def test_a_disk_that_fails_stops_the_reader(folder: LogFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    folder.append(LOG, b"one\n")
    reader = Reader(folder)
    reader.read()
    folder.append(LOG, b"two\n")
    broken = OSError(5, "Input/output error")
    fs = type(reader.source._context.fs) if reader.source else None
    monkeypatch.setattr(fs, "read", lambda *_: (_ for _ in ()).throw(broken))
    with pytest.raises(StorageError, match=r"events\.jsonl: read failed: Input/output error"):
        reader.read()


def test_a_position_that_is_none_is_refused(folder: LogFolder) -> None:
    reader = Reader(folder)
    reader.parts = {1: {"path": LOG, "offset": "7"}}
    with pytest.raises(StateError, match="invalid position of a file"):
        reader.open()


def test_an_idle_poll_of_a_file_is_one_stat(folder: LogFolder) -> None:
    folder.append(LOG, b"one\n")
    reader = Reader(folder)
    reader.read()
    assert reader.source is not None
    calls: list[str] = []
    fs = reader.source._context.fs

    class Counted:
        def __getattr__(self, name: str) -> object:
            calls.append(name)
            return getattr(fs, name)

    counted = Counted()
    object.__setattr__(reader.source._context, "fs", counted)
    assert reader.source.read(1000) is None
    assert calls == ["status"]


def test_lag_is_what_was_not_read(folder: LogFolder) -> None:
    folder.append(LOG, b"one\ntwo\nthr")
    reader = Reader(folder, bytes_max=4)
    reader.read(1)
    assert reader.source is not None
    assert reader.source.lag_bytes() == 7
    reader.read()
    assert reader.source.lag_bytes() == 3


def test_more_is_known_of_until_what_was_there_is_read_and_not_what_came_since(folder: LogFolder) -> None:
    folder.append(LOG, b"one\ntwo\n")
    reader = Reader(folder, bytes_max=4)
    reader.read(1)
    assert reader.source is not None
    assert reader.source.has_more()
    reader.read(1)
    folder.append(LOG, b"three\n")
    assert not reader.source.has_more()
    reader.read()
    assert reader.chunks[-1].content.endswith(b"three\n")


def test_a_moved_folder_keeps_its_place(tmp_path: Path) -> None:
    """The state names a file as it was written, so that the folder above may be another."""
    for name in ("old", "new"):
        (tmp_path / name).mkdir()
    options = [
        FileSourceOptions.model_validate({"path": "logs/events.jsonl"}, context={"folder": str(tmp_path / name)})
        for name in ("old", "new")
    ]
    assert options[0].label(options[0].path) == "logs/events.jsonl"
    assert options[1].path_of("logs/events.jsonl") == str(tmp_path / "new/logs/events.jsonl")
    assert options[0].identity() == options[1].identity()


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        ({"path": "/var/**/x.jsonl"}, "not supported"),
        ({"path": "/var/*.jsonl", "rotated": "/var/old/*"}, "must contain"),
        ({"path": "/var/x", "retire": 3}, "Extra inputs"),
    ],
)
def test_options_that_cannot_work_are_faults(options: dict[str, object], fault: str) -> None:
    with pytest.raises(ValueError, match=fault):
        FileSourceOptions.model_validate(options)


@pytest.mark.parametrize(
    ("content", "limit", "expected"),
    [
        (b"", 4, (0, False)),
        (b"abcd", 4, (0, False)),
        (b"abcde", 4, (0, True)),
        (b"abcd\r", 4, (0, False)),
        (b"abcd\r\n", 4, (6, False)),
        (b"abcd\rx", 4, (0, True)),
        (b"abcd\nefgh\nij", 4, (10, False)),
        (b"ab\nabcde\n", 4, (3, True)),
        (b"\n\n\n", 4, (3, False)),
    ],
)
def test_whole_records_end_where_the_limit_is_kept(content: bytes, limit: int, expected: tuple[int, bool]) -> None:
    assert whole_records_end(content, limit) == expected


def test_a_compressed_file_at_the_path_is_finished_input(folder: LogFolder) -> None:
    folder.append(LOG, gzip.compress(b"one\ntwo\n") + gzip.compress(b"three"))
    reader = Reader(folder)
    assert reader.read() == [b"one", b"two", b"three"]
    assert reader.chunks[-1].final
    reader.stop()
    assert reader.read() == []
    assert list(reader.parts) == [1]


def test_a_compressed_file_that_is_still_copied_to_its_path_is_waited_for(folder: LogFolder) -> None:
    packed = gzip.compress(b"one\ntwo\n")
    folder.append(LOG, packed[:-9])
    reader = Reader(folder)
    got = reader.read()
    assert reader.source is not None
    assert reader.source.wait_s() == 5.0
    folder.append(LOG, packed[-9:])
    assert [*got, *reader.read()] == [b"one", b"two"]
    assert reader.source.wait_s() is None
    assert "file_damaged" not in reader.telemetry.names()


def test_a_damaged_file_whose_rest_arrives_late_is_damaged_no_more(folder: LogFolder) -> None:
    packed = gzip.compress(b"one\ntwo\n")
    folder.append(LOG, packed[:-9])
    reader = Reader(folder)
    got = reader.read_all()
    assert [facts["path"] for facts in reader.telemetry.facts("file_damaged")] == [folder.path(LOG)]
    assert reader.telemetry.facts("file_readable") == []
    folder.append(LOG, packed[-9:])
    got += reader.read_all()
    assert reader.telemetry.facts("file_readable") == [{"source": "events", "path": folder.path(LOG)}]
    assert got[:1] == [b"one"]


def test_a_look_that_was_costly_is_put_off_but_never_taken_for_the_end(folder: LogFolder) -> None:
    for name in ("a.log", *(f"{number}.log" for number in range(SWEEP_PATHS_MIN - 1))):
        folder.append(name, b"1\n")
    reader = Reader(folder, "*.log")
    assert len(reader.read()) == SWEEP_PATHS_MIN
    assert reader.source is not None
    ticks = iter(range(1000))
    clock = reader.source._context.clock
    start_s = clock.monotonic_s()
    clock.monotonic_s = lambda: start_s + next(ticks) * 0.01  # type: ignore[method-assign]
    reader.read()
    folder.append("a.log", b"2\n")
    assert reader.read() == []
    assert reader.source.wait_s() is not None
    for _ in range(200):
        clock.monotonic_s()
    assert reader.source.wait_s() == 0.0
    assert reader.read() == [b"2"]


def test_a_look_at_few_paths_that_took_long_is_not_put_off(folder: LogFolder) -> None:
    """It was the machine that was slow, and what came meanwhile would wait for nothing."""
    folder.append(LOG, b"1\n")
    reader = Reader(folder)
    assert reader.read() == [b"1"]
    assert reader.source is not None
    ticks = iter(range(1000))
    clock = reader.source._context.clock
    start_s = clock.monotonic_s()
    clock.monotonic_s = lambda: start_s + next(ticks) * 0.01  # type: ignore[method-assign]
    reader.read()
    folder.append(LOG, b"2\n")
    assert reader.read() == [b"2"]


def test_a_hole_of_gigabytes_at_the_start_is_passed_at_once(folder: LogFolder) -> None:
    """What copytruncate leaves under a writer without O_APPEND: the kernel says where the data begins."""
    reader = Reader(folder)
    with open(folder.path(LOG), "wb") as file:
        file.seek(1 << 40)
        file.write(b"1\n")
    assert reader.read(1) == [b"1"]
    assert reader.telemetry.facts("leading_nuls_skipped")[0]["size_bytes"] == 1 << 40


def test_a_long_search_is_cut_into_slices(folder: LogFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    """NULs on a file system without holes, and a line without an end: each call returns, and the input is not at its end."""
    monkeypatch.setattr(tail, "SLICE_BYTES", 1000)
    monkeypatch.setattr(tail, "SCAN_BLOCK_BYTES", 100)
    monkeypatch.setattr(OperatingSystem, "next_data", lambda _self, _descriptor, offset: offset)
    reader = Reader(folder, record_bytes_max=16)
    folder.append(LOG, bytes(5000) + b"1\n" + b"x" * 5000)
    calls = 0
    while reader.read(1) == []:
        calls += 1
        assert reader.source is not None
        assert reader.source.wait_s() == 0
    assert reader.records == [b"1"]
    assert calls >= 2
    assert reader.read_all() == []
    folder.append(LOG, b"\n2\n")
    assert reader.read_all() == [b"over the limit: 5001", b"2"]


def test_a_start_that_is_written_again_during_the_search_is_read(folder: LogFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(OperatingSystem, "next_data", lambda _self, _descriptor, offset: offset)
    reader = Reader(folder)
    folder.append(LOG, bytes(5000))
    assert reader.read_all() == []
    folder.truncate(LOG)
    folder.append(LOG, b"1\n" * 3000)
    assert reader.read_all() == [b"1"] * 3000
