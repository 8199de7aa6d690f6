"""A blocked Bloom filter over fingerprints, built as a stream and probed by the batch.

Owns: which bits a fingerprint sets, and the arrays that hold them.
Always: no false "no". A false "yes" comes about once in 500 probes at `BITS_PER_ID`. The block of a fingerprint rises with its
`hi`, so that a filter over sorted fingerprints comes out in its final order, piece by piece, and a sorted batch walks
through it once.
Never: which bits are set is never changed: they are on disk.

The form: blocks of 512 bits, a cache line (F. Putze, P. Sanders, J. Singler, "Cache-, hash- and space-efficient Bloom
filters", 2007). A fingerprint picks a block by the high half of `hi`; from `lo` come two of the block's eight words, and
four bits in each. Nearly every probe is settled by the first word alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np

from event_processor.deduplication.runs import Run, WordArray
from event_processor.kernels.fingerprints import KERNELS
from event_processor.model.columns import IntArray

__all__ = [
    "BITS_PER_ID",
    "BIT_PATTERNS",
    "BLOCK_BYTES",
    "BLOCK_WORDS",
    "Filter",
    "FilterStream",
    "Probe",
    "blocks_for",
    "set_bits_by_numpy",
]

BITS_PER_ID: Final = 14
"""Of the two bytes an id that the index may hold in memory, 1.75; fences and checksums take 0.13."""
BLOCK_WORDS: Final = 8
BLOCK_BYTES: Final = 64
_BLOCK_BITS: Final = 512

_HALF: Final = np.uint64(32)
_WORD_MASK: Final = np.uint64(7)
_WORD_SHIFT: Final = np.uint64(3)
_PATTERN_MASK: Final = np.uint64(0xFFF)
_FIRST_BITS_SHIFT: Final = 5
_SECOND_BITS_SHIFT: Final = 17
_GOLDEN: Final = np.uint64(0x9E37_79B9_7F4A_7C15)


def _bit_patterns() -> WordArray:
    """(4096,): words with four bits set (three where two coincide), spread by multiplicative hashing."""
    mixed = np.arange(1, 4097, dtype=np.uint64) * _GOLDEN
    patterns = np.zeros(4096, dtype=np.uint64)
    for shift in (40, 46, 52, 58):
        patterns |= np.uint64(1) << ((mixed >> np.uint64(shift)) & np.uint64(63))
    return patterns


BIT_PATTERNS: Final = _bit_patterns()
"""What a fingerprint's bits are chosen from."""


def blocks_for(ids: int) -> int:
    """How many blocks hold `ids` fingerprints; at least one."""
    return max(1, -(-ids * BITS_PER_ID // _BLOCK_BITS))


class Probe:
    """What an ascending run of n fingerprints asks of any filter, computed once for all of them; arrays of n words each."""

    def __init__(self, run: Run) -> None:
        self.run: Final = run

    @classmethod
    def of(cls, run: Run) -> Probe:
        return cls(run)

    @cached_property
    def key(self) -> WordArray:
        """What picks the block."""
        return self.run.hi >> _HALF

    @cached_property
    def first_word(self) -> WordArray:
        """Which word of the block holds the first four bits."""
        return self.run.lo & _WORD_MASK

    @cached_property
    def first_bits(self) -> WordArray:
        """The first four bits."""
        return _four_bits(self.run.lo, _FIRST_BITS_SHIFT)

    def blocks(self, block_count: int) -> WordArray:
        """The index of the first word of each one's block, in a filter of `block_count` blocks (below 2^32); ascending."""
        words = self.key * np.uint64(block_count)
        words >>= _HALF
        words <<= _WORD_SHIFT
        return words


def _four_bits(lo: WordArray, shift: int) -> WordArray:
    """Words with four bits set, as the twelve bits of `lo` from `shift` on choose them."""
    numbers = lo >> np.uint64(shift)
    numbers &= _PATTERN_MASK
    patterns: WordArray = BIT_PATTERNS[numbers.view(np.int64)]
    return patterns


def _second_word(lo: WordArray) -> WordArray:
    """Which word of the block holds the second four bits. An odd number flips the lowest bit at least: never the first word."""
    words: WordArray = (lo & _WORD_MASK) ^ ((lo >> np.uint64(2)) & np.uint64(6) | np.uint64(1))
    return words


@dataclass(frozen=True, slots=True, eq=False)
class Filter:
    """A whole filter in memory: `words`, eight a block."""

    words: WordArray

    def hits(self, probe: Probe) -> IntArray:
        """The places in the probe, ascending, of what may be in here; all others certainly are not."""
        if KERNELS is None:
            return self.hits_by_numpy(probe)
        return KERNELS.filter_hits(self.words, BIT_PATTERNS, (probe.run.hi, probe.run.lo))

    def hits_by_numpy(self, probe: Probe) -> IntArray:
        """The kernel's twin."""
        blocks = probe.blocks(len(self.words) // BLOCK_WORDS)
        # No place lies outside; to say that it would be clipped spares numpy a look at each, and waiting for memory behind it.
        found = self.words.take((blocks | probe.first_word).view(np.int64), mode="clip")
        found &= probe.first_bits
        places: IntArray = (found == probe.first_bits).nonzero()[0]
        lo = probe.run.lo[places]
        bits = _four_bits(lo, _SECOND_BITS_SHIFT)
        found = self.words[(blocks[places] | _second_word(lo)).view(np.int64)]
        both: IntArray = places[(found & bits) == bits]
        return both


class FilterStream:
    """Builds a filter from ascending runs, and gives each of its blocks away as soon as no later run can touch it.

    Memory: one piece at a time, not the filter.
    """

    def __init__(self, block_count: int) -> None:
        """`block_count`: of the whole filter."""
        self._block_count: Final = block_count
        self._next_block = 0
        self._open_block: WordArray = np.zeros(BLOCK_WORDS, dtype="<u8")

    def add(self, run: Run) -> WordArray:
        """Takes the next run, not empty and above all before it; returns the words of the blocks now finished."""
        last_block = int(run.hi[-1] >> _HALF) * self._block_count >> 32
        words = np.zeros((last_block + 1 - self._next_block) * BLOCK_WORDS, dtype="<u8")
        words[:BLOCK_WORDS] = self._open_block
        if KERNELS is None:
            set_bits_by_numpy(words, self._next_block, self._block_count, run)
        else:
            KERNELS.filter_add(words, self._next_block, self._block_count, BIT_PATTERNS, (run.hi, run.lo))
        self._open_block = words[-BLOCK_WORDS:].copy()
        self._next_block += len(words) // BLOCK_WORDS - 1
        return words[:-BLOCK_WORDS]

    def finish(self) -> WordArray:
        """The words of all blocks that are left. Nothing may be added after it."""
        words = np.zeros((self._block_count - self._next_block) * BLOCK_WORDS, dtype="<u8")
        words[:BLOCK_WORDS] = self._open_block
        self._next_block = self._block_count
        return words


def set_bits_by_numpy(words: WordArray, first_block: int, block_count: int, run: Run) -> None:
    """The kernel's twin: sets the bits of `run` in the words of the blocks from `first_block` on, of a filter of `block_count`."""
    probe = Probe.of(run)
    blocks = probe.blocks(block_count) - np.uint64(first_block * BLOCK_WORDS)
    np.bitwise_or.at(words, (blocks | probe.first_word).view(np.int64), probe.first_bits)
    np.bitwise_or.at(words, (blocks | _second_word(run.lo)).view(np.int64), _four_bits(run.lo, _SECOND_BITS_SHIFT))
