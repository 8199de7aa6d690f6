"""Dead letters as lines of JSON: calls `letters.c`.

Owns: how the kernel is called. Always: writes the same bytes as `engine/dead_letters.py` does letter by letter.
"""

from __future__ import annotations

from collections.abc import Sequence
from ctypes import c_int64, c_void_p
from itertools import accumulate
from typing import Final

import numpy as np

from event_processor.kernels.arrays import IntArray, address, content_address
from event_processor.kernels.library import LIBRARY

__all__ = ["write_letters"]

_NUMBER_BYTES: Final = 20
_ESCAPED_BYTES: Final = 6
_CLOSING_BYTES: Final = 3

if LIBRARY is not None:
    LIBRARY.ep_write_letters.argtypes = [*(c_void_p,) * 6, c_int64, *(c_void_p,) * 3]
    LIBRARY.ep_write_letters.restype = c_int64


def write_letters(
    content: bytes,
    spans: tuple[IntArray, IntArray],
    places: tuple[IntArray, IntArray],
    numbers: IntArray,
    pieces: Sequence[bytes],
) -> bytes | None:
    """Writes the lines of k letters; None if there is no library, or if a record is not UTF-8.

    A letter is piece 0, its line, piece 1, its offset, piece 2 + numbers[i], and the record as a text. `places` has lines and
    offsets, not below 0; `spans` the begin and end of each record in `content`. The third piece ends with the opening quote of
    the text. All columns (k,).
    """
    if LIBRARY is None:
        return None
    sizes = [len(piece) for piece in pieces]
    own = np.array(sizes[2:], np.int64)[numbers]  # raises if there is no such piece
    records_bytes = int((spans[1] - spans[0]).sum())
    around_bytes = sizes[0] + sizes[1] + 2 * _NUMBER_BYTES + _CLOSING_BYTES
    room = np.empty(len(numbers) * around_bytes + int(own.sum()) + _ESCAPED_BYTES * records_bytes, np.uint8)
    columns = [np.ascontiguousarray(column, np.int64) for column in (*spans, *places, numbers)]
    ends = np.array(list(accumulate(sizes)), np.int64)
    text = b"".join(pieces)
    written: int = LIBRARY.ep_write_letters(
        content_address(content), *map(address, columns), len(numbers), content_address(text), address(ends), address(room)
    )
    return room[:written].tobytes() if written >= 0 else None
