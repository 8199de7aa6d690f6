"""Records that first become JSON objects: because their format is not JSON Lines, or because a transform changes them.

Owns: `ObjectFormat` (from a record to the line that sinks see, and back to the record's place), and two readers: `LineReader` for
JSON Lines, and `TransformedReader`, which applies a transform to the objects of another reader.
Always: every record has one outcome, at its own place, with its own bytes in the dead letter. The object is then read like a JSON
line. A line that is not a sound object (not UTF-8, no braces, nested too deeply) skips the transform and goes to the judge
unchanged.
Never: this file does not decide if an object is an event (`json_lines/format.py` does).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final

import numpy as np

from event_processor.configuration.configuration import EventOptions
from event_processor.model.columns import BoolArray, Columns, EventLines, IntArray
from event_processor.model.contracts import ObjectReader, Objects, ObjectTransform, Refusal, Rejection
from event_processor.model.event import Chunk
from event_processor.records.json_lines.event_columns import positions
from event_processor.records.json_lines.format import JsonLinesFormat
from event_processor.records.json_lines.judge import POSITION_ID
from event_processor.records.json_lines.lines import BLANK_BYTES, Lines, blank_rows, cut_lines, shapes_of

__all__ = ["OBJECT_BYTES_MAX", "LineReader", "ObjectFormat", "ObjectReader", "Objects", "TransformedReader"]

OBJECT_BYTES_MAX: Final = 1 << 30
"""The size limit applies to the record's own bytes. The object made from it may be longer."""


class ObjectFormat:
    """The `Format` of records that an `ObjectReader` turns into objects."""

    lets_others_run: Final = False

    def __init__(
        self,
        make_reader: Callable[[], ObjectReader],
        event: EventOptions,
        *,
        record_bytes_max: int,
        timestamps_used: bool,
    ) -> None:
        """`make_reader` can be pickled. Raises `ConfigurationError` like `JsonLinesFormat`."""
        self._reader: Final = make_reader()
        self._record_bytes_max: Final = record_bytes_max
        self._by_position: Final = event.id == POSITION_ID
        self._json_lines: Final = JsonLinesFormat(event, record_bytes_max=OBJECT_BYTES_MAX, timestamps_used=timestamps_used)

    def decode(self, chunk: Chunk) -> Columns:
        """See `Format.decode`."""
        lines = cut_lines(chunk.content, at_file_start=chunk.offset == 0, record_bytes_max=self._record_bytes_max)
        objects = self._reader.read(chunk, lines)
        content = objects.content
        # The offset is not 0: a byte order mark before an object is always a fault, wherever the chunk was cut.
        found = self._json_lines.decode_without_positions(Chunk(chunk.source, chunk.generation, 1, content, {}))
        whole = objects.rows
        # Of a range, numpy would ask for each number.
        places = np.arange(whole.start, whole.stop) if isinstance(whole, range) else np.array(whole, np.int64)
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
            ids=positions(chunk, lines.starts, rows) if self._by_position else found.ids,
            rejections=sorted([*objects.rejections, *refused], key=lambda rejection: rejection.row),
            events=EventLines(content, found.starts[found.rows], found.ends[found.rows]),
        )


_STAGE: Final = "transform"


class LineReader:
    """The `ObjectReader` of JSON Lines. It takes each line unchanged, even if the line is not an object."""

    def __init__(self, *, record_bytes_max: int) -> None:
        self._record_bytes_max: Final = record_bytes_max

    def read(self, _chunk: Chunk, lines: Lines) -> Objects:
        blank = _blank(lines)
        too_long = (lines.ends - lines.starts > self._record_bytes_max) & ~blank
        rejections = [
            Rejection(row, "decode", f"longer than {self._record_bytes_max} bytes", "")
            for row in np.flatnonzero(too_long).tolist()
        ]
        rows: Sequence[int] = np.flatnonzero(~(blank | too_long)).tolist()
        if len(rows) == len(lines.starts):
            content = lines.content[int(lines.starts[0]) :] if len(rows) else b""
            content = content if content.endswith(b"\n") or not content else content + b"\n"
        else:
            content = b"".join([lines.record(row) + b"\n" for row in rows])
        return Objects(rows, content, int(np.count_nonzero(blank)), rejections)


class TransformedReader:
    """The `ObjectReader` that applies a transform to the objects of another reader."""

    def __init__(self, make_reader: Callable[[], ObjectReader], make_transform: Callable[[], ObjectTransform]) -> None:
        """Both arguments can be pickled. Raises the `ConfigurationError` of either."""
        self._reader: Final = make_reader()
        self._transform: Final = make_transform()

    def read(self, chunk: Chunk, lines: Lines) -> Objects:
        objects = self._reader.read(chunk, lines)
        found = cut_lines(objects.content, at_file_start=False, record_bytes_max=OBJECT_BYTES_MAX)
        sound = shapes_of(found, np.ones(len(found.starts), np.bool_)).together
        answers = self._answers(found, sound)
        kept, rows = [], []
        rejections = list(objects.rejections)
        for row, answer in zip(objects.rows, answers, strict=True):
            if isinstance(answer, bytes):
                kept.append(answer)
                rows.append(row)
            else:
                rejections.append(Rejection(row, _STAGE, answer.reason, answer.field))
        content = b"\n".join([*kept, b""])
        return Objects(rows, content, objects.blank_count, sorted(rejections, key=lambda rejection: rejection.row))

    def _answers(self, lines: Lines, sound: BoolArray) -> Sequence[bytes | Refusal]:
        """For each line: the transform's answer if the line is sound, or else the line itself."""
        if sound.all():
            records = lines.content.split(b"\n")[:-1]
            return self._transform.apply(records)
        records = [lines.record(row) for row in range(len(sound))]
        found = iter(self._transform.apply([record for record, is_sound in zip(records, sound, strict=True) if is_sound]))
        return [next(found) if is_sound else record for record, is_sound in zip(records, sound, strict=True)]


def _blank(lines: Lines) -> BoolArray:
    """Marks the lines that hold only spaces, tabs and returns. Only lines that begin with one of these are checked."""
    if not lines.content:
        return np.zeros(len(lines.starts), np.bool_)
    buffer = np.frombuffer(lines.content, np.uint8)
    first = buffer[np.minimum(lines.starts, len(buffer) - 1)]
    begins = lines.ends <= lines.starts
    for byte in BLANK_BYTES:
        begins |= first == byte
    return blank_rows(lines, np.flatnonzero(begins))
