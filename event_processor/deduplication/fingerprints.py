"""Ids -> 128-bit fingerprints, tagged by type and seeded per state.

Owns: the two hashes, and how a string, an integer and a composite id become bytes.
Always: equal ids give equal fingerprints under one seed, on any machine and in any version (the data on disk depends on it).
The type is part of the hash, so `1`, `"1"` and `("1",)` are three ids.
Never: normalises an id: two strings that look alike are two ids.

The odds: among n distinct ids, the probability that any two share a fingerprint is at most n^2 / 2^129: 1.5e-21 for a billion
ids, 1.5e-15 for a million millions. xxh3 keeps these odds if ids are not chosen against the seed. blake2b, keyed with 256
bits, keeps them for any ids.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from hashlib import blake2b
from itertools import repeat
from operator import methodcaller
from typing import Final, Literal, Protocol, TypeAlias, cast

import msgspec
import numpy as np
import xxhash
from numpy.typing import NDArray

from event_processor.columns.ids import IntegerIds, PlainIds, TextIds
from event_processor.kernels.fingerprints import KERNELS
from event_processor.model.columns import Ids, IntArray
from event_processor.model.errors import StateError
from event_processor.model.event import EventId

__all__ = [
    "Algorithm",
    "Blake2bFingerprinter",
    "Fingerprinter",
    "RowArray",
    "Xxh3Fingerprinter",
    "mint_fingerprinter",
    "open_fingerprinter",
]

RowArray: TypeAlias = NDArray[np.uint64]
"""(n, 2) little-endian 64-bit halves: one fingerprint per row, `hi` before `lo`, 16 bytes."""
Algorithm: TypeAlias = Literal["xxh3", "blake2b"]
_Hash: TypeAlias = Callable[[Iterable[bytes]], Iterable[bytes]]

_STRING_TAG: Final = 0
_INTEGER_TAG: Final = 1
_COMPOSITE_TAG: Final = 2
_TAG_STRIDE: Final = 0x9E37_79B9_7F4A_7C15
"""2^64 / golden ratio: spreads the three seeds of a state over all 64 bits."""
_SEED_END: Final = 1 << 64
_XXH3_SEED_BYTES: Final = 8
_BLAKE2B_SEED_BYTES: Final = 32
_FINGERPRINT_BYTES: Final = 16
_PERSONS: Final = (b"string", b"integer", b"composite")


class Fingerprinter(Protocol):
    """A seeded hash of ids. Immutable; any thread may use it."""

    algorithm: Algorithm
    seed: str
    """Hexadecimal, as in the manifest."""

    def rows(self, ids: Ids) -> RowArray:
        """(n, 2) fingerprints by position in `ids`. Raises `TypeError` if a value is no id, `OverflowError` beyond 64 bits."""
        ...


class _TypedFingerprinter:
    """Sorts ids by type and hashes each type under its own seed. A list of one type needs no Python step per id."""

    def __init__(self, hashes: Sequence[_Hash]) -> None:
        self._hashes: Final = hashes

    def rows(self, ids: Ids) -> RowArray:
        if isinstance(ids, TextIds):
            return self._text_rows(ids)
        if isinstance(ids, IntegerIds):
            return self._number_rows(ids.numbers)
        values = ids.values if isinstance(ids, PlainIds) else cast("Sequence[EventId]", ids)
        if values and type(values[0]) is str:
            try:
                # `str.encode` refuses other types, so the common case needs no type check.
                return _to_rows(self._hashes[_STRING_TAG](map(str.encode, cast("Sequence[str]", values))))
            except (TypeError, UnicodeEncodeError):
                return self._mixed_rows(values)
        return self._mixed_rows(values)

    def _text_rows(self, ids: TextIds) -> RowArray:
        return _to_rows(self._hashes[_STRING_TAG](ids.encoded))

    def _number_rows(self, numbers: IntArray) -> RowArray:
        return _to_rows(self._hashes[_INTEGER_TAG](_encode_numbers(numbers)))

    def _mixed_rows(self, ids: Sequence[EventId]) -> RowArray:
        rows = np.empty((len(ids), 2), dtype="<u8")
        kinds = np.fromiter(map(_tag_of, ids), np.int8, len(ids))
        for tag, encode in enumerate((_encode_strings, _encode_integers, _encode_composites)):
            places = np.flatnonzero(kinds == tag)
            if len(places) == len(ids):
                return _to_rows(self._hashes[tag](encode(ids)))
            if len(places):
                rows[places] = _to_rows(self._hashes[tag](encode([ids[place] for place in places.tolist()])))
        return rows


class Xxh3Fingerprinter(_TypedFingerprinter):
    """XXH3-128 with a 64-bit seed: the fast hash."""

    algorithm: Algorithm = "xxh3"

    def __init__(self, seed: bytes) -> None:
        """`seed`: 8 bytes, made with the state."""
        self.seed = seed.hex()
        number = int.from_bytes(seed, "big")
        self._seeds: Final = [(number + tag * _TAG_STRIDE) % _SEED_END for tag in range(len(_PERSONS))]
        super().__init__([partial(_xxh3, tag_seed) for tag_seed in self._seeds])

    def _text_rows(self, ids: TextIds) -> RowArray:
        """Uses the kernel if it handles these lengths, else the library, id by id: the same hash."""
        rows = None
        if KERNELS is not None:
            rows = KERNELS.hash_texts(ids.content, ids.begins, ids.ends, self._seeds[_STRING_TAG])
        return super()._text_rows(ids) if rows is None else rows

    def _number_rows(self, numbers: IntArray) -> RowArray:
        if KERNELS is None:
            return super()._number_rows(numbers)
        return KERNELS.hash_numbers(numbers, self._seeds[_INTEGER_TAG])


class Blake2bFingerprinter(_TypedFingerprinter):
    """BLAKE2b-128, keyed: for ids whose senders may choose them to collide."""

    algorithm: Algorithm = "blake2b"

    def __init__(self, seed: bytes) -> None:
        """`seed`: 32 bytes, made with the state. Keep it secret, or the key protects nothing."""
        self.seed = seed.hex()
        super().__init__([partial(_keyed_blake2b, seed, person) for person in _PERSONS])


def mint_fingerprinter(algorithm: Algorithm, random_bytes: Callable[[int], bytes] = secrets.token_bytes) -> Fingerprinter:
    """Makes a fingerprinter for a new state, with a new seed from `random_bytes`."""
    if algorithm == "xxh3":
        return Xxh3Fingerprinter(random_bytes(_XXH3_SEED_BYTES))
    return Blake2bFingerprinter(random_bytes(_BLAKE2B_SEED_BYTES))


def open_fingerprinter(algorithm: str, seed: str) -> Fingerprinter:
    """Makes the fingerprinter that a manifest names. Raises `StateError` if this version does not know it."""
    try:
        key = bytes.fromhex(seed)
    except ValueError:
        key = b""
    if algorithm == "xxh3" and len(key) == _XXH3_SEED_BYTES:
        return Xxh3Fingerprinter(key)
    if algorithm == "blake2b" and len(key) == _BLAKE2B_SEED_BYTES:
        return Blake2bFingerprinter(key)
    raise StateError(
        f'the seen ids use the fingerprint "{algorithm}" with a seed of {len(seed)} characters, unknown to this version',
        hint="use the version that wrote the state, or rebuild the state from the log: event-processor replay",
    )


def _tag_of(event_id: EventId) -> int:
    """The kind of this id. `bool` is not an integer here."""
    kind = type(event_id)
    if kind is int:
        return _INTEGER_TAG
    if kind is tuple:
        return _COMPOSITE_TAG
    if isinstance(event_id, str):
        return _STRING_TAG
    raise TypeError(f"an id is a string, an integer or a tuple of these, not {kind.__name__}")


def _encode_strings(ids: Sequence[EventId]) -> Iterable[bytes]:
    """UTF-8. A lone surrogate, which UTF-8 lacks, becomes the three bytes it would have: still one encoding per string."""
    return [text.encode("utf-8", "surrogatepass") for text in cast("Sequence[str]", ids)]


def _encode_integers(ids: Sequence[EventId]) -> Iterable[bytes]:
    """Eight bytes each, little-endian, two's complement."""
    return _encode_numbers(np.array(ids, dtype="<i8"))


