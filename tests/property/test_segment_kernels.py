"""The search in all segments at once, against plain sets; and that nothing is decided by a block that was not read whole and found right."""

from __future__ import annotations

import os
import random
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xxhash
from hypothesis import given, settings
from hypothesis import strategies as st

from event_processor.deduplication.bloom_filter import BIT_PATTERNS
from event_processor.deduplication.merge import joined_sections
from event_processor.deduplication.runs import Run
from event_processor.deduplication.segment_format import Geometry, Header
from event_processor.deduplication.segments import OpenSegments, Segment, create_segment
from event_processor.kernels.library import LIBRARY
from event_processor.kernels.segments import CHECKSUM_BYTES_MIN, HELD, KERNELS, LEFT, NEW
from event_processor.model.errors import StateError
from event_processor.storage.durable import OperatingSystem
from support.simulated_fs import SimulatedFileSystem

Pair = tuple[int, int]
FS = OperatingSystem()

pytestmark = pytest.mark.skipif(LIBRARY is None, reason="there is no library")


def run_of(pairs: Iterable[Pair]) -> Run:
    rows = np.array(sorted(set(pairs)), np.uint64).reshape(-1, 2)
    return Run(rows[:, 0].copy(), rows[:, 1].copy())


def random_pairs(count: int, seed: int) -> list[Pair]:
    chance = random.Random(seed)
    return [(chance.getrandbits(64), chance.getrandbits(64)) for _ in range(count)]


def opened(folder: Path, parts: Sequence[Sequence[Pair]], geometry: Geometry | None = None) -> OpenSegments:
    """A segment on a real disk for each part."""
    segments = OpenSegments(FS)
    for number, part in enumerate(parts):
        run = run_of(part)
        header = Header(level=0, ids=len(run), geometry=geometry or Geometry())
        entry = create_segment(FS, str(folder), f"segment-{number}", header, joined_sections([run], header.geometry.section_rows))
        segments.add(Segment(FS, str(folder), entry))
    return segments


def answered(segments: OpenSegments, asked: Run, new: np.ndarray | None = None) -> list[bool]:
    new = np.ones(len(asked), np.bool_) if new is None else new
    segments.search(asked, new)
    assert set(new.view(np.uint8).tolist()) <= {0, 1}
    return list(map(bool, new.tolist()))


def wrong(segments: OpenSegments, asked: Run, held: Iterable[Pair]) -> list[Pair]:
    """Of which it is said wrongly whether they are among `held`."""
    inside = set(held)
    return [
        pair for pair, is_new in zip(pairs_of(asked), answered(segments, asked), strict=True) if is_new != (pair not in inside)
    ]


def pairs_of(run: Run) -> list[Pair]:
    return list(zip(run.hi.tolist(), run.lo.tolist(), strict=True))


@pytest.mark.parametrize(
    "size", [*range(CHECKSUM_BYTES_MIN, 700), 1023, 1024, 1025, 1087, 1088, 1089, 2047, 2048, 2049, 4096, 8192]
)
def test_a_checksum_is_that_of_the_library(size: int) -> None:
    assert KERNELS is not None
    content = np.frombuffer(random.Random(size).randbytes(size), np.uint8)
    found = KERNELS.checksums(content, size)
    assert found is not None
    assert found.tolist() == [xxhash.xxh3_64_intdigest(content.tobytes())]


def test_the_last_of_several_checksums_may_be_of_a_shorter_block_but_not_of_a_very_short_one() -> None:
    assert KERNELS is not None
    content = np.frombuffer(random.Random(1).randbytes(1000), np.uint8)
    found = KERNELS.checksums(content, 300)
    assert found is None, "the last has 100 bytes"
    found = KERNELS.checksums(content[:900], 300)
    assert found is not None
    assert found.tolist() == [xxhash.xxh3_64_intdigest(content[begin : begin + 300].tobytes()) for begin in (0, 300, 600)]


@pytest.mark.parametrize("block_rows", [1, 15, 16, 100, 128, 256, 257])
@pytest.mark.parametrize("count", [1, 16, 129, 5000])
def test_what_is_held_is_found_whatever_the_blocks(block_rows: int, count: int, tmp_path: Path) -> None:
    held = [random_pairs(count, seed) for seed in range(3)]
    segments = opened(tmp_path, held, Geometry(block_rows=block_rows, section_blocks=7))
    asked = run_of([*random_pairs(3000, 99), *held[0][::3], *held[1], *held[2][:7]])
    assert not wrong(segments, asked, [pair for part in held for pair in part])
    segments.close(list(segments))


few = st.integers(0, 6)
pairs = st.tuples(st.one_of(few, st.sampled_from([2**63, 2**64 - 1])), st.one_of(few, st.integers(0, 2**64 - 1)))


