"""Segments: what was written is found, what was damaged is refused, and memory and reads are bounded."""

from __future__ import annotations

import errno
from collections import Counter
from collections.abc import Collection, Iterable
from typing import TypeAlias

import numpy as np
import pytest

from event_processor.deduplication.bloom_filter import Probe
from event_processor.deduplication.merge import joined_sections, merged_sections
from event_processor.deduplication.runs import Run, sort_rows
from event_processor.deduplication.segment_format import Geometry, Header, SegmentEntry, encode_segment
from event_processor.deduplication.segments import Segment, create_segment
from event_processor.model.errors import StateError, StorageError
from support.simulated_faults import Fault
from support.simulated_fs import SimulatedFileSystem

Pair: TypeAlias = tuple[int, int]

SMALL = Geometry(block_rows=4, section_blocks=3)


def run_of(pairs: Iterable[Pair]) -> Run:
    run, _ = sort_rows(np.array(sorted(pairs), dtype=np.uint64).reshape(-1, 2))
    return run


def random_pairs(count: int, seed: int, hi_values: int = 2**64) -> set[Pair]:
    random = np.random.default_rng(seed)
    hi = random.integers(0, hi_values, count, dtype=np.uint64)
    lo = random.integers(0, 2**64, count, dtype=np.uint64)
    return set(zip(hi.tolist(), lo.tolist(), strict=True))


@pytest.fixture
def fs() -> SimulatedFileSystem:
    fs = SimulatedFileSystem(7)
    fs.make_directory("/ids")
    return fs


def written(fs: SimulatedFileSystem, pairs: Collection[Pair], *, name: str = "s", level: int = 0) -> SegmentEntry:
    return create_segment(
        fs, "/ids", name, Header(level, len(pairs), SMALL), joined_sections([run_of(pairs)], SMALL.section_rows)
    )


def found(segment: Segment, sought: Run) -> list[Pair]:
    picked = sought.picked(segment.hits(Probe.of(sought)))
    picked = picked.picked(segment.contains(picked))
    return list(zip(picked.hi.tolist(), picked.lo.tolist(), strict=True))


@pytest.mark.parametrize("hi_values", [1, 3, 50, 2**64])
@pytest.mark.parametrize("count", [1, 4, 12, 13, 200])
def test_a_segment_finds_what_is_in_it_and_nothing_else(fs: SimulatedFileSystem, count: int, hi_values: int) -> None:
    inside, outside = random_pairs(count, 1, hi_values), random_pairs(300, 2, hi_values)
    segment = Segment(fs, "/ids", written(fs, inside))
    assert found(segment, run_of(inside | outside)) == sorted(inside)
    assert segment.contains(run_of(outside)).sum() == len(inside & outside)


def test_probes_below_the_first_and_above_the_last_row_are_answered(fs: SimulatedFileSystem) -> None:
    segment = Segment(fs, "/ids", written(fs, {(5, 5), (6, 6)}))
    assert segment.contains(run_of({(0, 0), (5, 4), (5, 5), (6, 7), (2**64 - 1, 0)})).tolist() == [
        False,
        False,
        True,
        False,
        False,
    ]


def test_a_segment_survives_a_power_cut_as_soon_as_it_is_made(fs: SimulatedFileSystem) -> None:
    inside = random_pairs(100, 1)
    fs.sync_directory("/")
    entry = written(fs, inside)
    assert found(Segment(fs.crash(), "/ids", entry), run_of(inside)) == sorted(inside)


def test_segments_merge_into_one_that_holds_all_their_ids(fs: SimulatedFileSystem) -> None:
    # The larger ones are several buffers long, so that ascending is more than sorting what is in memory.
    parts = [random_pairs(count, seed, hi_values=40) for seed, count in enumerate([1, 300, 1700, 5])]
    segments = [Segment(fs, "/ids", written(fs, part, name=f"s{place}")) for place, part in enumerate(parts)]
    sections = [section.tolist() for section in merged_sections(segments, SMALL.section_rows)]
    assert {len(section) for section in sections[:-1]} == {SMALL.section_rows}
    assert [row for section in sections for row in section] == sorted(map(list, set[Pair]().union(*parts)))


