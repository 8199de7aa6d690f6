"""Transforms that the configuration spells out: blocks of records through compiled steps.

Always: a record's outcome does not depend on those around it: where a block fails, it is halved until the record at fault stands alone.
Never: a record that cannot be read is not judged here; it stays as it is, and whoever judges it finds the words.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from event_processor.contracts import Refusal
from event_processor.timestamps import TimestampReader
from event_processor.transform_options import TransformOptions
from event_processor.transforms.documents import UnfitError, read_document
from event_processor.transforms.steps import compiled_steps
from event_processor.transforms.unreadable import unreadable

__all__ = ["TableTransform"]

_BLOCK_RECORDS: Final = 256


class TableTransform:
    """The `ObjectTransform` of tables that follow one another."""

    def __init__(self, tables: Sequence[TransformOptions], timestamp_zone: str) -> None:
        """`timestamp_zone` is that of timestamps without one. Raises `ConfigurationError` where this machine does not know it."""
        timestamps = TimestampReader(timestamp_zone)
        self._steps: Final = [step for table in tables for step in compiled_steps(table, timestamps)]
        self._encode: Final = msgspec.json.Encoder().encode_lines

    def apply(self, records: Sequence[bytes]) -> list[bytes | Refusal]:
        """See `ObjectTransform.apply`."""
        blocks = range(0, len(records), _BLOCK_RECORDS)
        return [answer for begin in blocks for answer in self._answers(records[begin : begin + _BLOCK_RECORDS])]

    def _answers(self, records: Sequence[bytes]) -> list[bytes | Refusal]:
        """The answers for a block; where one of it fails, those for its halves."""
        try:
            return [*self._transformed(records)]
        except UnfitError as error:
            if len(records) == 1:
                return [Refusal(error.reason, error.field)]
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            if len(records) == 1:
                return [unreadable(records[0], error)]
        half = len(records) // 2
        return self._answers(records[:half]) + self._answers(records[half:])

    def _transformed(self, records: Sequence[bytes]) -> list[bytes]:
        """Raises what a decoder raises, and `UnfitError`."""
        documents = [read_document(record) for record in records]
        for step in self._steps:
            step(documents)
        return self._encode(documents).split(b"\n")[:-1]  # no value holds a line feed: each was written on one line
