"""A block of a run: a table of events as bytes.

Owns: the form of a block: its size and a checksum (xxh3_64), 8 bytes each, then the columns as msgpack.
Always: a checksum covers all columns. What is read is what was written, or it is an error of the disk. A block holds about
`BLOCK_BYTES`, or one event if that is larger.
Never: knows the order of blocks.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Final

import msgspec
import numpy as np
import xxhash
from msgspec import Struct

from event_processor.columns.event_slices import KnownColumns, SortKey
from event_processor.columns.event_tables import EventTable, Keys, NumberKeys, ObjectKeys, TextKeys
from event_processor.columns.ids import TextIds
from event_processor.model.columns import CategoryColumn, EventLines, IntArray
from event_processor.model.errors import StorageError
from event_processor.storage.durable import FileSystem, read_range, storage_call

__all__ = ["BLOCK_BYTES", "decode_block", "encode_blocks", "read_block"]

BLOCK_BYTES: Final = 524_288
"""A merge keeps one block of each run in memory."""
_HEAD: Final = struct.Struct("<QQ")
_Value = int | str | tuple[tuple[int, int | str], ...]


class _Block(Struct, frozen=True, array_like=True):
    """The columns of n events.

    The sort values are `numbers` for `NumberKeys`, `texts` with their sizes for `TextKeys`, else `keys` has (kind, value).
    `line_sizes` are the sizes of the objects in `lines`, without their line feeds; None if no lines are kept.
    """

    sequences: bytes
    numbers: bytes | None
    texts: bytes
    text_sizes: bytes | None
    keys: tuple[tuple[int, _Value], ...]
    timestamps: bytes | None
    values: bytes | None
    has_value: bytes | None
    codes: bytes | None
    names: tuple[str, ...]
    lines: bytes
    line_sizes: bytes | None


_ENCODER: Final = msgspec.msgpack.Encoder()
_DECODER: Final[msgspec.msgpack.Decoder[_Block]] = msgspec.msgpack.Decoder(_Block)


def encode_blocks(table: EventTable) -> Iterator[bytes]:
    """Yields the blocks of a sorted table, in order."""
    rows = max(1, len(table) * BLOCK_BYTES // max(table.size_bytes, BLOCK_BYTES))
    for begin in range(0, len(table), rows):
        content = _ENCODER.encode(_block(table.picked(slice(begin, begin + rows))))
        yield _HEAD.pack(len(content), xxhash.xxh3_64_intdigest(content)) + content


def _block(table: EventTable) -> _Block:
    keys, known, lines = table.keys, table.known, table.lines
    numbers = keys.values if isinstance(keys, NumberKeys) else None
    # Names that have no event here stay in other blocks.
    categories = None if known.categories is None else known.categories.picked(np.arange(len(table)))
    is_repeated = known.timestamps_ns is not None and numbers is not None and bool((known.timestamps_ns == numbers).all())
    return _Block(
        sequences=keys.sequences.tobytes(),
        numbers=None if numbers is None else numbers.tobytes(),
        texts=b"".join(keys.ids.encoded) if isinstance(keys, TextKeys) else b"",
        text_sizes=(keys.ids.ends - keys.ids.begins).tobytes() if isinstance(keys, TextKeys) else None,
        keys=tuple((kind, value) for kind, value, _ in keys.keys) if isinstance(keys, ObjectKeys) else (),
        timestamps=None if known.timestamps_ns is None else b"" if is_repeated else known.timestamps_ns.tobytes(),
        values=None if known.values is None else known.values.tobytes(),
        has_value=None if known.has_value is None else known.has_value.tobytes(),
        codes=None if categories is None else categories.codes.astype(np.int64).tobytes(),
        names=() if categories is None else tuple(categories.names),
        lines=b"" if lines is None else table.text(),
        line_sizes=None if lines is None else (lines.ends - lines.starts).tobytes(),
    )


def read_block(fs: FileSystem, descriptor: int, path: str, place: tuple[int, int]) -> tuple[EventTable, int]:
    """The block at an offset of a run of a length in bytes (`place`), and the offset after it.

    Raises `StorageError` if it is not whole or its checksum is wrong.
    """
    offset, length_bytes = place
    begin = offset + _HEAD.size
    with storage_call("read", path):
        head = read_range(fs, descriptor, _HEAD.size, offset)
    if len(head) == _HEAD.size:
        size_bytes, checksum = _HEAD.unpack(head)
        # A wrong size may be larger than any memory.
        if size_bytes <= length_bytes - begin:
            with storage_call("read", path):
                content = read_range(fs, descriptor, size_bytes, begin)
            if len(content) == size_bytes and xxhash.xxh3_64_intdigest(content) == checksum:
                return decode_block(content), begin + size_bytes
    raise StorageError("read", path, 0, f"the block at byte {offset} does not hold what was written")


def decode_block(content: bytes) -> EventTable:
    """The table of a block without its head."""
    block = _DECODER.decode(content)
    sequences = _integers(block.sequences)
    keys: Keys
    if block.numbers is not None:
        keys = NumberKeys(_integers(block.numbers), sequences)
    elif block.text_sizes is not None:
        ends = np.cumsum(sizes := _integers(block.text_sizes))
        keys = TextKeys(TextIds(block.texts, ends - sizes, ends), sequences)
    else:
        keys = ObjectKeys(_sort_keys(block, sequences))
    timestamps = None if block.timestamps is None else _integers(block.timestamps or block.numbers or b"")
    known = KnownColumns(
        timestamps_ns=timestamps,
        values=None if block.values is None else np.frombuffer(block.values, np.float64),
        has_value=None if block.has_value is None else np.frombuffer(block.has_value, np.bool_),
        categories=None if block.codes is None else CategoryColumn(_integers(block.codes), block.names),
    )
    return EventTable(keys, known, None if block.line_sizes is None else _lines(block.lines, _integers(block.line_sizes)))


def _sort_keys(block: _Block, sequences: IntArray) -> list[SortKey]:
    return [(kind, value, sequence) for (kind, value), sequence in zip(block.keys, sequences.tolist(), strict=True)]


def _integers(content: bytes) -> IntArray:
    return np.frombuffer(content, np.int64)


def _lines(content: bytes, sizes: IntArray) -> EventLines:
    ends = np.cumsum(sizes + 1) - 1
    return EventLines(content, ends - sizes, ends)
