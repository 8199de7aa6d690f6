"""Transforms: applies tables of `[[transforms]]` to blocks of records, and creates all transforms of a configuration.

Owns: `TableTransform`, and `transform_factories`, which also creates the transforms of the user's own classes.
Always: a record's outcome does not depend on other records. If a block fails, it is halved until the bad record is alone.
Factories can be pickled, so another process can call them.
Never: a record that is not JSON is not rejected here. It stays unchanged, and the judge rejects it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from itertools import groupby
from typing import Final

import msgspec

from event_processor.columns.timestamps import TimestampReader
from event_processor.configuration.transforms import TransformOptions
from event_processor.model.contracts import ObjectTransform, Refusal
from event_processor.records.transforms.documents import UnfitError, read_document, unreadable
from event_processor.records.transforms.steps import compiled_steps
from event_processor.records.transforms.user_transform import OwnTransform

__all__ = ["TableTransform", "transform_factories"]

_BLOCK_RECORDS: Final = 256


class TableTransform:
    """The `ObjectTransform` of consecutive tables."""

    def __init__(self, tables: Sequence[TransformOptions], timestamp_zone: str) -> None:
        """`timestamp_zone` is for timestamps without a zone. Raises `ConfigurationError` if this machine does not know it."""
        timestamps = TimestampReader(timestamp_zone)
        self._steps: Final = [step for table in tables for step in compiled_steps(table, timestamps)]
        self._encode: Final = msgspec.json.Encoder().encode_lines

    def apply(self, records: Sequence[bytes]) -> list[bytes | Refusal]:
        """See `ObjectTransform.apply`."""
        blocks = range(0, len(records), _BLOCK_RECORDS)
        return [answer for begin in blocks for answer in self._answers(records[begin : begin + _BLOCK_RECORDS])]

    def _answers(self, records: Sequence[bytes]) -> list[bytes | Refusal]:
        """The answers for a block. If a record fails, works on each half again."""
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
        """Raises the errors of the decoder, and `UnfitError`."""
        documents = [read_document(record) for record in records]
        for step in self._steps:
            step(documents)
        return self._encode(documents).split(b"\n")[:-1]  # no value holds a line feed, because each record was on one line


def transform_factories(options: Sequence[TransformOptions], timestamp_zone: str) -> list[Callable[[], ObjectTransform]]:
    """The factories of the transforms, in order.

    Each can be pickled. Consecutive tables become one transform, so they are decoded once.
    """
    factories: list[Callable[[], ObjectTransform]] = []
    numbered = [(f"transforms[{number}]", table) for number, table in enumerate(options)]
    for is_own, group in groupby(numbered, key=lambda pair: pair[1].class_ is not None):
        if is_own:
            factories += [partial(OwnTransform, key, str(table.class_), dict(table.options)) for key, table in group]
        else:
            factories.append(partial(TableTransform, tuple(table for _, table in group), timestamp_zone))
    return factories
