"""Writes the totals as JSON for a checkpoint, and reuses as much as it can from the commit before.

Owns: which fields of a category are written, and in which order.
Always: the kernel's bytes and the bytes of the plain objects are the same. A line that is reused is what would be written anew.
Never: changes a total.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import isfinite
from typing import Final, TypeAlias

import numpy as np
import orjson
from numpy.typing import NDArray

from event_processor.aggregation.categories.columns import UNKNOWN, Totals
from event_processor.aggregation.exact_sum import exact_mean
from event_processor.columns.timestamps import TimestampReader, canonical
from event_processor.kernels.checkpoint_rows import Loom, Pieces
from event_processor.model.columns import FloatArray, IntArray, TimestampColumn
from event_processor.model.event import Json

__all__ = ["WEAVE_FROM", "Shown", "ShownTotals", "timestamp_texts"]

FEW: Final = 64
"""Up to this number, a loop costs less than about fifty numpy calls."""
NS_PER_S: Final = 1_000_000_000
FRACTION_DIGITS: Final = 9
WHOLE: Final = "2026-01-31T23:59:59Z"
FRACTION_FROM: Final = len(WHOLE) - 1
PAIRS: Final = np.frombuffer("".join(f"{number:02d}" for number in range(100)).encode(), np.uint8).reshape(100, 2)
"""The two digits of each number below 100."""
LONGEST: Final = "2026-01-31T23:59:59.123456789Z"


def timestamp_texts(reader: TimestampReader, column: TimestampColumn) -> list[str | None]:
    """Each timestamp in RFC 3339 and UTC, in its shortest form; None if it is not a timestamp."""
    spans = column.spans()
    if spans is not None and len(spans[1]) > FEW:
        instants, bad = reader.read_spans(*spans)
        texts: list[str | None] = list(
            (_already_canonical(*spans) if reader.reads_rfc3339_first else None) or _canonical_texts(instants)
        )
    else:
        raw = column.to_list()
        if len(raw) <= FEW:
            return [None if (ns := reader.read(each)) is None else canonical(ns) for each in raw]
        instants, bad = reader.read_all(raw)
        texts = list(_canonical_texts(instants))
    for place in np.flatnonzero(bad).tolist():
        texts[place] = None
    return texts


def _already_canonical(content: bytes, begins: IntArray, ends: IntArray) -> list[str] | None:
    """The texts as written, if all have one length and each timestamp among them is in the form of `canonical`; else None."""
    widths = ends - begins
    width = int(widths[0])
    if not len(WHOLE) <= width <= len(LONGEST) or width == len(WHOLE) + 1 or (widths != width).any():
        return None
    alike = np.ndarray((len(content) - width + 1,), f"V{width}", content, strides=(1,))[begins]
    table = alike.view(np.uint8).reshape(-1, width)
    # Second 60 is not canonical: it is written as the next minute. If other characters are not digits, the text is no timestamp.
    plain = (
        (table[:, len("2026-01-31")] == ord("T")) & (table[:, -1] == ord("Z")) & (table[:, len("2026-01-31T23:59:")] < ord("6"))
    )
    if width > len(WHOLE):
        plain &= (table[:, -2] != ord("0")) & (table[:, FRACTION_FROM] == ord("."))
    whole = alike.tobytes().decode("latin-1")
    return [whole[begin : begin + width] for begin in range(0, len(whole), width)] if plain.all() else None


def _canonical_texts(instants: IntArray) -> list[str]:
    """`canonical` for each instant."""
    seconds, fraction = _divided(instants, NS_PER_S)
    days, of_day = _divided(seconds, 86_400)
    months = days.astype("datetime64[D]").astype("datetime64[M]")
    years, month = _divided(months.astype(np.int64) + 1970 * 12, 12)
    day = days - months.astype("datetime64[D]").astype(np.int64)
    minutes, second = _divided(of_day, 60)
    hour, minute = _divided(minutes, 60)
    century, year = _divided(years, 100)
    table = np.tile(np.frombuffer(LONGEST.encode(), np.uint8), (len(instants), 1))
    rest, last = _divided(fraction, 10)
    table[:, FRACTION_FROM + FRACTION_DIGITS] = last + ord("0")
    pairs = [(0, century), (2, year), (5, month + 1), (8, day + 1), (11, hour), (14, minute), (17, second)]
    for begin in range(FRACTION_FROM + FRACTION_DIGITS - 2, FRACTION_FROM, -2):
        rest, pair = _divided(rest, 100)
        pairs.append((begin, pair))
    for begin, pair in pairs:
        table[:, begin : begin + 2] = PAIRS[pair]
    backwards = table[:, FRACTION_FROM + FRACTION_DIGITS : FRACTION_FROM : -1] != ord("0")
    # If all nine digits are zeros, neither they nor the point before them is written.
    written = np.where(fraction == 0, 0, 1 + FRACTION_DIGITS - backwards.argmax(axis=1))
    ends = FRACTION_FROM + written
    table[np.arange(len(instants)), ends] = ord("Z")
    whole = table.tobytes().decode()
    begins = range(0, len(whole), len(LONGEST))
    return [whole[begin : begin + end] for begin, end in zip(begins, (ends + 1).tolist(), strict=True)]


def _divided(numbers: IntArray, divisor: int) -> tuple[IntArray, IntArray]:
    """Quotient (rounded down) and remainder. `np.divmod` takes several times as long."""
    quotients = numbers // divisor
    return quotients, numbers - quotients * divisor


Shown: TypeAlias = orjson.Fragment
"""The bytes of a JSON object, for orjson."""
_Row: TypeAlias = tuple[int, Json, Json, str | None, float, float, tuple[float, ...], int]
"""What a category's line is made of: count, first and last id, last timestamp, greatest and least value, parts of the sum, values."""
WEAVE_FROM: Final = 64
"""From this number of categories on, the kernel is faster."""
INDENT: Final = "  "
FIELDS: Final = ("count", "first_id", "last_id", "last_timestamp", "max", "mean", "min", "sum", "sum_parts", "values")
"""In ascending order, because the checkpoint has sorted keys."""


