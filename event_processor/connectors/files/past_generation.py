"""Reads a generation of a file again, long after: for verification, replay and explanation.

Owns: finding the file of a past generation, and cutting its bytes into pieces again.
Always: a file is identified by its content. If the bytes before the committed offset differ, the file is not returned.
Never: follows a file or decides what is new.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from event_processor.connectors.files.content import Content, content_opener
from event_processor.connectors.files.following.identity import SAMPLE_BYTES, FileIdentity
from event_processor.connectors.files.following.recognition import find_file
from event_processor.connectors.files.following.rotation import Rotations
from event_processor.connectors.files.source_options import FileSourceOptions
from event_processor.model.connector import Piece
from event_processor.model.event import Json
from event_processor.records.heads import HeadKeeper, head_of
from event_processor.records.record_cutter import LINE_END_BYTES_MAX, whole_records_end
from event_processor.storage.durable import FileSystem, storage_call

__all__ = ["FileGeneration", "find_generation"]

COUNT_BLOCK_BYTES: Final = 1 << 20
SCAN_BLOCK_BYTES: Final = 262_144


class FileGeneration:
    """One generation, as `PastGeneration` promises. Read a compressed one forward: going back decodes it from its start."""

    def __init__(self, path: str, content: Content, options: FileSourceOptions) -> None:
        """Owns `content` from now on; `path` is its present path. Raises `StorageError`."""
        self._record_bytes_max: Final = options.record_bytes_max
        self.path: Final = path
        self._content: Final = content
        try:
            with storage_call("read", path):
                # Read now, because going back in a compressed file decodes it again.
                keeper = HeadKeeper(options.header, options.record_bytes_max, content.read(SAMPLE_BYTES, 0))
                self.head: Final = head_of(content.read, keeper, options.record_bytes_max)
        except BaseException:
            content.close()
            raise
        self._decoded_bytes: int | None = None

    def read(self, size_bytes: int, offset: int) -> bytes:
        """`size_bytes` from `offset`; fewer only at the end of the file. Raises `StorageError`."""
        with storage_call("read", self.path):
            return self._content.read(size_bytes, offset)

    def pieces(self, start: int, end: int, bytes_max: int) -> Iterator[Piece]:
        """See `PastGeneration.pieces`. A block is longer than any record within the limit, so memory is bounded."""
        block_bytes = max(bytes_max, self._record_bytes_max + LINE_END_BYTES_MAX + 1)
        offset = start
        while offset < end:
            wanted_bytes = min(block_bytes, end - offset)
            content = self.read(wanted_bytes, offset)
            if len(content) < wanted_bytes:
                return
            whole_bytes, is_oversized = whole_records_end(content, self._record_bytes_max)
            if whole_bytes:
                piece = Piece(offset, content[:whole_bytes], own=self._content.own(whole_bytes, offset))
            elif is_oversized or len(content) > self._record_bytes_max:
                piece = self._oversized(offset, end)
            else:
                assert offset + len(content) == end, "a block is longer than a record within the limit"
                piece = Piece(offset, content, final=True, own=self._content.own(len(content), offset))
            offset = piece.end_offset
            yield piece

    def _oversized(self, start: int, end: int) -> Piece:
        """The length of the record at `start`. Its end is searched block by block."""
        offset = start
        while offset < end:
            block = self.read(min(SCAN_BLOCK_BYTES, end - offset), offset)
            feed = block.find(b"\n") + 1
            offset += feed or len(block)
            if feed or not block:
                return Piece(start, b"", oversized_bytes=offset - start)
        return Piece(start, b"", oversized_bytes=offset - start, final=True)

    @property
    def size_bytes(self) -> int:
        """The present size; for a compressed file the decompressed size, which decodes it once. Raises `StorageError`."""
        if not self._content.is_compressed:
            with storage_call("stat", self.path):
                return self._content.status().size_bytes
        if self._decoded_bytes is None:
            self._decoded_bytes = 0
            while block := self.read(COUNT_BLOCK_BYTES, self._decoded_bytes):
                self._decoded_bytes += len(block)
        return self._decoded_bytes

    def close(self) -> None:
        """Closes the file. Nothing may be called after it."""
        self._content.close()


def find_generation(position: Mapping[str, Json], options: FileSourceOptions, fs: FileSystem) -> FileGeneration | None:
    """The file that held a generation, at its path or among the rotated files, compressed or not; None if it is not found.

    `position` is the `Chunk.position` of the generation's last chunk. If its offset is 0, only its inode can identify the file.
    Raises `StateError` if it is not a position, `StorageError` if the disk fails. The caller closes the result.
    """
    identity = FileIdentity.of(position)
    path = options.path_of(identity.path)
    match = find_file(content_opener(fs, options.items), identity, Rotations(fs, path, options).candidates())
    return FileGeneration(match.candidate.path, match.content, options) if match else None
