"""`files_concurrent_max`: how many files of a source take turns, and what the others do meanwhile."""

from __future__ import annotations

import gzip
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from support.file_source import LogFolder, Reader


@pytest.fixture
def folder(tmp_path: Path) -> LogFolder:
    return LogFolder(tmp_path)


def lines(name: str, count: int) -> bytes:
    return b"".join(b"%s%d\n" % (name.encode(), number) for number in range(count))


def fill(folder: LogFolder, names: str, count: int) -> None:
    for name in names:
        folder.append(f"{name}.log", lines(name, count))


def reader_of(folder: LogFolder, limit: int, **options: object) -> Reader:
    return Reader(folder, "*.log", bytes_max=3, files_concurrent_max=limit, **options)


def open_files(folder: LogFolder) -> int:
    """How many descriptors of this process lead into the folder."""
    links = (f"/proc/self/fd/{name}" for name in os.listdir("/proc/self/fd"))
    return sum(os.path.exists(link) and os.readlink(link).startswith(str(folder.root)) for link in links)


def test_only_so_many_files_take_turns(folder: LogFolder) -> None:
    fill(folder, "abcd", 3)
    assert reader_of(folder, 2).read() == [b"a0", b"b0", b"a1", b"b1", b"a2", b"b2", b"c0", b"d0", b"c1", b"d1", b"c2", b"d2"]


def test_a_limit_of_one_reads_file_after_file(folder: LogFolder) -> None:
    fill(folder, "abc", 2)
    assert reader_of(folder, 1).read() == [b"a0", b"a1", b"b0", b"b1", b"c0", b"c1"]


def test_without_a_limit_every_file_has_its_turn(folder: LogFolder) -> None:
    fill(folder, "abc", 2)
    assert reader_of(folder, 0).read() == [b"a0", b"b0", b"c0", b"a1", b"b1", b"c1"]


def test_a_live_file_with_nothing_at_hand_gives_its_place_and_is_still_followed(folder: LogFolder) -> None:
    fill(folder, "abc", 1)
    reader = reader_of(folder, 1)
    assert reader.read() == [b"a0", b"b0", b"c0"]
    folder.append("a.log", b"a1\n")
    folder.rotate("a.log")
    folder.append("a.log", b"a2\n")
    assert reader.read_all() == [b"a1", b"a2"]


@pytest.mark.parametrize("limit", [1, 3])
def test_finished_files_are_open_only_while_they_have_a_place(folder: LogFolder, limit: int) -> None:
    fill(folder, "abcdefghij", 4)
    reader = reader_of(folder, limit)
    source = reader.open(finished=True)
    most = 0
    while (chunk := source.read(3)) is not None:
        reader.take(chunk)
        most = max(most, open_files(folder))
    assert most == limit
    assert sorted(reader.records) == sorted(b"".join(lines(name, 4) for name in "abcdefghij").split())
    assert open_files(folder) == 0
    assert source.read(3) is None
    assert source.wait_s() is None


def test_what_was_read_of_files_without_a_place_is_not_read_again_after_a_restart(folder: LogFolder) -> None:
    for name in "abcdef":
        folder.append(f"{name}.log", gzip.compress(lines(name, 4)))
    reader = reader_of(folder, 2)
    reader.open(finished=True)
    reader.read(9)
    reader.stop()
    reader.open(finished=True)
    reader.read()
    assert sorted(reader.records) == sorted(b"".join(lines(name, 4) for name in "abcdef").split())


def test_after_a_restart_no_more_files_are_open_than_have_a_place(folder: LogFolder) -> None:
    fill(folder, "abcdef", 2)
    reader = reader_of(folder, 0)
    reader.read()
    reader.stop()
    reader.options = reader.options.model_copy(update={"files_concurrent_max": 1})
    source = reader.open(finished=True)
    assert open_files(folder) == 0
    assert source.read(100) is None
    assert open_files(folder) == 0


def test_a_file_of_the_state_that_is_gone_before_its_turn_is_told_as_lost(folder: LogFolder) -> None:
    fill(folder, "ab", 2)
    reader = reader_of(folder, 1)
    reader.read(3)
    reader.stop()
    os.unlink(folder.path("b.log"))
    reader.read()
    assert [facts["path"] for facts in reader.telemetry.facts("file_lost")] == [folder.path("b.log")]


def test_a_match_that_comes_and_goes_before_its_turn_is_forgotten(folder: LogFolder) -> None:
    fill(folder, "abc", 2)
    reader = reader_of(folder, 1)
    assert reader.read(1) == [b"a0"]
    os.unlink(folder.path("c.log"))
    assert reader.read() == [b"a1", b"b0", b"b1"]
    folder.append("c.log", b"c9\n")
    assert reader.read() == [b"c9"]


@settings(max_examples=60, deadline=None)
@given(
    sizes=st.lists(st.integers(0, 12), min_size=1, max_size=8),
    limit=st.integers(0, 4),
    restarts=st.lists(st.integers(1, 9), max_size=4),
    finished=st.booleans(),
)
def test_every_record_is_read_once_whatever_the_limit_and_the_restarts(
    tmp_path_factory: pytest.TempPathFactory, sizes: list[int], limit: int, restarts: list[int], finished: bool
) -> None:
    folder = LogFolder(tmp_path_factory.mktemp("logs"))
    names = "abcdefgh"[: len(sizes)]
    for name, size in zip(names, sizes, strict=True):
        folder.append(f"{name}.log", lines(name, size))
    reader = reader_of(folder, limit)
    for chunks in restarts:
        reader.open(finished=finished)
        reader.read(chunks)
        reader.stop()
    reader.open(finished=finished)
    reader.read()
    expected = b"".join(lines(name, size) for name, size in zip(names, sizes, strict=True)).split()
    assert sorted(reader.records) == sorted(expected)
    for name in names:
        assert [record for record in reader.records if record.startswith(name.encode())] == lines(name, 99).split()[
            : sizes[names.index(name)]
        ]
