"""Ids by their order, in one pass: calls `extremes.c`.

Owns: how the kernels are called.
Always: gives the same results as `columns/ids.py` and `aggregation/categories/first_and_last.py` in numpy.
Never: reads a byte outside of the content. Texts that do not lie within it are left to numpy.
"""

from __future__ import annotations

from ctypes import c_int64, c_void_p
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from event_processor.kernels.arrays import BoolArray, IntArray, address, content_address
from event_processor.kernels.library import LIBRARY

__all__ = ["Ends", "integer_extremes", "leading_words", "text_extremes", "text_peaks", "texts_rise"]

Ends: TypeAlias = tuple[IntArray, IntArray, int]
"""The places of each group's first and last event by id, (g,) each, -1 if it is empty; and the place of the greatest id."""
_FIELDS: Final = 4
"""Of `struct ends`, 8 bytes each: two words, and the places of the first and the last event."""
_TEXTS: Final = (c_void_p, c_int64, c_void_p, c_void_p)

if LIBRARY is not None:
    LIBRARY.ep_texts_rise.argtypes = [*_TEXTS, c_int64]
    LIBRARY.ep_texts_rise.restype = c_int64
    LIBRARY.ep_text_peaks.argtypes = [*_TEXTS, c_int64, c_void_p]
    LIBRARY.ep_text_peaks.restype = c_int64
    LIBRARY.ep_leading_words.argtypes = [*_TEXTS, c_int64, c_void_p]
    LIBRARY.ep_leading_words.restype = c_int64
    LIBRARY.ep_text_extremes.argtypes = [*_TEXTS, c_void_p, c_int64, c_void_p, c_int64]
    LIBRARY.ep_text_extremes.restype = c_int64
    LIBRARY.ep_integer_extremes.argtypes = [c_void_p, c_void_p, c_int64, c_void_p, c_int64]
    LIBRARY.ep_integer_extremes.restype = c_int64


def texts_rise(content: bytes, begins: IntArray, ends: IntArray) -> bool | None:
    """Whether no text `content[begins[i]:ends[i]]` is below the one before it, in byte order. None if the kernel cannot tell."""
    if LIBRARY is None:
        return None
    begins, ends = _columns(begins, ends)
    found: int = LIBRARY.ep_texts_rise(content_address(content), len(content), address(begins), address(ends), len(begins))
    return None if found < 0 else found == 1


def text_peaks(content: bytes, begins: IntArray, ends: IntArray) -> BoolArray | None:
    """Marks the texts that are above all before them, in byte order.

    None if their widths differ, if few rise, or if the kernel cannot tell.
    """
    if LIBRARY is None:
        return None
    begins, ends = _columns(begins, ends)
    peaks = np.empty(len(begins), np.bool_)
    found: int = LIBRARY.ep_text_peaks(
        content_address(content), len(content), address(begins), address(ends), len(begins), address(peaks)
    )
    return peaks if found else None


def leading_words(content: bytes, begins: IntArray, ends: IntArray) -> NDArray[np.uint64] | None:
    """The first eight bytes of each text, zeros after its end, as a number in the order of texts. None if the kernel cannot."""
    if LIBRARY is None:
        return None
    begins, ends = _columns(begins, ends)
    words = np.empty(len(begins), np.uint64)
    status: int = LIBRARY.ep_leading_words(
        content_address(content), len(content), address(begins), address(ends), len(begins), address(words)
    )
    return None if status < 0 else words


def text_extremes(content: bytes, begins: IntArray, ends: IntArray, codes: IntArray | None, group_count: int) -> Ends | None:
    """The first and the last event of each group, by id. Of equal ids, the earliest is first and the latest is last.

    `codes` (n,) are below `group_count`, n at least 1; None: all are in group 0. Returns None if the kernel cannot.
    """
    if LIBRARY is None:
        return None
    groups = np.empty((group_count, _FIELDS), np.int64)
    begins, ends, *coded = _columns(begins, ends, codes)
    greatest: int = LIBRARY.ep_text_extremes(
        content_address(content),
        len(content),
        address(begins),
        address(ends),
        *(map(address, coded) if coded else [None]),
        len(begins),
        address(groups),
        group_count,
    )
    return None if greatest < 0 else (groups[:, 2], groups[:, 3], greatest)


def integer_extremes(numbers: IntArray, codes: IntArray | None, group_count: int) -> Ends | None:
    """As `text_extremes`, for ids that are integers."""
    if LIBRARY is None:
        return None
    groups = np.empty((group_count, _FIELDS), np.int64)
    numbers, *coded = _columns(numbers, codes)
    greatest: int = LIBRARY.ep_integer_extremes(
        address(numbers), *(map(address, coded) if coded else [None]), len(numbers), address(groups), group_count
    )
    return None if greatest < 0 else (groups[:, 2], groups[:, 3], greatest)


def _columns(*columns: IntArray | None) -> list[IntArray]:
    """The columns that are not None, each in the form that a kernel reads. All have one length."""
    found = [np.ascontiguousarray(column, np.int64) for column in columns if column is not None]
    assert len(set(map(len, found))) == 1, "a kernel takes one length for all columns"
    return found
