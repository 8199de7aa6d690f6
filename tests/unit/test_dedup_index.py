"""The index as a whole: what it writes and when, what it hands to the checkpoint, and what it refuses."""

from __future__ import annotations

import errno
import json
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import replace
from threading import Event as Flag
from typing import TypeVar

import pytest

from event_processor.deduplication import index as index_module
from event_processor.deduplication.fingerprints import Xxh3Fingerprinter
from event_processor.deduplication.index import DedupIndex, IndexLimits
from event_processor.deduplication.merge import BackgroundThreads, Executor, Turns
from event_processor.deduplication.segment_format import Manifest, SegmentEntry
from event_processor.deduplication.writer import Mint, mint_name
from event_processor.model.errors import StateError, StorageError
from event_processor.model.event import EventId, Json
from support.dedup_index import DIRECTORY, TINY, Colliding, Committed, Delayed, Names, commit, first_times, open_index
from support.simulated_faults import Fault
from support.simulated_fs import SimulatedFileSystem

Result = TypeVar("Result")

UNMERGED = replace(TINY, merge_segments=1000)


def segments(committed: Committed) -> tuple[SegmentEntry, ...]:
    return Manifest.of(committed.manifest).segments


def levels(committed: Committed) -> list[tuple[int, int]]:
    return [(entry.ids, entry.level) for entry in segments(committed)]


@pytest.fixture
def fs() -> SimulatedFileSystem:
    return SimulatedFileSystem(3)


def observed(index: DedupIndex, seen: set[EventId], start: int, end: int) -> None:
    ids: list[EventId] = [f"id {number}" for number in range(start, end)]
    assert index.observe(ids).tolist() == first_times(ids, seen)


def grown(
    fs: SimulatedFileSystem, batches: int, *, executor: Executor | None = None, names: Mint | None = None
) -> tuple[DedupIndex, set[EventId], Committed]:
    """An index that saw `batches` batches of ten ids, each committed."""
    index, seen, committed = open_index(fs, executor=executor, mint=names), set[EventId](), Committed()
    for batch in range(batches):
        observed(index, seen, 10 * batch, 10 * batch + 10)
        committed = commit(index, seen)
    return index, seen, committed


def test_the_first_of_equal_ids_in_a_batch_is_the_new_one(fs: SimulatedFileSystem) -> None:
    index = open_index(fs)
    assert index.observe(["b", "a", "b", 1, "1", 1, "a"]).tolist() == [True, True, False, True, True, False, False]
    assert index.observe([]).tolist() == []


def test_a_commit_appends_to_one_file_and_the_manifest_names_it(fs: SimulatedFileSystem) -> None:
    index = open_index(fs)
    index.observe(["a", "b"])
    taken = index.take()
    assert taken.write() == {
        "fingerprint": "xxh3",
        "seed": "0000000000000000",
        "active": "active-1",
        "active_ids": 2,
        "segments": [],
        "greatest_ids": ["b"],
    }
    # A frame: a checksum and a count of 8 bytes each, and two rows of 16.
    assert taken.appended() == {"ids/active-1": 48}
    index.observe(["c"])
    taken = index.take()
    assert taken.write()["active_ids"] == 3
    assert taken.appended() == {"ids/active-1": 80}


def test_a_commit_without_new_ids_touches_no_disk(fs: SimulatedFileSystem) -> None:
    index, _, committed = grown(fs, 3, executor=Delayed())
    index.observe(["id 1", "id 2"])
    before = dict(fs.calls)
    taken = index.take()
    assert dict(taken.write()) == committed.manifest
    assert taken.appended() == committed.appended
    # The two known ids were looked for already; the commit itself makes no call.
    assert dict(fs.calls) == before


def test_a_new_index_that_saw_nothing_still_names_its_seed(fs: SimulatedFileSystem) -> None:
    taken = open_index(fs).take()
    assert taken.write()["seed"] == "0000000000000000"
    assert taken.appended() == {}
    assert fs.paths() == []


def test_a_full_generation_becomes_a_segment_and_a_new_active_file_begins(fs: SimulatedFileSystem) -> None:
    _, _, committed = grown(fs, 2, executor=Delayed())
    manifest = Manifest.of(committed.manifest)
    assert levels(committed) == [(10, 0)]
    assert (manifest.active_ids, manifest.committed_ids) == (10, 20)
    # The first active file is no longer named, and still there: a checkpoint on disk may need it.
    assert f"{DIRECTORY}/active-1" in fs.paths()
    assert committed.appended == {f"ids/{manifest.active}": 176}


