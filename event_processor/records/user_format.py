"""A user's own format: calls the user's class, and checks its answers.

Owns: `OwnReader`.
Always: whatever the class does, each record has one outcome. An exception or a wrong answer rejects its own record and no other.
Never: an exception of the class's `read` does not leave this file.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from event_processor.configuration.user_classes import make_own
from event_processor.model.contracts import RecordReader, Rejection
from event_processor.model.event import Chunk, Json
from event_processor.records.json_lines.lines import Lines
from event_processor.records.objects import Objects

__all__ = ["OwnReader"]

_SHOWN_CHARACTERS_MAX: Final = 200


class OwnReader:
    """The `ObjectReader` that calls a class named in the configuration."""

    def __init__(self, reference: str, options: Mapping[str, Json], *, record_bytes_max: int) -> None:
        """Raises `ConfigurationError` if the class `reference` is not found, or if no object can be created with `options`."""
        self._record_bytes_max: Final = record_bytes_max
        self._encoder: Final = msgspec.json.Encoder(decimal_format="number")
        self._reader: Final[RecordReader] = make_own("format", reference, options, method="read", page="docs/formats.md")

    def read(self, _chunk: Chunk, lines: Lines) -> Objects:
        spans = list(zip(lines.starts.tolist(), lines.ends.tolist(), strict=True))
        too_long = [row for row, (start, end) in enumerate(spans) if end - start > self._record_bytes_max]
        rejections = {row: Rejection(row, "read", "record over the size limit (record_bytes_max)", "") for row in too_long}
        rows = [row for row in range(len(spans)) if row not in rejections]
        answers = self._answers([lines.content[slice(*spans[row])] for row in rows])
        kept, parts, blank_count = [], [], 0
        for row, answer in zip(rows, answers, strict=True):
            if answer is None:
                blank_count += 1
            elif isinstance(answer, bytes):
                kept.append(row)
                parts.append(answer)
            else:
                rejections[row] = Rejection(row, "decode", answer[:_SHOWN_CHARACTERS_MAX], "")
        return Objects(kept, b"".join(parts), blank_count, [rejections[row] for row in sorted(rejections)])

    def _answers(self, records: Sequence[bytes]) -> list[bytes | str | None]:
        """For each record: its object's line, or the other answer of the class.

        If a call for several records fails, each record is asked about alone.
        """
        try:
            answers = list(self._reader.read(records)) if records else []
            if len(answers) == len(records):
                return [self._line(answer) for answer in answers]
            fault = f"the format returned {len(answers)} answers for {len(records)} records"
        except Exception as error:  # noqa: BLE001 - any error of the user's class is about these records
            fault = f"{type(error).__name__}: {error}"
        return [fault] if len(records) == 1 else [answer for record in records for answer in self._answers([record])]

    def _line(self, answer: Mapping[str, object] | str | None) -> bytes | str | None:
        if answer is None or isinstance(answer, str):
            return answer
        if not isinstance(answer, Mapping):
            return f"the format returned {type(answer).__name__}, not an object"
        return self._encoder.encode(dict(answer)) + b"\n"
