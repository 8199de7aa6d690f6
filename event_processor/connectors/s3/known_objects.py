"""Which objects were read, or are being read.

Owns: `KnownObjects`: all of them, in 16 bytes each, so that an object that comes later with a smaller key is found.
Always: an object is its key and its ETag. If an object is replaced, it is another object. The odds that one of n objects is wrongly taken for
known are below n² / 2^129.
Never: asks a service; keeps a key.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, TypeAlias

import numpy as np
import xxhash
from numpy.typing import NDArray

__all__ = ["KnownObjects"]

RECENT_MAX: Final = 65_536
"""So many objects are kept in a set, until they are merged into the sorted arrays."""
U64: TypeAlias = NDArray[np.uint64]
Fingerprint: TypeAlias = tuple[int, int]
"""Of the key, and of the key and the ETag."""


class KnownObjects:
    """Used by one thread at a time."""

    def __init__(self) -> None:
        self._keys: U64 = np.empty(0, dtype=np.uint64)
        self._etags: U64 = np.empty(0, dtype=np.uint64)
        """Sorted by the key, then by the ETag."""
        self._recent: Final[set[Fingerprint]] = set()
        self._recent_keys: Final[set[int]] = set()

    def __len__(self) -> int:
        return len(self._keys) + len(self._recent)

    def add(self, key: str, etag: str) -> None:
        """Remembers an object."""
        fingerprint = _fingerprint(key, etag)
        self._recent.add(fingerprint)
        self._recent_keys.add(fingerprint[0])
        if len(self._recent) >= RECENT_MAX:
            self._merge()

    def unknown(self, objects: Sequence[tuple[str, str]]) -> list[int]:
        """The indices of the objects, each a key and an ETag, that are not known; ascending."""
        fingerprints = [_fingerprint(key, etag) for key, etag in objects]
        left = [index for index, each in enumerate(fingerprints) if each not in self._recent]
        if not left or not len(self._keys):
            return left
        keys: U64 = np.array([fingerprints[index][0] for index in left], dtype=np.uint64)
        etags: U64 = np.array([fingerprints[index][1] for index in left], dtype=np.uint64)
        places = np.searchsorted(self._keys, keys)
        is_known = np.zeros(len(left), dtype=np.bool_)
        # One round for each ETag of a key: mostly one.
        while True:
            inside = np.minimum(places, len(self._keys) - 1)
            has_key = (places < len(self._keys)) & (self._keys[inside] == keys) & ~is_known
            if not has_key.any():
                return [index for index, known in zip(left, is_known.tolist(), strict=True) if not known]
            is_known |= has_key & (self._etags[inside] == etags)
            places += 1

    def knows_key(self, key: str) -> bool:
        """Whether an object with this key is known, whatever its ETag."""
        wanted = _fingerprint(key, "")[0]
        place = int(np.searchsorted(self._keys, np.uint64(wanted)))
        return wanted in self._recent_keys or (place < len(self._keys) and int(self._keys[place]) == wanted)

    def _merge(self) -> None:
        recent = np.array(list(self._recent), dtype=np.uint64).reshape(-1, 2)
        keys = np.concatenate([self._keys, recent[:, 0]])
        etags = np.concatenate([self._etags, recent[:, 1]])
        order = np.lexsort((etags, keys))
        self._keys, self._etags = keys[order], etags[order]
        self._recent.clear()
        self._recent_keys.clear()


def _fingerprint(key: str, etag: str) -> Fingerprint:
    name = key.encode("utf-8", "surrogatepass")
    # The second half depends on the key too: together they are a hash of 128 bits of the pair.
    return xxhash.xxh3_64_intdigest(name), xxhash.xxh3_64_intdigest(etag.encode() + b"\0" + name, seed=1)
