"""Which file comes next is decided by content and by names: a touch, a copy of the folder or a restore changes nothing."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from event_processor.connectors.files.following.remarks import remarks
from event_processor.storage.durable import OperatingSystem
from support.file_source import LogFolder, Reader

LOG = "events.jsonl"


@pytest.fixture
def folder(tmp_path: Path) -> LogFolder:
    (tmp_path / "logs").mkdir()
    return LogFolder(tmp_path / "logs")


def reader_of(folder: LogFolder, first: bytes = b"1\n", **options: Any) -> Reader:
    """A reader that has read and committed `first`, and is stopped."""
    reader = Reader(folder, **options)
    folder.append(LOG, first)
    assert reader.read() == first.splitlines()
    reader.stop()
    return reader


def put(folder: LogFolder, name: str, content: bytes) -> None:
    folder.append(name, content)


def copy_folder(folder: LogFolder) -> None:
    """As `cp -r` does it: other inodes, and times of now, in the order of the names."""
    copied = folder.root.with_name("copied")
    shutil.copytree(folder.root, copied, copy_function=shutil.copyfile)
    shutil.rmtree(folder.root)
    copied.rename(folder.root)
    for name in sorted(os.listdir(folder.root)):
        folder.touch(name)


def test_a_touch_of_the_file_that_was_read_does_not_hide_the_files_after_it(folder: LogFolder) -> None:
    reader = reader_of(folder)
    for record in (b"2\n", b"3\n"):
        folder.rotate()
        folder.append(LOG, record)
    folder.touch(f"{LOG}.2")
    assert reader.read_all() == [b"2", b"3"]
    assert "file_lost" not in reader.telemetry.names()
    assert "order_by_times" not in reader.telemetry.names()


def test_a_touch_of_a_retired_file_does_not_bring_it_back(folder: LogFolder) -> None:
    reader = reader_of(folder)
    folder.rotate()
    folder.append(LOG, b"2\n")
    assert reader.read_all() == [b"2"]
    reader.stop()
    folder.rotate()
    folder.append(LOG, b"3\n")
    folder.touch(f"{LOG}.2")
    assert reader.read_all() == [b"3"]
    assert reader.records == [b"1", b"2", b"3"]


def test_a_touch_of_a_retired_file_does_not_bring_it_back_if_the_last_one_is_gone(folder: LogFolder) -> None:
    reader = reader_of(folder)
    folder.rotate()
    folder.append(LOG, b"2\n")
    reader.read_all()
    reader.stop()
    folder.rotate()
    os.unlink(folder.path(f"{LOG}.1"))
    folder.append(LOG, b"3\n")
    folder.touch(f"{LOG}.2")
    assert reader.read_all() == [b"3"]
    assert [facts["offset"] for facts in reader.telemetry.facts("file_lost")] == [2]


def test_a_touch_of_history_does_not_count_it(folder: LogFolder) -> None:
    put(folder, f"{LOG}.1", b"history\n")
    reader = reader_of(folder)
    folder.replace(LOG, b"2\n")
    folder.touch(f"{LOG}.1")
    assert reader.read_all() == [b"2"]


@pytest.mark.parametrize("compressed", [(), (1,), (2, 3)])
def test_a_copied_folder_changes_nothing(folder: LogFolder, compressed: tuple[int, ...]) -> None:
    reader = reader_of(folder)
    for record in (b"2\n", b"3\n"):
        folder.rotate()
        folder.append(LOG, record)
        reader.read_all()
    reader.stop()
    for record in (b"4\n", b"5\n"):
        folder.rotate()
        folder.append(LOG, record)
    for number in compressed:
        folder.compress(f"{LOG}.{number}")
    copy_folder(folder)
    assert reader.read_all() == [b"4", b"5"]


def test_numbers_that_ascend_are_read_in_their_order(folder: LogFolder) -> None:
    """As log4j counts by default. What was read shows the direction, whatever the times say."""
    reader = reader_of(folder)
    for number, record in ((1, b"2\n"), (2, b"3\n"), (3, b"4\n")):
        os.rename(folder.path(LOG), folder.path(f"{LOG}.{number}"))
        folder.append(LOG, record)
    folder.touch(f"{LOG}.1")
    assert reader.read_all() == [b"2", b"3", b"4"]
    reader.stop()
    for number, record in ((4, b"5\n"), (5, b"6\n")):
        os.rename(folder.path(LOG), folder.path(f"{LOG}.{number}"))
        folder.append(LOG, record)
    copy_folder(folder)
    assert reader.read_all() == [b"5", b"6"]
    assert "file_lost" not in reader.telemetry.names()


NAMES = [
    (f"{LOG}.2", f"{LOG}.1"),
    (f"{LOG}-20261128", f"{LOG}-20261129"),
    (f"{LOG}-2026112823", f"{LOG}-2026112900"),
    (f"{LOG}-1764345600", f"{LOG}-1764432000"),
    (f"{LOG}.2026-11-28", f"{LOG}.2026-11-29"),
    (f"{LOG}-2026-11-28T23-00-00", f"{LOG}-2026-11-28T23-00-01"),
    ("events-2026-11-28.jsonl", "events-2026-11-29.jsonl"),
    ("events.2026-11-28.jsonl", "events.2026-11-29.jsonl"),
    ("events-2026-11-28-9.jsonl", "events-2026-11-28-10.jsonl"),
    ("events-12-31-2026-1.jsonl", "events-01-01-2027-1.jsonl"),
    ("events.2.jsonl", "events.1.jsonl"),
    ("events-2026-11-28T12-00-00.000.jsonl", "events-2026-11-28T12-00-00.001.jsonl"),
    ("events__2026-11-28_12-00-00.jsonl", "events__2026-11-29_00-00-00.jsonl"),
    (f"{LOG}.20261128-120000", f"{LOG}.20261128-120001"),
]


@pytest.mark.parametrize("compression", ["", "gz"])
@pytest.mark.parametrize("names", NAMES, ids=lambda names: names[0])
def test_the_usual_names_are_found_and_ordered_without_configuration(
    folder: LogFolder, names: tuple[str, str], compression: str
) -> None:
    reader = reader_of(folder, b"1\n")
    folder.append(LOG, b"rest\n")
    older, newer = names
    os.rename(folder.path(LOG), folder.path(older))
    folder.append(newer, b"2\n")
    folder.append(LOG, b"3\n")
    for name in names if compression else ():
        folder.compress(name)
    suffix = f".{compression}" if compression else ""
    folder.touch(older + suffix)
    assert reader.read_all() == [b"rest", b"2", b"3"]
    assert "file_lost" not in reader.telemetry.names()


@pytest.mark.parametrize(
    "name",
    [f"{LOG}.bak", f"{LOG}.offset", "events-errors.jsonl", "events-1.jsonl", "events2.jsonl", f"{LOG}.lock", f"{LOG}.4321"],
)
def test_another_file_beside_the_log_is_never_a_rotated_file(folder: LogFolder, name: str) -> None:
    reader = reader_of(folder)
    folder.rotate()
    folder.append(name, b"other\n")
    folder.append(LOG, b"2\n")
    folder.touch(name)
    assert reader.read_all() == [b"2"]
    reader.stop()
    folder.replace(LOG, b"3\n")
    folder.touch(name)
    assert reader.read_all() == [b"3"]


def test_a_log_under_a_name_without_an_order_is_still_followed_to_its_end(folder: LogFolder) -> None:
    reader = reader_of(folder)
    folder.append(LOG, b"rest\n")
    os.rename(folder.path(LOG), folder.path(f"{LOG}.bak"))
    folder.append(LOG, b"2\n")
    assert reader.read_all() == [b"rest", b"2"]


def test_numbers_before_the_extension_are_other_logs_if_the_log_is_rotated_otherwise(folder: LogFolder) -> None:
    reader = reader_of(folder)
    folder.rotate()
    put(folder, "events.1.jsonl", b"other\n")
    folder.append(LOG, b"2\n")
    assert reader.read_all() == [b"2"]


def test_a_link_that_is_repointed_is_followed_through_its_targets(folder: LogFolder) -> None:
    os.mkdir(folder.path("days"))
    reader = Reader(folder, "current")
    for day, record in ((27, b"1\n"), (28, b"2\n"), (29, b"3\n")):
        target = f"days/app-2026-11-{day}.jsonl"
        folder.append(target, record)
        if day == 27:
            os.symlink(target, folder.path("current"))
            assert reader.read() == [b"1"]
            reader.stop()
    os.symlink(target, folder.path("current~"))
    os.replace(folder.path("current~"), folder.path("current"))
    assert reader.read_all() == [b"2", b"3"]
    assert "file_lost" not in reader.telemetry.names()


def test_numbers_on_both_sides_of_what_was_read_are_all_read(folder: LogFolder) -> None:
    """Nothing shows which way they count: the order may be wrong, and the log says so, but nothing is lost."""
    reader = reader_of(folder)
    for number, record in ((3, b"2\n"), (1, b"3\n")):
        folder.append(f"{LOG}.{number}", record)
    os.rename(folder.path(LOG), folder.path(f"{LOG}.2"))
    folder.append(LOG, b"4\n")
    assert sorted(reader.read_all()) == [b"2", b"3", b"4"]
    assert "order_by_times" in reader.telemetry.names()


def test_names_without_an_order_are_read_by_time_and_the_log_says_so(folder: LogFolder) -> None:
    reader = reader_of(folder, rotated=folder.path(f"{LOG}.*"))
    os.rename(folder.path(LOG), folder.path(f"{LOG}.alpha"))
    folder.append(f"{LOG}.gamma", b"2\n")
    folder.append(f"{LOG}.beta", b"3\n")
    folder.append(LOG, b"4\n")
    assert reader.read_all() == [b"2", b"3", b"4"]
    assert "order_by_times" in reader.telemetry.names()


def test_a_file_whose_date_is_too_early_is_still_read(folder: LogFolder) -> None:
    """The clock was set back: the name sorts before what was read, but its content was never read."""
    reader = reader_of(folder)
    os.rename(folder.path(LOG), folder.path(f"{LOG}-20261129"))
    folder.append(f"{LOG}-20261127", b"2\n")
    folder.append(LOG, b"3\n")
    assert reader.read_all() == [b"2", b"3"]


def test_what_is_left_out_at_the_first_start_is_named(folder: LogFolder) -> None:
    put(folder, f"{LOG}.1", b"history\n")
    reader = reader_of(folder)
    assert reader.telemetry.facts("file_left_out") == [{"source": "events", "path": folder.path(f"{LOG}.1"), "size_bytes": 8}]


@pytest.mark.parametrize("stopped", [False, True])
def test_a_shortened_file_is_not_counted_again_from_its_start(folder: LogFolder, stopped: bool) -> None:
    lines = [b'{"id": %d}' % number for number in range(6)]
    reader = Reader(folder)
    folder.append(LOG, b"".join(line + b"\n" for line in lines))
    reader.read_all()
    reader.commit()
    if stopped:
        reader.stop()
    os.truncate(folder.path(LOG), 33)
    folder.touch(LOG)
    reader.read_all()
    folder.append(LOG, b'{"id": 9}\n')
    assert reader.read_all() == [b'{"id": 9}'] or not stopped
    assert reader.records == [*lines, b'{"id": 9}']
    (lost,) = reader.telemetry.facts("file_lost")
    assert (lost["path"], lost["generation"], lost["offset"], lost["size_bytes"]) == (folder.path(LOG), 1, 33, 27)
    assert list(reader.parts) == [2]


def test_a_file_that_was_cut_to_nothing_and_has_another_head_is_read_from_its_start(folder: LogFolder) -> None:
    reader = reader_of(folder, b'{"id": 1, "category": "a"}\n')
    folder.truncate(LOG)
    folder.append(LOG, b'{"id": 2}\n')
    assert reader.read_all() == [b'{"id": 2}']
    assert "file_truncated" in reader.telemetry.names()


def test_a_file_that_was_read_and_removed_is_lost_at_no_start(folder: LogFolder) -> None:
    reader = reader_of(folder)
    reader.read_all()
    os.unlink(folder.path(LOG))
    reader.read_all()
    for _ in range(2):
        reader.stop()
        reader.read_all()
    assert "file_lost" not in reader.telemetry.names()
    folder.append(LOG, b"2\n")
    assert reader.read_all() == [b"2"]


def test_a_file_that_was_removed_while_stopped_is_lost_once(folder: LogFolder) -> None:
    reader = reader_of(folder)
    os.unlink(folder.path(LOG))
    for _ in range(3):
        reader.read_all()
        reader.stop()
    assert reader.telemetry.names().count("file_lost") == 1


def test_a_state_without_fingerprints_goes_on(folder: LogFolder) -> None:
    """Positions of earlier versions have only the file's own hashes: what sorts before the file is history."""
    put(folder, f"{LOG}.1", b"history\n")
    reader = reader_of(folder)
    reader.parts = {1: {key: reader.parts[1][key] for key in ("path", "device", "inode", "offset", "head_hash", "tail_hash")}}
    for record in (b"2\n", b"3\n"):
        folder.rotate()
        folder.append(LOG, record)
    assert reader.read_all() == [b"2", b"3"]


