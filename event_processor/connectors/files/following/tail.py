"""One open generation: whole records from an offset on, with a check that they are still from the same file.

Owns: the offset of one generation, and the samples before it.
Always: a piece starts where the one before ended (or after leading NULs), and holds whole records. What was read while the file
changed is discarded. Memory is bounded by the read size and the record limit, whatever the file holds.
Never: knows paths, rotations or time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from event_processor.connectors.files.content import Content
from event_processor.connectors.files.following.identity import SAMPLE_BYTES, Samples
from event_processor.records.heads import HeadKeeper, head_of
from event_processor.records.record_cutter import LINE_END_BYTES_MAX, whole_records_end
from event_processor.records.source_format import SourceFormat

__all__ = ["ContentChangedError", "Piece", "Tail", "end_of_last_line"]

SCAN_BLOCK_BYTES: Final = 262_144
SLICE_BYTES: Final = 32 * 1_048_576
"""One call searches at most this many bytes, so that the loop can answer a signal and show that it is alive."""
LOOK_BYTES: Final = 16_384
LOOK_SHARE: Final = 16
"""The look pays off only if a read is at least this many times as long as the look."""


class ContentChangedError(Exception):
    """The file no longer holds what was read from it: it was cut or rewritten. Nothing of the last read may be used."""


@dataclass(frozen=True, slots=True)
class Piece:
    """The result of one read: whole records, or the length of one record over the limit.

    `final`: the last record has no line end. `own`: as in `Chunk`.
    """

    offset: int
    content: bytes
    oversized_bytes: int = 0
    final: bool = False
    own: bytes = b""


class Tail:
    """Reads one content from `offset` on.

    Always: there is no line feed between `offset` and `scanned_offset`, so searched bytes are not searched again while an
    unfinished record grows. `samples` are of the bytes before `offset`.
    """

    def __init__(self, content: Content, options: SourceFormat, *, offset: int = 0, samples: Samples | None = None) -> None:
        """Owns `content` from now on. `samples` are the samples at `offset`; none are needed at 0. Raises `OSError`."""
        self.content = content
        self.offset = offset
        self.scanned_offset = offset
        self.samples = samples or Samples()
        self.leading_nul_bytes = 0
        self.is_searching = False
        """Whether the last read gave nothing only because one call searches a limited number of bytes: read again at once."""
        self._nul_bytes = 0
        self._known_bytes = 0
        """The size of the file at the begin of the last read; not for compressed content."""
        self._record_bytes_max: Final = options.record_bytes_max
        self._header: Final = options.header
        self._head = self._known_head()
        self._scanned_samples: Samples | None = None
        self._is_new = samples is None

    @property
    def head(self) -> bytes:
        """The first bytes before `offset`, as many as a chunk carries."""
        return self._head.head

    def _known_head(self) -> HeadKeeper:
        keeper = HeadKeeper(self._header, self._record_bytes_max, self.samples.head)
        head_of(self.content.read, keeper, self.offset)
        return keeper

    def move_to(self, content: Content) -> None:
        """Continues at the same offset in another file that holds the same bytes before it."""
        self.content.close()
        self.content = content
        self.scanned_offset = self.offset
        self._scanned_samples = None

    def resume_at(self, offset: int) -> None:
        """Moves to `offset` without reading records. Raises `OSError`."""
        self._is_new = False
        size_bytes = min(SAMPLE_BYTES, offset)
        head = self.content.read(size_bytes, 0)
        self._advance(offset, Samples(head, self.content.read(size_bytes, offset - size_bytes)))
        self._head = self._known_head()

    def read(self, bytes_max: int, *, ends: bool) -> Piece | None:
        """The next whole records, at most about `bytes_max`; None if no record is complete.

        `ends`: nothing will follow, so the end of the content ends the last record. A record longer than `bytes_max` comes alone.
        Raises `ContentChangedError`, `OSError`.
        """
        self.is_searching = False
        if not self.content.is_compressed:
            self._known_bytes = self.content.status().size_bytes
            if self._known_bytes < self.scanned_offset:
                raise ContentChangedError
        if self._scanned_samples is not None:
            return self._scan(self._scanned_samples, ends=ends)
        may_have_hole = self._is_new and not self.content.is_document
        if may_have_hole and not self.scanned_offset and not self._skip_leading_nuls():
            return None
        # Compressed content is never looked at beyond the offset alone: to go back would decode it all again.
        if not ends and not self.content.is_compressed and self._is_still_torn(bytes_max):
            return None
        return self._read_records(max(bytes_max, self.scanned_offset - self.offset + 1), ends=ends)

    def _read_records(self, size_bytes: int, *, ends: bool) -> Piece | None:
        """Reads `size_bytes` from the offset, or a whole record that is longer."""
        content = self._fetch(self._up_to_a_line_feed(size_bytes))
        end, is_oversized = whole_records_end(content, self._record_bytes_max)
        if not end and not is_oversized and len(content) >= size_bytes:
            content = self._fetch(self._record_bytes_max + LINE_END_BYTES_MAX)
            is_oversized = whole_records_end(content, self._record_bytes_max) == (0, True)
            end = 0 if is_oversized else content.find(b"\n") + 1
        if end:
            return self._give(content[:end])
        if is_oversized or (ends and len(content) > self._record_bytes_max):
            content = content[: self._record_bytes_max]
            self.scanned_offset = self.offset + len(content)
            return self._scan(self.samples.after(content), ends=ends)
        self.scanned_offset = self.offset + len(content)
        return self._give(content, final=True) if ends and content else None

    def _up_to_a_line_feed(self, size_bytes: int) -> int:
        """How much of `size_bytes` from the offset ends with a record, as far as a look at its last bytes shows.

        Bytes read up to there need no cut, so they are not copied again.
        """
        if self.content.is_compressed or size_bytes < LOOK_SHARE * LOOK_BYTES or self.offset + size_bytes > self._known_bytes:
            return size_bytes
        last = self.content.read(LOOK_BYTES, self.offset + size_bytes - LOOK_BYTES)
        behind = last.rfind(b"\n") + 1
        return size_bytes - LOOK_BYTES + behind if len(last) == LOOK_BYTES and behind else size_bytes

    def _fetch(self, size_bytes: int) -> bytes:
        """The bytes from the offset on, proven to follow those read before. Raises `ContentChangedError`.

        The proof is read after the bytes. If a file was cut and rewritten between the two, the proof fails.
        """
        if not self.content.is_compressed:
            # What is appended meanwhile is read next time. To ask for no more than there is costs one call less, and no large buffer.
            size_bytes = min(size_bytes, self._known_bytes - self.offset)
        content = self.content.read(size_bytes, self.offset)
        # Compressed content is decoded from one open file, which is never rewritten. Going back would decode it all again.
        if not self.content.is_compressed:
            self._check(Samples(self.samples.after(content).head, self.samples.tail), self.offset)
            if self.content.status().size_bytes < self.offset + len(content):
                raise ContentChangedError
        return content

    def _check(self, samples: Samples, offset: int) -> None:
        """Raises `ContentChangedError` unless `samples` are still at the head and before `offset`."""
        if self.content.read(len(samples.head), 0) != samples.head:
            raise ContentChangedError
        if offset > SAMPLE_BYTES and self.content.read(len(samples.tail), offset - len(samples.tail)) != samples.tail:
            raise ContentChangedError

    def _is_still_torn(self, bytes_max: int) -> bool:
        """Whether an unfinished record is still unfinished. Reads only the bytes that were appended to it."""
        if self.scanned_offset == self.offset:
            return False
        appended = self.content.read(bytes_max, self.scanned_offset)
        if b"\n" in appended or self.scanned_offset + len(appended) - self.offset > self._record_bytes_max:
            return False
        self._check(self.samples, self.offset)
        self.scanned_offset += len(appended)
        return len(appended) < bytes_max

    def _scan(self, samples: Samples, *, ends: bool) -> Piece | None:
        """Searches the end of a record over the limit, block by block. `samples` are the samples at `scanned_offset`."""
        limit = self.scanned_offset + SLICE_BYTES
        while (block := self.content.read(SCAN_BLOCK_BYTES, self.scanned_offset)) and self.scanned_offset < limit:
            end = block.find(b"\n") + 1
            samples = samples.after(block[: end or None])
            self.scanned_offset += end or len(block)
            if end:
                break
        else:
            end = 0
        if not self.content.is_compressed:
            self._check(self.samples, self.offset)
            self._check(samples, self.scanned_offset)
        self.is_searching = bool(block) and not end
        if self.is_searching or (not block and not ends):
            self._scanned_samples = samples
            return None
        piece = Piece(self.offset, b"", self.scanned_offset - self.offset, final=not block)
        self._advance(self.scanned_offset, samples)
        if self._head.missing_bytes:
            self._head = self._known_head()
        return piece

    def _skip_leading_nuls(self) -> bool:
        """Skips the NULs at the start. Returns False if nothing else is there yet.

        After a truncation, a writer without O_APPEND continues at its old offset and leaves a hole before it.
        """
        nul_bytes, limit = self._nul_bytes, self._nul_bytes + SLICE_BYTES
        while True:
            # A hole of gigabytes is passed in one call if the file system knows it.
            after_hole = self.content.next_data(nul_bytes)
            limit += after_hole - nul_bytes
            nul_bytes = after_hole
            block = self.content.read(SCAN_BLOCK_BYTES, nul_bytes)
            rest_bytes = len(block.lstrip(b"\0"))
            nul_bytes += len(block) - rest_bytes
            if not block or rest_bytes or nul_bytes >= limit:
                break
        sample = bytes(min(SAMPLE_BYTES, nul_bytes))
        is_intact = self.content.read(len(sample), 0) == sample
        # If the file was cut and written again since the last call, its new start is searched.
        self._nul_bytes = nul_bytes if is_intact else 0
        self.is_searching = not is_intact or (bool(block) and not rest_bytes)
        if self.is_searching or not rest_bytes:
            return False
        if nul_bytes:
            self.leading_nul_bytes = nul_bytes
            self._advance(nul_bytes, Samples(sample, sample))
            self._head = self._known_head()
        return True

    def _give(self, content: bytes, *, final: bool = False) -> Piece:
        piece = Piece(self.offset, content, final=final, own=self.content.own(len(content), self.offset))
        self._advance(self.offset + len(content), self.samples.after(content))
        if self._head.missing_bytes:
            self._head.take(content)
        return piece

    def _advance(self, offset: int, samples: Samples) -> None:
        self.offset = self.scanned_offset = offset
        self.samples = samples
        self._scanned_samples = None


def end_of_last_line(content: Content) -> int:
    """The offset after the last line feed, or 0. For compressed content, which is finished, the end. Raises `OSError`."""
    if content.is_compressed:
        offset = 0
        while block := content.read(SCAN_BLOCK_BYTES, offset):
            offset += len(block)
        return offset
    end = content.status().size_bytes
    while end:
        start = max(0, end - SCAN_BLOCK_BYTES)
        found = content.read(end - start, start).rfind(b"\n")
        if found >= 0:
            return start + found + 1
        end = start
    return 0