@settings(deadline=None)
@given(st.lists(st.lists(pairs, min_size=1, max_size=60), min_size=1, max_size=3), st.lists(pairs, max_size=40), st.data())
def test_fingerprints_that_share_a_half_over_many_blocks(
    tmp_path_factory: Any, held: list[list[Pair]], asked: list[Pair], data: st.DataObject
) -> None:
    segments = opened(tmp_path_factory.mktemp("ids"), held, Geometry(block_rows=16, section_blocks=2))
    sought = run_of([*asked, *(part[0] for part in held), *(part[-1] for part in held)])
    wanted = data.draw(st.lists(st.booleans(), min_size=len(sought), max_size=len(sought)))
    everything = {pair for part in held for pair in part}
    expected = [want and pair not in everything for want, pair in zip(wanted, pairs_of(sought), strict=True)]
    assert answered(segments, sought, np.array(wanted, np.bool_)) == expected
    segments.close(list(segments))


def kernel_answers(segments: OpenSegments, asked: Run) -> list[int]:
    assert KERNELS is not None
    answers = np.full(len(asked), NEW, np.uint8)
    left = KERNELS.search(segments._described, BIT_PATTERNS, asked.hi, asked.lo, answers)
    assert left == answers.tolist().count(LEFT)
    return answers.tolist()


@pytest.mark.parametrize("last_rows", [5, 50, 128])
def test_the_kernel_settles_all_that_is_in_the_cache_but_a_very_short_last_block(last_rows: int, tmp_path: Path) -> None:
    held = sorted(random_pairs(128 * 600 + last_rows, 3))
    last, inside = held[-last_rows:], set(held)
    segments, asked = opened(tmp_path, [held]), run_of([*held[::50], *last, *random_pairs(5000, 4)])
    answers = dict(zip(pairs_of(asked), kernel_answers(segments, asked), strict=True))
    assert {answers[pair] for pair in last} == {LEFT if last_rows == 5 else HELD}
    assert {answers[pair] for pair in held[:-last_rows:50]} == {HELD}
    assert {answer for pair, answer in answers.items() if pair not in inside and pair < last[0]} == {NEW}
    segments.close(list(segments))


def test_each_row_alone_is_found_wherever_it_stands_in_its_block(tmp_path: Path) -> None:
    held = sorted(random_pairs(16 * 70, 11))
    segments = opened(tmp_path, [held], Geometry(block_rows=16, section_blocks=9))
    for pair in held:
        assert kernel_answers(segments, run_of([pair])) == [HELD]
    segments.close(list(segments))


@pytest.mark.parametrize("rows", [15, 16, 17, 40, 200])
def test_many_rows_of_one_half_are_found_in_whichever_block(rows: int, tmp_path: Path) -> None:
    before, held = sorted(random_pairs(20, 12)), [(2**63, 2 * lo) for lo in range(rows)]
    segments = opened(tmp_path, [[*before, *held]], Geometry(block_rows=16, section_blocks=2))
    asked = run_of([*before, *((2**63, lo) for lo in range(2 * rows + 1))])
    assert not wrong(segments, asked, [*before, *held])
    segments.close(list(segments))


def test_what_is_in_no_cache_is_left_and_then_found(tmp_path: Path) -> None:
    held = random_pairs(128 * 200, 5)
    segments = opened(tmp_path, [held])
    descriptor = os.open(tmp_path / "segment-0", os.O_RDONLY)
    os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    os.close(descriptor)
    asked = run_of([*held[::40], *random_pairs(200, 6)])
    assert not wrong(segments, asked, held)
    segments.close(list(segments))


@pytest.mark.parametrize("place", [0, 1000, 2047])
def test_a_block_with_a_wrong_bit_decides_nothing(place: int, tmp_path: Path) -> None:
    held = sorted(random_pairs(128 * 10, 7))
    segments = opened(tmp_path, [held])
    offset = Header.SIZE_BYTES + 3 * 2048 + place
    with open(tmp_path / "segment-0", "r+b") as file:
        file.seek(offset)
        byte = file.read(1)[0]
        file.seek(offset)
        file.write(bytes([byte ^ 1]))
    whole, broken = run_of(held[: 3 * 128]), run_of(held[3 * 128 : 4 * 128])
    assert not any(answered(segments, whole))
    with pytest.raises(StateError, match=f"segment-0: the block at byte {Header.SIZE_BYTES + 3 * 2048} does not match"):
        answered(segments, broken)
    segments.close(list(segments))


def test_a_file_that_was_cut_is_told(tmp_path: Path) -> None:
    held = sorted(random_pairs(128 * 10, 8))
    segments = opened(tmp_path, [held])
    os.truncate(tmp_path / "segment-0", Header.SIZE_BYTES + 5 * 2048 + 100)
    assert not any(answered(segments, run_of(held[: 5 * 128])))
    with pytest.raises(StateError, match="ends at byte"):
        answered(segments, run_of(held[5 * 128 : 6 * 128]))
    segments.close(list(segments))


def test_files_that_are_not_the_systems_are_asked_one_by_one() -> None:
    fs = SimulatedFileSystem(1)
    fs.make_directory("/ids")
    held = random_pairs(300, 9)
    segments = OpenSegments(fs)
    run = run_of(held)
    segments.add(Segment(fs, "/ids", create_segment(fs, "/ids", "s", Header(0, len(run), Geometry()), [run.rows()])))
    asked = run_of([*held[::2], *random_pairs(100, 10)])
    assert not wrong(segments, asked, held)
    segments.close(list(segments))
    assert not len(segments)