def test_what_became_a_segment_is_let_go_of_in_memory(fs: SimulatedFileSystem) -> None:
    index, seen, _ = grown(fs, 12)
    observed(index, seen, 0, 10)
    assert sum(generation.ids for generation in index._generations) <= TINY.seal_ids


def test_a_batch_larger_than_a_generation_becomes_one_segment(fs: SimulatedFileSystem) -> None:
    index, seen = open_index(fs, executor=Delayed()), set[EventId]()
    observed(index, seen, 0, 100)
    committed = commit(index, seen)
    assert levels(committed) == [(100, 0)]
    assert (Manifest.of(committed.manifest).active, committed.appended) == ("", {})


def test_a_merge_counts_from_the_commit_after_it_and_leaves_its_inputs_on_disk(fs: SimulatedFileSystem) -> None:
    executor = Delayed()
    index, seen, before = grown(fs, 4, executor=executor)
    inputs = [entry.file for entry in segments(before)][:2]
    merging = index.take()
    executor.run()
    assert merging.write() == before.manifest
    after = commit(index, seen)
    assert levels(after) == [(10, 0), (20, 1)]
    assert after.appended == before.appended
    assert all(f"{DIRECTORY}/{name}" in fs.paths() for name in inputs)
    observed(index, seen, 0, 60)


def test_merging_that_fell_behind_takes_more_at_once(fs: SimulatedFileSystem) -> None:
    executor = Delayed()
    index, seen, _ = grown(fs, 9, executor=executor)
    executor.run()
    commit(index, seen)
    executor.run()
    committed = commit(index, seen)
    assert levels(committed) == [(10, 0), (10, 0), (20, 1), (40, 1)]


def test_a_level_is_merged_though_a_higher_one_is_under_way(fs: SimulatedFileSystem) -> None:
    executor = Delayed()
    index, seen = open_index(fs, executor=executor), set[EventId]()

    def level_counts(batches: int) -> Counter[int]:
        for _ in range(batches):
            observed(index, seen, len(seen), len(seen) + 10)
            executor.run()
            committed = commit(index, seen)
        return Counter(level for _, level in levels(committed))

    while level_counts(1)[1] < 2:
        pass
    # Jobs are sent level by level, so the last one is that of level 1. It does not run yet.
    great = executor.jobs.pop()
    assert level_counts(7)[1] == 5
    executor.jobs.append(great)
    assert level_counts(3)[2] == 1
    observed(index, seen, 0, len(seen) + 10)
    index.close()


