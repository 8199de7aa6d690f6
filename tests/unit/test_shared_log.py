"""The intake as a file: an append is durable when it returns, and a reader sees nothing that a power cut could take back."""

from __future__ import annotations

import errno
import os
from random import Random

import pytest

from event_processor.model.errors import LockedError, StorageError
from event_processor.storage.append_file import append_lines
from event_processor.storage.durable import read_range
from event_processor.storage.durable_view import DurableView
from event_processor.storage.shared_log import PACE_S, SharedLog
from support.file_source import ManualClock
from support.simulated_fs import Fault, SimulatedFileSystem

PATH = "/d/intake.jsonl"


@pytest.fixture
def fs() -> SimulatedFileSystem:
    fs = SimulatedFileSystem(7)
    fs.plant(PATH, b"")
    return fs


def seen(view: DurableView) -> bytes:
    """What a reader reads who opens the log anew."""
    status = view.status(PATH)
    if status is None:
        return b""
    descriptor = view.open(PATH, os.O_RDONLY)
    try:
        return read_range(view, descriptor, 1_000_000, 0)
    finally:
        view.close(descriptor)


def write_without_sync(fs: SimulatedFileSystem, content: bytes) -> int:
    """Another process in the middle of its append. Returns its descriptor, which holds the lock."""
    descriptor = fs.open(PATH, os.O_RDWR | os.O_APPEND)
    assert fs.lock(descriptor)
    rest = content
    while rest:
        rest = rest[fs.write(descriptor, rest) :]
    return descriptor


def test_an_append_is_durable_when_it_returns_and_says_where_it_begins(fs: SimulatedFileSystem) -> None:
    log = SharedLog(fs, PATH)
    assert log.append(b"one\ntwo\n") == 0
    assert log.append(b"three\n") == 8
    assert fs.crash().content(PATH) == b"one\ntwo\nthree\n"


def test_what_others_appended_in_between_stays_and_counts_in_the_offsets(fs: SimulatedFileSystem) -> None:
    log = SharedLog(fs, PATH)
    log.append(b"one\n")
    append_lines(fs, PATH, [b"theirs"])
    assert log.append(b"two\n") == 11
    assert seen(DurableView(fs, log)) == b"one\ntheirs\ntwo\n"


def test_a_torn_line_of_a_dead_process_goes_and_was_never_shown(fs: SimulatedFileSystem) -> None:
    fs.plant(PATH, b"one\ntorn")
    log = SharedLog(fs, PATH)
    view = DurableView(fs, log)
    assert seen(view) == b"one\n"
    assert log.append(b"two\n") == 4
    assert seen(view) == b"one\ntwo\n"


def test_a_reader_sees_nothing_of_an_append_under_way_and_all_of_it_afterwards(fs: SimulatedFileSystem) -> None:
    log = SharedLog(fs, PATH)
    view = DurableView(fs, log)
    log.append(b"one\n")
    before = view.status(PATH)
    descriptor = write_without_sync(fs, b"theirs\n")
    assert seen(view) == b"one\n"
    assert view.status(PATH) == before
    with pytest.raises(LockedError):
        log.append(b"two\n")
    fs.close(descriptor)
    # The other process ended without an fsync: the reader makes it durable before it reads it.
    assert seen(view) == b"one\ntheirs\n"
    assert fs.crash().content(PATH) == b"one\ntheirs\n"


def test_after_a_start_everything_is_synced_once_before_it_is_shown(fs: SimulatedFileSystem) -> None:
    fs.close(write_without_sync(fs, b"of a killed process\n"))
    later = fs.kill()
    view = DurableView(later, SharedLog(later, PATH))
    assert seen(view) == b"of a killed process\n"
    syncs = later.calls["sync"]
    assert seen(view) == b"of a killed process\n"
    assert later.calls["sync"] == syncs
    assert later.crash().content(PATH) == b"of a killed process\n"


