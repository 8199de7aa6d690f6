"""What the index keeps durably: the bytes of a segment file, and the manifest in the checkpoint.

Owns: both formats.
A segment file is: header; then per section its rows and the filter piece that these rows finish; then the index; then the
footer. Rows are 16 bytes, ascending. A block is `block_rows` rows, a section `section_blocks` blocks; only the last block and the
last section may be shorter. The index holds the first `hi` and a checksum of each block, and the size and the checksum of each
section's filter piece.
The manifest names the files that hold the committed ids, and their hash.

Always: a checksum (xxh3_64) covers every byte: header and index have one each, rows one per block, the filter one per piece. The
file is written from front to back in one pass, and its size follows from its header. The manifest is small: one entry per
segment, and merges keep segments few: at most seven new ones, and three per power of four of the others, not counting
segments that wait for a merge.
Never: gives a field another meaning under the same version number; puts an id into the manifest, except the greatest of each
kind (`high_water.py`).
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Final, cast

import msgspec
import numpy as np
import xxhash

from event_processor.deduplication.bloom_filter import BLOCK_BYTES, FilterStream, blocks_for
from event_processor.deduplication.fingerprints import RowArray
from event_processor.deduplication.high_water import kind_of
from event_processor.deduplication.limits import Geometry
from event_processor.deduplication.runs import ROW_BYTES, Run, WordArray
from event_processor.kernels.segments import KERNELS
from event_processor.model.columns import ByteArray
from event_processor.model.errors import StateError
from event_processor.model.event import Json

__all__ = ["FOOTER_BYTES", "Geometry", "Header", "Manifest", "SegmentEntry", "SegmentIndex", "block_checksums", "encode_segment"]

_Count = Annotated[int, msgspec.Meta(ge=0)]
_Positive = Annotated[int, msgspec.Meta(ge=1)]


class SegmentEntry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A segment file: its name in the folder, the number of its ids, how often they were merged, and its size."""

    file: str
    ids: _Positive
    level: _Count
    size_bytes: _Positive


class Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The committed index. `active` is "" if nothing was appended since the last segment was sealed; else `active_ids` > 0.

    `greatest_ids`: the greatest held id of each kind; None if an earlier version wrote it, which did not record them.
    """

    fingerprint: str
    seed: str
    active: str = ""
    active_ids: _Count = 0
    segments: tuple[SegmentEntry, ...] = ()
    greatest_ids: tuple[int | str, ...] | None = None

    @classmethod
    def of(cls, content: Mapping[str, Json]) -> Manifest:
        """Reads the checkpoint's form. Raises `StateError` for anything that `to_json` does not write."""
        try:
            manifest = msgspec.convert(content, cls)
        except msgspec.ValidationError as error:
            raise _unreadable(str(error)) from error
        if any(os.path.basename(name) != name for name in manifest.file_names):
            raise _unreadable("a file outside of the index's folder")
        if bool(manifest.active) != bool(manifest.active_ids):
            raise _unreadable(f'{manifest.active_ids} ids in the active file "{manifest.active}"')
        kinds = list(map(kind_of, manifest.greatest_ids or ()))
        if None in kinds or len(set(kinds)) < len(kinds):
            raise _unreadable("the greatest ids are not one of each kind")
        return manifest

    @property
    def file_names(self) -> tuple[str, ...]:
        """Every file that this manifest needs, by its name in the folder."""
        return tuple(entry.file for entry in self.segments) + ((self.active,) if self.active else ())

    @property
    def committed_ids(self) -> int:
        """How many ids are held."""
        return sum(entry.ids for entry in self.segments) + self.active_ids

    def to_json(self) -> dict[str, Json]:
        """For the checkpoint: as a JSON decoder would return it, with lists for tuples."""
        content = cast("dict[str, Json]", msgspec.to_builtins(self))
        greatest_ids: Json = None if self.greatest_ids is None else list(self.greatest_ids)
        segments: Json = [cast("dict[str, Json]", msgspec.to_builtins(entry)) for entry in self.segments]
        return {**content, "segments": segments, "greatest_ids": greatest_ids}


def _unreadable(reason: str) -> StateError:
    return StateError(
        f"the checkpoint's list of the files of seen ids cannot be read: {reason}",
        hint="use the version that wrote the state, or rebuild the state from the log: event-processor replay",
    )


_MAGIC: Final = b"EPIDSEG\n"
_VERSION: Final = 1
_HEADER: Final = struct.Struct("<8sIIQII")
_CHECKSUM: Final = struct.Struct("<Q")
_FOOTER: Final = struct.Struct("<Q8s")
_WORD_BYTES: Final = 8

FOOTER_BYTES: Final = _FOOTER.size


