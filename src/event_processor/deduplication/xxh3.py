"""XXH3-128 of many short texts at once: the same hash as the library's, by the column.

Owns: the hash for lengths of 4 to 128 bytes, where it is a closed form of a few words; others are left to the library.
Always: the same 128 bits as `xxhash.xxh3_128` gives, for every text and every seed.
Source: the published description of XXH3 (Y. Collet, "xxHash fast digest algorithm", the 128-bit variants for 4 to 8, 9 to 16
and 17 to 128 bytes); the constants below are its primes and the first bytes of its default secret.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from event_processor.byte_words import WORD_BYTES, WordArray, Words
from event_processor.contracts import IntArray

__all__ = ["WIDTH_MAX", "WIDTH_MIN", "hash_texts", "hash_words"]

WIDTH_MIN: Final = 4
WIDTH_MAX: Final = 128

_SECRET: Final = bytes.fromhex(
    "b8fe6c3923a44bbe7c01812cf721ad1cded46de9839097db7240a4a4b7b3671f"
    "cb79e64eccc0e578825ad07dccff7221b8084674f743248ee03590e6813a264c"
    "3c2852bb91c300cb88d0658b1b532ea371644897a20df94e3819ef46a9deacd8"
    "a8fa763fe39c343ff9dcbbc7c70b4f1d8a51e04bcdb45931c89f7ec9d9787364"
)
_END: Final = 1 << 64
_PRIME32_2: Final = 0x85EB_CA77
_PRIME64_1: Final = 0x9E37_79B1_85EB_CA87
_PRIME64_2: Final = 0xC2B2_AE3D_27D4_EB4F
_PRIME64_4: Final = 0x85EB_CA77_C2B2_AE63
_MULTIPLIER_1: Final = 0x1656_6791_9E37_79F9
_MULTIPLIER_2: Final = 0x9FB2_1C65_1E98_DF25
_HALF: Final = np.uint64(32)
_LOW_HALF: Final = np.uint64(0xFFFF_FFFF)
_ONE_SIXTEENTH: Final = 16


def hash_texts(words: Words, begins: IntArray, width: int, seed: int) -> tuple[WordArray, WordArray]:
    """The low and the high half of the hash of each text of `width` bytes (4 to 128). Both (m,)."""
    if width <= WORD_BYTES:
        low = words.at(begins) & np.uint64(0xFFFF_FFFF)
        high = words.at(begins + (width - WORD_BYTES // 2)) & _LOW_HALF
        return _hash_4_to_8(low | (high << _HALF), width, seed)
    if width <= 2 * WORD_BYTES:
        return _hash_9_to_16(words.at(begins), words.at(begins + (width - WORD_BYTES)), width, seed)
    return _hash_17_to_128(words, begins, width, seed)


def hash_words(numbers: WordArray, seed: int) -> tuple[WordArray, WordArray]:
    """The same for texts of eight bytes each, given as words."""
    return _hash_4_to_8(numbers, WORD_BYTES, seed)


def _hash_4_to_8(text: WordArray, width: int, seed: int) -> tuple[WordArray, WordArray]:
    swapped = int.from_bytes((seed & 0xFFFF_FFFF).to_bytes(4, "little"), "big")
    flip = ((_secret(16) ^ _secret(24)) + (seed ^ (swapped << 32))) % _END
    low, high = _product(text ^ np.uint64(flip), np.uint64((_PRIME64_1 + (width << 2)) % _END))
    high += low << np.uint64(1)
    low ^= high >> np.uint64(3)
    low ^= low >> np.uint64(35)
    low *= np.uint64(_MULTIPLIER_2)
    low ^= low >> np.uint64(28)
    return low, _avalanche(high)


def _hash_9_to_16(first: WordArray, last: WordArray, width: int, seed: int) -> tuple[WordArray, WordArray]:
    flip_low = ((_secret(32) ^ _secret(40)) - seed) % _END
    flip_high = ((_secret(48) ^ _secret(56)) + seed) % _END
    low, high = _product(first ^ last ^ np.uint64(flip_low), np.uint64(_PRIME64_1))
    low += np.uint64((width - 1) << 54)
    last = last ^ np.uint64(flip_high)
    high += last + (last & _LOW_HALF) * np.uint64(_PRIME32_2 - 1)
    low ^= high.byteswap()
    prime = np.uint64(_PRIME64_2)
    low, carried = _product(low, prime)
    carried += high * prime
    return _avalanche(low), _avalanche(carried)


def _hash_17_to_128(words: Words, begins: IntArray, width: int, seed: int) -> tuple[WordArray, WordArray]:
    low = np.full(len(begins), (width * _PRIME64_1) % _END, np.uint64)
    high = np.zeros(len(begins), np.uint64)
    for step in reversed(range((width - 1) // (2 * _ONE_SIXTEENTH) + 1)):
        # From the middle outwards: sixteen bytes from the front and sixteen from the back.
        front = words.pairs_at(begins + step * _ONE_SIXTEENTH)
        back = words.pairs_at(begins + (width - (step + 1) * _ONE_SIXTEENTH))
        low += _mix(front, 2 * step * _ONE_SIXTEENTH, seed)
        low ^= back[0] + back[1]
        high += _mix(back, (2 * step + 1) * _ONE_SIXTEENTH, seed)
        high ^= front[0] + front[1]
    tail = np.uint64(((width - seed) * _PRIME64_2) % _END)
    mixed = low * np.uint64(_PRIME64_1) + high * np.uint64(_PRIME64_4) + tail
    return _avalanche(low + high), np.uint64(0) - _avalanche(mixed)


def _mix(pair: tuple[WordArray, WordArray], secret_at: int, seed: int) -> WordArray:
    """Sixteen bytes with sixteen of the secret: both halves of their product, folded."""
    one = pair[0] ^ np.uint64((_secret(secret_at) + seed) % _END)
    other = pair[1] ^ np.uint64((_secret(secret_at + WORD_BYTES) - seed) % _END)
    low, high = _product(one, other)
    low ^= high
    return low


def _product(one: WordArray, other: WordArray | np.uint64) -> tuple[WordArray, WordArray]:
    """The low and the high half of the 128-bit product, by halves of words."""
    one_low, one_high = one & _LOW_HALF, one >> _HALF
    other_low, other_high = other & _LOW_HALF, other >> _HALF
    lowest = one_low * other_low
    middle = one_high * other_low
    middle += lowest >> _HALF
    crossed = one_low * other_high
    crossed += middle & _LOW_HALF
    high: WordArray = one_high * other_high
    high += middle >> _HALF
    high += crossed >> _HALF
    low: WordArray = one * other
    return low, high


def _avalanche(word: WordArray) -> WordArray:
    word ^= word >> np.uint64(37)
    word *= np.uint64(_MULTIPLIER_1)
    word ^= word >> _HALF
    return word


def _secret(at: int) -> int:
    return int.from_bytes(_SECRET[at : at + WORD_BYTES], "little")
