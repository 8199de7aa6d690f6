"""The filter: never a false no, rarely a false yes, the same bits however it was streamed."""

from __future__ import annotations

import numpy as np
import pytest

from event_processor.deduplication.bloom_filter import (
    BITS_PER_ID,
    BLOCK_BYTES,
    BLOCK_WORDS,
    Filter,
    FilterStream,
    Probe,
    blocks_for,
)
from event_processor.deduplication.runs import Run, sort_rows


def random_run(count: int, seed: int) -> Run:
    run, _ = sort_rows(np.random.default_rng(seed).integers(0, 2**64, (count, 2), dtype=np.uint64))
    return run


def streamed(run: Run, piece_rows: int) -> Filter:
    stream = FilterStream(blocks_for(len(run)))
    pieces = [stream.add(run.part(start, start + piece_rows)) for start in range(0, len(run), piece_rows)]
    return Filter(np.concatenate([*pieces, stream.finish()]))


@pytest.mark.parametrize("count", [1, 2, 37, 5000])
def test_what_was_added_is_always_hit(count: int) -> None:
    run = random_run(count, 1)
    assert streamed(run, 1000).hits(Probe.of(run)).tolist() == list(range(count))


def test_a_false_hit_comes_about_once_in_five_hundred() -> None:
    hits = streamed(random_run(200_000, 1), 65_536).hits(Probe.of(random_run(100_000, 2)))
    assert len(hits) < 100_000 * 0.004


def test_the_bits_do_not_depend_on_the_pieces() -> None:
    run = random_run(3000, 3)
    whole = streamed(run, 3000).words.tolist()
    assert all(streamed(run, rows).words.tolist() == whole for rows in (1, 7, 1000))


def test_all_in_one_block_is_still_hit() -> None:
    hi = np.zeros(100, dtype=np.uint64)
    run = Run(hi, np.arange(100, dtype=np.uint64) << np.uint64(40))
    assert len(streamed(run, 9).hits(Probe.of(run))) == 100


def test_the_size_is_the_stated_bits_an_id() -> None:
    run = random_run(100_000, 4)
    words = streamed(run, 65_536).words
    assert len(words) % BLOCK_WORDS == 0
    assert words.nbytes <= len(run) * BITS_PER_ID / 8 + BLOCK_BYTES
    assert blocks_for(0) == 1


def test_the_bits_on_disk_are_those_of_the_first_version() -> None:
    # By hand: hi = 0 is block 0; lo = 0 is first word 0, second word 1, and pattern 0 in both, whose bits are the four
    # six-bit numbers of the constant from bit 40 on.
    golden = 0x9E3779B97F4A7C15
    bits = 0
    for shift in (40, 46, 52, 58):
        bits |= 1 << (golden >> shift & 63)
    stream = FilterStream(1)
    stream.add(Run(np.zeros(1, dtype=np.uint64), np.zeros(1, dtype=np.uint64)))
    assert stream.finish().tolist() == [bits, bits, 0, 0, 0, 0, 0, 0]
