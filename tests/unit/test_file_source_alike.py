"""Rotated files that begin alike, with a header or only a few bytes: each line of them is read once."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from support.file_source import LogFolder, Reader

LOG = "events.jsonl"
LONG = b"-" * 5000


@pytest.fixture
def folder(tmp_path: Path) -> LogFolder:
    return LogFolder(tmp_path)


def reader_of(folder: LogFolder, *, path: str = LOG, **options: Any) -> Reader:
    """A reader that has read and committed a header."""
    reader = Reader(folder, path, record_bytes_max=8192, **options)
    folder.append(LOG, b"header\n")
    assert reader.read()[-1] == b"header"
    reader.commit()
    return reader


def reuse_inode(folder: LogFolder, reader: Reader) -> None:
    """As a file system that gives the inode of the removed file to the next one."""
    inode = os.stat(folder.path(LOG)).st_ino
    reader.parts = {number: {**position, "inode": inode} for number, position in reader.parts.items()}


@pytest.mark.parametrize("is_inode_reused", [False, True])
@pytest.mark.parametrize("rotations", [1, 2, 3])
@pytest.mark.parametrize("rest", [b"", b"rest\n"])
def test_a_compressed_file_is_not_confused_with_later_ones(
    folder: LogFolder, rest: bytes, rotations: int, is_inode_reused: bool
) -> None:
    reader = reader_of(folder)
    folder.append(LOG, rest)
    reader.stop()
    expected = rest.splitlines()
    for number in range(rotations):
        folder.rotate()
        folder.compress(f"{LOG}.1")
        folder.append(LOG, b"header\n%d\n" % number)
        expected += [b"header", b"%d" % number]
    if is_inode_reused:
        reuse_inode(folder, reader)
    assert reader.read_all() == expected
    assert not {"file_lost", "file_uncertain"} & set(reader.telemetry.names())


def test_a_compressed_file_with_a_date_is_not_confused_with_later_ones(folder: LogFolder) -> None:
    reader = reader_of(folder)
    folder.append(LOG, b"rest\n")
    reader.stop()
    for day in (28, 29):
        os.rename(folder.path(LOG), folder.path(f"{LOG}-202611{day}"))
        folder.compress(f"{LOG}-202611{day}")
        folder.append(LOG, b"header\n%d\n" % day)
    assert reader.read_all() == [b"rest", b"header", b"28", b"header", b"29"]


def test_the_logs_of_a_glob_are_not_confused(folder: LogFolder) -> None:
    reader = reader_of(folder, path="*.jsonl")
    folder.append("other.jsonl", b"header\n")
    reader.read_all()
    reader.commit()
    for name in (LOG, "other.jsonl"):
        folder.append(name, b"rest of %s\n" % name.encode())
    reader.stop()
    for name in (LOG, "other.jsonl"):
        folder.rotate(name)
        folder.compress(f"{name}.1")
        folder.append(name, b"header\nnew\n")
    # The other log came while the reader ran: nothing says which of its rotated files are history, but that it grew since.
    assert sorted(reader.read_all()) == sorted([b"rest of events.jsonl", b"rest of other.jsonl", *[b"header", b"new"] * 2])


def test_from_the_oldest_file_on_each_file_that_begins_alike_is_read_once(folder: LogFolder) -> None:
    for number in (2, 1):
        folder.append(f"{LOG}.{number}", b"header\nold %d\n" % number)
        folder.compress(f"{LOG}.{number}")
    reader = reader_of(folder, start="oldest")
    assert reader.records == [b"header", b"old 2", b"header", b"old 1", b"header"]
    folder.append(LOG, b"rest\n")
    reader.stop()
    folder.rotate()
    # `compress` writes `.gz` beside a plain file; the older ones moved on.
    folder.compress(f"{LOG}.1")
    folder.append(LOG, b"header\nnew\n")
    assert reader.read_all() == [b"rest", b"header", b"new"]


def test_a_header_that_was_read_and_compressed_while_the_reader_runs_is_left_for_the_next_file(folder: LogFolder) -> None:
    reader = reader_of(folder)
    folder.rotate()
    folder.compress(f"{LOG}.1")
    folder.append(LOG, b"header\nnew\n")
    assert reader.read_all() == [b"header", b"new"]


def test_a_lost_file_does_not_bring_back_an_earlier_one_that_begins_alike(folder: LogFolder) -> None:
    reader = reader_of(folder)
    folder.append(LOG, b"first\n")
    folder.rotate()
    folder.append(LOG, b"header\n")
    assert reader.read_all() == [b"first", b"header"]
    reader.stop()
    os.unlink(folder.path(LOG))
    assert reader.read_all() == []
    assert "file_lost" in reader.telemetry.names()


def test_a_state_of_an_earlier_version_finds_the_file_that_grew_since(folder: LogFolder) -> None:
    folder.append(f"{LOG}.1", b"header\nhistory\n")
    reader = reader_of(folder)
    reader.stop()
    reader.parts = {1: {key: reader.parts[1][key] for key in ("path", "device", "inode", "offset", "head_hash", "tail_hash")}}
    folder.append(LOG, b"rest\n")
    folder.rotate()
    folder.compress(f"{LOG}.1")
    folder.append(LOG, b"header\nnew\n")
    assert reader.read_all() == [b"rest", b"header", b"new"]


@pytest.mark.parametrize("stopped", [False, True])
def test_a_file_that_was_copied_away_and_begins_again_alike_is_read_to_its_end_first(folder: LogFolder, stopped: bool) -> None:
    reader = reader_of(folder)
    if stopped:
        reader.stop()
    folder.append(LOG, b"rest\n")
    folder.copytruncate()
    folder.append(LOG, b"header\nnew and longer\n")
    assert reader.read_all() == [b"rest", b"header", b"new and longer"]


@pytest.mark.parametrize("stopped", [False, True])
def test_a_copy_that_cannot_be_told_from_the_beginning_of_the_log_is_said(folder: LogFolder, stopped: bool) -> None:
    reader = reader_of(folder)
    if stopped:
        reader.stop()
    folder.copytruncate()
    folder.append(LOG, b"header\nnew\n")
    assert reader.read_all() == [b"new"]
    [doubt] = reader.telemetry.facts("file_uncertain")
    assert doubt["path"] == folder.path(LOG)
    assert f"{LOG}.1 holds the same bytes" in str(doubt["reason"])


def test_a_new_file_that_begins_like_the_removed_one_is_said(folder: LogFolder) -> None:
    reader = reader_of(folder)
    reader.stop()
    folder.replace(LOG, b"header\nnew\n")
    assert reader.read_all() == [b"new"]
    [doubt] = reader.telemetry.facts("file_uncertain")
    assert doubt["reason"] == "only its first 7 bytes show that it is the file that was read"


def test_a_file_that_equals_a_removed_one_is_said(folder: LogFolder) -> None:
    reader = reader_of(folder)
    contents = (b"second\n", b"header\n", b"third\n")
    for day, content in enumerate(contents, start=27):
        os.rename(folder.path(LOG), folder.path(f"{LOG}-202611{day}"))
        folder.append(LOG, content)
        if day == 27:
            assert reader.read_all() == [b"second"]
            reader.stop()
    os.unlink(folder.path(f"{LOG}-20261127"))
    assert reader.read_all() == [b"third"]
    assert [facts["path"] for facts in reader.telemetry.facts("file_uncertain")] == [folder.path(f"{LOG}-20261129")]


def test_equal_first_bytes_of_compressed_files_do_not_decide_which_of_them_was_read(folder: LogFolder) -> None:
    """The first 4,096 bytes of all files are the same; so a compressed file is compared whole."""
    reader = Reader(folder, record_bytes_max=8192)
    for content in (b"", b"a\n", b"", b"a\n"):
        folder.append(LOG, LONG + b"\n" + content)
        reader.read()
        folder.rotate()
    folder.compress(f"{LOG}.4")
    folder.append(LOG, LONG + b"\nlast\n")
    reader.read_all()
    assert reader.records == [LONG, LONG, b"a", LONG, LONG, b"a", LONG, b"last"]


def test_files_that_begin_like_a_known_one_do_not_turn_the_numbers_round(folder: LogFolder) -> None:
    reader = reader_of(folder)
    for content in (b"", b"2\n", b"3\n", b"4\n"):
        folder.rotate()
        folder.append(LOG, b"header\n" + content)
    assert reader.read_all() == [b"header", b"header", b"2", b"header", b"3", b"header", b"4"]


def test_the_position_of_a_new_inode_comes_before_what_is_read_from_it(folder: LogFolder) -> None:
    reader = reader_of(folder)
    folder.copytruncate()
    assert reader.read_all() == []
    os.unlink(folder.path(f"{LOG}.1"))
    folder.rotate()
    folder.append(LOG, b"header\nnew\n")
    # The reader holds each chunk to the offset of the one before.
    assert reader.read_all() == [b"new"]
    assert "file_uncertain" in reader.telemetry.names()
