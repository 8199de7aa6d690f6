"""The timestamps of events that are only known as lines.

Owns: `TimestampLines`.
Always: an instant is the one that the format read from the same record, so the digits of a number decide.
Never: refuses an event. Its record was accepted, so it has a readable timestamp.
"""

from __future__ import annotations

from typing import Final, cast

import msgspec
from msgspec import Raw

from event_processor.columns.field_paths import BlockDecoder, field_path
from event_processor.columns.number_texts import written_number
from event_processor.columns.timestamps import TimestampReader
from event_processor.model.columns import IntArray

__all__ = ["TimestampLines"]

_VALUES: Final = msgspec.json.Decoder(list[str | int | float])


class TimestampLines:
    """Reads one field of any lines as timestamps. Pure."""

    def __init__(self, field: str, reader: TimestampReader) -> None:
        """`field` is dotted."""
        self._decoder: Final = BlockDecoder([(field_path(field), Raw)])
        self._reader: Final = reader

    def read(self, lines: bytes) -> IntArray:
        """The time of each line's event, in ns since 1970-01-01 UTC."""
        (column,) = self._decoder.columns(self._decoder.decode(lines))
        texts = [bytes(raw) for raw in cast("list[Raw]", column)]
        values: list[str | int | float] = _VALUES.decode(b"[%b]" % b",".join(texts))
        exact = [
            written_number(text.decode()) if type(value) is float else value for value, text in zip(values, texts, strict=True)
        ]
        return self._reader.read_all(exact)[0]
