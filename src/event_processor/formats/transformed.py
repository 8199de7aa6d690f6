"""Records that are transformed before they are judged: whatever reads them, what it made of them goes through a transform.

Always: every record has one outcome, at its own place. What is no sound object (no UTF-8, no braces, nested too deeply) is not shown to the
transform, and goes to the judge as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import numpy as np

from event_processor.contracts import BoolArray, ObjectTransform, Refusal, Rejection
from event_processor.event import Chunk
from event_processor.formats.lines import BLANK_BYTES, Lines, blank_rows, cut_lines, shapes_of
from event_processor.formats.objects import OBJECT_BYTES_MAX, ObjectReader, Objects

__all__ = ["LineReader", "TransformedReader"]

_STAGE: Final = "transform"


class LineReader:
    """The `ObjectReader` of JSON Lines: each line as it is, whether or not it is an object."""

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
    """The `ObjectReader` behind another one, with a transform."""

    def __init__(self, make_reader: Callable[[], ObjectReader], make_transform: Callable[[], ObjectTransform]) -> None:
        """Both can be pickled. Raises `ConfigurationError` as they do."""
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
        """For each line what the transform makes of it, or the line."""
        if sound.all():
            records = lines.content.split(b"\n")[:-1]
            return self._transform.apply(records)
        records = [lines.record(row) for row in range(len(sound))]
        found = iter(self._transform.apply([record for record, is_sound in zip(records, sound, strict=True) if is_sound]))
        return [next(found) if is_sound else record for record, is_sound in zip(records, sound, strict=True)]


def _blank(lines: Lines) -> BoolArray:
    """Marks those that hold spaces, tabs and returns only; looked at are those that begin so."""
    if not lines.content:
        return np.zeros(len(lines.starts), np.bool_)
    buffer = np.frombuffer(lines.content, np.uint8)
    first = buffer[np.minimum(lines.starts, len(buffer) - 1)]
    begins = lines.ends <= lines.starts
    for byte in BLANK_BYTES:
        begins |= first == byte
    return blank_rows(lines, np.flatnonzero(begins))
