"""The shapes in which bytes become durable, on a simulated disk and on the real one."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import numpy as np
import pytest

from event_processor.model.errors import ConfigurationError, LockedError, StateError, StorageError
from event_processor.storage.append_file import BEGUN_BYTES, AppendFile, append_lines
from event_processor.storage.durable import OperatingSystem, create_file, prepare_directory, read_file, replace_file
from event_processor.storage.lock import DirectoryLock
from support.simulated_fs import Fault, SimulatedCrash, SimulatedFileSystem


@pytest.fixture
def fs() -> SimulatedFileSystem:
    disk = SimulatedFileSystem(1, short_io_odds=0.5)
    prepare_directory(disk, "/d")
    return disk


def test_what_was_synced_survives_a_power_cut_though_the_file_was_made_by_a_process_that_was_killed(
    fs: SimulatedFileSystem,
) -> None:
    AppendFile(fs, "/d/log", 0).append(b"never committed")
    second_life = fs.kill()
    file = AppendFile(second_life, "/d/log", 0)
    file.append(b"committed")
    file.sync()
    assert second_life.crash().content("/d/log") == b"committed"


def test_a_folder_made_by_a_process_that_was_killed_survives_once_it_is_prepared_again() -> None:
    fs = SimulatedFileSystem(3)
    fs.make_directory("/pipeline")
    second_life = fs.kill()
    prepare_directory(second_life, "/pipeline/state")
    assert second_life.crash().status("/pipeline/state") is not None


def test_bytes_beyond_the_committed_length_are_cut_off(fs: SimulatedFileSystem) -> None:
    fs.plant("/d/log", b"committed, and more")
    file = AppendFile(fs, "/d/log", len(b"committed"))
    file.append(b"!")
    file.sync()
    assert fs.content("/d/log") == b"committed!"
    assert (file.length_bytes, file.synced_bytes) == (10, 10)


@pytest.mark.parametrize("content", [None, b"short"])
def test_a_file_that_lost_committed_bytes_is_a_state_error_with_the_way_out(
    fs: SimulatedFileSystem, content: bytes | None
) -> None:
    if content is not None:
        fs.plant("/d/log", content)
    with pytest.raises(StateError, match=r"/d/log.*10 bytes were committed") as raised:
        AppendFile(fs, "/d/log", 10)
    assert "replay" in raised.value.hint


def test_a_failed_sync_is_never_tried_again_on_the_same_descriptor(fs: SimulatedFileSystem) -> None:
    file = AppendFile(fs, "/d/log", 0)
    file.append(b"x")
    fs.fail(Fault(errno=errno.EIO, kinds={"sync"}))
    with pytest.raises(StorageError, match="/d/log: fsync failed"):
        file.sync()
    synced = fs.calls["sync"]
    for again in (file.sync, lambda: file.append(b"y")):
        with pytest.raises(StorageError, match="an earlier write or fsync of this file failed"):
            again()
    assert fs.calls["sync"] == synced


def test_a_full_disk_names_the_file_and_what_now(fs: SimulatedFileSystem) -> None:
    file = AppendFile(fs, "/d/log", 0)
    fs.fail(Fault(errno=errno.ENOSPC, kinds={"write"}, short_first=True))
    with pytest.raises(StorageError, match="/d/log: write failed: No space left") as raised:
        file.append(b"a long content that does not fit")
    assert "free some space" in raised.value.hint
    assert raised.value.exit_code == 74


class HintedFileSystem(SimulatedFileSystem):
    """One that counts how often the disk is to begin."""

    begun = 0

    def begin_writing(self, descriptor: int) -> None:
        super().begin_writing(descriptor)
        self.begun += 1


def test_the_disk_begins_with_what_is_much_and_durable_it_is_only_after_a_sync() -> None:
    fs = HintedFileSystem(1)
    fs.make_directory("/d")
    file = AppendFile(fs, "/d/f", 0)
    file.append(b"x" * (BEGUN_BYTES - 1))
    file.begin_writing()
    assert fs.begun == 0
    file.append(b"x")
    file.begin_writing()
    assert (fs.begun, file.synced_bytes) == (1, 0)
    file.sync()
    file.begin_writing()
    assert (fs.begun, file.synced_bytes) == (1, BEGUN_BYTES)


def test_what_the_disk_cannot_begin_with_is_left_to_the_sync(tmp_path: Path) -> None:
    fs = OperatingSystem()
    descriptor = fs.open(str(tmp_path / "f"), os.O_RDWR | os.O_CREAT)
    fs.write(descriptor, b"content")
    fs.begin_writing(descriptor)
    assert fs.read(descriptor, 10, 0) == b"content"
    fs.close(descriptor)
    reader, writer = os.pipe()
    for each in (reader, writer, descriptor):
        fs.begin_writing(each)
    os.close(reader)
    os.close(writer)


def test_an_append_file_is_locked_against_a_second_writer(fs: SimulatedFileSystem) -> None:
    first = AppendFile(fs, "/d/log", 0)
    with pytest.raises(LockedError, match="another process is appending"):
        AppendFile(fs, "/d/log", 0)
    first.close()
    AppendFile(fs, "/d/log", 0).close()


def test_a_folder_in_the_place_of_an_append_file_is_a_configuration_error(fs: SimulatedFileSystem) -> None:
    prepare_directory(fs, "/d/log")
    with pytest.raises(ConfigurationError, match="/d/log"):
        AppendFile(fs, "/d/log", 0)


def test_lines_are_appended_behind_the_last_whole_line_and_a_torn_one_goes(fs: SimulatedFileSystem) -> None:
    fs.plant("/d/intake", b"one\ntorn")
    append_lines(fs, "/d/intake", [b"two", b"three"])
    assert fs.crash().content("/d/intake") == b"one\ntwo\nthree\n"


def test_a_torn_line_longer_than_a_block_goes_too(fs: SimulatedFileSystem) -> None:
    fs.plant("/d/intake", b"one\n" + b"x" * 200_000)
    append_lines(fs, "/d/intake", [b"two"])
    assert fs.content("/d/intake") == b"one\ntwo\n"


def test_lines_that_cannot_be_made_durable_are_taken_back(fs: SimulatedFileSystem) -> None:
    fs.plant("/d/intake", b"one\n")
    fs.fail(Fault(errno=errno.EIO, kinds={"sync"}))
    with pytest.raises(StorageError):
        append_lines(fs, "/d/intake", [b"two"])
    assert fs.content("/d/intake") == b"one\n"


def test_a_large_file_is_made_durable_as_it_grows_and_a_failure_of_that_is_told(fs: SimulatedFileSystem) -> None:
    def syncs_of(size: int) -> int:
        before = fs.calls["sync"]
        create_file(fs, f"/d/{size}", [b"12345"] * (size // 5), sync_bytes=10)
        assert fs.content(f"/d/{size}") == b"12345" * (size // 5)
        return fs.calls["sync"] - before

    assert [syncs_of(size) for size in (0, 5, 15, 100)] == [1, 1, 2, 11]
    fs.fail(Fault(errno=errno.EIO, kinds={"sync"}))
    with pytest.raises(StorageError, match="fsync"):
        create_file(fs, "/d/fails", [b"12345"] * 20, sync_bytes=10)
    assert len(fs.content("/d/fails") or b"") == 10


def test_a_missing_file_reads_as_none_and_a_folder_is_not_a_file(fs: SimulatedFileSystem) -> None:
    assert read_file(fs, "/d/nothing") is None
    with pytest.raises(StorageError, match="/d"):
        read_file(fs, "/d")


def test_the_second_owner_is_told_who_the_first_is(tmp_path: Path) -> None:
    system, path = OperatingSystem(), str(tmp_path / "lock")
    first = DirectoryLock(system, path, "process 1 on here")
    with pytest.raises(LockedError, match="held by process 1 on here") as raised:
        DirectoryLock(system, path, "process 2 on here")
    assert raised.value.exit_code == 75
    first.release()
    DirectoryLock(system, path, "process 3 on here").release()
    assert Path(path).read_text() == "process 3 on here\n"


def test_folders_and_files_are_for_the_owner_and_the_group(tmp_path: Path) -> None:
    system = OperatingSystem()
    prepare_directory(system, str(tmp_path / "a" / "b"))
    file = AppendFile(system, str(tmp_path / "a" / "b" / "log"), 0)
    file.close()
    assert (tmp_path / "a" / "b").stat().st_mode & 0o777 == 0o750
    assert (tmp_path / "a" / "b" / "log").stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize("cached", [True, False])
def test_pieces_that_are_read_each_are_what_stands_there_in_the_cache_or_not(cached: bool, tmp_path: Path) -> None:
    content = bytes(number * 7 % 251 for number in range(300_000))
    path = tmp_path / "content"
    path.write_bytes(content)
    fs = OperatingSystem()
    descriptor = fs.open(str(path), os.O_RDWR)
    if not cached:
        os.fsync(descriptor)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    offsets = np.array([299_000, 0, 4095, 123_456, 299_999])
    found, begins = np.zeros(10_000, np.uint8), np.arange(0, 10_001, 2000)
    total = fs.read_each(descriptor, found, begins, offsets)
    fs.close(descriptor)
    wanted = [content[offset : offset + 2000] for offset in offsets.tolist()]
    assert total == sum(map(len, wanted))
    assert [found[begin : begin + len(want)].tobytes() for begin, want in zip(begins.tolist(), wanted, strict=False)] == wanted


def test_a_descriptor_that_cannot_be_read_is_an_error_for_each_too() -> None:
    with pytest.raises(OSError, match="Bad file descriptor"):
        OperatingSystem().read_each(-1, np.zeros(1, np.uint8), np.array([0, 1]), np.array([0]))


@pytest.mark.parametrize("after", [False, True])
def test_a_replacement_that_a_death_left_unfinished_does_not_stop_the_next_one(after: bool) -> None:
    for nth in range(1, 5):
        fs = SimulatedFileSystem(nth)
        prepare_directory(fs, "/d")
        replace_file(fs, "/d/cursor", [b"old"], "new")
        fs.crash_at(nth, after=after)
        with pytest.raises(SimulatedCrash):
            replace_file(fs, "/d/cursor", [b"next"], "new")
        revived = fs.kill()
        assert revived.content("/d/cursor") in (b"old", b"next")
        replace_file(revived, "/d/cursor", [b"last"], "new")
        assert revived.crash().content("/d/cursor") == b"last"