def test_from_the_oldest_file_on_the_rotated_files_are_read_first(folder: LogFolder) -> None:
    for number, record in ((3, b"1\n"), (2, b"2\n"), (1, b"3\n")):
        put(folder, f"{LOG}.{number}", record)
    folder.compress(f"{LOG}.3")
    folder.append(LOG, b"4\n")
    folder.touch(f"{LOG}.2")
    reader = Reader(folder, start="oldest")
    assert reader.read_all() == [b"1", b"2", b"3", b"4"]
    reader.stop()
    folder.rotate()
    folder.append(LOG, b"5\n")
    assert reader.read_all() == [b"5"]


def test_from_the_oldest_file_on_a_glob_reads_the_rotated_files_of_each_path(folder: LogFolder) -> None:
    for name in ("a.log", "b.log"):
        put(folder, f"{name}.1", b"%s1\n" % name[:1].encode())
        put(folder, name, b"%s2\n" % name[:1].encode())
    reader = Reader(folder, "*.log", start="oldest")
    assert sorted(reader.read_all()) == [b"a1", b"a2", b"b1", b"b2"]


def test_a_name_that_is_not_utf_8_comes_back_from_the_state(folder: LogFolder) -> None:
    name = os.fsdecode(b"caf\xe9\\x.jsonl")
    reader = Reader(folder, "*.jsonl")
    folder.append(name, b"1\n")
    assert reader.read_all() == [b"1"]
    label = reader.parts[1]["path"]
    assert isinstance(label, str)
    assert label.encode() == b"bytes:" + os.fsencode(folder.path("")).replace(b"\\", b"\\\\") + b"/caf\\xe9\\\\x.jsonl"
    reader.stop()
    folder.append(name, b"2\n")
    assert reader.read_all() == [b"2"]
    assert "file_lost" not in reader.telemetry.names()


