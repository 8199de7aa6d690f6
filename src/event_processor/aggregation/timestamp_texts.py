"""Timestamps of many events as the checkpoint shows them.

Always: the same text, letter by letter, as `timestamps.canonical` gives for each alone.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from event_processor.contracts import IntArray, TimestampColumn
from event_processor.timestamps import TimestampReader, canonical

__all__ = ["timestamp_texts"]

FEW: Final = 64
"""Up to here one after the other costs less than some fifty calls of numpy."""
NS_PER_S: Final = 1_000_000_000
FRACTION_DIGITS: Final = 9
WHOLE: Final = "2026-01-31T23:59:59Z"
FRACTION_FROM: Final = len(WHOLE) - 1
PAIRS: Final = np.frombuffer("".join(f"{number:02d}" for number in range(100)).encode(), np.uint8).reshape(100, 2)
"""The two digits of each number below a hundred."""
LONGEST: Final = "2026-01-31T23:59:59.123456789Z"


def timestamp_texts(reader: TimestampReader, column: TimestampColumn) -> list[str | None]:
    """RFC 3339 in UTC for each, as short as can be; None where there is no timestamp."""
    spans = column.spans()
    if spans is not None and len(spans[1]) > FEW:
        instants, bad = reader.read_spans(*spans)
        texts: list[str | None] = list(_written_so(*spans) or _canonical_texts(instants))
    else:
        raw = column.to_list()
        if len(raw) <= FEW:
            return [None if (ns := reader.read(each)) is None else canonical(ns) for each in raw]
        instants, bad = reader.read_all(raw)
        texts = list(_canonical_texts(instants))
    for place in np.flatnonzero(bad).tolist():
        texts[place] = None
    return texts


def _written_so(content: bytes, begins: IntArray, ends: IntArray) -> list[str] | None:
    """The texts as they stand, if each that is a timestamp is written as `canonical` writes it, and all are of one length; else None."""
    widths = ends - begins
    width = int(widths[0])
    if not len(WHOLE) <= width <= len(LONGEST) or width == len(WHOLE) + 1 or (widths != width).any():
        return None
    alike = np.ndarray((len(content) - width + 1,), f"V{width}", content, strides=(1,))[begins]
    table = alike.view(np.uint8).reshape(-1, width)
    # The sixtieth second is written as the one after it; digits are none but these, or there is no timestamp there.
    plain = (
        (table[:, len("2026-01-31")] == ord("T")) & (table[:, -1] == ord("Z")) & (table[:, len("2026-01-31T23:59:")] < ord("6"))
    )
    if width > len(WHOLE):
        plain &= table[:, -2] != ord("0")
    whole = alike.tobytes().decode("latin-1")
    return [whole[begin : begin + width] for begin in range(0, len(whole), width)] if plain.all() else None


def _canonical_texts(instants: IntArray) -> list[str]:
    """`canonical` for each."""
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
    # Where all nine are zeros, neither they nor the point before them are written.
    written = np.where(fraction == 0, 0, 1 + FRACTION_DIGITS - backwards.argmax(axis=1))
    ends = FRACTION_FROM + written
    table[np.arange(len(instants)), ends] = ord("Z")
    whole = table.tobytes().decode()
    begins = range(0, len(whole), len(LONGEST))
    return [whole[begin : begin + end] for begin, end in zip(begins, (ends + 1).tolist(), strict=True)]


def _divided(numbers: IntArray, divisor: int) -> tuple[IntArray, IntArray]:
    """Quotient, rounded down, and remainder; `np.divmod` takes several times as long."""
    quotients = numbers // divisor
    return quotients, numbers - quotients * divisor