class ShownTotals:
    """Prepares the totals for orjson, sorted: compact, and with a line for each category.

    Used by one thread. The result of `of` is valid until its next call.
    """

    def __init__(self, depth: int) -> None:
        """`depth`: the number of objects around the totals, for the indentation."""
        self._end_line, self._line = (f"\n{INDENT * level}" for level in (depth, depth + 1))
        self._loom: Final = Loom((_pieces("", "", ":"), _pieces(self._end_line, self._line, ": ")))
        self._written: dict[str, tuple[_Row, bytes]] = {}
        """The row and the line of each category, as they were written last."""
        self._index: dict[str, int] = {}
        self._order: IntArray = np.zeros(0, np.int64)
        self._names: list[str] = []
        self._filled_names: list[str] = []
        self._objects: dict[str, dict[str, Json]] = {}

    def both_forms(self, totals: Totals) -> tuple[Shown, Shown]:
        """The compact form, and the one with lines."""
        both = self.woven(totals) or self._split(totals) if len(totals) >= WEAVE_FROM else None
        compact, lined = both or self._joined(totals)
        return orjson.Fragment(compact), orjson.Fragment(lined)

    def _split(self, totals: Totals) -> tuple[bytes, bytes] | None:
        """The bytes of both forms of many categories, the second cut from the first. None if a text in it looks like a cut."""
        compact = orjson.dumps(self.of(totals))
        # A quote within a text is escaped. So each of the two is there once for each category, unless a text ends or begins like it.
        if compact.count(b'},"') != len(totals) - 1 or compact.count(b'":{') != len(totals):
            return None
        line = self._line.encode()
        lines = compact[1:-1].replace(b'},"', b"}," + line + b'"').replace(b'":{', b'": {')
        return compact, b"{" + line + lines + self._end_line.encode() + b"}"

    def _joined(self, totals: Totals) -> tuple[bytes, bytes]:
        """The bytes of both forms. Only the lines of categories that changed are made."""
        before = self._written
        self._written = {name: _line(row, before.get(name)) for name, row in self._rows(totals)}
        if not self._written:
            return b"{}", b"{}"
        named = [(orjson.dumps(name), line) for name, (_, line) in self._written.items()]
        compact = b",".join([name + b":" + line for name, line in named])
        lined = f",{self._line}".encode().join([name + b": " + line for name, line in named])
        return b"{" + compact + b"}", b"{" + self._line.encode() + lined + self._end_line.encode() + b"}"

    def _rows(self, totals: Totals) -> Iterator[tuple[str, _Row]]:
        """Yields each category's name and its row, sorted by name."""
        self._look_up(totals)
        columns, order = totals.columns, self._order
        return zip(
            self._names,
            zip(
                columns.counts[order].tolist(),
                columns.first_ids.resolved()[order].tolist(),
                columns.last_ids.resolved()[order].tolist(),
                columns.last_timestamps.resolved()[order].tolist(),
                columns.greatest[order].tolist(),
                columns.least[order].tolist(),
                _part_tuples(columns.parts[:, order].tolist(), len(order)),
                columns.values[order].tolist(),
                strict=True,
            ),
            strict=True,
        )

    def woven(self, totals: Totals) -> tuple[bytes, bytes] | None:
        """The bytes of both forms, for at least one category; None without a kernel, or if an id has several fields."""
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
            _dumped(columns.means()[order]),
            _dumped(columns.least[order]),
            _dumped(sums),
        ]
        return self._loom.weave(fields, [_dumped(part) for part in parts], _counts(columns.values[order]), len(order))

    def of(self, totals: Totals) -> dict[str, dict[str, Json]]:
        """The totals as plain dicts.

        They are made once and refilled at each commit: making ten thousand new ones costs more than their content.
        """
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
            _numbers(columns.means()[order]),
            _numbers(columns.least[order]),
            sums,
            _part_tuples(part_rows, len(order)),
            [None if values == UNKNOWN else values for values in columns.values[order].tolist()],
            strict=True,
        )
        for row, count, first_id, last_id, last_timestamp, greatest, mean, least, total, parts, values in filled:
            row["count"] = count
            row["first_id"] = first_id
            row["last_id"] = last_id
            row["last_timestamp"] = last_timestamp
            row["max"] = greatest
            row["mean"] = mean
            row["min"] = least
            row["sum"] = total
            row["sum_parts"] = parts
            row["values"] = values
        return self._objects

    def _look_up(self, totals: Totals) -> None:
        """Sorts the names, and finds the row of each."""
        if totals.index is not self._index:
            self._names = sorted(totals.index)
            self._index, self._order = totals.index, np.array([totals.index[name] for name in self._names], np.int64)