def test_a_merge_asks_for_its_turn_before_each_section(fs: SimulatedFileSystem, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: Counter[int] = Counter()

    class Recorded(Turns):
        def wait(self, rank: int) -> None:
            asked[rank] += 1
            super().wait(rank)

    monkeypatch.setattr(index_module, "Turns", Recorded)
    _, _, committed = grown(fs, 9)
    assert sorted(levels(committed)) == [(10, 0), (10, 0), (20, 1), (40, 2)]
    # Sections are of eight rows: three merges of two generations have three each, and the one above them has five.
    assert asked == {0: 3 * 3, 1: 5}


def test_ids_observed_while_earlier_commits_are_unwritten_are_neither_lost_nor_counted_twice(fs: SimulatedFileSystem) -> None:
    index, seen = open_index(fs), set[EventId]()
    taken = []
    for start in range(0, 120, 12):
        observed(index, seen, max(0, start - 5), start + 12)
        taken.append(index.take())
    observed(index, seen, 0, 130)
    for each in taken:
        manifest = each.write()
    assert Manifest.of(manifest).committed_ids == 120
    last = index.take()
    committed = Committed(last.write(), last.appended(), frozenset(seen))
    index.close()
    observed(open_index(fs, committed, mint=lambda kind: f"later-{kind}"), seen, 0, 150)


def test_an_index_resumes_with_what_was_committed_and_not_more(fs: SimulatedFileSystem) -> None:
    index, _, committed = grown(fs, 7)
    index.observe(["never committed"])
    index.take()
    index.close()
    again = open_index(fs, committed)
    assert again.observe(["id 0", "id 69", "never committed"]).tolist() == [False, False, True]


def test_the_predecessor_of_a_checkpoint_can_be_resumed_from(fs: SimulatedFileSystem) -> None:
    names = Names()
    index, seen, _ = grown(fs, 5, names=names)
    earlier = commit(index, seen)
    observed(index, set(seen), 50, 90)
    commit(index, seen)
    index.close()
    index = open_index(fs, earlier, mint=names)
    observed(index, seen, 0, 90)
    committed = commit(index, seen)
    index.close()
    observed(open_index(fs, committed, mint=names), seen, 0, 100)


def test_the_failure_of_a_merge_stops_at_the_next_take(fs: SimulatedFileSystem) -> None:
    executor = Delayed()
    index, _, _ = grown(fs, 4, executor=executor)
    index.take()
    fs.fail(Fault(errno=errno.ENOSPC, kinds={"write"}))
    executor.run()
    with pytest.raises(StorageError, match="write failed"):
        index.take()


def test_the_failure_of_a_merge_that_no_take_told_is_told_on_closing(fs: SimulatedFileSystem) -> None:
    executor = Delayed()
    index, _, _ = grown(fs, 4, executor=executor)
    index.take()
    fs.fail(Fault(errno=errno.ENOSPC, kinds={"write"}))
    executor.run()
    with pytest.raises(StorageError, match="write failed"):
        index.close()


def test_closing_gives_up_a_merge_that_has_not_begun(fs: SimulatedFileSystem) -> None:
    executor = Delayed()
    index, _, _ = grown(fs, 4, executor=executor)
    index.take()
    paths = fs.paths()
    index.close()
    executor.run()
    assert fs.paths() == paths


def test_a_merge_in_a_thread_is_adopted_when_it_is_done(fs: SimulatedFileSystem) -> None:
    done = Flag()

    class Told(BackgroundThreads):
        def submit(self, job: Callable[[], Result]) -> Future[Result]:
            future = super().submit(job)
            future.add_done_callback(lambda _: done.set())
            return future

    index, seen, _ = grown(fs, 4, executor=Told())
    assert done.wait(10)
    committed = commit(index, seen)
    assert any(level == 1 for _, level in levels(committed))
    observed(index, seen, 0, 60)
    index.close()


def test_a_flip_of_any_committed_byte_of_the_active_file_is_refused(fs: SimulatedFileSystem) -> None:
    index, seen = open_index(fs), set[EventId]()
    observed(index, seen, 0, 5)
    commit(index, seen)
    observed(index, seen, 5, 8)
    committed = commit(index, seen)
    index.close()
    path = f"{DIRECTORY}/{Manifest.of(committed.manifest).active}"
    content = fs.content(path) or b""
    assert len(content) == 16 + 5 * 16 + 16 + 3 * 16
    for place in range(len(content)):
        fs.plant(path, content[:place] + bytes([content[place] ^ 0x80]) + content[place + 1 :])
        with pytest.raises(StateError, match="frame"):
            open_index(fs, committed)


def test_an_active_file_that_is_not_what_was_committed_is_refused(fs: SimulatedFileSystem) -> None:
    index, seen = open_index(fs), set[EventId]()
    observed(index, seen, 0, 5)
    committed = commit(index, seen)
    index.close()
    manifest = dict(committed.manifest)
    for length in (0, 80, 95, 97, 112):
        with pytest.raises(StateError):
            open_index(fs, Committed(manifest, {"ids/active-1": length}))
    with pytest.raises(StateError, match="holds 5 ids, but 6"):
        open_index(fs, Committed({**manifest, "active_ids": 6}, committed.appended))
    fs.unlink(f"{DIRECTORY}/active-1")
    with pytest.raises(StateError, match="missing"):
        open_index(fs, committed)


@pytest.mark.parametrize(
    "change",
    [
        {"segments": [{"file": "../x", "ids": 1, "level": 0, "size_bytes": 1}]},
        {"segments": [{"file": "x", "ids": 0, "level": 0, "size_bytes": 1}]},
        {"segments": None},
        {"active": "a", "active_ids": 0},
        {"active_ids": -1},
        {"unknown": 1},
        {"greatest_ids": ["a", "b"]},
        {"greatest_ids": [1, 2]},
        {"greatest_ids": ["a" * 65]},
        {"greatest_ids": [""]},
        {"seed": "0000000000000001"},
        {"fingerprint": "blake2b"},
    ],
)
def test_a_manifest_that_is_not_ours_is_refused(fs: SimulatedFileSystem, change: dict[str, Json]) -> None:
    manifest = dict(open_index(fs).take().write())
    with pytest.raises(StateError, match=r".") as caught:
        open_index(fs, Committed({**manifest, **change}))
    assert "replay" in caught.value.hint


def test_an_open_that_fails_leaves_no_descriptor_open(fs: SimulatedFileSystem) -> None:
    index, _, committed = grown(fs, 8, executor=Delayed())
    index.close()
    assert not fs._open_files
    fs.plant(f"{DIRECTORY}/{segments(committed)[-1].file}", b"")
    with pytest.raises(StateError):
        open_index(fs, committed)
    assert not fs._open_files


def test_the_manifest_of_a_million_ids_is_under_a_kilobyte() -> None:
    entries: list[Json] = [{"file": mint_name("segment"), "ids": 240_000, "level": 0, "size_bytes": 4_300_000} for _ in range(4)]
    manifest: dict[str, Json] = {
        "fingerprint": "xxh3",
        "seed": "0" * 16,
        "active": mint_name("active"),
        "active_ids": 40_000,
        "segments": entries,
        "greatest_ids": [2**63 - 1, "b", "evt-0"],
    }
    assert Manifest.of(manifest).to_json() == manifest
    assert len(json.dumps(manifest)) < 1000


def test_reopening_reads_filters_and_not_rows() -> None:
    fs = SimulatedFileSystem(1, short_io_odds=0)
    index, seen = open_index(fs, executor=Delayed(), limits=IndexLimits(seal_ids=20_000)), set[EventId]()
    observed(index, seen, 0, 60_000)
    committed = commit(index, seen)
    index.close()
    before = fs.calls["read"]
    open_index(fs, committed)
    # Header, index, and a filter piece for the one section.
    assert fs.calls["read"] - before == 3


@pytest.mark.parametrize("kind", [int, "id {:04}".format, "id {}".format])
def test_ids_that_rise_are_not_looked_for(kind: Callable[[int], EventId]) -> None:
    """Every hash begins alike, so that no filter could rule a segment out."""
    fs = SimulatedFileSystem(1, short_io_odds=0)
    index, seen, committed = open_index(fs, fingerprinter=Colliding(1), limits=UNMERGED), set[EventId](), Committed()
    for start in range(0, 240, 24):
        ids: list[EventId] = [kind(number) for number in range(start, start + 24)]
        before = fs.calls["read"]
        assert index.observe(ids).all()
        assert fs.calls["read"] == before
        seen.update(ids)
        committed = commit(index, seen)
    assert len(segments(committed)) == 10
    index.close()
    index = open_index(fs, committed, fingerprinter=Colliding(1), limits=UNMERGED)
    before = fs.calls["read"]
    assert index.observe([kind(240)]).all()
    assert fs.calls["read"] == before, "after a restart neither"
    assert not index.observe([kind(3)]).any()
    assert fs.calls["read"] > before


def test_a_state_from_before_the_greatest_ids_were_kept_is_searched_as_ever(fs: SimulatedFileSystem) -> None:
    index, seen, committed = grown(fs, 8, executor=Delayed())
    index.close()
    older = {key: value for key, value in committed.manifest.items() if key != "greatest_ids"}
    index = open_index(fs, Committed(older, committed.appended, committed.ids))
    ids: list[EventId] = ["id 79", "id 80", "id 0", "id 9999"]
    assert index.observe(ids).tolist() == first_times(ids, seen) == [False, True, False, True]
    assert commit(index, seen).manifest["greatest_ids"] is None


def test_names_are_never_given_twice() -> None:
    assert len({mint_name("segment") for _ in range(1000)}) == 1000


def test_ids_whose_hashes_mostly_collide_are_still_told_apart(fs: SimulatedFileSystem) -> None:
    index, seen = open_index(fs, fingerprinter=Colliding(2), limits=TINY), set[EventId]()
    for start in range(0, 300, 9):
        observed(index, seen, max(0, start - 20), start + 9)
        commit(index, seen)
    observed(index, seen, 0, 400)


def test_another_seed_is_another_index(fs: SimulatedFileSystem) -> None:
    committed = grown(fs, 1)[2]
    with pytest.raises(StateError, match="another fingerprint"):
        open_index(fs, committed, fingerprinter=Xxh3Fingerprinter(b"12345678"))


def test_a_generation_in_many_pieces_becomes_a_segment_though_it_is_small_and_over_restarts(fs: SimulatedFileSystem) -> None:
    limits, names = replace(TINY, frames_max=3), Names()
    committed, seen = Committed(), set[EventId]()
    for piece in range(7):
        index = open_index(fs, committed, limits=limits, mint=names, executor=Delayed())
        observed(index, seen, piece, piece + 1)
        committed = commit(index, seen)
        index.close()
    assert levels(committed) == [(3, 0), (3, 0)]
    assert Manifest.of(committed.manifest).active_ids == 1
