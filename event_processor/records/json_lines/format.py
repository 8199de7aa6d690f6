"""JSON Lines: one JSON object a line, decoded a block of lines at a time.

Owns: which reader reads each line. The kernels (`kernel_reader.py`) read it from the bytes. Blocks (`block_reader.py`) are
decoded together and checked by column. The judge (`judge.py`) decides on single lines. Without kernels, the blocks and the judge
read everything.
Always: a line has the outcome and the fields that the judge alone would give, however a chunk is cut. The cost is linear in the
bytes, whatever they are.
Never: a record's outcome does not depend on other records.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from itertools import compress
from typing import Final

import msgspec
import numpy as np
from msgspec import Struct

from event_processor.columns.ids import PlainIds
from event_processor.columns.timestamps import TimestampReader
from event_processor.configuration.configuration import EventOptions
from event_processor.kernels.lines import KERNELS, LineKernels
from event_processor.model.columns import BoolArray, Columns, IntArray
from event_processor.model.contracts import Rejection
from event_processor.model.errors import ConfigurationError
from event_processor.model.event import Chunk
from event_processor.model.rejections import Fault, Rejections
from event_processor.records.json_lines.block_reader import ColumnBuilder, EventReader
from event_processor.records.json_lines.event_columns import EventColumns, joined, positions
from event_processor.records.json_lines.judge import EventFields, Judge
from event_processor.records.json_lines.kernel_reader import WalkedReader
from event_processor.records.json_lines.lines import Lines, Run, Shapes, blank_rows, cut_lines, gather, shapes_of
from event_processor.records.user_model import UntranslatableModelError, compile_model

__all__ = ["JsonLinesFormat"]

_BLOCK_RECORDS: Final = 256
_LEFT_SHARE: Final = 10
"""If at most one line in this many is left by the kernels, a few of these lines are judged before the rest is decoded
together."""
_SAMPLES: Final = 8
_CAREFUL_RECORDS: Final = 32
"""How many records are decoded at once after a refusal. Fewer, because all records before a fault must be decoded again."""
_INTEGER_DIGITS_MAX: Final = 4300
"""The limit of pydantic's parser, and also of Python's `int`."""
_HUGE_INTEGER: Final = re.compile(rb"[0-9]{%d}" % (_INTEGER_DIGITS_MAX + 1))
_POSITIONS: Final = PlainIds(())
"""Means ids that are positions."""
_PLACE: Final = re.compile(r"\(byte (?P<byte>\d+)\)$|`\$\[(?P<index>\d+)\]")


class JsonLinesFormat:
    """The `Format` of JSON Lines. What it remembers of a chunk is a first guess for the next one, and never changes a result.

    `slow_reason` says why the user's own model must judge each record (about 5 microseconds a record). It is empty if the model
    is compiled, or if there is no model.
    """

    def __init__(
        self, event: EventOptions, *, record_bytes_max: int, timestamps_used: bool, kernels: LineKernels | None = KERNELS
    ) -> None:
        """Raises `ConfigurationError`.

        `timestamps_used`: the configuration orders events or windows by timestamp. Without `kernels`, msgspec reads blocks.
        """
        if timestamps_used and not event.timestamp:
            raise ConfigurationError(
                "event.timestamp: is empty, but timestamps are used", hint="set it to the field that holds the timestamp"
            )
        timestamps = TimestampReader(event.timestamp_zone, event.timestamp_formats) if timestamps_used else None
        self._record_bytes_max: Final = record_bytes_max
        self._judge: Final = Judge(event, record_bytes_max=record_bytes_max, timestamps=timestamps)
        self._reader: Final = EventReader(event, timestamps)
        self._walked: Final = None if kernels is None else WalkedReader(kernels, event, timestamps, self._judge)
        # numpy reads timestamps, and it takes the interpreter lock again and again.
        self.lets_others_run: Final = self._walked is not None and self._walked.is_able and timestamps is None
        self._model: msgspec.json.Decoder[object] | None = None
        self.slow_reason = ""
        if self._judge.own_model is not None:
            try:
                self._model = compile_model(self._judge.own_model)
            except UntranslatableModelError as error:
                self.slow_reason = str(error)

    def decode(self, chunk: Chunk) -> Columns:
        """See `Format.decode`."""
        found = self.decode_without_positions(chunk)
        return found if found.ids is not _POSITIONS else replace(found, ids=positions(chunk, found.starts, found.rows))

    def decode_without_positions(self, chunk: Chunk) -> Columns:
        """The same, but if positions are ids, the caller sets `ids`: its records may be elsewhere than these lines."""
        lines = cut_lines(chunk.content, at_file_start=chunk.offset == 0, record_bytes_max=self._record_bytes_max)
        walked, rejections = (None, Rejections.of([])) if self._walked is None else self._walked.read(lines)
        if walked is not None and len(walked.rows) + len(rejections) == len(lines.starts):
            return _columns(chunk, lines, 0, walked, rejections)
        left = np.ones(len(lines.starts), np.bool_)
        left[rejections.rows] = False
        if walked is not None:
            left[walked.rows] = False
        builder = ColumnBuilder(self._reader)
        rows = np.flatnonzero(left)
        if walked is not None and self._are_mostly_at_fault(lines, rows):
            blank = blank_rows(lines, rows)
            suspects = [row for row in rows.tolist() if not blank[row]] + builder.settle()
        else:
            shapes = shapes_of(lines, left)
            blank = shapes.blank
            suspects = self._read_left(lines, shapes, left, builder)
        rejections = Rejections.joined([rejections, self._judge_alone(lines, suspects, builder)])
        events = builder.finish()
        blank_count = int(np.count_nonzero(blank))
        return _columns(chunk, lines, blank_count, events if walked is None else joined(walked, events), rejections)

    def _are_mostly_at_fault(self, lines: Lines, rows: IntArray) -> bool:
        """Whether the lines that the kernels left, `rows`, should be judged one by one.

        A fault would undo a decoding of a whole block.
        """
        if len(rows) * _LEFT_SHARE > len(lines.starts):
            return False
        samples = [self._judge.judge(lines.record(row)) for row in rows[:_SAMPLES].tolist()]
        return 2 * sum(isinstance(sample, Fault) for sample in samples) >= len(samples)

    def _read_left(self, lines: Lines, shapes: Shapes, left: BoolArray, builder: ColumnBuilder) -> list[int]:
        """Decodes the lines that `left` marks, block by block, into `builder`. Returns the rows of the suspects."""
        if self._model is not None:
            shapes.together[_with_huge_integers(lines)] = False
        suspects: list[int] = np.flatnonzero(left & ~(shapes.together | shapes.blank)).tolist()
        for rows, decoded in self._blocks(gather(lines, shapes.together), suspects):
            if self.slow_reason:
                suspects += self._read_unrefused(lines, rows, decoded, builder)
            else:
                suspects += self._reader.read(lines, rows, decoded, builder)
        return suspects + builder.settle()

    def _judge_alone(self, lines: Lines, suspects: list[int], builder: ColumnBuilder) -> list[Rejection]:
        """Judges each suspect. Returns the rejections, by row. Accepted records go to `builder`."""
        rejections = []
        suspects.sort()
        for row, record in zip(suspects, lines.records(suspects), strict=True):
            verdict = self._judge.judge(record)
            if isinstance(verdict, EventFields):
                builder.add_event(row, verdict)
            else:
                rejections.append(Rejection(row=row, stage=verdict.stage, reason=verdict.reason, field=verdict.field))
        return rejections

    def _read_unrefused(self, lines: Lines, rows: IntArray, decoded: list[Struct], builder: ColumnBuilder) -> list[int]:
        """Adds the records that the user's model, which is not compiled, accepts too. Returns the rows of the suspects."""
        accepted = [self._judge.refusal(lines.record(row)) is None for row in rows.tolist()]
        kept = np.array(accepted, np.bool_)
        suspects: list[int] = rows[~kept].tolist()
        return suspects + self._reader.read(lines, rows[kept], list(compress(decoded, accepted)), builder)

    def _blocks(self, run: Run, suspects: list[int]) -> Iterator[tuple[IntArray, list[Struct]]]:
        """Decodes a run block by block. Yields the rows and structs of each block. Adds the refused rows to `suspects`."""
        at_once = _BLOCK_RECORDS
        for begin in range(0, len(run.rows), _BLOCK_RECORDS):
            end = min(begin + _BLOCK_RECORDS, len(run.rows))
            decoded: list[Struct] = []
            refused: list[int] = []
            for first in range(begin, end, at_once):
                self._decode(run, (first, min(first + at_once, end)), decoded, refused)
            rows = run.rows[begin:end]
            if refused:
                suspects += run.rows[refused].tolist()
                rows = np.delete(rows, np.array(refused) - begin)
                at_once = min(at_once, _CAREFUL_RECORDS)
            yield rows, decoded

    def _decode(self, run: Run, piece: tuple[int, int], decoded: list[Struct], refused: list[int]) -> None:
        """Decodes a piece of a run.

        If it is refused, decodes around the bad lines, and adds their places in the run to `refused`.
        """
        pending = [piece]
        while pending:
            begin, end = pending.pop()
            lines = run.between(begin, end)
            culprit = None
            try:
                found = self._reader.decoder.decode(lines)
                agrees = self._model is None or len(self._model.decode_lines(lines)) == end - begin
            except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
                culprit = _culprit(str(error), lines) if end - begin > 1 else None
            else:
                if agrees and len(found) == end - begin:
                    decoded += found
                    continue
            if end - begin == 1:
                refused.append(begin)
            elif culprit is None or begin + culprit >= end:
                half = (begin + end) // 2
                pending += [(half, end), (begin, half)]
            else:
                refused.append(begin + culprit)
                around = [(begin + culprit + 1, end), (begin, begin + culprit)]
                pending += [(first, behind) for first, behind in around if first < behind]


