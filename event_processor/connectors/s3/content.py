"""The content of one object: its ranges, one after the other, decompressed if its first bytes show a compression.

Owns: `ObjectContent`.
Always: memory is bounded by two ranges and the decoder. Everything before a damage comes first; then `DamagedError` is raised.
Never: decides what to do if a range does not come.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final, TypeAlias

from event_processor.connectors.s3.options import S3SourceOptions
from event_processor.records.compression import compression_of, decoder_of
from event_processor.records.content_cutter import ContentCutter
from event_processor.records.heads import HEAD_BYTES_MIN, HeadKeeper, head_of

__all__ = ["Fetch", "ObjectContent"]

Fetch: TypeAlias = Callable[[int, int], bytes]
"""The stored bytes from one offset to another."""
BLOCK_BYTES: Final = 1 << 20


class ObjectContent:
    """One object, read once and forward from `offset`, which counts decompressed bytes."""

    def __init__(
        self,
        options: S3SourceOptions,
        size_bytes: int,
        offset: int,
        fetch: Fetch,
        ahead: Callable[[int, int], None] = lambda _start, _end: None,
    ) -> None:
        """`fetch` may raise. `ahead` is told of the range that is fetched after the present one. Raises `RefusedContentError`."""
        self._options: Final = options
        self._size_bytes: Final = size_bytes
        self._offset: Final = offset
        self._fetch: Final = fetch
        self._ahead: Final = ahead
        # From its start, an object is fetched once; otherwise its first bytes say what it is.
        self._first: Final = (
            fetch(0, min(size_bytes, options.range_bytes if offset == 0 else HEAD_BYTES_MIN)) if size_bytes else b""
        )
        compression = compression_of(self._peeked)
        self._decode: Final = decoder_of(compression) if compression else None
        self.fetched_bytes = 0
        """How much of the stored object was fetched."""

    @property
    def is_plain(self) -> bool:
        """Whether offsets of records are offsets of the stored object."""
        return self._decode is None and not self._options.items

    def cutter(self) -> ContentCutter:
        """What cuts the blocks into records."""
        limit, header = self._options.record_bytes_max, self._options.header
        head = head_of(self._peeked, HeadKeeper(header, limit), self._offset) if self.is_plain else None
        return ContentCutter(limit, self._options.items, offset=self._offset, head=head, header=header)

    def blocks(self) -> Iterator[bytes]:
        """Yields the content for the cutter. Raises `DamagedError`, and what `fetch` raises."""
        ranges = self._ranges(self._offset if self.is_plain else 0)
        yield from _blocks(ranges) if self._decode is None else self._decode(_blocks(ranges))

    def _peeked(self, size_bytes: int, offset: int) -> bytes:
        end = min(offset + size_bytes, self._size_bytes)
        if end <= len(self._first):
            return self._first[offset:end]
        return self._fetch(offset, end) if offset < end else b""

    def _ranges(self, start: int) -> Iterator[bytes]:
        while start < self._size_bytes:
            content = self._first[start:] or self._fetch(start, self._end(start))
            start += len(content)
            if start < self._size_bytes:
                self._ahead(start, self._end(start))
            self.fetched_bytes = start
            yield content

    def _end(self, start: int) -> int:
        return min(start + self._options.range_bytes, self._size_bytes)


def _blocks(ranges: Iterator[bytes]) -> Iterator[bytes]:
    for content in ranges:
        for start in range(0, len(content), BLOCK_BYTES):
            yield content[start : start + BLOCK_BYTES]
