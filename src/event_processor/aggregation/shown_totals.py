"""The totals as a checkpoint shows them: as JSON, the least of it made anew at each commit.

Owns: which fields are shown of a category, and in which order. Always: woven by the kernel or filled into objects, the bytes are the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, TypeAlias

import numpy as np
import orjson
from numpy.typing import NDArray

from event_processor.aggregation.total_columns import Totals
from event_processor.contracts import FloatArray, IntArray
from event_processor.event import Json
from event_processor.native.weave import Loom, Pieces

__all__ = ["WEAVE_FROM", "Shown", "ShownTotals"]

Shown: TypeAlias = "dict[str, dict[str, Json]] | orjson.Fragment"
"""A JSON object for orjson: as it is, or as the bytes it is written in."""
WEAVE_FROM: Final = 64
"""So many categories are worth the kernel."""
INDENT: Final = "  "
FIELDS: Final = ("count", "first_id", "last_id", "last_timestamp", "max", "mean", "min", "sum", "sum_parts")
"""In ascending order: who writes them sorted finds them so."""


class ShownTotals:
    """The totals as orjson is to write them, sorted: in compact form, and indented by two spaces a level.

    Used by one thread; what `of` returns holds until its next call.
    """

    def __init__(self, depth: int) -> None:
        """`depth`: how many objects stand around that of the totals, where they are indented."""
        lines = [f"\n{INDENT * level}" for level in range(depth, depth + 4)]
        self._loom: Final = Loom((_pieces([""] * len(lines), ":"), _pieces(lines, ": ")))
        self._index: dict[str, int] = {}
        self._order: IntArray = np.zeros(0, np.int64)
        self._names: list[str] = []
        self._filled_names: list[str] = []
        self._objects: dict[str, dict[str, Json]] = {}

    def both_forms(self, totals: Totals) -> tuple[Shown, Shown]:
        """Compact, and indented."""
        woven = self.woven(totals) if len(totals) >= WEAVE_FROM else None
        if woven is None:
            objects = self.of(totals)
            return objects, objects
        return orjson.Fragment(woven[0]), orjson.Fragment(woven[1])

    def woven(self, totals: Totals) -> tuple[bytes, bytes] | None:
        """The bytes of both forms, of a category at least; None where there is no kernel, or where an id has several fields."""
        self._look_up(totals)
        columns, order = totals.columns, self._order
        first_ids, last_ids = columns.first_ids.resolved()[order].tolist(), columns.last_ids.resolved()[order].tolist()
        if tuple in {*map(type, first_ids), *map(type, last_ids)}:
            return None
        counts, parts = columns.counts[order], columns.parts[:, order]
        sums = columns.sums()[order]
        fields = [
            orjson.dumps(self._names),
            _dumped(counts),
            orjson.dumps(first_ids),
            orjson.dumps(last_ids),
            orjson.dumps(columns.last_timestamps.resolved()[order].tolist()),
            _dumped(columns.greatest[order]),
            _dumped(sums / counts),
            _dumped(columns.least[order]),
            _dumped(sums),
        ]
        return self._loom.weave(fields, [_dumped(part) for part in parts], len(order))

    def of(self, totals: Totals) -> dict[str, dict[str, Json]]:
        """As plain objects. They are made once and filled again at each commit: to make ten thousand anew costs more than all that is in them."""
        self._look_up(totals)
        if self._filled_names is not self._names:
            self._objects = {name: self._objects.get(name) or {} for name in self._names}
            self._filled_names = self._names
        columns, order = totals.columns, self._order
        counts, part_rows = columns.counts[order], columns.parts[:, order].tolist()
        sums: list[float] = part_rows[0] if part_rows else [0.0] * len(order)
        filled = zip(
            self._objects.values(),
            counts.tolist(),
            columns.first_ids.resolved()[order].tolist(),
            columns.last_ids.resolved()[order].tolist(),
            columns.last_timestamps.resolved()[order].tolist(),
            _numbers(columns.greatest[order]),
            (columns.sums()[order] / counts).tolist(),
            _numbers(columns.least[order]),
            sums,
            _part_tuples(part_rows, len(order)),
            strict=True,
        )
        for row, count, first_id, last_id, last_timestamp, greatest, mean, least, total, parts in filled:
            row["count"] = count
            row["first_id"] = first_id
            row["last_id"] = last_id
            row["last_timestamp"] = last_timestamp
            row["max"] = greatest
            row["mean"] = mean
            row["min"] = least
            row["sum"] = total
            row["sum_parts"] = parts
        return self._objects

    def _look_up(self, totals: Totals) -> None:
        """Names, and the row of each, in ascending order."""
        if totals.index is not self._index:
            self._names = sorted(totals.index)
            self._index, self._order = totals.index, np.array([totals.index[name] for name in self._names], np.int64)


def _pieces(lines: Sequence[str], colon: str) -> Pieces:
    """What stands around the values. `lines` begin a line: that of the object's end, of a name, of a field and of a part of a sum."""
    outside, row, field, part = lines
    first, *others = [f'"{name}"{colon}' for name in FIELDS]
    before = ["", f"{colon}{{{field}{first}", *(f",{field}{name}" for name in others)]
    texts = {
        "first_part": f"{before.pop()}[{part}",
        "next_part": f",{part}",
        "last_part": f"{field}]{row}}}",
        "no_part": f",{field}{others[-1]}[]{row}}}",
        "next_row": f",{row}",
        "first_row": f"{{{row}",
        "last_row": f"{outside}}}",
    }
    return Pieces([each.encode() for each in before], **{name: text.encode() for name, text in texts.items()})


def _dumped(column: NDArray[np.int64] | FloatArray) -> bytes:
    """The numbers as an array; null for those that are not finite."""
    return orjson.dumps(np.ascontiguousarray(column), option=orjson.OPT_SERIALIZE_NUMPY)


def _numbers(column: FloatArray) -> list[float | None]:
    """The numbers, None for those that are not finite."""
    numbers: list[float | None] = column.tolist()
    for place in np.flatnonzero(np.isinf(column)).tolist():
        numbers[place] = None
    return numbers


def _part_tuples(rows: list[list[float]], count: int) -> list[tuple[float, ...]]:
    """The parts of each of `count` sums, from all first parts, all second parts and so on, without the zeros behind them."""
    tuples: list[tuple[float, ...]] = list(zip(*rows, strict=True)) if rows else [()] * count
    for row in reversed(rows):
        if all(row):
            break
        tuples = [parts if not parts or parts[-1] else parts[:-1] for parts in tuples]
    return tuples
