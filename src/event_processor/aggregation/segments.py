"""Events that belong together: which of them, and in what order.

Always: within a segment events of one key stand in the order in which they came, and the keys rise.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from event_processor.contracts import BoolArray, IntArray

__all__ = ["Segments", "segments_of"]


@dataclass(frozen=True, slots=True)
class Segments:
    """n events in g segments: `order` (n,) lists them segment by segment, None where they stand so already.

    Segment i is the `sizes[i]` events from `starts[i]` on; none is empty.
    """

    order: IntArray | None
    starts: IntArray
    sizes: IntArray


def segments_of(columns: Sequence[IntArray], keys: IntArray | None) -> tuple[Segments, IntArray]:
    """The n events, at least one, by the values of the columns, the first before the second; within one by `keys`, where there are any.

    And the place of each segment's first event (g,).
    """
    if len(columns) > 1 and not (columns[-1] != columns[-1][0]).any():
        columns = columns[:-1]
    order: IntArray | None = None
    if not _is_sorted([*columns, *([] if keys is None else [keys])]):
        order = np.lexsort([*([] if keys is None else [keys]), *reversed(columns)])
        columns = [column[order] for column in columns]
    begins: BoolArray = np.zeros(len(columns[0]), np.bool_)
    begins[0] = True
    for column in columns:
        begins[1:] |= column[1:] != column[:-1]
    starts = np.flatnonzero(begins)
    sizes = np.diff(np.append(starts, len(begins)))
    return Segments(order, starts, sizes), starts if order is None else np.minimum.reduceat(order, starts)


def _is_sorted(columns: Sequence[IntArray]) -> bool:
    """Whether each rises by itself: then they rise together too."""
    return all(bool((column[1:] >= column[:-1]).all()) for column in columns)