def test_a_merge_reads_each_input_as_it_is_joined(fs: SimulatedFileSystem) -> None:
    parts = [random_pairs(3000, seed) for seed in range(3)]
    segments = [Segment(fs, "/ids", written(fs, part, name=f"s{place}")) for place, part in enumerate(parts)]
    fs.calls.clear()
    next(merged_sections(segments, SMALL.section_rows))
    begun = fs.calls["read"]
    list(merged_sections(segments, SMALL.section_rows))
    assert 0 < 10 * begun < fs.calls["read"]


def test_sections_that_are_not_whole_are_refused(fs: SimulatedFileSystem) -> None:
    run = run_of(random_pairs(31, 1))
    for sizes in ([13, 17], [11, 19], [12, 12], [12, 12, 6, 1]):
        ends = np.cumsum(sizes)
        sections = [run.part(end - size, end).rows() for size, end in zip(sizes, ends.tolist(), strict=True)]
        with pytest.raises(AssertionError, match="sections"):
            list(encode_segment(Header(0, 30, SMALL), sections))


def test_a_flip_of_any_byte_is_refused(fs: SimulatedFileSystem) -> None:
    inside = random_pairs(31, 1)
    entry = written(fs, inside)
    content = fs.content("/ids/s") or b""
    assert len(content) == entry.size_bytes
    everything = run_of(inside)
    for place in range(len(content)):
        fs.plant("/ids/s", content[:place] + bytes([content[place] ^ 0x10]) + content[place + 1 :])
        with pytest.raises(StateError, match="/ids/s"):
            Segment(fs, "/ids", entry).contains(everything)


def test_the_error_names_the_block_and_the_way_out(fs: SimulatedFileSystem) -> None:
    entry = written(fs, random_pairs(31, 1))
    content = bytearray(fs.content("/ids/s") or b"")
    # The second block: the first lies right behind the header, and is four rows of 16 bytes.
    content[Header.SIZE_BYTES + 64] ^= 1
    fs.plant("/ids/s", bytes(content))
    with pytest.raises(StateError, match=f"/ids/s: the block at byte {Header.SIZE_BYTES + 64} .*checksum") as caught:
        Segment(fs, "/ids", entry).rows_from(0, 100)
    assert "event-processor replay" in caught.value.hint


def test_a_missing_a_short_and_a_different_file_are_refused(fs: SimulatedFileSystem) -> None:
    entry = written(fs, random_pairs(31, 1))
    other = written(fs, random_pairs(31, 2), name="other", level=1)
    content = fs.content("/ids/s") or b""
    for wrong in (content[:-1], content + b"x", b"", fs.content("/ids/other") or b""):
        fs.plant("/ids/s", wrong)
        with pytest.raises(StateError):
            Segment(fs, "/ids", entry)
    assert other.size_bytes == entry.size_bytes
    fs.unlink("/ids/s")
    with pytest.raises(StateError, match="missing"):
        Segment(fs, "/ids", entry)


def test_a_file_cut_while_it_is_open_is_refused(fs: SimulatedFileSystem) -> None:
    inside = random_pairs(31, 1)
    segment = Segment(fs, "/ids", written(fs, inside))
    fs.plant("/ids/s", (fs.content("/ids/s") or b"")[:60])
    with pytest.raises(StateError, match="ends at byte 60"):
        segment.contains(run_of(inside))


def test_a_read_error_is_a_storage_error_with_the_path(fs: SimulatedFileSystem) -> None:
    inside = random_pairs(31, 1)
    segment = Segment(fs, "/ids", written(fs, inside))
    fs.fail(Fault(errno=errno.EIO, kinds={"read"}))
    with pytest.raises(StorageError, match="/ids/s: read failed"):
        segment.contains(run_of(inside))


def test_only_the_blocks_that_decide_are_read() -> None:
    inside = sorted(random_pairs(400, 1))
    fs = SimulatedFileSystem(1, short_io_odds=0)
    fs.make_directory("/ids")
    segment = Segment(fs, "/ids", written(fs, set(inside)))
    before = Counter(fs.calls)
    segment.contains(run_of({inside[0], inside[1], inside[200], inside[399]}))
    assert fs.calls["read"] - before["read"] == 3
    before = Counter(fs.calls)
    segment.contains(run_of(set(inside)))
    # All of them: a read a section of 12 rows, where the filter's piece stands between.
    assert fs.calls["read"] - before["read"] <= 34
