"""The content of a file: plain bytes, or a compressed file or a JSON document that is decoded forward in bounded memory.

Owns: opening a regular file; plain reads; reading a decoded file; the conversion of a JSON document's items to lines.
Always: everything before a damage is delivered; then `damage` gives the reason why the content ends there.
Never: follows a file or cuts records.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from functools import partial
from typing import Final, Protocol, TypeAlias

from event_processor.records.compression import DamagedError, Decode, compression_of, decoder_of
from event_processor.records.content_cutter import item_cutter
from event_processor.records.converted_text import CONVERTED_TEXT, TextCutter
from event_processor.records.json_documents import DocumentError, ItemCutter
from event_processor.records.quoted_lines import QUOTED_LINES, QuotedLineCutter
from event_processor.storage.durable import FileStatus, FileSystem, read_range

__all__ = [
    "CompressedContent",
    "Content",
    "Opener",
    "PlainContent",
    "content_opener",
    "open_content",
    "open_regular",
]


class Content(Protocol):
    """The bytes of one open file. Every method raises `OSError` as the kernel does."""

    is_compressed: bool
    """Compressed content, and the items of a document, never grow: their end is final."""
    is_document: bool
    """The records are the items of a JSON document. A NUL before the first one is part of it, and not a hole in the file."""
    has_open_end: bool
    """Whether nothing in the content shows that its end is there: a file of text may still be written, in the middle of a line."""
    damage: str
    """The reason why the content ends too early, as far as it was read; empty if it is intact."""

    def read(self, size_bytes: int, offset: int) -> bytes:
        """`size_bytes` from `offset`; fewer only at the end of the content. Offsets count decompressed bytes."""
        ...

    def next_data(self, offset: int) -> int:
        """The offset of the first byte from `offset` on that is not in a hole of the file; `offset` if that is unknown."""
        ...

    def own(self, size_bytes: int, offset: int) -> bytes:
        """The records' own bytes in the last `read`, as many as it returned; empty if they are equal.

        `offset` is that of the last `read`, or later.
        """
        ...

    def disk_bytes(self, offset: int) -> int:
        """How many bytes of the file on disk were read to get to `offset`; for progress reports."""
        ...

    def status(self) -> FileStatus:
        """The status of the open file, even if it was renamed or removed. Its size is the size on disk."""
        ...

    def restart(self) -> None:
        """Discards what was decoded, because the file has changed."""
        ...

    def close(self) -> None:
        """Closes the descriptor."""
        ...


Opener: TypeAlias = Callable[[str], Content]
"""Opens the regular file at a path; its first bytes decide how. Raises `OSError`, `RefusedContentError` among them."""


def open_regular(fs: FileSystem, path: str) -> int:
    """A descriptor to read the regular file at `path`. Raises `OSError`.

    Opens without waiting. If a named pipe was put at the path since we looked, a plain open would wait for its writer.
    """
    return fs.open(path, os.O_RDONLY | os.O_NONBLOCK)


class PlainContent:
    """A file that holds its records uncompressed."""

    is_compressed = False
    is_document = False
    has_open_end = True
    damage = ""

    def __init__(self, fs: FileSystem, descriptor: int) -> None:
        """Owns `descriptor` from now on."""
        self._fs: Final = fs
        self._descriptor: Final = descriptor

    def read(self, size_bytes: int, offset: int) -> bytes:
        return read_range(self._fs, self._descriptor, size_bytes, offset) if size_bytes > 0 else b""

    def next_data(self, offset: int) -> int:
        return self._fs.next_data(self._descriptor, offset)

    def own(self, size_bytes: int, offset: int) -> bytes:  # noqa: ARG002 - they are always equal
        return b""

    def disk_bytes(self, offset: int) -> int:
        return offset

    def status(self) -> FileStatus:
        return self._fs.status_of(self._descriptor)

    def restart(self) -> None:
        """Does nothing: a plain file has no decoded data."""

    def close(self) -> None:
        self._fs.close(self._descriptor)


RAW_BLOCK_BYTES: Final = 65_536


def _shows_nothing() -> None:
    """Shows no progress."""


def _always(_end_bytes: int) -> bool:
    """All of a finished file is there."""
    return True


def content_opener(fs: FileSystem, items: tuple[str, ...], progressed: Callable[[], None] = _shows_nothing) -> Opener:
    """`open_content` for the files of one source."""
    return partial(open_content, fs, items=items, progressed=progressed)


def open_content(
    fs: FileSystem, path: str, items: tuple[str, ...] = (), *, progressed: Callable[[], None] = _shows_nothing
) -> Content:
    """The content of the regular file at `path`. Raises `OSError`; `RefusedContentError` if its compression is not read.

    `items`: the path of the items if the file holds a JSON document. The items are then the lines of its content. `progressed` is
    called for each block that is decoded: to find a place in a compressed file again can take minutes.
    """
    descriptor = open_regular(fs, path)
    try:
        compression = compression_of(partial(fs.read, descriptor))
        decode = decoder_of(compression) if compression else None
        if items:
            return DocumentContent(fs, descriptor, items, decode, progressed)
        if decode is not None:
            return CompressedContent(fs, descriptor, decode, progressed)
    except BaseException:
        fs.close(descriptor)
        raise
    return PlainContent(fs, descriptor)


class CompressedContent:
    """A file that is decoded forward. To go back, it is decoded again from its start.

    Neither gzip, nor Zstandard, nor a document can be entered in the middle without an index. So after a restart, what was read
    before is decoded once more. This costs time, not memory: only the bytes from the last requested offset to the current place
    are kept. Of a file that is still written, only whole blocks are decoded: a decoder cannot wait in the middle of one.
    """

    is_compressed = True
    is_document = False
    has_open_end = False

    def __init__(self, fs: FileSystem, descriptor: int, decode: Decode, progressed: Callable[[], None] = _shows_nothing) -> None:
        """Owns `descriptor` from now on."""
        self.damage = ""
        self.has_come: Callable[[int], bool] = _always
        """Whether the file has its first so many bytes, or all there will be."""
        self._progressed: Final = progressed
        self._fs: Final = fs
        self._descriptor: Final = descriptor
        self._decode: Final = decode
        self.restart()

    def restart(self) -> None:
        self.damage = ""
        self._blocks: Iterator[bytes] = self._decode(self._raw_blocks())
        self._kept = bytearray()
        self._kept_offset = 0
        self._raw_offset = 0

    def read(self, size_bytes: int, offset: int) -> bytes:
        if offset < self._kept_offset:
            self.restart()
        self._drop_before(offset)
        # Each raw block gives at least one decoded block, so one step takes at most one raw block.
        while self._kept_offset + len(self._kept) < offset + size_bytes and self.has_come(self._raw_offset + RAW_BLOCK_BYTES):
            block = self._next_block()
            if block is None:
                break
            self._kept += block
            self._drop_before(offset)
        start = offset - self._kept_offset
        return bytes(self._kept[start : start + size_bytes])

    def next_data(self, offset: int) -> int:
        return offset

    def own(self, size_bytes: int, offset: int) -> bytes:  # noqa: ARG002 - they are always equal
        return b""

    def disk_bytes(self, offset: int) -> int:  # noqa: ARG002 - decoded forward: everything read was needed
        return self._raw_offset

    def status(self) -> FileStatus:
        return self._fs.status_of(self._descriptor)

    def close(self) -> None:
        self._fs.close(self._descriptor)

    def _drop_before(self, offset: int) -> None:
        dropped = min(offset - self._kept_offset, len(self._kept))
        del self._kept[:dropped]
        self._kept_offset += dropped

    def _next_block(self) -> bytes | None:
        """The next decoded block, perhaps empty; None at the end."""
        try:
            return next(self._blocks, None)
        except DamagedError as error:
            self.damage = str(error)
            return None

    def _raw_blocks(self) -> Iterator[bytes]:
        offset = 0
        while raw := self._fs.read(self._descriptor, RAW_BLOCK_BYTES, offset):
            offset += len(raw)
            self._raw_offset = offset
            self._progressed()
            yield raw


class DocumentContent(CompressedContent):
    """The items of a JSON document, one per line, and their own bytes.

    Always: `_own` is as long as `_kept`.
    """

    is_document = True

    def __init__(
        self,
        fs: FileSystem,
        descriptor: int,
        items: tuple[str, ...],
        decode: Decode | None,
        progressed: Callable[[], None] = _shows_nothing,
    ) -> None:
        """`items` is their path. `decode`: for a compressed document."""
        self._items: Final = items
        self.has_open_end = decode is None and items[0] in {CONVERTED_TEXT, QUOTED_LINES}
        self._own: bytearray = bytearray()
        super().__init__(fs, descriptor, partial(self._lines, decode), progressed)

    def restart(self) -> None:
        super().restart()
        self._own = bytearray()

    def own(self, size_bytes: int, offset: int) -> bytes:
        start = offset - self._kept_offset
        own = bytes(self._own[start : start + size_bytes])
        return own if own != self._kept[start : start + size_bytes] else b""

    def _drop_before(self, offset: int) -> None:
        before = self._kept_offset
        super()._drop_before(offset)
        del self._own[: self._kept_offset - before]

    def _lines(self, decode: Decode | None, raw_blocks: Iterator[bytes]) -> Iterator[bytes]:
        cutter = item_cutter(self._items)
        for block in raw_blocks if decode is None else decode(raw_blocks):
            yield from self._pieces(cutter, cutter.feed(block))
        yield from self._pieces(cutter, cutter.finish())

    def _pieces(self, cutter: ItemCutter | QuotedLineCutter | TextCutter, lines: Iterator[bytes]) -> Iterator[bytes]:
        """Yields the lines before a fault at once, then raises the fault."""
        found: list[bytes] = []
        fault: DocumentError | None = None
        try:
            found.extend(lines)
        except DocumentError as error:
            fault = error
        piece = b"".join(found)
        self._own += cutter.take_own() or piece
        yield piece
        if fault is not None:
            raise DamagedError(str(fault)) from fault
