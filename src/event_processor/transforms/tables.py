"""Transforms that the configuration spells out: blocks of records through compiled steps.

Always: a record's outcome does not depend on those around it: where a block fails, each of its records goes alone.
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
        answers: list[bytes | Refusal] = []
        for begin in range(0, len(records), _BLOCK_RECORDS):
            block = records[begin : begin + _BLOCK_RECORDS]
            try:
                answers += self._transformed(block)
            except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, UnfitError):
                answers += map(self._alone, block)
        return answers

    def _alone(self, record: bytes) -> bytes | Refusal:
        try:
            return self._transformed([record])[0]
        except UnfitError as error:
            return Refusal(error.reason, error.field)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            return unreadable(record, error)

    def _transformed(self, records: Sequence[bytes]) -> list[bytes]:
        """Raises what a decoder raises, and `UnfitError`."""
        documents = [read_document(record) for record in records]
        for step in self._steps:
            step(documents)
        return self._encode(documents).split(b"\n")[:-1]  # no value holds a line feed: each was written on one line
