"""The totals of a batch by group, and many sums made canonical: calls `totals.c`.

Owns: how the kernels are called.
Always: they give the same results as `aggregation/categories/batch.py` and `aggregation/exact_sum.py` in numpy.
Never: returns a rounded result. If the kernel cannot avoid rounding, it says so.
"""

from __future__ import annotations

from ctypes import c_int64, c_void_p
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from event_processor.kernels.arrays import BoolArray, FloatArray, IntArray, address, on_cache_lines
from event_processor.kernels.library import LIBRARY

__all__ = ["GroupTotals", "add_sums", "settle", "total_groups"]

_FIELDS: Final = 8
"""The fields of `struct group`, 8 bytes each: size, first, last, least, greatest, and the terms."""
_GROUP_BYTES: Final = 64
_DONE: Final = 0

if LIBRARY is not None:
    LIBRARY.ep_total_groups.argtypes = [c_void_p, c_void_p, c_void_p, c_int64, c_void_p, c_int64]
    LIBRARY.ep_total_groups.restype = c_int64
    LIBRARY.ep_settle.argtypes = [c_void_p, c_int64, c_int64, c_void_p]
    LIBRARY.ep_settle.restype = c_int64
    LIBRARY.ep_add_sums.argtypes = [c_void_p, c_int64, c_int64, c_void_p, c_void_p, c_int64, c_int64, c_void_p]
    LIBRARY.ep_add_sums.restype = c_int64


@dataclass(frozen=True, slots=True)
class GroupTotals:
    """The g groups of a batch, (g,) each: the number of events, and the places of the first and the last in log order.

    first, last: -1 in an empty group. least, greatest: inf and -inf if no event has a value. terms (t, g): the exact sum of
    group i is the sum of `terms[:, i]`. Without values, least, greatest and terms mean nothing.
    """

    sizes: IntArray
    first: IntArray
    last: IntArray
    least: FloatArray
    greatest: FloatArray
    terms: FloatArray


def total_groups(
    codes: IntArray | None, values: FloatArray | None, has_value: BoolArray | None, count: int, group_count: int
) -> GroupTotals | None:
    """The totals of `count` events by group; None if the kernel cannot give them.

    `codes` (n,) are below `group_count`; None: all are in group 0. `values` (n,) are finite, and 0.0 if `has_value` is False;
    None if there are none. `has_value` is None if each event has a value.
    """
    if LIBRARY is None:
        return None
    groups = on_cache_lines(group_count * _GROUP_BYTES).view(np.int64).reshape(group_count, _FIELDS)
    codes = None if codes is None else np.ascontiguousarray(codes, np.int64)
    values = None if values is None else np.ascontiguousarray(values, np.float64)
    has_value = None if has_value is None else np.ascontiguousarray(has_value, np.bool_)
    places = [_place(column, count) for column in (codes, values, has_value)]
    status: int = LIBRARY.ep_total_groups(*places, count, address(groups), group_count)
    if status != _DONE:
        return None
    numbers = groups.view(np.float64)
    return GroupTotals(groups[:, 0], groups[:, 1], groups[:, 2], numbers[:, 3], numbers[:, 4], numbers[:, 5:].T)


def settle(terms: FloatArray) -> BoolArray | None:
    """Makes the terms (m, g) of each group canonical, in place. Marks the groups (g,) that still are not.

    Every exact sum is kept. None if nothing was done.
    """
    if LIBRARY is None or terms.dtype != np.float64 or not terms.flags.c_contiguous:
        return None
    term_count, group_count = terms.shape
    unsettled = np.zeros(group_count, np.bool_)
    found: int = LIBRARY.ep_settle(address(terms), term_count, group_count, address(unsettled))
    return unsettled if found >= 0 else None


def add_sums(parts: FloatArray, rows: IntArray, terms: FloatArray) -> tuple[FloatArray, BoolArray] | None:
    """Adds `terms` (t, g) to the sums `rows` (g,), each named at most once. `parts` (p, k) are the canonical parts of k sums.

    Returns the new parts (p + t, k), and marks which of `rows` (g,) are not canonical yet; their exact sum is right.
    None if the kernel cannot.
    """
    if LIBRARY is None:
        return None
    (part_count, width), (term_count, group_count) = parts.shape, terms.shape
    added = np.zeros((part_count + term_count, width))
    added[:part_count] = parts
    rows, terms, unsettled = np.ascontiguousarray(rows), np.ascontiguousarray(terms), np.zeros(group_count, np.bool_)
    assert len(rows) == group_count, "each group has a row"
    found: int = LIBRARY.ep_add_sums(
        address(added), part_count, width, address(rows), address(terms), term_count, group_count, address(unsettled)
    )
    return (added, unsettled) if found >= 0 else None


def _place(column: NDArray[Any] | None, count: int) -> int | None:
    if column is None:
        return None
    assert len(column) == count, "a kernel takes one length for all columns"
    return address(column)