def _encode_numbers(numbers: IntArray) -> list[bytes]:
    return cast("list[bytes]", np.ascontiguousarray(numbers, "<i8").view("V8").tolist())


def _encode_composites(ids: Sequence[EventId]) -> Iterable[bytes]:
    """Encodes each tuple as a msgpack array in its shortest form. Each part has its type and length, so no encoding is shared."""
    encoder = msgspec.msgpack.Encoder()
    try:
        return list(map(encoder.encode, ids))
    except UnicodeEncodeError:
        return [encoder.encode(tuple(map(_encodable_part, cast("tuple[EventId, ...]", parts)))) for parts in ids]


def _encodable_part(part: EventId) -> EventId | bytes:
    """Turns a string with a lone surrogate into msgpack's `bin`, which no other part uses."""
    if not isinstance(part, str):
        return part
    try:
        part.encode()
    except UnicodeEncodeError:
        return part.encode("utf-8", "surrogatepass")
    return part


def _to_rows(digests: Iterable[bytes]) -> RowArray:
    """Joins the 16-byte digests to (n, 2) halves. Not writable."""
    return np.frombuffer(b"".join(digests), dtype="<u8").reshape(-1, 2)


def _xxh3(seed: int, encoded: Iterable[bytes]) -> Iterable[bytes]:
    # The seed is a positional argument: by name, or through `partial`, the same call takes three times as long.
    return map(xxhash.xxh3_128_digest, encoded, repeat(seed))


def _keyed_blake2b(key: bytes, person: bytes, encoded: Iterable[bytes]) -> Iterable[bytes]:
    keyed = partial(blake2b, digest_size=_FINGERPRINT_BYTES, key=key, person=person)
    return map(methodcaller("digest"), map(keyed, encoded))
