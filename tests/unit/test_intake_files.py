"""The files of the intake as its source reads them: one after the other, each a generation, whatever they hold."""

from __future__ import annotations

import gzip
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from event_processor.assembly.intake import intake_generation, intake_options
from event_processor.connectors.files.following.path import Lineage
from event_processor.connectors.files.following.source import FileSource
from event_processor.model.file_system import FileSystem
from event_processor.model.telemetry import Telemetry
from event_processor.storage.durable_view import DurableView
from event_processor.storage.earlier_files import earlier_files
from event_processor.storage.file_system import OperatingSystem
from event_processor.storage.shared_log import SharedLog
from support.file_source import ManualClock

LINE = b"a line of thirty bytes, no more\n"
FILE_BYTES = 2 * len(LINE)


class Restless(OperatingSystem):
    """A file system on which something else happens before each listing of a folder."""

    def __init__(self, happens: Callable[[], None]) -> None:
        self.happens = happens

    def names(self, path: str) -> list[str]:
        self.happens()
        return super().names(path)


def log_in(folder: Path) -> SharedLog:
    log = SharedLog(OperatingSystem(), str(folder / "intake.jsonl"))
    log.file_bytes_max = FILE_BYTES
    return log


def source_of(
    log: SharedLog,
    positions: Mapping[int, Mapping[str, Any]] | None = None,
    next_generation: int = 1,
    *,
    fs: FileSystem | None = None,
) -> FileSource:
    fs = DurableView(fs or OperatingSystem(), log)
    folder = str(Path(log.path).parent)
    source = FileSource("intake", intake_options(folder), fs=fs, clock=ManualClock(), telemetry=Telemetry(), finished=False)
    source.open(positions or {}, next_generation)
    return source


def read(source: FileSource, chunks_max: int = 1000) -> tuple[list[tuple[int, int, bytes]], dict[int, Mapping[str, Any]]]:
    """What the source gives until it has no more, and the positions of the generations that are still open then."""
    given, opened = list[tuple[int, int, bytes]](), dict[int, Mapping[str, Any]]()
    for _ in range(chunks_max):
        chunk = source.read(1 << 20)
        if chunk is None:
            return given, opened
        if chunk.content:
            given.append((chunk.generation, chunk.offset, chunk.content))
        opened[chunk.generation] = chunk.position
        if chunk.retired:
            del opened[chunk.generation]
    pytest.fail("it never ends")


def test_files_with_equal_content_are_each_read_once_also_after_restarts(tmp_path: Path) -> None:
    # More than the source remembers by their content.
    log, generations, positions = log_in(tmp_path), 0, dict[int, Mapping[str, Any]]()
    for files in (50, 1, 50):
        for _ in range(files):
            log.append(LINE)
            log.append(LINE)
        source = source_of(log, positions, generations + 1)
        given, positions = read(source)
        source.close()
        assert [(each[1], each[2]) for each in given] == [(0, LINE * 2)] * files
        assert [each[0] for each in given] == list(range(generations + 1, generations + files + 1))
        generations += files
    assert len(earlier_files(OperatingSystem(), log.path)) == generations - 1


def test_the_generation_of_an_append_is_known_before_the_reader_is_there(tmp_path: Path) -> None:
    log = log_in(tmp_path)
    for _ in range(3):
        log.append(LINE * 2)
    source = source_of(log)
    generation = intake_generation({"intake": source}, log)
    found = []
    for _ in range(3):
        offset = log.append(LINE * 2)
        found.append((generation(), offset))
    assert found == [(4, 0), (5, 0), (6, 0)]
    given, positions = read(source)
    assert generation() == 6
    assert [each[0] for each in given] == [1, 2, 3, 4, 5, 6]
    source.close()
    # The reader is in the last file, which is full: the next append begins another one.
    again = log_in(tmp_path)
    source = source_of(again, positions, 7)
    generation = intake_generation({"intake": source}, again)
    assert [(again.append(LINE), generation()), (again.append(LINE), generation())] == [(2 * len(LINE), 6), (0, 7)]
    source.close()


def compress(path: str) -> None:
    """As gzip does."""
    plain = Path(path)
    Path(f"{path}.gz").write_bytes(gzip.compress(plain.read_bytes(), mtime=0))
    plain.unlink()


def test_files_that_a_person_compressed_are_generations_like_the_others(tmp_path: Path) -> None:
    log = log_in(tmp_path)
    for _ in range(4):
        log.append(LINE * 2)
    first, second, third = earlier_files(OperatingSystem(), log.path)
    compress(first)
    compress(third)
    Path(f"{second}.gz").write_bytes(b"half written")
    source = source_of(log)
    generation = intake_generation({"intake": source}, log)
    assert (log.append(LINE * 2), generation()) == (0, 5)
    assert [each[0] for each in read(source)[0]] == [1, 2, 3, 4, 5]
    assert generation() == 5
    source.close()
    # Of a compressed file, a receipt cannot say which positions it has not.
    assert [log.earlier_bytes(each) for each in (1, 2, 3, 4, 5)] == [64, sys.maxsize, 64, sys.maxsize, 0]