@pytest.mark.parametrize("name", ["a.jsonl", "é.jsonl", "a\\xe9.jsonl", "bytes:a\\x.jsonl", "\udce9\\\udcff.jsonl", "\udce9x41"])
def test_a_label_is_the_path_again(folder: LogFolder, name: str) -> None:
    options = Reader(folder, "*").options
    path = folder.path(name)
    label = options.label(path)
    label.encode()
    assert options.path_of(label) == path
    assert label == path or "bytes:" in label


@pytest.mark.parametrize("link", [os.symlink, os.link])
def test_one_file_under_two_names_of_a_glob_is_read_once(folder: LogFolder, link: Callable[[str, str], None]) -> None:
    folder.append("a.log", b"1\n")
    link(folder.path("a.log"), folder.path("b.log"))
    reader = Reader(folder, "*.log")
    assert reader.read_all() == [b"1"]
    assert reader.telemetry.facts("file_twice") == [
        {"source": "events", "path": folder.path("b.log"), "same_as": folder.path("a.log")}
    ]
    reader.stop()
    folder.append("b.log", b"2\n")
    assert reader.read_all() == [b"2"]
    assert reader.telemetry.names().count("file_twice") == 2


@pytest.mark.parametrize("stopped", [False, True])
def test_a_file_renamed_within_a_glob_is_not_read_again(folder: LogFolder, stopped: bool) -> None:
    reader = Reader(folder, "*.log")
    folder.append("a.log", b"1\n")
    assert reader.read_all() == [b"1"]
    if stopped:
        reader.stop()
    os.rename(folder.path("a.log"), folder.path("z.log"))
    folder.append("z.log", b"2\n")
    folder.append("a.log", b"3\n")
    assert reader.read_all() == [b"2", b"3"]
    reader.stop()
    assert reader.read_all() == []
    folder.append("a.log", b"4\n")
    assert reader.read_all() == [b"4"]
    assert "file_lost" not in reader.telemetry.names()


