"""Timestamps by where they stand in a chunk: most are never looked at, and the last of each category is shown.

Always: what is given is what the judge keeps of the same record (`verdict.kept_timestamp`).
"""

from __future__ import annotations

from typing import Final

import msgspec
import numpy as np

from event_processor.contracts import IntArray
from event_processor.formats.verdict import TIMESTAMP_CHARACTERS_MAX, kept_timestamp

__all__ = ["RawTimestamps", "raw_values"]

_NUMBER_DECODER: Final = msgspec.json.Decoder(int | float)


class RawTimestamps:
    """m timestamps: texts without escapes (between their quotes) or numbers, at begins[i] to ends[i] of the content; an empty content has none."""

    def __init__(self, content: bytes, begins: IntArray, ends: IntArray, *, is_text: bool) -> None:
        self._content: Final = content
        self._begins: Final = begins
        self._ends: Final = ends
        self._is_text: Final = is_text

    @classmethod
    def none(cls, count: int) -> RawTimestamps:
        """Of events that bear none."""
        places = np.zeros(count, np.int64)
        return cls(b"", places, places, is_text=True)

    def picked(self, places: IntArray) -> RawTimestamps:
        return RawTimestamps(self._content, self._begins[places], self._ends[places], is_text=self._is_text)

    def to_list(self) -> list[object]:
        if not self._content:
            return [None] * len(self._begins)
        return list(map(kept_timestamp, raw_values(self._content, self._begins, self._ends, is_text=self._is_text)))

    def spans(self) -> tuple[bytes, IntArray, IntArray] | None:
        if not self._content or not self._is_text or int((self._ends - self._begins).max(initial=0)) > TIMESTAMP_CHARACTERS_MAX:
            return None
        return self._content, self._begins, self._ends


def raw_values(content: bytes, begins: IntArray, ends: IntArray, *, is_text: bool) -> list[object]:
    """The texts or numbers that stand there, as Python values."""
    spans = zip(begins.tolist(), ends.tolist(), strict=True)
    if is_text:
        return [content[begin:end].decode() for begin, end in spans]
    return [_NUMBER_DECODER.decode(content[begin:end]) for begin, end in spans]