def test_a_file_that_is_compressed_while_it_is_open_is_found_by_its_name(tmp_path: Path) -> None:
    log = log_in(tmp_path)
    for number in range(3):
        log.append(b"%02d %s" % (number, LINE * 2))
    source = source_of(log)
    chunk = source.read(1 << 20)
    assert chunk is not None
    source.close()
    source = source_of(log, {chunk.generation: chunk.position}, 2)
    compress(earlier_files(OperatingSystem(), log.path)[0])
    generation = intake_generation({"intake": source}, log)
    assert (log.append(LINE), generation()) == (0, 4)
    assert [each[0] for each in read(source)[0]] == [2, 3, 4]
    source.close()


def test_a_name_is_never_given_again_after_its_file_was_compressed(tmp_path: Path) -> None:
    # The source takes a compressed file beside a plain one of its number for half written.
    log = log_in(tmp_path)
    for number in range(4):
        if number < 3:
            log.append(b"%02d %s" % (number, LINE * 2))
            os.utime(log.path, ns=(0, 1_700_000_000_000_000_000))
        else:
            log.append(LINE)
        for path in earlier_files(OperatingSystem(), log.path):
            compress(path)
    source = source_of(log)
    assert [each[0] for each in read(source)[0]] == [1, 2, 3, 4]
    source.close()


def test_a_number_that_the_reader_takes_meanwhile_is_that_of_its_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = log_in(tmp_path)
    log.append(LINE)
    source = source_of(log)
    assert source.open_file()[0] == 1
    asked = vars(Lineage)["open_file"].fget
    assert asked is not None

    def and_then_it_is_read(lineage: Lineage) -> object:
        found = asked(lineage)
        assert source.read(1 << 20) is not None
        return found

    monkeypatch.setattr(Lineage, "open_file", property(and_then_it_is_read))
    assert source.open_file()[0] == 1
    source.close()


def test_what_was_appended_since_the_last_look_is_read_before_the_next_file(tmp_path: Path) -> None:
    log = log_in(tmp_path)
    log.append(LINE * 2)
    source = source_of(log)
    assert [each[2] for each in read(source)[0]] == [LINE * 2]
    log.append(LINE)
    log.append(LINE)
    log.append(LINE)
    assert [each[0::2] for each in read(source)[0]] == [(2, LINE * 2), (3, LINE)]
    source.close()


def test_no_file_is_passed_over_if_others_are_set_aside_within_a_look_at_the_folder(tmp_path: Path) -> None:
    log, left = log_in(tmp_path), list(range(20, 0, -1))

    def fill(files: int) -> None:
        for _ in range(min(files, len(left))):
            log.append(b"%02d %s" % (left.pop(), LINE * 2))

    fs = Restless(lambda: None)
    source = source_of(log, fs=fs)
    fill(1)
    given = read(source)[0]
    fill(1)
    fs.happens = lambda: fill(2)
    given += [each for _ in range(20) for each in read(source)[0]]
    source.close()
    assert [(generation, content[:2]) for generation, _, content in given] == [
        (number, b"%02d" % number) for number in range(1, 21)
    ]


def files_that_begin_alike(log: SharedLog, count: int) -> list[bytes]:
    """Sets aside files whose first line is the same, and appends one line more. Returns what the files hold, oldest first."""
    contents = [LINE + b"%02d: the second line, another in each\n" % number for number in range(count)] + [LINE]
    for content in contents:
        log.append(content)
    return contents


def test_a_file_that_is_compressed_while_it_is_being_read_is_not_taken_for_a_later_one_that_begins_alike(tmp_path: Path) -> None:
    log = log_in(tmp_path)
    contents = files_that_begin_alike(log, 4)
    source = source_of(log)
    assert [chunk.content for _ in range(1) if (chunk := source.read(len(LINE)))] == [LINE]
    compress(earlier_files(OperatingSystem(), log.path)[0])
    given, positions = read(source)
    source.close()
    assert b"".join(each[2] for each in given) == b"".join(contents).removeprefix(LINE)
    assert list(positions) == [5]


@pytest.mark.parametrize("listings", range(1, 9))
def test_a_file_that_is_compressed_while_it_is_being_found_again_keeps_its_name(tmp_path: Path, listings: int) -> None:
    log = log_in(tmp_path)
    contents = [LINE * 2 + b"%02d: the third line, another in each\n" % number for number in range(4)]
    for content in contents:
        log.append(content)
    first, left = earlier_files(OperatingSystem(), log.path)[0], [listings]

    def happens() -> None:
        left[0] -= 1
        if not left[0]:
            compress(first)

    fs, taken, positions, number = Restless(lambda: None), list[bytes](), dict[int, Mapping[str, Any]](), 1
    for _ in range(2):
        source = source_of(log, positions, number, fs=fs)
        chunk = source.read(len(LINE))
        assert chunk is not None
        taken, positions, number = [*taken, chunk.content], {chunk.generation: chunk.position}, chunk.generation + 1
        source.close()
        fs.happens = happens
    fs.happens = lambda: None
    source = source_of(log, positions, number, fs=fs)
    taken += [each[2] for each in read(source)[0]]
    source.close()
    assert b"".join(taken) == b"".join(contents)


