"""A blocked Bloom filter over fingerprints, built as a stream and probed by the batch.

Owns: which bits a fingerprint sets, and the arrays that hold them.
Always: no false "no". About one probe in 500 gives a false "yes", at `BITS_PER_ID`. A fingerprint's block rises with its `hi`:
a filter over sorted fingerprints is built in its final order, piece by piece, and a sorted batch probes it in one pass.
Never: changes which bits a fingerprint sets: they are on disk.

The form: blocks of 512 bits, a cache line (F. Putze, P. Sanders, J. Singler, "Cache-, hash- and space-efficient Bloom
filters", 2007). The high half of `hi` selects the block. `lo` selects two of the block's eight words, and four bits in each.
The first word alone decides nearly every probe.
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
"""1.75 of the two bytes per id that the index may hold in memory; fences and checksums take 0.13."""
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
    """(4096,): words with four bits set (three if two coincide), spread by multiplicative hashing."""
    mixed = np.arange(1, 4097, dtype=np.uint64) * _GOLDEN
    patterns = np.zeros(4096, dtype=np.uint64)
    for shift in (40, 46, 52, 58):
        patterns |= np.uint64(1) << ((mixed >> np.uint64(shift)) & np.uint64(63))
    return patterns


BIT_PATTERNS: Final = _bit_patterns()
"""The words from which a fingerprint's bits are chosen."""


def blocks_for(ids: int) -> int:
    """How many blocks `ids` fingerprints need; at least one."""
    return max(1, -(-ids * BITS_PER_ID // _BLOCK_BITS))


class Probe:
    """An ascending run of n fingerprints, prepared once for probing any filter; arrays of n words each."""

    def __init__(self, run: Run) -> None:
        self.run: Final = run

    @classmethod
    def of(cls, run: Run) -> Probe:
        return cls(run)

    @cached_property
    def key(self) -> WordArray:
        """The key that selects the block."""
        return self.run.hi >> _HALF

    @cached_property
    def first_word(self) -> WordArray:
        """The word of the block with the first four bits."""
        return self.run.lo & _WORD_MASK

    @cached_property
    def first_bits(self) -> WordArray:
        """The first four bits."""
        return _four_bits(self.run.lo, _FIRST_BITS_SHIFT)

    def blocks(self, block_count: int) -> WordArray:
        """The first word of each fingerprint's block, ascending, in a filter of `block_count` blocks (below 2^32)."""
        words = self.key * np.uint64(block_count)
        words >>= _HALF
        words <<= _WORD_SHIFT
        return words


def _four_bits(lo: WordArray, shift: int) -> WordArray:
    """Words with four bits set, chosen by the twelve bits of `lo` from `shift` on."""
    numbers = lo >> np.uint64(shift)
    numbers &= _PATTERN_MASK
    patterns: WordArray = BIT_PATTERNS[numbers.view(np.int64)]
    return patterns


def _second_word(lo: WordArray) -> WordArray:
    """The word of the block with the second four bits. XOR with an odd number flips the lowest bit: never the first word."""
    words: WordArray = (lo & _WORD_MASK) ^ ((lo >> np.uint64(2)) & np.uint64(6) | np.uint64(1))
    return words


@dataclass(frozen=True, slots=True, eq=False)
class Filter:
    """A whole filter in memory: `words`, eight per block."""

    words: WordArray

    def hits(self, probe: Probe) -> IntArray:
        """The ascending places in the probe that may be in the filter. All others certainly are not."""
        if KERNELS is None:
            return self.hits_by_numpy(probe)
        return KERNELS.filter_hits(self.words, BIT_PATTERNS, (probe.run.hi, probe.run.lo))

    def hits_by_numpy(self, probe: Probe) -> IntArray:
        """As `hits`, in numpy, without the kernel."""
        blocks = probe.blocks(len(self.words) // BLOCK_WORDS)
        # No place is out of range. "clip" saves numpy a range check per place, and the wait for memory before the next.
        found = self.words.take((blocks | probe.first_word).view(np.int64), mode="clip")
        found &= probe.first_bits
        places: IntArray = (found == probe.first_bits).nonzero()[0]
        lo = probe.run.lo[places]
        bits = _four_bits(lo, _SECOND_BITS_SHIFT)
        found = self.words[(blocks[places] | _second_word(lo)).view(np.int64)]
        both: IntArray = places[(found & bits) == bits]
        return both


class FilterStream:
    """Builds a filter from ascending runs. Returns each block as soon as no later run can touch it.

    Memory: one piece at a time, not the filter.
    """

    def __init__(self, block_count: int) -> None:
        """`block_count`: the blocks of the whole filter."""
        self._block_count: Final = block_count
        self._next_block = 0
        self._open_block: WordArray = np.zeros(BLOCK_WORDS, dtype="<u8")

    def add(self, run: Run) -> WordArray:
        """Adds the next run, which is not empty and above all runs before. Returns the words of the blocks now finished."""
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
        """Returns the words of all remaining blocks. Add nothing afterwards."""
        words = np.zeros((self._block_count - self._next_block) * BLOCK_WORDS, dtype="<u8")
        words[:BLOCK_WORDS] = self._open_block
        self._next_block = self._block_count
        return words


def set_bits_by_numpy(words: WordArray, first_block: int, block_count: int, run: Run) -> None:
    """Sets the bits of `run` in `words`: the blocks from `first_block` on, of a filter of `block_count`. As the kernel does."""
    probe = Probe.of(run)
    blocks = probe.blocks(block_count) - np.uint64(first_block * BLOCK_WORDS)
    np.bitwise_or.at(words, (blocks | probe.first_word).view(np.int64), probe.first_bits)
    np.bitwise_or.at(words, (blocks | _second_word(run.lo)).view(np.int64), _four_bits(run.lo, _SECOND_BITS_SHIFT))
