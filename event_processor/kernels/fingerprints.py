"""The kernels of the index of seen ids: hash, sort, join, search; filters, marks, and texts above all before them.

Owns: how the arguments reach the kernels, and the arrays that they write to.
Always: a column is contiguous, or a view of rows with a step of whole words. An unaligned column, which may come from another
process, is copied first. Input columns are read, never changed.
Never: hides an input that the numpy version would refuse: if a kernel finds a place out of range, the call fails.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from event_processor.kernels.arrays import BoolArray, IntArray, address, content_address
from event_processor.kernels.library import LIBRARY

__all__ = ["KERNELS", "FingerprintKernels"]

ByteArray: TypeAlias = NDArray[np.uint8]
WordArray: TypeAlias = NDArray[np.uint64]
Columns: TypeAlias = tuple[WordArray, WordArray]
"""hi and lo of fingerprints, n words each; both may be views of rows."""

_WORD_BYTES: Final = 8
_BUCKET_BITS_MAX: Final = 18
"""A sort counts in at most a megabyte: more would not stay in the processor's cache."""
_MARK_BYTES_BITS: Final = 61
"""There are 2^64 values of `hi`, and eight marks in a byte."""
_KEPT_SHARE: Final = 0.75
_WIDTHS: Final = 65
_WIDTH_MAX: Final = 64
_POINTER: Final = ctypes.c_void_p
_INT: Final = ctypes.c_int64
_WORD: Final = ctypes.c_uint64
_COLUMN: Final = (_POINTER, _INT)
_RUN: Final = (*_COLUMN, *_COLUMN, _INT)
_FORMS: Final[dict[str, tuple[Any, tuple[Any, ...]]]] = {
    "ep_hash_texts": (_INT, (_POINTER, _INT, _POINTER, _POINTER, _INT, _WORD, _POINTER)),
    "ep_hash_numbers": (None, (_POINTER, _INT, _WORD, _POINTER)),
    "ep_sort_rows": (None, (_POINTER, _INT, _INT, _POINTER, _POINTER, _POINTER, _POINTER)),
    "ep_join_runs": (_INT, (_POINTER, _INT, *[_POINTER] * 5)),
    "ep_contains": (None, (*_RUN, _POINTER, _POINTER, _INT, _POINTER)),
    "ep_rows_of": (None, (*_RUN, _POINTER)),
    "ep_filter_hits": (_INT, (_POINTER, _WORD, _POINTER, _POINTER, _POINTER, _INT, _POINTER)),
    "ep_filter_add": (_INT, (_POINTER, _INT, _WORD, _WORD, _POINTER, *_RUN)),
    "ep_marks_set": (None, (_POINTER, _INT, _POINTER, _INT)),
    "ep_search_runs": (None, (_POINTER, _INT, _POINTER, _INT, _POINTER, _POINTER, _INT, _POINTER)),
    "ep_firsts": (_INT, (*[_POINTER] * 4, _INT, *[_POINTER] * 4)),
    "ep_take_new": (_INT, (*[_POINTER] * 3, _INT, *[_POINTER] * 3, _INT, *[_POINTER] * 3)),
    "ep_pick": (_INT, (_POINTER, _POINTER, _POINTER, _INT, _POINTER, _POINTER)),
    "ep_texts_above": (_INT, (_POINTER, _INT, _POINTER, _POINTER, _INT, *[_POINTER] * 5)),
}
"""The result type of each kernel, and its arguments."""