@pytest.mark.parametrize("read_files", [0, 2])
def test_a_file_that_was_compressed_while_the_process_was_stopped_is_continued_by_its_name(
    tmp_path: Path, read_files: int
) -> None:
    log = log_in(tmp_path)
    contents = files_that_begin_alike(log, 5)
    source, taken = source_of(log), list[bytes]()
    position, number = dict[str, Any](), 0
    while len(b"".join(taken)) < len(b"".join(contents[:read_files])) + len(LINE):
        chunk = source.read(len(LINE))
        assert chunk is not None
        if not chunk.retired:
            position, number = dict(chunk.position), chunk.generation
        taken.append(chunk.content)
    source.close()
    compress(earlier_files(OperatingSystem(), log.path)[read_files])
    source = source_of(log, {number: position}, number + 1)
    taken += [each[2] for each in read(source)[0]]
    source.close()
    assert b"".join(taken) == b"".join(contents)


@pytest.mark.parametrize("is_inode_reused", [False, True])
def test_a_file_that_was_set_aside_and_compressed_after_the_last_commit_is_the_one_after_those_that_were_there(
    tmp_path: Path, is_inode_reused: bool
) -> None:
    log = log_in(tmp_path)
    log.append(b"%s earlier file\n" % LINE[:-1] * 2)
    log.append(LINE)
    source = source_of(log)
    given, positions = read(source)
    source.close()
    assert given[-1] == (2, 0, LINE)
    # It is the file at the path until now: its name is given later.
    log.append(b"the second line of the second file\n")
    contents = files_that_begin_alike(log, 3)
    compress(earlier_files(OperatingSystem(), log.path)[1])
    if is_inode_reused:
        positions = {2: {**positions[2], "inode": os.stat(log.path).st_ino}}
    source = source_of(log, positions, 3)
    given, _ = read(source)
    source.close()
    assert b"".join(each[2] for each in given) == b"the second line of the second file\n" + b"".join(contents)


@pytest.mark.parametrize("restarts", [False, True])
@pytest.mark.parametrize("befalls", [os.unlink, compress])
def test_an_open_file_that_is_gone_is_not_taken_for_another_with_the_same_content(
    tmp_path: Path, befalls: Callable[[str], None], restarts: bool
) -> None:
    log = log_in(tmp_path)
    for _ in range(4):
        log.append(LINE * 3)
    source = source_of(log)
    chunk = source.read(len(LINE))
    assert chunk is not None
    if restarts:
        source.close()
        source = source_of(log, {1: chunk.position}, 2)
        chunk = source.read(len(LINE))
        assert chunk is not None
    befalls(earlier_files(OperatingSystem(), log.path)[0])
    given, _ = read(source)
    rest = (1, chunk.end_offset, (LINE * 3)[chunk.end_offset :])
    assert given == [rest, (2, 0, LINE * 3), (3, 0, LINE * 3), (4, 0, LINE * 3)]
    source.close()


@pytest.mark.parametrize("is_old", [False, True])
def test_a_file_is_found_again_after_all_earlier_ones_were_removed_and_the_clock_was_set_back(
    tmp_path: Path, is_old: bool
) -> None:
    log = log_in(tmp_path)
    log.append(LINE * 2)
    log.append(LINE)
    source = source_of(log)
    _, positions = read(source)
    source.close()
    [(number, position)] = positions.items()
    assert (position["follows"], position["offset"]) == (
        earlier_files(OperatingSystem(), log.path)[0].rpartition("/")[2],
        len(LINE),
    )
    os.unlink(earlier_files(OperatingSystem(), log.path)[0])
    log.append(LINE)
    os.utime(log.path, ns=(0, 0))
    log.append(LINE)
    # An earlier version kept no name.
    kept = {key: value for key, value in position.items() if key != "follows"} if is_old else position
    source = source_of(log, {number: kept}, number + 1)
    given, positions = read(source)
    source.close()
    assert [each[:2] for each in given] == [(2, len(LINE)), (3, 0)]
    assert positions[3]["follows"] == "1000000000000.jsonl"


def test_a_later_file_with_the_inode_of_a_compressed_one_is_not_taken_for_it(tmp_path: Path) -> None:
    log = log_in(tmp_path)
    contents = files_that_begin_alike(log, 3)
    source = source_of(log)
    chunk = source.read(len(LINE))
    source.close()
    assert chunk is not None
    first, second, _ = earlier_files(OperatingSystem(), log.path)
    compress(first)
    for reuser in (second, log.path):
        reused = {**chunk.position, "inode": os.stat(reuser).st_ino}
        source = source_of(log, {1: reused}, 2)
        assert b"".join(each[2] for each in read(source)[0]) == b"".join(contents).removeprefix(LINE)
        source.close()