@dataclass(frozen=True, slots=True)
class Header:
    """What a segment holds. All sizes follow from it."""

    level: int
    ids: int
    geometry: Geometry

    SIZE_BYTES = _HEADER.size + _CHECKSUM.size

    def encode(self) -> bytes:
        head = _HEADER.pack(_MAGIC, _VERSION, self.level, self.ids, self.geometry.block_rows, self.geometry.section_blocks)
        return head + _CHECKSUM.pack(xxhash.xxh3_64_intdigest(head))

    @classmethod
    def decode(cls, content: bytes) -> Header:
        """Raises `ValueError` for bytes that `encode` of this version does not write."""
        head, checksum = content[: _HEADER.size], content[_HEADER.size :]
        if len(content) != cls.SIZE_BYTES or _CHECKSUM.unpack(checksum)[0] != xxhash.xxh3_64_intdigest(head):
            raise ValueError("the header does not match its checksum")
        magic, version, level, ids, block_rows, section_blocks = _HEADER.unpack(head)
        if magic != _MAGIC or version != _VERSION:
            raise ValueError(f"this version reads format {_VERSION}, not {magic!r} {version}")
        return cls(level, ids, Geometry(block_rows, section_blocks))

    @property
    def block_count(self) -> int:
        return -(-self.ids // self.geometry.block_rows)

    @property
    def section_count(self) -> int:
        return -(-self.block_count // self.geometry.section_blocks)

    @property
    def filter_blocks(self) -> int:
        return blocks_for(self.ids)

    @property
    def index_bytes(self) -> int:
        return 2 * _WORD_BYTES * (self.block_count + self.section_count)

    @property
    def index_offset(self) -> int:
        return self.SIZE_BYTES + self.ids * ROW_BYTES + self.filter_blocks * BLOCK_BYTES

    @property
    def size_bytes(self) -> int:
        return self.index_offset + self.index_bytes + FOOTER_BYTES


@dataclass(frozen=True, slots=True, eq=False)
class SegmentIndex:
    """The part of a segment kept in memory besides its filter: 16 bytes per block and 16 per section.

    fences, block_checksums: one entry per block. piece_blocks (filter blocks), piece_checksums: one entry per section.
    """

    fences: WordArray
    block_checksums: WordArray
    piece_blocks: WordArray
    piece_checksums: WordArray

    def encode(self) -> bytes:
        """The index and the footer."""
        index = b"".join(
            words.astype("<u8").tobytes()
            for words in (self.fences, self.block_checksums, self.piece_blocks, self.piece_checksums)
        )
        return index + _FOOTER.pack(xxhash.xxh3_64_intdigest(index), _MAGIC)

    @classmethod
    def decode(cls, header: Header, content: bytes) -> SegmentIndex:
        """Raises `ValueError` if index or footer are not as they were written."""
        index, footer = content[: header.index_bytes], content[header.index_bytes :]
        if len(footer) != FOOTER_BYTES or _FOOTER.unpack(footer) != (xxhash.xxh3_64_intdigest(index), _MAGIC):
            raise ValueError("the index does not match its checksum")
        words = np.frombuffer(index, dtype="<u8")
        blocks, sections = header.block_count, header.section_count
        fences, block_checksums, piece_blocks, piece_checksums = np.split(words, [blocks, 2 * blocks, 2 * blocks + sections])
        if int(piece_blocks.sum()) != header.filter_blocks:
            raise ValueError("the filter's pieces do not add up")
        return cls(fences, block_checksums, piece_blocks, piece_checksums)


def encode_segment(header: Header, sections: Iterable[RowArray]) -> Iterator[bytes | memoryview]:
    """Yields the file, piece by piece, from the ascending rows of its sections.

    A section is valid until the next is asked for, and so is a piece.
    """
    yield header.encode()
    block_bytes = header.geometry.block_rows * ROW_BYTES
    stream = FilterStream(header.filter_blocks)
    fences: list[WordArray] = []
    checksums: list[WordArray] = []
    piece_blocks: list[int] = []
    piece_checksums: list[int] = []
    ids = 0
    for section in sections:
        ids += len(section)
        assert ids == min(header.ids, (len(fences) + 1) * header.geometry.section_rows), "sections are whole, but the last"
        rows = section.reshape(-1).view(np.uint8)
        fences.append(section[:: header.geometry.block_rows, 0].copy())
        checksums.append(block_checksums(rows, block_bytes))
        yield rows.data
        piece = stream.add(Run(section[:, 0], section[:, 1]))
        if ids == header.ids:
            piece = np.concatenate([piece, stream.finish()])
        piece_bytes = piece.tobytes()
        piece_blocks.append(len(piece_bytes) // BLOCK_BYTES)
        piece_checksums.append(xxhash.xxh3_64_intdigest(piece_bytes))
        yield piece_bytes
    assert ids == header.ids, "the sections hold as many ids as the header says"
    yield SegmentIndex(
        fences=np.concatenate(fences),
        block_checksums=np.concatenate(checksums),
        piece_blocks=np.array(piece_blocks, dtype=np.uint64),
        piece_checksums=np.array(piece_checksums, dtype=np.uint64),
    ).encode()


def block_checksums(rows: ByteArray, block_bytes: int) -> WordArray:
    """The checksum (xxh3_64) of each `block_bytes` of rows; the last block may be shorter."""
    checksums = None if KERNELS is None else KERNELS.checksums(rows, block_bytes)
    if checksums is not None:
        return checksums
    content = rows.data
    blocks = (content[start : start + block_bytes] for start in range(0, len(content), block_bytes))
    return np.array(list(map(xxhash.xxh3_64_intdigest, blocks)), np.uint64)
