"""The merge of segments and runs by the kernel, against sorted lists; and that no row is joined that was not read whole and found right."""

from __future__ import annotations

import os
import random
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from event_processor.deduplication.merge import joined_sections, merged_sections, sections_by_numpy
from event_processor.deduplication.runs import Run
from event_processor.deduplication.segment_format import Geometry, Header
from event_processor.deduplication.segments import Segment, create_segment
from event_processor.kernels.merge import KERNELS, MergeKernels
from event_processor.model.errors import StateError
from event_processor.storage.durable import OperatingSystem

Pair = tuple[int, int]
FS = OperatingSystem()
BLOCKS = Geometry(block_rows=16, section_blocks=3)
"""The least block that a kernel makes a checksum of."""

pytestmark = pytest.mark.skipif(KERNELS is None, reason="there is no library")

word = st.one_of(st.integers(0, 3), st.sampled_from([2**63, 2**64 - 1]), st.integers(0, 2**64 - 1))
rows = st.lists(st.tuples(word, word), max_size=60)
chopped = st.lists(st.tuples(rows, st.integers(1, 7)), min_size=1, max_size=7)


def array_of(pairs: Sequence[Pair]) -> np.ndarray:
    return np.array(pairs, np.uint64).reshape(-1, 2)


def run_of(pairs: Sequence[Pair]) -> Run:
    array = array_of(pairs)
    return Run(array[:, 0], array[:, 1])


def pairs_of(sections: Sequence[np.ndarray]) -> list[Pair]:
    return [(hi, lo) for section in sections for hi, lo in section.tolist()]


def random_pairs(count: int, seed: int) -> list[Pair]:
    chance = random.Random(seed)
    return [(chance.getrandbits(64), chance.getrandbits(64)) for _ in range(count)]


def kernels() -> MergeKernels:
    assert KERNELS is not None
    return KERNELS


def opened(folder: Path, parts: Sequence[Sequence[Pair]], geometry: Geometry) -> list[Segment]:
    segments = []
    for number, part in enumerate(parts):
        header = Header(level=0, ids=len(part), geometry=geometry)
        sections = joined_sections([run_of(sorted(part))], geometry.section_rows)
        entry = create_segment(FS, str(folder), f"segment-{number}", header, sections)
        segments.append(Segment(FS, str(folder), entry))
    return segments


@given(chopped, st.integers(1, 40))
def test_sources_that_are_handed_in_piece_by_piece_become_one(sources: list[tuple[list[Pair], int]], wanted: int) -> None:
    merge = kernels().merge([None] * len(sources), 7)
    joined, room = list[Pair](), np.empty((wanted, 2), np.uint64)
    while True:
        put, starved = merge.put(room)
        joined += pairs_of([room[:put]])
        if starved is None and put < wanted:
            break
        if starved is not None:
            whole, size = sources[starved]
            first = merge.next_row(starved)
            merge.fill(starved, array_of(sorted(whole)[first : first + size]))
    assert joined == sorted(row for whole, _ in sources for row in whole)


@given(st.lists(rows, min_size=1, max_size=9), st.integers(1, 50))
def test_runs_become_whole_sections(parts: list[list[Pair]], section_rows: int) -> None:
    runs = [run_of(sorted(part)) for part in parts]
    sections = [section.copy() for section in joined_sections(runs, section_rows)]
    assert pairs_of(sections) == sorted(row for part in parts for row in part)
    assert all(len(section) == section_rows for section in sections[:-1])
    assert all(1 <= len(section) <= section_rows for section in sections)
    readers = [partial(lambda run, first: run.part(first, first + 5), run) for run in runs]
    assert pairs_of(list(sections_by_numpy(readers, section_rows))) == pairs_of(sections)


@pytest.mark.parametrize("count", [1, 2, 3, 5, 8, 64])
def test_many_long_runs_become_one(count: int) -> None:
    chance = random.Random(count)
    parts = [sorted(random_pairs(chance.choice([0, 1, 4095, 4096, 9000]), 100 * count + place)) for place in range(count)]
    sections = [section.copy() for section in joined_sections([run_of(part) for part in parts], 1000)]
    assert pairs_of(sections) == sorted(row for part in parts for row in part)


@pytest.mark.parametrize("geometry", [BLOCKS, Geometry(), Geometry(block_rows=4, section_blocks=2)], ids=str)
@pytest.mark.parametrize("counts", [(1,), (16, 48), (47, 49, 700), (3000, 1, 1000, 15, 17, 2000, 96, 5)], ids=str)
def test_segments_become_one(tmp_path: Path, geometry: Geometry, counts: Sequence[int]) -> None:
    parts = [random_pairs(count, seed) for seed, count in enumerate(counts)]
    segments = opened(tmp_path, parts, geometry)
    sections = [section.copy() for section in merged_sections(segments, geometry.section_rows)]
    assert pairs_of(sections) == sorted(row for part in parts for row in part)
    header = Header(level=1, ids=sum(counts), geometry=geometry)
    merged = Segment(FS, str(tmp_path), create_segment(FS, str(tmp_path), "merged", header, sections))
    sought = run_of(sorted(row for part in parts for row in part))
    assert merged.contains(sought).all()
    for segment in [*segments, merged]:
        segment.close()


@pytest.mark.parametrize("buffer_rows", [16, 32, 47, 64])
def test_the_kernel_reads_whole_blocks_by_itself(tmp_path: Path, buffer_rows: int) -> None:
    parts = [random_pairs(count, count) for count in (480, 960)]
    segments = opened(tmp_path, parts, BLOCKS)
    merge = kernels().merge([segment.for_kernel for segment in segments], buffer_rows)
    room = np.empty((2000, 2), np.uint64)
    put, starved = merge.put(room)
    assert (put, starved) == (1440, None)
    assert pairs_of([room[:put]]) == sorted([*parts[0], *parts[1]])


@pytest.mark.parametrize("block", [0, 3, 59])
def test_a_damaged_block_is_told_and_what_was_before_it_is_right(tmp_path: Path, block: int) -> None:
    part = sorted(random_pairs(960, 1))
    segments = opened(tmp_path, [part, random_pairs(480, 2)], BLOCKS)
    pieces = int(segments[0]._piece_offsets[block // BLOCKS.section_blocks])
    place = Header.SIZE_BYTES + block * 256 + pieces
    with (tmp_path / "segment-0").open("r+b") as file:
        file.seek(place + 100)
        byte = file.read(1)
        file.seek(place + 100)
        file.write(bytes([byte[0] ^ 1]))
    given = list[Pair]()
    with pytest.raises(StateError, match=f"block at byte {place} does not match"):
        given.extend((hi, lo) for section in merged_sections(segments, 16) for hi, lo in section.tolist())
    everything = sorted([*part, *random_pairs(480, 2)])
    assert given == everything[: len(given)]


def test_a_file_that_was_cut_is_told(tmp_path: Path) -> None:
    segments = opened(tmp_path, [random_pairs(5000, 1), random_pairs(500, 2)], Geometry())
    os.truncate(tmp_path / "segment-0", 70_000)
    with pytest.raises(StateError, match="ends at byte 70000"):
        list(merged_sections(segments, 1000))
