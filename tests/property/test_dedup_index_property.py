"""The index of seen ids against a Python set: any batches, restarts, crashes, merges sooner or later, colliding hashes."""

from __future__ import annotations

from contextlib import suppress
from random import Random
from typing import TypeAlias

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from event_processor.deduplication.fingerprints import Fingerprinter, Xxh3Fingerprinter
from event_processor.deduplication.index import DedupIndex
from event_processor.deduplication.segment_format import Manifest
from event_processor.model.errors import StateError, StorageError
from event_processor.model.event import EventId
from support.dedup_index import DIRECTORY, Colliding, Committed, Delayed, Names, commit, first_times, open_index
from support.simulated_faults import FALLIBLE_CALLS, Fault, SimulatedCrash
from support.simulated_fs import SimulatedFileSystem

Step: TypeAlias = str | list[EventId]

FINGERPRINTERS: list[Fingerprinter] = [Xxh3Fingerprinter(bytes(8)), Colliding(1), Colliding(4)]

simple_ids = st.one_of(st.integers(0, 300), st.integers(0, 300).map(str))
event_ids = st.one_of(simple_ids, st.tuples(simple_ids, simple_ids), st.text(min_size=1, max_size=3))
batches = st.lists(event_ids, max_size=40)
steps = st.lists(st.one_of(batches, st.sampled_from(["commit", "merge", "restart", "crash"])), min_size=1, max_size=40)


def reopen(
    fs: SimulatedFileSystem, committed: Committed, fingerprinter: Fingerprinter, executor: Delayed, names: Names
) -> DedupIndex:
    """Removes what the checkpoint does not name, as its owner does at a start, and opens the index again."""
    for path in fs.paths():
        if path.rsplit("/", 1)[-1] not in committed.files:
            fs.unlink(path)
    return open_index(fs, committed, fingerprinter=fingerprinter, executor=executor, mint=names)


@settings(max_examples=150, deadline=None)
@given(steps=steps, fingerprinter=st.sampled_from(FINGERPRINTERS), seed=st.integers(0, 1000))
def test_the_index_answers_as_a_set_does_over_any_batches_restarts_and_power_cuts(
    steps: list[Step], fingerprinter: Fingerprinter, seed: int
) -> None:
    fs, executor, names = SimulatedFileSystem(seed), Delayed(), Names()
    committed, seen = Committed(), set[EventId]()
    index = open_index(fs, fingerprinter=fingerprinter, executor=executor, mint=names)
    for step in steps:
        if step == "commit":
            committed = commit(index, seen)
            assert sum_of_ids(committed) == len(seen)
        elif step == "merge":
            executor.run()
        elif step == "restart":
            committed = commit(index, seen)
            index.close()
            index = reopen(fs, committed, fingerprinter, executor, names)
        elif isinstance(step, str):
            fs = fs.crash()
            executor.jobs.clear()
            seen = set(committed.ids)
            index = reopen(fs, committed, fingerprinter, executor, names)
        else:
            assert index.observe(step).tolist() == first_times(step, seen)
    everything = sorted(seen, key=repr)
    assert not index.observe(everything).any()
    index.close()


@settings(max_examples=150, deadline=None)
@given(
    stream=st.lists(batches, min_size=2, max_size=12),
    nth=st.integers(1, 60),
    after=st.booleans(),
    seed=st.integers(0, 1000),
)
def test_a_crash_at_any_call_leaves_exactly_what_was_committed(
    stream: list[list[EventId]], nth: int, after: bool, seed: int
) -> None:
    fs, executor, names = SimulatedFileSystem(seed), Delayed(), Names()
    fs.crash_at(nth, after=after)
    committed, seen = Committed(), set[EventId]()
    with suppress(SimulatedCrash):
        index = open_index(fs, executor=executor, mint=names)
        for batch in stream:
            index.observe(batch)
            seen.update(batch)
            committed = commit(index, seen)
            executor.run()
    fs = fs.crash()
    index = reopen(fs, committed, Xxh3Fingerprinter(bytes(8)), Delayed(), names)
    seen = set(committed.ids)
    for batch in stream:
        assert index.observe(batch).tolist() == first_times(batch, seen)


@settings(max_examples=150, deadline=None)
@given(
    stream=st.lists(batches, min_size=2, max_size=12),
    nth=st.integers(1, 200),
    kind=st.sampled_from(sorted(FALLIBLE_CALLS)),
    seed=st.integers(0, 1000),
)
# The look at an append file before it is opened failed with the bare error of the system, found long after by chance.
@example(stream=[[], [0]], nth=4, kind="status", seed=0)
def test_a_call_that_fails_is_an_error_and_never_another_answer(
    stream: list[list[EventId]], nth: int, kind: str, seed: int
) -> None:
    fs, executor, names = SimulatedFileSystem(seed), Delayed(), Names()
    fs.fail(Fault(errno=5, nth=nth, kinds={kind}))
    committed, seen = Committed(), set[EventId]()
    with suppress(StorageError):
        index = open_index(fs, executor=executor, mint=names)
        for batch in stream:
            expected = first_times(batch, trial := set(seen))
            assert index.observe(batch).tolist() == expected
            seen = trial
            committed = commit(index, seen)
            executor.run()
    fs = fs.crash()
    index = reopen(fs, committed, Xxh3Fingerprinter(bytes(8)), Delayed(), names)
    seen = set(committed.ids)
    for batch in stream:
        assert index.observe(batch).tolist() == first_times(batch, seen)


@settings(max_examples=300, deadline=None)
@given(flip=st.randoms(use_true_random=False), ids=st.integers(1, 90), seed=st.integers(0, 1000))
def test_a_flipped_bit_anywhere_is_an_error_or_the_right_answer(flip: Random, ids: int, seed: int) -> None:
    fs, names = SimulatedFileSystem(seed), Names()
    index = open_index(fs, mint=names)
    seen = set[EventId]()
    committed = Committed()
    for start in range(0, ids, 7):
        batch: list[EventId] = [f"id {number}" for number in range(start, min(start + 7, ids))]
        index.observe(batch)
        seen.update(batch)
        committed = commit(index, seen)
    index.close()
    path = f"{DIRECTORY}/{flip.choice(sorted(committed.files))}"
    content = bytearray(fs.content(path) or b"")
    content[flip.randrange(len(content))] ^= 1 << flip.randrange(8)
    fs.plant(path, bytes(content))
    questions: list[EventId] = [f"id {number}" for number in range(ids + 20)]
    with suppress(StateError):
        answers = open_index(fs, committed, mint=names).observe(questions).tolist()
        assert answers == first_times(questions, set(committed.ids))


@pytest.mark.parametrize("limit", [1, 16, 17, 1000])
@settings(max_examples=40, deadline=None)
@given(stream=st.lists(st.lists(st.integers(0, 400), max_size=60), max_size=12), commits=st.lists(st.booleans(), min_size=12))
def test_the_answers_do_not_depend_on_where_batches_and_commits_fall(
    limit: int, stream: list[list[EventId]], commits: list[bool]
) -> None:
    index, seen = open_index(SimulatedFileSystem(1)), set[EventId]()
    flat = [number for batch in stream for number in batch]
    expected = first_times(flat, set())
    answers = []
    for start in range(0, len(flat), limit):
        answers += index.observe(flat[start : start + limit]).tolist()
        seen.update(flat[start : start + limit])
        if commits[start // limit % len(commits)]:
            commit(index, seen)
    assert answers == expected


def sum_of_ids(committed: Committed) -> int:
    return Manifest.of(committed.manifest).committed_ids