@pytest.mark.parametrize("kind", ["write", "sync"])
def test_after_a_failure_nothing_is_appended_any_more_and_only_what_is_durable_is_shown(
    fs: SimulatedFileSystem, kind: str
) -> None:
    log = SharedLog(fs, PATH)
    view = DurableView(fs, log)
    log.append(b"one\n")
    fs.fail(Fault(errno=errno.EIO, kinds={kind}))
    with pytest.raises(StorageError) as caught:
        log.append(b"two\n")
    syncs = fs.calls["sync"]
    with pytest.raises(StorageError) as again:
        log.append(b"three\n")
    assert again.value is caught.value
    with pytest.raises(StorageError):
        log.require()
    assert fs.calls["sync"] == syncs  # a failed fsync is never repeated
    assert seen(view) == b"one\n"
    # Neither the next process nor a power cut brings back what was not acknowledged.
    later = fs.kill()
    assert seen(DurableView(later, SharedLog(later, PATH))) == b"one\n"


def test_what_this_process_appends_is_shown_at_most_every_fifth_of_a_second(fs: SimulatedFileSystem) -> None:
    clock = ManualClock()
    log = SharedLog(fs, PATH, clock)
    view = DurableView(fs, log)
    assert seen(view) == b""
    log.append(b"one\n")
    assert not log.is_due
    assert seen(view) == b""
    clock.now_s += PACE_S
    assert log.is_due
    assert seen(view) == b"one\n"
    log.append(b"two\n")
    assert seen(view) == b"one\n"


def test_a_reader_whose_own_fsync_fails_stops(fs: SimulatedFileSystem) -> None:
    fs.close(write_without_sync(fs, b"theirs\n"))
    log = SharedLog(fs, PATH)
    fs.fail(Fault(errno=errno.EIO, kinds={"sync"}))
    with pytest.raises(StorageError):
        seen(DurableView(fs, log))
    with pytest.raises(StorageError):
        log.append(b"one\n")


def test_a_file_that_was_cut_or_replaced_under_us_stops_the_appends(fs: SimulatedFileSystem) -> None:
    log = SharedLog(fs, PATH)
    log.append(b"one\n")
    descriptor = fs.open(PATH, os.O_RDWR)
    fs.truncate(descriptor, 0)
    fs.close(descriptor)
    with pytest.raises(StorageError, match="cut to 0 bytes"):
        log.append(b"two\n")
    other = SharedLog(fs, PATH)
    other.append(b"three\n")
    fs.rename(PATH, "/d/away")
    with pytest.raises(StorageError, match="another file"):
        other.append(b"four\n")


@pytest.mark.parametrize("seed", range(60))
def test_whatever_happens_what_was_shown_or_acknowledged_survives_a_power_cut(seed: int) -> None:
    random = Random(seed)
    fs = SimulatedFileSystem(seed)
    fs.plant(PATH, b"")
    log = SharedLog(fs, PATH)
    view = DurableView(fs, log)
    kept = b""  # what was shown so far
    acknowledged: list[bytes] = []
    for step in range(25):
        line = b"%d-%d\n" % (seed, step)
        match random.randrange(5):
            case 0 | 1:
                if random.random() < 0.15:
                    # A failed fsync may drop what a dead process left. If it was not shown yet, nothing knows of it.
                    kept = seen(view)
                    fs.fail(Fault(errno=errno.EIO, kinds={random.choice(["write", "sync", "truncate"])}))
                try:
                    log.append(line * random.randrange(1, 4))
                except StorageError:
                    fs = fs.kill()
                    log = SharedLog(fs, PATH)
                    view = DurableView(fs, log)
                else:
                    acknowledged.append(line)
                fs.stop_failing()
            case 2:  # another process dies within its append
                fs.close(write_without_sync(fs, line + random.choice([b"", b"torn"])))
            case 3:
                append_lines(fs, PATH, [line[:-1]])
                acknowledged.append(line)
            case _:
                pass
        if random.random() < 0.7:
            shown = seen(view)
            assert shown.startswith(kept), fs.journal()
            assert shown.endswith(b"\n") or not shown
            kept = shown
        survived = fs.copy(seed * 1000 + step).crash().content(PATH) or b""
        assert survived.startswith(kept), fs.journal()
        assert all(each in survived for each in acknowledged), fs.journal()