def _columns(chunk: Chunk, lines: Lines, blank_count: int, events: EventColumns, rejections: Rejections) -> Columns:
    """The result of the chunk."""
    has_value = events.has_value
    return Columns(
        content=chunk.content,
        record_count=len(lines.starts),
        blank_count=blank_count,
        starts=lines.starts,
        ends=lines.ends,
        rows=events.rows,
        ids=_POSITIONS if events.ids is None else events.ids,
        categories=events.categories,
        values=events.values,
        has_value=None if has_value is None or has_value.all() else has_value,
        timestamps=events.timestamps,
        timestamps_ns=events.timestamps_ns,
        rejections=rejections,
    )


def _with_huge_integers(lines: Lines) -> list[int]:
    """The records with an integer so long that pydantic refuses the record, while msgspec may skip the integer."""
    long = np.flatnonzero(lines.ends - lines.starts > _INTEGER_DIGITS_MAX).tolist()
    return [row for row in long if _HUGE_INTEGER.search(lines.record(row))]


def _culprit(message: str, lines: memoryview) -> int | None:
    """The line that the decoder's error is about; None if its message does not say so.

    This is only a hint. If it names a wrong line, that line is judged alone, and still gets its own outcome.
    """
    place = _PLACE.search(message)
    if place is None:
        return None
    if place["index"] is not None:
        return int(place["index"])
    return bytes(lines[: int(place["byte"])]).count(b"\n")
