"""The intake as a file: an append is durable when it returns, and a reader sees nothing that a power cut could take back."""

from __future__ import annotations

import errno
import os
from dataclasses import replace
from random import Random

import pytest

from event_processor.connectors.files.following.names import order_within
from event_processor.model.errors import LockedError, StorageError
from event_processor.storage.append_file import append_lines
from event_processor.storage.durable import read_range
from event_processor.storage.durable_view import DurableView
from event_processor.storage.earlier_files import earlier_files, set_aside
from event_processor.storage.shared_log import PACE_S, SharedLog
from support.file_source import ManualClock
from support.simulated_faults import SimulatedCrash
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


def limited(fs: SimulatedFileSystem, seed: int) -> SharedLog:
    """A log that sets its files aside, in every other seed."""
    log = SharedLog(fs, PATH)
    log.file_bytes_max = 24 if seed % 2 else None
    return log


def content_of_all(fs: SimulatedFileSystem) -> bytes:
    """The earlier files and the present one. Between two names of one file, it counts once."""
    found = {}
    for path in (*earlier_files(fs, PATH), PATH):
        status = fs.status(path)
        if status is not None:
            found[status.inode] = fs.content(path) or b""
    return b"".join(found.values())


def seen_in_all(fs: SimulatedFileSystem, view: DurableView) -> bytes:
    """What a reader reads in the earlier files, all of which is durable, and in the present one."""
    live = seen(view)
    status = fs.status(PATH)
    earlier = (path for path in earlier_files(fs, PATH) if fs.status(path) != status)
    return b"".join(fs.content(path) or b"" for path in earlier) + live


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


@pytest.mark.parametrize("kind", ["write", "sync"])
def test_after_a_failure_whose_bytes_could_not_be_cut_off_nothing_more_is_synced_or_shown(
    fs: SimulatedFileSystem, kind: str
) -> None:
    log = SharedLog(fs, PATH)
    view = DurableView(fs, log)
    log.append(b"one\n")
    fs.fail(Fault(errno=errno.EIO, kinds={kind, "truncate"}, lasting=True))
    with pytest.raises(StorageError):
        log.append(b"two\n" * 1000)
    fs.stop_failing()
    append_lines(fs, PATH, [b"theirs"])
    syncs = fs.calls["sync"]
    assert seen(view) == b"one\n"
    assert fs.calls["sync"] == syncs


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
    log = limited(fs, seed)
    view = DurableView(fs, log)
    kept = b""  # what was shown so far
    acknowledged: list[bytes] = []
    for step in range(25):
        line = b"%d-%d\n" % (seed, step)
        match random.randrange(5):
            case 0 | 1:
                if random.random() < 0.15:
                    # A failed fsync may drop what a dead process left. If it was not shown yet, nothing knows of it.
                    kept = seen_in_all(fs, view)
                    fs.fail(Fault(errno=errno.EIO, kinds={random.choice(["write", "sync", "truncate"])}))
                try:
                    log.append(line * random.randrange(1, 4))
                except StorageError:
                    fs = fs.kill()
                    log = limited(fs, seed)
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
            shown = seen_in_all(fs, view)
            assert shown.startswith(kept), fs.journal()
            assert shown.endswith(b"\n") or not shown
            kept = shown
        after = fs.copy(seed * 1000 + step).crash()
        survived = content_of_all(after)
        assert survived.startswith(kept), fs.journal()
        assert all(each in survived for each in acknowledged), fs.journal()


def test_at_each_death_while_a_file_is_set_aside_every_acknowledged_line_is_there_once() -> None:
    lines = [b"line %d\n" % number for number in range(4)]
    for nth in range(1, 200):
        for after in (False, True):
            fs = SimulatedFileSystem(nth)
            fs.plant(PATH, b"")
            log = limited(fs, 1)
            fs.crash_at(nth, after=after)
            done = 0
            try:
                for done, line in enumerate(lines):  # noqa: B007 - how many were acknowledged when it died
                    log.append(line * 3)
            except SimulatedCrash:
                pass
            if not fs.crashed:
                return
            for survivor in (fs.kill(), fs.crash()):
                content = content_of_all(survivor)
                assert content.startswith(b"".join(line * 3 for line in lines[:done])), survivor.journal()
                # The next process goes on, and no line is twice or in another order.
                again = limited(survivor, 1)
                again.append(b"end\n")
                whole = content_of_all(survivor)
                assert whole.endswith(b"end\n"), survivor.journal()
                assert whole[:-4] == b"".join(line * 3 for line in lines)[: len(whole) - 4], survivor.journal()
    pytest.fail("it never ended")


@pytest.mark.parametrize("time_ms", [-1, 0, 999_999_999_999, 1_999_999_999_998, 1_999_999_999_999, 2_000_000_000_000, 10**14])
def test_whatever_the_clock_says_a_file_that_is_set_aside_is_found_again(fs: SimulatedFileSystem, time_ms: int) -> None:
    kept = []
    for number in range(4):
        content = b"file %d\n" % number
        fs.plant(PATH, content)
        found = fs.status(PATH)
        assert found is not None
        set_aside(fs, PATH, replace(found, modified_ns=time_ms * 1_000_000))
        kept.append(content)
        assert [fs.content(path) for path in earlier_files(fs, PATH)] == kept
    assert all(order_within(os.path.basename(path)) for path in earlier_files(fs, PATH))  # their source knows the order, too


def test_if_no_name_is_left_the_file_stays_where_it_is(fs: SimulatedFileSystem) -> None:
    fs.make_directory("/d/intake")
    fs.plant("/d/intake/1999999999999.jsonl", b"by hand\n")
    log = limited(fs, 1)
    log.append(b"a line of some length\n" * 2)
    with pytest.raises(StorageError, match="no name is left"):
        log.append(b"another\n")
    assert fs.content(PATH) == b"a line of some length\n" * 2


def test_a_process_that_opened_a_file_before_it_was_set_aside_appends_to_the_next_one(fs: SimulatedFileSystem) -> None:
    log = limited(fs, 1)
    log.append(b"a line of some length\n" * 2)
    locks = fs.lock

    def lock_later(descriptor: int) -> bool:
        fs.lock = locks  # type: ignore[method-assign]
        log.append(b"another\n")
        return locks(descriptor)

    fs.lock = lock_later  # type: ignore[method-assign]
    with pytest.raises(LockedError, match="replaced"):
        append_lines(fs, PATH, [b"theirs"])
    append_lines(fs, PATH, [b"theirs"])
    assert fs.content(PATH) == b"another\ntheirs\n"
    (earlier,) = earlier_files(fs, PATH)
    assert fs.content(earlier) == b"a line of some length\n" * 2
    assert log.earlier_bytes(1) == 44
    assert log.earlier_bytes(2) == 0


def test_another_file_is_shown_at_once_though_growth_is_paced(fs: SimulatedFileSystem) -> None:
    # A reader that took the earlier file for the present one would look for the next file after it in vain.
    log = SharedLog(fs, PATH, ManualClock())
    log.file_bytes_max = 4
    log.append(b"one\n")
    first = log.look()
    log.append(b"another line\n")
    second = log.look()
    assert first is not None
    assert second is not None
    assert (first.size_bytes, second.size_bytes) == (4, 13)
    assert first.inode != second.inode
    log.append(b"three\n")
    log.append(b"four\n")
    assert fs.status(PATH) == log.look()
