"""Which records belong to a shard, if several processes share one log.

Owns: the hash that distributes ids, and the hash of places for records without an id.
Always: each record belongs to exactly one of the shards, in any process, on any machine, with kernels or without. Equal ids belong to
one shard, so duplicates meet there. `1` and `"1"` are two ids. The hash has no seed: two states agree without asking each other.
Never: depends on batches, or on what a state already knows.

Senders who choose ids can fill one shard. That makes it slow, not wrong.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np
import xxhash

from event_processor.columns.ids import IntegerIds
from event_processor.deduplication.fingerprints import Xxh3Fingerprinter
from event_processor.model.columns import BoolArray, Ids, IntArray

__all__ = ["Shard"]

_NO_SEED: Final = bytes(8)
_HASH_OF_IDS: Final = Xxh3Fingerprinter(_NO_SEED)
_PLACES_CACHED: Final = 64
"""A hash of places is made for each generation of a source."""


@dataclass(frozen=True, slots=True)
class Shard:
    """Shard `number` of `count`, from 1."""

    number: int
    count: int

    @classmethod
    def of(cls, text: str) -> Shard | None:
        """The shard that `engine.shard` names, such as "2/8"; None for ""."""
        if not text:
            return None
        number, _, count = text.partition("/")
        return cls(int(number), int(count))

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"

    def owns(self, ids: Ids) -> BoolArray:
        """Marks the ids (n,) that belong to this shard."""
        return np.asarray(self.numbers(ids) == self.number, np.bool_)

    def numbers(self, ids: Ids) -> IntArray:
        """The number of the shard of each id (n,), from 1 to `count`."""
        return self._numbers(_HASH_OF_IDS, ids)

    def owns_places(self, source: str, generation: int, offsets: IntArray) -> BoolArray:
        """Marks the records that begin at these offsets in bytes (n,) of a generation, if they have no id of their own."""
        return np.asarray(self._numbers(_hash_of_places(source, generation), IntegerIds(offsets)) == self.number, np.bool_)

    def _numbers(self, fingerprinter: Xxh3Fingerprinter, ids: Ids) -> IntArray:
        if not len(ids):
            return np.zeros(0, np.int64)
        rows = fingerprinter.rows(ids)
        return (rows[:, 0] % np.uint64(self.count)).astype(np.int64) + 1


@lru_cache(maxsize=_PLACES_CACHED)
def _hash_of_places(source: str, generation: int) -> Xxh3Fingerprinter:
    """The hash of offsets in one generation."""
    return Xxh3Fingerprinter(xxhash.xxh3_64_digest(f"{generation} {source}".encode()))
