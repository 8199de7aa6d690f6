"""From lines of an outbox to a block of records, checked against the chain.

Owns: `block_of`: with the kernel if the lines are as we write them, or line by line.
Always: every record has the sequence that belongs there, and its chain follows from the record before it.
Never: reads a file.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import Final, TypeVar

import msgspec
import numpy as np

from event_processor.kernels.arrays import ByteArray
from event_processor.kernels.outbox import NEW_CLOCK, NEW_PLACE, ReadLines, read_lines
from event_processor.model.delivery import OutboxRecord
from event_processor.model.errors import StateError
from event_processor.model.record_blocks import EventPlaces, RecordBlock, Runs, without_object

__all__ = ["block_of", "decoded_line"]

Value = TypeVar("Value")
Decode = Callable[[bytes, int], OutboxRecord]
"""Decodes the line of the record with this sequence; raises if it is not that."""
Follow = Callable[[str, OutboxRecord], None]
"""Raises if a record does not follow from this chain."""

_BEFORE_OBJECT: Final = re.compile(rb'"chain":"[0-9a-f]{32}","object":')


def decoded_line(line: bytes, sequence: int, decode: Decode) -> OutboxRecord:
    """The record of a line, as the kernel reads it: the object is taken as it is, also if it is no JSON (a lone surrogate).

    Its chain says whether it is what was written, and what its sink makes of it is the sink's answer. Raises what `decode` raises.
    """
    try:
        return decode(line, sequence)
    except (StateError, msgspec.DecodeError):
        found = _BEFORE_OBJECT.search(line)
        if found is None or not line.endswith(b"}"):
            raise
        content = line[found.end() : -1]
        record = decode(without_object(line + b"\n", len(content)), sequence)
        return msgspec.structs.replace(record, object=msgspec.Raw(content))


def block_of(content: bytes, *, sequence: int, count: int, chain: str, decode: Decode, follow: Follow) -> RecordBlock:
    """The records in the whole lines of `content`, from `sequence` on: at least one, perhaps not all, at most `count`.

    `chain`: of the record before. Raises what `decode` and `follow` raise.
    """
    read = read_lines(content, sequence=sequence, count=count, chain=chain)
    if read is not None:
        return _of_columns(content, sequence, read, decode)
    return _of_lines(content, sequence, count, chain, decode=decode, follow=follow)


def _of_columns(content: bytes, sequence: int, read: ReadLines, decode: Decode) -> RecordBlock:
    ends, object_ends = read.ends.tolist(), read.object_ends.tolist()

    def record(index: int) -> OutboxRecord:
        line = content[ends[index - 1] if index else 0 : ends[index]]
        object_bytes = object_ends[index] - 1 - (object_ends[index - 1] if index else 0)
        return decode(without_object(line, object_bytes), sequence + index)

    clocks = _runs(read.flags, NEW_CLOCK, lambda index: (record(index).now, record(index).elapsed_ms))
    places = None
    if read.offsets.min() >= 0:
        sources = _runs(read.flags, NEW_PLACE, lambda index: _source_of(record(index)))
        places = EventPlaces(sources, read.offsets.tolist(), read.lines.tolist())
    return RecordBlock(sequence, content, 0, ends, read.objects, 0, object_ends, clocks, places)


def _source_of(record: OutboxRecord) -> tuple[str, int]:
    return record.place["source"], record.place["generation"]


def _runs(flags: ByteArray, flag: int, value: Callable[[int], Value]) -> Runs[Value]:
    begins = np.flatnonzero(flags & flag).tolist()
    return Runs([value(index) for index in begins], [*begins[1:], len(flags)])


def _of_lines(content: bytes, sequence: int, count: int, chain: str, *, decode: Decode, follow: Follow) -> RecordBlock:
    """The same, line by line: a little further than a line that the kernel leaves out, which is rare, or without kernels."""
    lines = content.split(b"\n")[:-1][:count]
    records = []
    for number, line in enumerate(lines):
        record = decoded_line(line, sequence + number, decode)
        follow(chain, record)
        chain = record.chain
        records.append(record)
    objects = [bytes(each.object) for each in records]
    return RecordBlock(
        sequence,
        content,
        0,
        _ends(lines),
        b"".join(each + b"\n" for each in objects),
        0,
        _ends(objects),
        _runs_of([(each.now, each.elapsed_ms) for each in records]),
        _places_of(records),
    )


def _ends(lines: Sequence[bytes]) -> list[int]:
    return list(accumulate(len(line) + 1 for line in lines))


def _places_of(records: Sequence[OutboxRecord]) -> EventPlaces | None:
    places = [each.place for each in records]
    if any(list(place) != ["source", "generation", "offset", "line"] for place in places):
        return None
    return EventPlaces(
        _runs_of([_source_of(each) for each in records]),
        [place["offset"] for place in places],
        [place["line"] for place in places],
    )


def _runs_of(values: Sequence[Value]) -> Runs[Value]:
    begins = [index for index, value in enumerate(values) if not index or value != values[index - 1]]
    return Runs([values[index] for index in begins], [*begins[1:], len(values)])
