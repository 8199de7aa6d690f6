"""Cuts whole records out of bytes. Pure.

Owns: `whole_records_end`, the end of the whole records in a block; and `RecordCutter`, for a stream whose bytes come in blocks,
cut anywhere, and only once.
Always: the result depends on the bytes and on the requested size, not on the blocks. Memory is bounded by the requested size, one
block and the record limit. A record over that limit is counted by its length and never kept. Each byte is searched a bounded
number of times.
Never: reads or waits.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from event_processor.records.heads import HeadKeeper

__all__ = ["LINE_END_BYTES_MAX", "Cut", "RecordCutter", "whole_records_end"]

LINE_END_BYTES_MAX: Final = 2
"""Carriage return and line feed."""


def whole_records_end(content: bytes, record_bytes_max: int) -> tuple[int, bool]:
    r"""The end of the leading run of whole records within the limit, and whether the next record is over the limit.

    `content` starts at a record. The limit counts a record without its line end (`\n` or `\r\n`). Costs one search per
    `record_bytes_max` bytes, not one per record.
    """
    start = 0
    while True:
        end = content.rfind(b"\n", start, start + record_bytes_max + 1) + 1
        if not end and content[start + record_bytes_max : start + record_bytes_max + LINE_END_BYTES_MAX] == b"\r\n":
            end = start + record_bytes_max + LINE_END_BYTES_MAX
        if not end:
            break
        start = end
    rest_bytes = len(content) - start
    may_end_yet = rest_bytes == record_bytes_max + 1 and content.endswith(b"\r")
    return start, rest_bytes > record_bytes_max and not may_end_yet


@dataclass(frozen=True, slots=True)
class Cut:
    """Whole records, or the length of one record over the limit, in the form of a chunk.

    `head` holds the stream's first bytes.
    """

    offset: int
    content: bytes
    head: bytes
    oversized_bytes: int = 0
    final: bool = False

    @property
    def end_offset(self) -> int:
        """The offset after it."""
        return self.offset + len(self.content) + self.oversized_bytes


class RecordCutter:
    """Cuts one stream."""

    def __init__(self, record_bytes_max: int, *, offset: int = 0, head: HeadKeeper | None = None) -> None:
        """`offset`: where the stream begins, at a record; then `head` has its first bytes, which are not fed."""
        self._record_bytes_max: Final = record_bytes_max
        self._content = b""
        self._place = 0
        self._blocks: list[bytes] = []
        self._blocks_bytes = 0
        self._offset = offset
        self._head: Final = head or HeadKeeper(None, record_bytes_max)
        self._needed_bytes = 0
        """The number of bytes that must be there before another search is worth it: twice what was searched in vain."""
        self._passed_bytes: int | None = None
        """The bytes passed so far of a record over the limit, whose end is searched; None if there is none."""
        self.has_ended = False

    @property
    def held_bytes(self) -> int:
        """The bytes that were fed but not returned yet."""
        return len(self._content) - self._place + self._blocks_bytes

    @property
    def fed_bytes(self) -> int:
        """The offset after the last byte that was fed."""
        return self._offset + self.held_bytes

    @property
    def is_exhausted(self) -> bool:
        """Whether no more records will be returned."""
        return self.has_ended and not self.held_bytes and self._passed_bytes is None

    def feed(self, block: bytes) -> None:
        """Takes the next bytes."""
        if block:
            self._blocks.append(block)
            self._blocks_bytes += len(block)

    def end(self) -> None:
        """Marks the end of the stream, which ends the last record."""
        self.has_ended = True

    def cut(self, bytes_max: int) -> Cut | None:
        """Records of about `bytes_max`; a longer one comes alone. None if more must be fed first, or if all were returned."""
        if self._passed_bytes is not None:
            return self._passed_over()
        if self.is_exhausted or (self.held_bytes < max(bytes_max, self._needed_bytes) and not self.has_ended):
            return None
        self._join()
        end, is_oversized = whole_records_end(self._front(bytes_max), self._record_bytes_max)
        if not end and not is_oversized:
            front = self._front(self._record_bytes_max + LINE_END_BYTES_MAX)
            ends, is_oversized = whole_records_end(front, self._record_bytes_max)
            end = front.find(b"\n") + 1 if ends else 0
        if end:
            return self._given(end)
        if not is_oversized and not self.has_ended:
            self._needed_bytes = min(2 * self.held_bytes, self._record_bytes_max + LINE_END_BYTES_MAX)
            return None
        if is_oversized or self.held_bytes > self._record_bytes_max:
            self._passed_bytes = 0
            return self._passed_over()
        return self._given(self.held_bytes, final=True)

    def _join(self) -> None:
        if self._blocks:
            self._content = b"".join([self._content[self._place :], *self._blocks])
            self._place = self._blocks_bytes = 0
            self._blocks.clear()

    def _front(self, size_bytes: int) -> bytes:
        return self._content[self._place : self._place + size_bytes]

    def _given(self, size_bytes: int, *, final: bool = False) -> Cut:
        content, offset = self._front(size_bytes), self._offset
        self._advance(size_bytes)
        return Cut(offset, content, self._head.head, final=final)

    def _passed_over(self) -> Cut | None:
        """The length of the record over the limit, once its end is there. The searched bytes are discarded."""
        self._join()
        found = self._content.find(b"\n", self._place) + 1
        passed_bytes = (self._passed_bytes or 0) + (found or len(self._content)) - self._place
        self._advance((found or len(self._content)) - self._place)
        if not found and not self.has_ended:
            self._passed_bytes = passed_bytes
            return None
        self._passed_bytes = None
        return Cut(self._offset - passed_bytes, b"", self._head.head, oversized_bytes=passed_bytes, final=not found)

    def _advance(self, size_bytes: int) -> None:
        if self._head.missing_bytes:
            self._head.take(self._front(size_bytes))
        self._place += size_bytes
        self._offset += size_bytes
        self._needed_bytes = 0
