"""Fingerprints: types never meet, seeds matter, and what is on disk stays readable."""

from __future__ import annotations

import hashlib
from typing import cast

import numpy as np
import pytest
import xxhash

from event_processor.deduplication.fingerprints import (
    Algorithm,
    Blake2bFingerprinter,
    Fingerprinter,
    Xxh3Fingerprinter,
    mint_fingerprinter,
    open_fingerprinter,
)
from event_processor.model.errors import StateError
from event_processor.model.event import EventId

SEED = bytes(range(8))
KEY = bytes(range(32))
BOTH: list[Fingerprinter] = [Xxh3Fingerprinter(SEED), Blake2bFingerprinter(KEY)]
LOOKALIKES: list[EventId] = [
    1, "1", (1,), ("1",), (1, "1"), ("1", 1), ("1", "1"), ("11",), (11,), "11", 11, -1, "-1", 0, "0", "", "a", "a\0", "a\0\0", (),
    ("", ""), ("",), ("a", "b"), ("ab",), ("a", "", "b"), ("", "ab"), "é", "e\u0301", "\u2028", 2**63 - 1, -(2**63), "\ud800", "\udfff",
    ("\ud800",), ("\udfff", 1), "í\xa0\x80", "\x01" + "\0" * 7, (256,), (65536, 1), ("x" * 40, 3), ("x" * 300, 3),
]  # fmt: skip


@pytest.mark.parametrize("fingerprinter", BOTH)
def test_ids_that_look_alike_have_fingerprints_of_their_own(fingerprinter: Fingerprinter) -> None:
    rows = fingerprinter.rows(LOOKALIKES)
    assert len({row.tobytes() for row in rows}) == len(LOOKALIKES)


@pytest.mark.parametrize("fingerprinter", BOTH)
def test_an_id_has_the_same_fingerprint_alone_and_among_ids_of_other_types(fingerprinter: Fingerprinter) -> None:
    together = fingerprinter.rows(LOOKALIKES)
    alone = np.concatenate([fingerprinter.rows([event_id]) for event_id in LOOKALIKES])
    assert together.tolist() == alone.tolist()


@pytest.mark.parametrize("fingerprinter", BOTH)
def test_no_ids_have_no_fingerprints(fingerprinter: Fingerprinter) -> None:
    assert fingerprinter.rows([]).shape == (0, 2)


def test_a_string_is_hashed_as_its_utf8_under_the_seed() -> None:
    expected = xxhash.xxh3_128_digest("évt-1".encode(), seed=0x0001020304050607)
    assert Xxh3Fingerprinter(SEED).rows(["évt-1"]).tobytes() == expected


def test_an_integer_is_hashed_as_eight_bytes_under_a_seed_of_its_own() -> None:
    seed = (0x0001020304050607 + 0x9E3779B97F4A7C15) % 2**64
    expected = xxhash.xxh3_128_digest(b"\xfe" + b"\xff" * 7, seed=seed)
    assert Xxh3Fingerprinter(SEED).rows([-2]).tobytes() == expected


def test_a_composite_is_hashed_as_a_msgpack_array_of_its_parts() -> None:
    seed = (0x0001020304050607 + 2 * 0x9E3779B97F4A7C15) % 2**64
    # An array of two: a string of two bytes, and the integer 300 in its shortest form.
    expected = xxhash.xxh3_128_digest(b"\x92\xa2ab\xcd\x01\x2c", seed=seed)
    assert Xxh3Fingerprinter(SEED).rows([("ab", 300)]).tobytes() == expected


def test_blake2b_is_keyed_and_bears_the_type() -> None:
    expected = hashlib.blake2b(b"a", digest_size=16, key=KEY, person=b"string").digest()
    assert Blake2bFingerprinter(KEY).rows(["a"]).tobytes() == expected


@pytest.mark.parametrize("algorithm", ["xxh3", "blake2b"])
def test_a_minted_fingerprinter_is_opened_again_by_its_name_and_seed(algorithm: Algorithm) -> None:
    minted = mint_fingerprinter(algorithm)
    again = open_fingerprinter(minted.algorithm, minted.seed)
    assert minted.rows(LOOKALIKES).tolist() == again.rows(LOOKALIKES).tolist()
    assert minted.rows(["a"]).tolist() != mint_fingerprinter(algorithm).rows(["a"]).tolist()


@pytest.mark.parametrize(("algorithm", "seed"), [("xxh3", "00"), ("xxh3", "zz" * 8), ("blake2b", "00" * 8), ("md5", "00" * 8)])
def test_a_fingerprint_that_is_not_known_is_refused(algorithm: str, seed: str) -> None:
    with pytest.raises(StateError, match="event-processor replay"):
        open_fingerprinter(algorithm, seed)


@pytest.mark.parametrize("event_id", [True, 1.0, None, b"a", ["a"]])
def test_what_is_no_id_is_refused(event_id: object) -> None:
    with pytest.raises(TypeError, match="an id is a string"):
        Xxh3Fingerprinter(SEED).rows(["a", cast("EventId", event_id)])


@pytest.mark.parametrize("event_id", [2**63, -(2**63) - 1])
def test_an_integer_beyond_64_bits_is_refused(event_id: int) -> None:
    with pytest.raises(OverflowError):
        Xxh3Fingerprinter(SEED).rows([event_id])
