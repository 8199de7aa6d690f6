"""Cuts the content of one input into records: lines, or the items of a JSON document.

Owns: `ContentCutter`, for content whose bytes come in blocks, cut anywhere, and only forward; the records' own bytes.
Always: what comes before a fault of a document is cut; then `damage` says what is wrong. Memory is bounded as in `RecordCutter`.
Never: reads, waits, or decompresses.
"""

from __future__ import annotations

from typing import Final

from event_processor.records.converted_text import CONVERTED_TEXT, TextCutter
from event_processor.records.heads import HeaderPlace, HeadKeeper
from event_processor.records.json_documents import DocumentError, ItemCutter
from event_processor.records.quoted_lines import QUOTED_LINES, QuotedLineCutter
from event_processor.records.record_cutter import Cut, RecordCutter

__all__ = ["ContentCutter", "item_cutter"]


def item_cutter(items: tuple[str, ...]) -> ItemCutter | QuotedLineCutter | TextCutter:
    """What cuts the content of a source with these `items`."""
    if items[0] == CONVERTED_TEXT:
        return TextCutter(items)
    return QuotedLineCutter(items) if items[0] == QUOTED_LINES else ItemCutter(items)


class ContentCutter:
    """Cuts one input."""

    def __init__(
        self,
        record_bytes_max: int,
        items: tuple[str, ...] = (),
        *,
        offset: int = 0,
        head: bytes | None = None,
        header: HeaderPlace | None = None,
    ) -> None:
        """`items`: the path of the items of a document; empty for lines.

        `offset`: what is before it was cut earlier. Then either the content is fed from its start, or from `offset` on: then `head` has
        its first bytes, as `head_of` gives them. `header`: as in `HeadKeeper`.
        """
        self._record_bytes_max: Final = record_bytes_max
        self._items: Final = item_cutter(items) if items else None
        self._start: Final = offset
        self._passed_bytes = 0 if head is None else offset
        """How many of the bytes before `offset` were fed and passed over."""
        self._head: Final = HeadKeeper(header, record_bytes_max, head or b"")
        self._cutter = RecordCutter(record_bytes_max, offset=offset, head=self._head)
        self._own = bytearray()
        """The own bytes of the items that the cutter holds, and of those before, up to the next block."""
        self._own_offset = offset
        self.damage = ""
        """Why a document ends too early; empty if it does not."""

    @property
    def fed_bytes(self) -> int:
        """The offset after the last byte that was fed."""
        return self._cutter.fed_bytes

    @property
    def held_bytes(self) -> int:
        """The bytes that were fed but not returned yet."""
        return self._cutter.held_bytes

    @property
    def has_ended(self) -> bool:
        """Whether nothing more is taken: the content has ended, or it is damaged."""
        return self._cutter.has_ended

    @property
    def is_exhausted(self) -> bool:
        """Whether no more records will be returned."""
        return self._cutter.is_exhausted

    @property
    def is_at_start(self) -> bool:
        """Whether all of the content before `offset` was fed, if it is fed from its start."""
        return self._passed_bytes == self._start

    def feed(self, block: bytes) -> None:
        """Takes the next bytes. After a damage they are not looked at."""
        if self.has_ended:
            return
        if self._items is None:
            self._take(block, b"")
        elif block:
            self._take_items(block)

    def end(self) -> None:
        """Marks the end of the content, which ends the last record."""
        if self._items is not None and not self.has_ended:
            self._take_items(b"")
        self._cutter.end()

    def cut(self, bytes_max: int) -> Cut | None:
        """As `RecordCutter.cut`."""
        return self._cutter.cut(bytes_max)

    def own_of(self, cut: Cut) -> bytes:
        """The own bytes of the records of the last cut, if they are the items of a document and differ; otherwise empty."""
        start = cut.offset - self._own_offset
        own = bytes(self._own[start : start + len(cut.content)])
        return own if own != cut.content else b""

    def _take_items(self, block: bytes) -> None:
        """Takes a part of a document; no bytes mean its end."""
        assert self._items is not None, "the content is a document"
        lines: list[bytes] = []
        try:
            # What comes before a fault counts.
            lines.extend(self._items.feed(block) if block else self._items.finish())
        except DocumentError as error:
            self.damage = str(error)
        piece = b"".join(lines)
        cut_bytes = self._cutter.fed_bytes - self._cutter.held_bytes - self._own_offset
        del self._own[:cut_bytes]
        self._own_offset += cut_bytes
        self._take(piece, self._items.take_own() or piece)
        if self.damage:
            # After a fault, the rest is not a document.
            self._cutter.end()

    def _take(self, block: bytes, own: bytes) -> None:
        """Feeds the cutter, except what was cut earlier."""
        passed = min(len(block), self._start - self._passed_bytes)
        if passed:
            self._passed_bytes += passed
            self._head.take(block[:passed])
            if self.is_at_start:
                self._cutter = RecordCutter(self._record_bytes_max, offset=self._start, head=self._head)
        self._own += own[passed:]
        self._cutter.feed(block[passed:])
