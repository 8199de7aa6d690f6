"""XXH3-128 by the column against the library: every length, any seed, any place in a chunk."""

from __future__ import annotations

import random

import numpy as np
import pytest
import xxhash
from hypothesis import given
from hypothesis import strategies as st

from event_processor.byte_words import Words
from event_processor.deduplication.fingerprint import Blake2bFingerprinter, Fingerprinter, Xxh3Fingerprinter
from event_processor.deduplication.xxh3 import WIDTH_MAX, WIDTH_MIN, hash_texts, hash_words
from event_processor.id_columns import IntegerIds, TextIds

SEEDS = [0, 1, 2**32, 2**63, 2**64 - 1, 0x0123_4567_89AB_CDEF]
FINGERPRINTERS: list[Fingerprinter] = [Xxh3Fingerprinter(bytes(range(8))), Blake2bFingerprinter(bytes(range(32)))]


def joined(low: np.ndarray, high: np.ndarray) -> list[int]:
    return [int(one) << 64 | int(other) for one, other in zip(high, low, strict=True)]


@pytest.mark.parametrize("seed", SEEDS)
def test_each_width_gives_what_the_library_gives_at_the_end_of_the_content_too(seed: int) -> None:
    chance = random.Random(seed)
    for width in range(WIDTH_MIN, WIDTH_MAX + 1):
        content = chance.randbytes(3 * width + 16)
        begins = [0, 1, width + 3, len(content) - width]
        expected = [xxhash.xxh3_128_intdigest(content[begin : begin + width], seed) for begin in begins]
        assert joined(*hash_texts(Words(content), np.array(begins), width, seed)) == expected, width


@given(numbers=st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1), seed=st.integers(0, 2**64 - 1))
def test_words_give_what_their_eight_bytes_give(numbers: list[int], seed: int) -> None:
    words = np.array(numbers, "<i8").view("<u8")
    assert joined(*hash_words(words, seed)) == [xxhash.xxh3_128_intdigest(word.tobytes(), seed) for word in words]


@pytest.mark.parametrize("fingerprinter", FINGERPRINTERS)
@pytest.mark.parametrize("widths", [(14,), (36,), (4, 5, 9, 16, 17, 128), (3, 14), (129, 14), tuple(range(1, 60)), (1,)])
def test_a_column_of_texts_has_the_fingerprints_of_its_texts(fingerprinter: Fingerprinter, widths: tuple[int, ...]) -> None:
    chance = random.Random(1)
    texts = ["".join(chance.choices("abcé😀0", k=chance.choice(widths))) for _ in range(4000)]
    if len(widths) == 1:
        texts = [
            text.encode().decode("latin-1")[: widths[0]].encode("ascii", "replace").decode().ljust(widths[0]) for text in texts
        ]
    encoded = [text.encode() for text in texts]
    order = chance.sample(range(4000), 4000)
    ends = np.cumsum([len(encoded[place]) for place in order])
    begins, lasts = np.zeros(4000, np.int64), np.zeros(4000, np.int64)
    begins[order], lasts[order] = ends - [len(encoded[place]) for place in order], ends
    column = TextIds(b"".join(encoded[place] for place in order), begins, lasts)
    assert column.to_list() == texts
    assert fingerprinter.rows(column).tolist() == fingerprinter.rows(texts).tolist()


@pytest.mark.parametrize("fingerprinter", FINGERPRINTERS)
@pytest.mark.parametrize("count", [0, 1, 5000])
def test_a_column_of_integers_has_the_fingerprints_of_its_integers(fingerprinter: Fingerprinter, count: int) -> None:
    numbers = [random.Random(count).getrandbits(64) - 2**63 + place for place in range(count)]
    numbers = [number % 2**64 - 2**63 for number in numbers]
    column = IntegerIds(np.array(numbers, np.int64))
    assert fingerprinter.rows(column).tolist() == fingerprinter.rows(numbers).tolist()