class FingerprintKernels:
    """The kernels of one library. They keep no state: any thread may call them."""

    def __init__(self, library: ctypes.CDLL) -> None:
        self._library: Final = library
        for name, (result, arguments) in _FORMS.items():
            kernel = getattr(library, name)
            kernel.restype, kernel.argtypes = result, arguments

    def hash_texts(self, content: bytes, begins: IntArray, ends: IntArray, seed: int) -> WordArray | None:
        """(n, 2) fingerprints of the texts `content[begins[i]:ends[i]]`; None if one has fewer than 4 or more than 128 bytes."""
        rows = np.empty((len(begins), 2), np.uint64)
        begins, ends = _integers(begins), _integers(ends)
        good = self._library.ep_hash_texts(
            content_address(content), len(content), address(begins), address(ends), len(begins), seed, address(rows)
        )
        return rows if good else None

    def hash_numbers(self, numbers: IntArray, seed: int) -> WordArray:
        """(n, 2) fingerprints of 64-bit integers."""
        rows = np.empty((len(numbers), 2), np.uint64)
        numbers = _integers(numbers)
        self._library.ep_hash_numbers(address(numbers), len(numbers), seed, address(rows))
        return rows

    def sort_rows(self, rows: WordArray) -> tuple[WordArray, WordArray, IntArray]:
        """hi, lo and place of each of the (n, 2) rows, in ascending order; equal rows keep the order of their places."""
        rows = np.ascontiguousarray(rows)
        bits = min(max((len(rows) - 1).bit_length(), 1), _BUCKET_BITS_MAX)
        hi, lo, places = np.empty(len(rows), np.uint64), np.empty(len(rows), np.uint64), np.empty(len(rows), np.int64)
        counters = np.empty(1 << bits, np.uint32)
        self._library.ep_sort_rows(address(rows), len(rows), bits, address(counters), address(hi), address(lo), address(places))
        return hi, lo, places

    def join(self, runs: Sequence[Columns]) -> Columns:
        """Joins ascending runs, at least one, into one."""
        runs = [_aligned(run) for run in runs]
        described = np.array([_description(run) for run in runs], np.int64)
        count = int(described[:, -1].sum())
        columns = [np.empty(count, np.uint64) for _ in range(4)]
        ends = np.empty(len(described), np.int64)
        is_other = self._library.ep_join_runs(address(described), len(described), address(ends), *map(address, columns))
        return (columns[2], columns[3]) if is_other else (columns[0], columns[1])

    def contains(self, held: Columns, sought: Columns) -> BoolArray:
        """For each of m ascending fingerprints `sought`, whether it is among the ascending `held`."""
        found = np.empty(len(sought[0]), np.bool_)
        hi, lo = _words(sought[0]), _words(sought[1])
        held = _aligned(held)
        self._library.ep_contains(*_run(held), address(hi), address(lo), len(hi), address(found))
        return found

    def rows_of(self, columns: Columns) -> WordArray:
        """The fingerprints as rows, (n, 2)."""
        rows = np.empty((len(columns[0]), 2), np.uint64)
        columns = _aligned(columns)
        self._library.ep_rows_of(*_run(columns), address(rows))
        return rows

    def filter_hits(self, words: WordArray, patterns: WordArray, columns: Columns) -> IntArray:
        """The ascending places of the ascending fingerprints that may be in the filter of these `words`, eight per block."""
        hi, lo = _words(columns[0]), _words(columns[1])
        places = np.empty(len(hi), np.int64)
        count = self._library.ep_filter_hits(
            address(words), len(words) // 8, address(patterns), address(hi), address(lo), len(hi), address(places)
        )
        return places[:count]

    def filter_add(self, words: WordArray, block: int, blocks: int, patterns: WordArray, columns: Columns) -> None:
        """Sets the fingerprints' bits in `words`: the blocks from `block` on, of a filter of `blocks`."""
        columns = _aligned(columns)
        good = self._library.ep_filter_add(address(words), len(words), block, blocks, address(patterns), *_run(columns))
        assert good, "every fingerprint lies in one of these blocks"

    def marks_set(self, marks: ByteArray, shift: int, hi: WordArray) -> None:
        """Sets the mark of each fingerprint: the bits of `hi` from `shift` on. There are 2^(64 - shift) marks, eight per byte."""
        hi = _words(hi)
        assert len(marks) << shift == 1 << _MARK_BYTES_BITS, "a bit for each"
        self._library.ep_marks_set(address(marks), shift, address(hi), len(hi))

    def described(self, runs: Sequence[Columns]) -> IntArray:
        """The runs in the form for `search_runs`, (k, 5); valid as long as the runs are kept."""
        assert all(column.flags.aligned for run in runs for column in run), "columns are read by the word"
        return np.array([_description(run) for run in runs], np.int64).reshape(-1, 5)

    def search_runs(self, marks: ByteArray, shift: int, described: IntArray, columns: Columns, answers: ByteArray) -> None:
        """Sets the answer to 0 for each ascending fingerprint that a run holds. `marks` are set for all ids in the runs."""
        hi, lo = _words(columns[0]), _words(columns[1])
        assert len(marks) << shift == 1 << _MARK_BYTES_BITS, "a bit for each"
        assert len(hi) == len(lo) == len(answers), "an answer for each"
        self._library.ep_search_runs(
            address(marks), shift, address(described), len(described), address(hi), address(lo), len(hi), address(answers)
        )

    def firsts(self, columns: Columns, places: IntArray, known: BoolArray) -> tuple[BoolArray, IntArray, Columns]:
        """Marks which of n ascending fingerprints differ from the one before.

        Also returns the places of the marked ones not `known` to be new, and the fingerprints there. `known` has an answer per
        id, and `places` the id of each fingerprint.
        """
        hi, lo, places = _words(columns[0]), _words(columns[1]), _integers(places)
        fresh, doubtful = np.empty(len(hi), np.bool_), np.empty(len(hi), np.int64)
        doubtful_hi, doubtful_lo = np.empty((2, len(hi)), np.uint64)
        assert len(places) == len(known) == len(hi), "a place and an answer for each"
        read, written = map(address, (hi, lo, places, known)), map(address, (fresh, doubtful, doubtful_hi, doubtful_lo))
        count = self._library.ep_firsts(*read, len(hi), *written)
        assert count >= 0, "each place is the place of an id"
        return fresh, doubtful[:count], (doubtful_hi[:count], doubtful_lo[:count])

    def take_new(
        self, columns: Columns, places: IntArray, fresh: BoolArray, doubtful: IntArray, answers: BoolArray
    ) -> tuple[Columns, BoolArray]:
        """Completes `firsts`: the fingerprints that are new, and for each id whether it is new.

        `answers`: for each of `doubtful`, whether it is new. Changes `fresh`.
        """
        hi, lo, places = _words(columns[0]), _words(columns[1]), _integers(places)
        new_hi, new_lo = np.empty(len(hi), np.uint64), np.empty(len(hi), np.uint64)
        by_id = np.empty(len(hi), np.bool_)
        assert len(doubtful) == len(answers), "an answer for each"
        assert len(places) == len(fresh) == len(hi), "a place for each"
        read, asked = map(address, (hi, lo, places)), map(address, (fresh, doubtful, answers))
        count = self._library.ep_take_new(*read, len(hi), *asked, len(doubtful), *map(address, (new_hi, new_lo, by_id)))
        assert count >= 0, "each place is the place of an id"
        if count < _KEPT_SHARE * len(hi):  # the new ids of a batch of duplicates must not keep the memory of all
            return (new_hi[:count].copy(), new_lo[:count].copy()), by_id
        return (new_hi[:count], new_lo[:count]), by_id

    def pick(self, mask: BoolArray, columns: Columns) -> Columns:
        """The fingerprints that the mask selects."""
        hi, lo = _words(columns[0]), _words(columns[1])
        picked_hi, picked_lo = np.empty(len(hi), np.uint64), np.empty(len(hi), np.uint64)
        count = self._library.ep_pick(address(mask), address(hi), address(lo), len(hi), address(picked_hi), address(picked_lo))
        if count < len(hi):  # the new ids of a batch of duplicates must not keep the memory of all
            return picked_hi[:count].copy(), picked_lo[:count].copy()
        return picked_hi, picked_lo

    def texts_above(
        self, content: bytes, begins: IntArray, ends: IntArray, marks: dict[int, bytes], peaks: BoolArray | None = None
    ) -> tuple[BoolArray, dict[int, bytes]] | None:
        """Marks each text above the mark of its width (1 to 64 bytes), or without one. Also returns the raised marks.

        `marks` are by width. `peaks`, if given, marks the texts, all of one width, that are above all before them. None if a text
        does not lie in `content`.
        """
        table, known = np.zeros(_WIDTHS * _WIDTH_MAX, np.uint8), np.zeros(_WIDTHS, np.uint8)
        for width, mark in marks.items():
            known[width] = 1
            table[width * _WIDTH_MAX : width * _WIDTH_MAX + width] = np.frombuffer(mark, np.uint8)
        above, greatest = np.empty(len(begins), np.bool_), np.empty(_WIDTHS, np.int64)
        begins, ends = _integers(begins), _integers(ends)
        good = self._library.ep_texts_above(
            content_address(content),
            len(content),
            *map(address, (begins, ends)),
            len(begins),
            *map(address, (table, known)),
            None if peaks is None else address(peaks),
            *map(address, (above, greatest)),
        )
        if not good:
            return None
        raised = {
            width: content[begins[greatest[width]] : ends[greatest[width]]] for width in np.flatnonzero(greatest >= 0).tolist()
        }
        return above, raised


