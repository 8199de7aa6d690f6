"""Records that are not JSON lines themselves: each becomes a JSON object, which is then read as one.

Owns: the way from a record to the line that sinks see, and back from that line to the record's place.
Always: every record has one outcome, at its own place, with its own bytes in the dead letter; everything behind the object is that of JSON Lines.
Never: what makes an event of an object is not decided here (`jsonl.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final, Protocol

import numpy as np

from event_processor.config import EventOptions
from event_processor.contracts import Columns, EventLines, IntArray, Rejection
from event_processor.event import Chunk
from event_processor.formats.event_columns import positions
from event_processor.formats.jsonl import JsonLinesFormat
from event_processor.formats.lines import Lines, cut_lines
from event_processor.formats.verdict import POSITION_ID

__all__ = ["OBJECT_BYTES_MAX", "ObjectFormat", "ObjectReader", "Objects"]

OBJECT_BYTES_MAX: Final = 1 << 30
"""The limit of a record is that of its own bytes; the object made of it may be longer."""


@dataclass(frozen=True, slots=True)
class Objects:
    """What became of the records of a chunk: record `rows[i]` (ascending) is the JSON object on line i of `content`; the others are blank or rejected."""

    rows: Sequence[int]
    content: bytes
    blank_count: int
    rejections: Sequence[Rejection]


class ObjectReader(Protocol):
    """Reads records as objects. Pure, as `Format.decode` is."""

    def read(self, chunk: Chunk, lines: Lines) -> Objects:
        """Each record of `lines`, which were cut from `chunk`, is an object, blank or rejected. Never raises for bad input."""
        ...


class ObjectFormat:
    """The `Format` of records that a reader makes objects of."""

    lets_others_run: Final = False

    def __init__(
        self,
        make_reader: Callable[[], ObjectReader],
        event: EventOptions,
        *,
        record_bytes_max: int,
        timestamps_used: bool,
    ) -> None:
        """`make_reader` can be pickled. Raises `ConfigurationError` as `JsonLinesFormat` does."""
        self._reader: Final = make_reader()
        self._record_bytes_max: Final = record_bytes_max
        self._by_position: Final = event.id == POSITION_ID
        self._json_lines: Final = JsonLinesFormat(event, record_bytes_max=OBJECT_BYTES_MAX, timestamps_used=timestamps_used)

    def decode(self, chunk: Chunk) -> Columns:
        """See `Format.decode`."""
        lines = cut_lines(chunk.content, at_file_start=chunk.offset == 0, record_bytes_max=self._record_bytes_max)
        objects = self._reader.read(chunk, lines)
        content = objects.content
        # Behind the start of a file: a byte order mark in front of an object is a fault, wherever the chunk was cut.
        found = self._json_lines.decode(Chunk(chunk.source, chunk.part, 1, content, {}))
        places = np.array(objects.rows, np.int64)
        rows: IntArray = places[found.rows]
        refused = [Rejection(int(places[each.row]), each.stage, each.reason, each.field) for each in found.rejections]
        return replace(
            found,
            content=chunk.content,
            record_count=len(lines.starts),
            blank_count=objects.blank_count,
            starts=lines.starts,
            ends=lines.ends,
            rows=rows,
            ids=positions(chunk, lines.starts[rows]) if self._by_position else found.ids,
            rejections=sorted([*objects.rejections, *refused], key=lambda rejection: rejection.row),
            events=EventLines(content, found.starts[found.rows], found.ends[found.rows]),
        )
