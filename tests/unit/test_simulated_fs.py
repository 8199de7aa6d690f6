"""The simulated disk: each rule once, by hand, and the calls themselves against the real kernel."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from event_processor.storage.durable import FileStatus, FileSystem, OperatingSystem
from support.simulated_fs import Fault, SimulatedCrash, SimulatedFileSystem

CREATE = os.O_RDWR | os.O_CREAT
APPEND = CREATE | os.O_APPEND


def put(fs: FileSystem, path: str, content: bytes, *, sync: bool = False, name: bool = False) -> None:
    descriptor = fs.open(path, APPEND)
    rest = content
    while rest:
        rest = rest[fs.write(descriptor, rest) :]
    if sync:
        fs.sync(descriptor)
    if name:
        fs.sync_directory(os.path.dirname(path) or ".")
    fs.close(descriptor)


def outcomes(prepare: Callable[[SimulatedFileSystem], None], path: str, *, runs: int = 300) -> set[bytes | None]:
    """What `path` holds after the power cut, over many seeds."""
    found = set()
    for seed in range(runs):
        fs = SimulatedFileSystem(seed, short_io_odds=0)
        prepare(fs)
        found.add(fs.crash().content(path))
    return found


def then_sync_the_root(prepare: Callable[[SimulatedFileSystem], None]) -> Callable[[SimulatedFileSystem], None]:
    def both(fs: SimulatedFileSystem) -> None:
        prepare(fs)
        fs.sync_directory(".")

    return both


def test_a_copy_and_its_original_see_nothing_of_each_other() -> None:
    fs = SimulatedFileSystem(1, short_io_odds=0)
    put(fs, "a", b"both")
    fs.link("a", "b")
    copy = fs.copy(2)
    put(copy, "a", b" copy")
    put(fs, "c", b"original")
    assert [(fs.content(name), copy.content(name)) for name in "abc"] == [
        (b"both", b"both copy"),
        (b"both", b"both copy"),
        (b"original", None),
    ]


def test_what_was_synced_with_its_name_survives_a_power_cut() -> None:
    assert outcomes(lambda fs: put(fs, "a", b"kept", sync=True, name=True), "a") == {b"kept"}


def test_a_file_whose_folder_was_not_synced_may_vanish() -> None:
    assert outcomes(lambda fs: put(fs, "a", b"kept", sync=True), "a") == {None, b"kept"}


def test_unsynced_appended_bytes_are_lost_kept_in_a_prefix_or_zeros() -> None:
    def prepare(fs: SimulatedFileSystem) -> None:
        fs.plant("a", b"old")
        put(fs, "a", b"xy")

    assert outcomes(prepare, "a") == {b"old", b"oldx", b"oldxy", b"oldx\0", b"old\0\0"}


def test_a_later_page_may_survive_where_an_earlier_one_is_a_hole() -> None:
    def prepare(fs: SimulatedFileSystem) -> None:
        fs.plant("a", b"")
        put(fs, "a", b"x" * 4096 + b"yy")

    assert bytes(4096) + b"yy" in outcomes(prepare, "a", runs=100)


def test_an_unsynced_truncation_may_be_undone() -> None:
    def prepare(fs: SimulatedFileSystem) -> None:
        fs.plant("a", b"abcdef")
        fs.truncate(fs.open("a", os.O_RDWR), 2)

    assert outcomes(prepare, "a") == {b"abcdef", b"ab"}


def test_a_rename_leaves_the_old_target_or_the_new_one_and_a_lost_one_the_old_name() -> None:
    both = set()
    for seed in range(100):
        fs = SimulatedFileSystem(seed)
        fs.plant("target", b"old")
        fs.plant("source", b"new")
        fs.rename("source", "target")
        fs = fs.crash()
        both.add((fs.content("target"), fs.content("source")))
    assert both == {(b"old", b"new"), (b"new", None)}


def test_a_rename_without_a_synced_content_may_leave_an_empty_target() -> None:
    def prepare(fs: SimulatedFileSystem) -> None:
        fs.plant("target", b"old")
        put(fs, "source", b"n")
        fs.rename("source", "target")

    assert outcomes(prepare, "target") == {b"old", b"", b"n", b"\0"}


def test_a_rename_between_folders_is_one_operation_and_either_folder_makes_it_durable() -> None:
    for synced in ("from", "to"):
        for seed in range(20):
            fs = SimulatedFileSystem(seed)
            fs.plant("from/a", b"x")
            fs.plant("to/b", b"y")
            fs.rename("from/a", "to/b")
            fs.sync_directory(synced)
            fs = fs.crash()
            assert fs.paths() == ["/to/b"]
            assert fs.content("to/b") == b"x"


def test_an_unlink_and_a_link_are_undone_unless_the_folder_was_synced() -> None:
    def prepare(fs: SimulatedFileSystem) -> None:
        fs.plant("a", b"x")
        fs.link("a", "b")
        fs.unlink("a")

    assert outcomes(prepare, "a") == outcomes(prepare, "b") == {None, b"x"}
    assert outcomes(then_sync_the_root(prepare), "b") == {b"x"}


@pytest.mark.parametrize("reorder", [False, True])
def test_only_where_it_is_asked_for_a_later_name_survives_an_earlier_one(reorder: bool) -> None:
    found = set()
    for seed in range(200):
        fs = SimulatedFileSystem(seed, reorder_names=reorder)
        put(fs, "first", b"")
        put(fs, "second", b"")
        found.add(tuple(fs.crash().paths()))
    in_order = {(), ("/first",), ("/first", "/second")}
    assert found == (in_order | {("/second",)} if reorder else in_order)


def test_a_folder_that_was_not_synced_takes_what_is_in_it_along() -> None:
    def prepare(fs: SimulatedFileSystem) -> None:
        fs.make_directory("below")
        put(fs, "below/a", b"x", sync=True, name=True)

    assert outcomes(prepare, "below/a") == {None, b"x"}
    assert outcomes(then_sync_the_root(prepare), "below/a") == {b"x"}


def test_a_removed_folder_comes_back_unless_its_parent_was_synced() -> None:
    there = set()
    for seed in range(40):
        for synced in (False, True):
            fs = SimulatedFileSystem(seed)
            fs.make_directory("below")
            fs.sync_directory(".")
            fs.remove_directory("below")
            if synced:
                fs.sync_directory(".")
            there.add((synced, fs.crash().status("below") is not None))
    assert there == {(False, False), (False, True), (True, False)}


def test_an_older_operation_never_undoes_a_newer_durable_one() -> None:
    def prepare(fs: SimulatedFileSystem) -> None:
        fs.plant("a", b"1")
        fs.plant("b", b"2")
        fs.fail(Fault(errno.EIO, kinds={"sync_directory"}))
        fs.rename("a", "target")
        with pytest.raises(OSError, match="Input/output"):
            fs.sync_directory(".")
        fs.rename("b", "target")
        fs.sync_directory(".")

    assert outcomes(prepare, "target", runs=100) == {b"2"}


def test_a_second_sync_after_a_failed_one_succeeds_without_durability() -> None:
    def prepare(fs: SimulatedFileSystem) -> None:
        fs.plant("a", b"old")
        fs.fail(Fault(errno.EIO, kinds={"sync"}))
        descriptor = fs.open("a", APPEND)
        fs.write(descriptor, b"lost")
        with pytest.raises(OSError, match="Input/output"):
            fs.sync(descriptor)
        fs.sync(descriptor)
        assert fs.content("a") == b"oldlost"

    assert outcomes(prepare, "a", runs=50) == {b"old"}


def test_a_second_sync_of_a_folder_after_a_failed_one_succeeds_without_durability() -> None:
    def prepare(fs: SimulatedFileSystem) -> None:
        put(fs, "a", b"x", sync=True)
        fs.fail(Fault(errno.EIO, kinds={"sync_directory"}))
        with pytest.raises(OSError, match="Input/output"):
            fs.sync_directory(".")
        fs.sync_directory(".")

    assert outcomes(prepare, "a", runs=50) == {None, b"x"}


def test_what_is_written_after_a_failed_sync_lands_behind_a_hole() -> None:
    def prepare(fs: SimulatedFileSystem) -> None:
        fs.plant("a", b"")
        fs.fail(Fault(errno.EIO, kinds={"sync"}))
        descriptor = fs.open("a", APPEND)
        fs.write(descriptor, b"lost")
        with pytest.raises(OSError, match="Input/output"):
            fs.sync(descriptor)
        fs.write(descriptor, b"kept")
        fs.sync(descriptor)

    assert outcomes(prepare, "a", runs=50) == {b"\0\0\0\0kept"}


def test_after_a_failed_sync_and_a_kill_readers_get_the_dropped_bytes_or_what_the_disk_holds() -> None:
    found = set()
    for seed in range(50):
        fs = SimulatedFileSystem(seed, short_io_odds=0)
        fs.plant("a", b"old")
        fs.fail(Fault(errno.EIO, kinds={"sync"}))
        descriptor = fs.open("a", APPEND)
        fs.write(descriptor, b"xx")
        with pytest.raises(OSError, match="Input/output"):
            fs.sync(descriptor)
        found.add(fs.kill().content("a"))
    assert found == {b"oldxx", b"old\0\0"}


def test_a_kill_loses_nothing_that_was_written_but_a_later_power_cut_may() -> None:
    found = set()
    for seed in range(50):
        fs = SimulatedFileSystem(seed)
        put(fs, "a", b"x")
        fs = fs.kill()
        assert fs.content("a") == b"x"
        found.add(fs.crash().content("a"))
    assert None in found


def test_a_kill_and_a_crash_drop_descriptors_and_locks_and_leave_the_old_life_dead() -> None:
    for end in (SimulatedFileSystem.kill, SimulatedFileSystem.crash):
        fs = SimulatedFileSystem(1)
        fs.plant("lock", b"")
        descriptor = fs.open("lock", os.O_RDWR)
        assert fs.lock(descriptor)
        after = end(fs)
        with pytest.raises(SimulatedCrash):
            fs.close(descriptor)
        with pytest.raises(OSError, match="Bad file descriptor"):
            after.close(descriptor)
        assert after.lock(after.open("lock", os.O_RDWR))


def test_a_lock_belongs_to_one_open_and_ends_with_it() -> None:
    fs = SimulatedFileSystem(1)
    first, second = fs.open("lock", CREATE), fs.open("lock", CREATE)
    assert fs.lock(first)
    assert fs.lock(first)
    assert not fs.lock(second)
    fs.close(first)
    assert fs.lock(second)


@pytest.mark.parametrize("after", [False, True])
def test_a_crash_point_stops_at_the_nth_mutating_call_without_or_with_its_effect(after: bool) -> None:
    fs = SimulatedFileSystem(1, short_io_odds=0)
    fs.plant("a", b"")
    fs.crash_at(2, after=after)
    descriptor = fs.open("a", APPEND)
    fs.write(descriptor, b"1")
    fs.read(descriptor, 1, 0)
    with pytest.raises(SimulatedCrash, match="write 3 1 bytes"):
        fs.write(descriptor, b"2")
    with pytest.raises(SimulatedCrash, match="dead"):
        fs.sync(descriptor)
    assert fs.crashed
    assert fs.kill().content("a") == (b"12" if after else b"1")


def test_a_fault_strikes_the_nth_call_of_its_kinds_once_or_from_then_on() -> None:
    for lasting in (False, True):
        fs = SimulatedFileSystem(1)
        fs.fail(Fault(errno.ENOSPC, nth=2, kinds={"make_directory"}, lasting=lasting))
        fs.make_directory("a")
        with pytest.raises(OSError, match="No space left"):
            fs.make_directory("b")
        if lasting:
            with pytest.raises(OSError, match="No space left"):
                fs.make_directory("b")
            fs.stop_failing()
        fs.make_directory("b")
        assert fs.names("/") == ["a", "b"]


def test_a_disk_that_fills_up_takes_a_part_of_a_write_and_then_none() -> None:
    fs = SimulatedFileSystem(1, short_io_odds=0)
    descriptor = fs.open("a", APPEND)
    fs.fail(Fault(errno.ENOSPC, nth=1, kinds={"write"}, lasting=True, short_first=True))
    assert fs.write(descriptor, b"abcd") == 2
    for _ in range(2):
        with pytest.raises(OSError, match="No space left"):
            fs.write(descriptor, b"cd")
    assert fs.content("a") == b"ab"


def test_reads_and_writes_are_sometimes_short_and_never_empty() -> None:
    fs = SimulatedFileSystem(5, short_io_odds=0.5)
    descriptor = fs.open("a", APPEND)
    taken = {fs.write(descriptor, b"abc") for _ in range(50)}
    given_back = {len(fs.read(descriptor, 3, 0)) for _ in range(50)}
    assert taken == given_back == {1, 2, 3}


def test_the_same_seed_and_calls_give_the_same_disk() -> None:
    def end(seed: int) -> list[tuple[str, bytes | None]]:
        fs = SimulatedFileSystem(seed)
        for name in "abcdef":
            put(fs, name, name.encode() * 9000)
        fs = fs.crash()
        return [(path, fs.content(path)) for path in fs.paths()]

    assert end(7) == end(7)
    assert any(end(7) != end(seed) for seed in range(8, 12))


def test_calls_are_counted_by_kind_and_the_last_ones_can_be_read() -> None:
    fs = SimulatedFileSystem(3)
    put(fs, "a", b"x", sync=True)
    assert dict(fs.calls) == {"create": 1, "write": 1, "sync": 1, "close": 1}
    assert fs.journal().splitlines() == [
        "seed 3, 4 calls, the last of them:",
        "     1 create a",
        "     2 write 3 1 bytes",
        "     3 sync 3",
        "     4 close 3",
    ]


PATHS = st.sampled_from(["a", "b", "d", "d/a", "d/b", "a/x", "e/f"])
FLAGS = st.sampled_from(
    [os.O_RDONLY, os.O_RDWR, CREATE, APPEND, CREATE | os.O_EXCL, CREATE | os.O_TRUNC, os.O_WRONLY, os.O_DIRECTORY]
)
STEPS = st.one_of(
    st.tuples(st.just("open"), PATHS, FLAGS),
    st.tuples(st.just("write"), st.integers(0, 3), st.binary(max_size=6)),
    st.tuples(st.just("read"), st.integers(0, 3), st.integers(0, 9), st.integers(-1, 9)),
    st.tuples(st.just("truncate"), st.integers(0, 3), st.integers(0, 9)),
    st.tuples(st.sampled_from(["close", "lock", "sync", "status_of"]), st.integers(0, 3)),
    st.tuples(st.sampled_from(["make_directory", "remove_directory", "unlink", "names", "status", "sync_directory"]), PATHS),
    st.tuples(st.sampled_from(["link", "rename"]), PATHS, PATHS),
)


CLOSED = 999_999
"""A descriptor that nobody has. A kernel gives the numbers of closed ones again, so they must not be used twice here."""


class Caller:
    """Makes the same calls of any file system, and says what came of each in words that do not depend on which it is."""

    def __init__(self, fs: FileSystem, root: str) -> None:
        self.fs = fs
        self.root = root
        self.descriptors: list[int] = []

    def call(self, name: str, *arguments: object) -> object:
        words = [f"{self.root}/{argument}" if isinstance(argument, str) else argument for argument in arguments]
        if isinstance(arguments[0], int):
            known = arguments[0] < len(self.descriptors)
            words[0] = self.descriptors[arguments[0]] if known else CLOSED
        try:
            answer = getattr(self.fs, name)(*words)
        except OSError as error:
            return errno.errorcode[error.errno or 0]
        if name == "open":
            self.descriptors.append(answer)
            return "opened"
        if name == "close":
            self.descriptors = [CLOSED if one == words[0] else one for one in self.descriptors]
        if isinstance(answer, FileStatus):
            return answer.is_directory, answer.is_regular, answer.is_regular and answer.size_bytes
        return answer

    def close(self) -> None:
        for index in range(len(self.descriptors)):
            self.call("close", index)


FULL_FOLDERS = [("make_directory", "a"), ("make_directory", "d"), ("open", "a/x", CREATE), ("open", "d/a", CREATE)]


@example(steps=[("open", "a", CREATE), ("link", "a", "b"), ("rename", "a", "b"), ("names", "")])
@example(steps=[*FULL_FOLDERS, ("rename", "a", "d"), ("rename", "d", "d/a"), ("rename", "d/a", "a"), ("remove_directory", "d")])
@example(steps=[*FULL_FOLDERS, ("unlink", "d/a"), ("rename", "a", "d"), ("names", "d"), ("unlink", "d"), ("link", "d", "b")])
@settings(max_examples=150, deadline=None)
@given(steps=st.lists(STEPS, max_size=25))
def test_every_call_answers_as_the_kernel_does(tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[object, ...]]) -> None:
    folder = tmp_path_factory.mktemp("disk")
    real, simulated = Caller(OperatingSystem(), str(folder)), Caller(SimulatedFileSystem(1, short_io_odds=0), "")
    try:
        for name, *arguments in steps:
            assert simulated.call(str(name), *arguments) == real.call(str(name), *arguments), name
        there = sorted("/" + str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
        assert isinstance(simulated.fs, SimulatedFileSystem)
        assert simulated.fs.paths() == there
        assert [simulated.fs.content(path) for path in there] == [Path(f"{folder}{path}").read_bytes() for path in there]
    finally:
        real.close()