def _words(column: WordArray) -> WordArray:
    column = np.ascontiguousarray(column, np.uint64)
    return column if column.flags.aligned else column.copy()


def _integers(column: IntArray) -> IntArray:
    column = np.ascontiguousarray(column, np.int64)
    return column if column.flags.aligned else column.copy()


def _aligned(columns: Columns) -> Columns:
    hi, lo = columns
    return hi if hi.flags.aligned else hi.copy(), lo if lo.flags.aligned else lo.copy()


def _start(column: WordArray) -> int:
    assert column.flags.aligned, "columns are read by the word"
    if column.flags.c_contiguous:
        return address(column)
    place: int = column.__array_interface__["data"][0]
    return place


def _step(column: WordArray) -> int:
    return column.strides[0] // _WORD_BYTES


def _description(columns: Columns) -> tuple[int, int, int, int, int]:
    """A run in the form for a join: the addresses of its columns, their steps, and its length."""
    hi, lo = columns
    return _start(hi), _start(lo), _step(hi), _step(lo), len(hi)


def _run(columns: Columns) -> tuple[int, int, int, int, int]:
    """A run in the form for the other kernels: address and step of each column, and the length."""
    hi, lo = columns
    return _start(hi), _step(hi), _start(lo), _step(lo), len(hi)


KERNELS: Final = None if LIBRARY is None else FingerprintKernels(LIBRARY)
"""The kernels; None if there is no library: then numpy or Python does the same."""
