"""Rows of JSON objects from columns of JSON values: calls `weave.c`.

Owns: how the kernel is called. Always: copies values unchanged from the columns to the rows.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Final

import numpy as np

from event_processor.kernels.arrays import address
from event_processor.kernels.library import LIBRARY

__all__ = ["Loom", "Pieces"]

_FORMS: Final = 2
_SPARE_BYTES: Final = 32


class _Column(ctypes.Structure):
    _fields_ = (("place", ctypes.c_void_p), ("end", ctypes.c_void_p))


class _Form(ctypes.Structure):
    _fields_ = (("pieces", ctypes.c_void_p), ("ends", ctypes.c_void_p), ("out", ctypes.c_void_p), ("size", ctypes.c_int64))


if LIBRARY is not None:
    LIBRARY.ep_weave.argtypes = [
        ctypes.POINTER(_Column),
        *(ctypes.c_int64, ctypes.c_int64, ctypes.c_int64),
        ctypes.POINTER(_Form),
    ]
    LIBRARY.ep_weave.restype = ctypes.c_int64


@dataclass(frozen=True, slots=True)
class Pieces:
    """The bytes around the values, in one form: before each field of a row, around the parts of the list, before the last field.

    `last_part` ends the list and leads to the last field; `no_part` does so in the place of a whole list.
    """

    fields: Sequence[bytes]
    first_part: bytes
    next_part: bytes
    last_part: bytes
    no_part: bytes
    end_row: bytes
    next_row: bytes
    first_row: bytes
    last_row: bytes

    def in_order(self) -> list[bytes]:
        """The pieces in the order in which the kernel numbers them."""
        list_pieces = (self.first_part, self.next_part, self.last_part, self.no_part)
        return [*self.fields, *list_pieces, self.end_row, self.next_row, self.first_row, self.last_row]


class Loom:
    """Writes rows in two forms, each as one text. Used by one thread.

    Keeps its output memory: getting new pages costs as much as writing them.
    """

    def __init__(self, forms: tuple[Pieces, Pieces]) -> None:
        self._forms: Final = forms
        self._texts: Final = [np.frombuffer(b"".join(pieces.in_order()), np.uint8) for pieces in forms]
        self._ends: Final = [np.array(list(accumulate(map(len, pieces.in_order()))), np.int64) for pieces in forms]
        self._rooms: Final = [np.empty(0, np.uint8) for _ in forms]

    def weave(self, fields: Sequence[bytes], parts: Sequence[bytes], last: bytes, rows: int) -> tuple[bytes, bytes] | None:
        """`rows` objects, in both forms: their fields, a list of parts without the zeros, the last field. None if there is no library.

        The arrays hold a text, a number or null per row, without spaces between. Returns None if there is no library.
        """
        if LIBRARY is None:
            return None
        arrays = [np.frombuffer(array, np.uint8) for array in (*fields, *parts, last)]
        inside = [(address(array) + 1, address(array) + len(array) - 1) for array in arrays]
        columns = (_Column * len(arrays))(*(_Column(*ends) for ends in inside))
        described = (_Form * _FORMS)()
        for number, (form, pieces) in enumerate(zip(described, self._forms, strict=True)):
            assert len(pieces.fields) == len(fields), "each field has a piece before it"
            around_bytes = (rows + 1) * (len(self._texts[number]) + len(parts) * len(pieces.next_part))
            self._make_room(number, sum(map(len, arrays)) + around_bytes + _SPARE_BYTES)
            form.pieces, form.ends = address(self._texts[number]), address(self._ends[number])
            form.out = address(self._rooms[number])
        status: int = LIBRARY.ep_weave(columns, len(fields), len(parts), rows, described)
        assert status == 0, "each column holds one value per row"
        compact, indented = (room[: form.size].tobytes() for room, form in zip(self._rooms, described, strict=True))
        return compact, indented

    def _make_room(self, number: int, size_bytes: int) -> None:
        if len(self._rooms[number]) < size_bytes:
            self._rooms[number] = np.empty(size_bytes + size_bytes // 8, np.uint8)