def test_a_glob_that_is_the_name_of_a_file_says_so(folder: LogFolder) -> None:
    folder.append("a[1].log", b"1\n")
    reader = Reader(folder, "a[1].log")
    assert reader.read_all() == []
    assert "a[[]1].log" in str(reader.telemetry.facts("file_unreadable")[0]["reason"])
    assert Reader(folder, "a[[]1].log").read_all() == [b"1"]


def test_what_lies_beside_the_log_and_is_not_read_is_named(folder: LogFolder) -> None:
    for name in (LOG, f"{LOG}.1", f"{LOG}.bak", "events-errors.jsonl", "other.jsonl"):
        folder.append(name, b"1\n")
    found = list(remarks(OperatingSystem(), Reader(folder).options))
    assert [remark.split(": ")[0] for remark in found] == [folder.path("events-errors.jsonl"), folder.path(f"{LOG}.bak")]


def test_bytes_that_were_seen_and_cut_before_they_were_read_are_lost(folder: LogFolder) -> None:
    reader = Reader(folder, bytes_max=4)
    folder.append(LOG, b"one\n")
    assert reader.read() == [b"one"]
    folder.append(LOG, b"two\nsix\n")
    assert reader.read(1) == [b"two"]
    folder.truncate(LOG)
    folder.append(LOG, b"ten\n")
    assert reader.read_all() == [b"ten"]
    [lost] = reader.telemetry.facts("file_lost")
    assert (lost["offset"], lost["size_bytes"]) == (8, 4)


def test_in_a_glob_dated_files_are_rotated_and_numbered_ones_are_logs(folder: LogFolder) -> None:
    for name, record in (("a.log", b"1\n"), ("a-2026-11-28.log", b"old\n"), ("a.1.log", b"2\n"), ("b-2026-11-28.log", b"3\n")):
        folder.append(name, record)
    reader = Reader(folder, "*.log")
    assert sorted(reader.read_all()) == [b"1", b"2", b"3"]
    assert [facts["path"] for facts in reader.telemetry.facts("file_left_out")] == [folder.path("a-2026-11-28.log")]
    reader.stop()
    os.rename(folder.path("a.log"), folder.path("a-2026-11-29.log"))
    folder.append("a.log", b"4\n")
    assert reader.read_all() == [b"4"]