def _line(row: _Row, before: tuple[_Row, bytes] | None) -> tuple[_Row, bytes]:
    """The row, and the JSON object on its line: both from `before` if the row did not change."""
    if before is not None and before[0] == row:
        # No number in a row is -0.0, which would be equal to 0.0 but written otherwise.
        return before
    count, first_id, last_id, last_timestamp, greatest, least, parts, values = row
    fields = {
        "count": count,
        "first_id": first_id,
        "last_id": last_id,
        "last_timestamp": last_timestamp,
        "max": greatest if isfinite(greatest) else None,
        "mean": exact_mean(parts, values) if values > 0 else None,
        "min": least if isfinite(least) else None,
        "sum": parts[0] if parts else 0.0,
        "sum_parts": parts,
        "values": None if values == UNKNOWN else values,
    }
    return row, orjson.dumps(fields)


def _pieces(end_line: str, line: str, colon: str) -> Pieces:
    """The text between the values. `end_line`, `line`: before the end of the object, and before each name; `colon`: after a name."""
    first, *others = [f'"{name}":' for name in FIELDS]
    *before, parts, last = ["", f"{colon}{{{first}", *(f",{name}" for name in others)]
    texts = {
        "first_part": f"{parts}[",
        "next_part": ",",
        "last_part": f"]{last}",
        "no_part": f"{parts}[]{last}",
        "end_row": "}",
        "next_row": f",{line}",
        "first_row": f"{{{line}",
        "last_row": f"{end_line}}}",
    }
    return Pieces([each.encode() for each in before], **{name: text.encode() for name, text in texts.items()})


def _dumped(column: NDArray[np.int64] | FloatArray) -> bytes:
    """The numbers as a JSON array; null if not finite."""
    return orjson.dumps(np.ascontiguousarray(column), option=orjson.OPT_SERIALIZE_NUMPY)


def _counts(column: IntArray) -> bytes:
    """The numbers as a JSON array; null if unknown."""
    if (column != UNKNOWN).all():
        return _dumped(column)
    return orjson.dumps([None if count == UNKNOWN else count for count in column.tolist()])


def _numbers(column: FloatArray) -> list[float | None]:
    """The numbers; None if not finite."""
    numbers: list[float | None] = column.tolist()
    for place in np.flatnonzero(~np.isfinite(column)).tolist():
        numbers[place] = None
    return numbers


def _part_tuples(rows: list[list[float]], count: int) -> list[tuple[float, ...]]:
    """The parts of each of `count` sums, without trailing zeros. `rows`: all first parts, all second parts and so on."""
    tuples: list[tuple[float, ...]] = list(zip(*rows, strict=True)) if rows else [()] * count
    for row in reversed(rows):
        if all(row):
            break
        tuples = [parts if not parts or parts[-1] else parts[:-1] for parts in tuples]
    return tuples
