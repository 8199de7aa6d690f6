"""Text that first becomes lines of UTF-8: because it is UTF-16, or because its lines end with carriage returns.

Owns: the conversion of a file's bytes, block by block.
Always: where blocks end makes no difference. Offsets count the bytes of the converted text, without a byte order mark: those that
`iconv -f utf-16 -t utf-8` writes. Half of a surrogate pair becomes bytes that are not UTF-8, so it makes its own line bad and no other.
Never: guesses an encoding or a line end. Never reads what has no byte order mark as "utf-16".
"""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from typing import Final

from event_processor.records.json_documents import DocumentError
from event_processor.records.quoted_lines import QuotedLineCutter

__all__ = ["CONVERTED_TEXT", "TextCutter", "converted_text_path", "has_utf_16_mark", "is_utf_16"]

CONVERTED_TEXT: Final = "@converted text"
"""The first component of a path that means such text."""
_BY_MARK: Final = "utf-16"
_MARKS: Final = {codecs.BOM_UTF16_LE: "utf-16-le", codecs.BOM_UTF16_BE: "utf-16-be"}
_MARK_BYTES: Final = 2


def is_utf_16(encoding: str) -> bool:
    """Whether the encoding, by any of its Python names, is UTF-16."""
    try:
        return codecs.lookup(encoding).name in {_BY_MARK, *_MARKS.values()}
    except LookupError:
        return False


def has_utf_16_mark(head: bytes) -> bool:
    """Whether a file that starts with `head` says itself that it is UTF-16."""
    return head[:_MARK_BYTES] in _MARKS


def converted_text_path(encoding: str, quoted_lines: tuple[str, ...], *, ends_with_returns: bool) -> tuple[str, ...]:
    """The `items` of such a source. `encoding`: one of UTF-16; empty if no byte is converted except line ends.

    `quoted_lines`: from `quoted_lines_path`, if quoted cells of the converted text hold line ends; otherwise empty.
    """
    return CONVERTED_TEXT, codecs.lookup(encoding).name if encoding else "", "cr" if ends_with_returns else "", *quoted_lines


class TextCutter:
    """Converts one file, which arrives block by block. It has the methods of `ItemCutter`."""

    def __init__(self, path: tuple[str, ...]) -> None:
        """`path`: from `converted_text_path`."""
        _, self._encoding, line_end, *quoted = path
        self._ends_with_returns: Final = bool(line_end)
        self._quoted: Final = QuotedLineCutter(tuple(quoted)) if quoted else None
        self._start = b""
        """The first byte, until the second one shows whether they are a mark."""
        self._decoder: codecs.IncrementalDecoder | None = None

    def feed(self, block: bytes) -> Iterator[bytes]:
        """The lines, as far as the block has them, in pieces. Raises `DocumentError`: the text is not of this encoding."""
        text = self._text(block, final=False)
        if text:
            yield from (text,) if self._quoted is None else self._quoted.feed(text)

    def finish(self) -> Iterator[bytes]:
        """What waited for the next block. Raises `DocumentError`: the text ends within a character."""
        fault: DocumentError | None = None
        try:
            text = self._text(b"", final=True)
        except DocumentError as error:
            text, fault = b"", error
        if text:
            yield from (text,) if self._quoted is None else self._quoted.feed(text)
        if self._quoted is not None:
            yield from self._quoted.finish()
        if fault is not None:
            raise fault

    def take_own(self) -> bytes:
        """As `QuotedLineCutter.take_own`: the bytes before the cut into lines, converted already."""
        return b"" if self._quoted is None else self._quoted.take_own()

    def _text(self, block: bytes, *, final: bool) -> bytes:
        """The block in UTF-8, with line feeds."""
        if self._encoding:
            if self._decoder is None:
                block = self._start + block
                if len(block) < _MARK_BYTES and not final:
                    self._start = block
                    return b""
                self._decoder, block = self._begun(block)
            # Half of a surrogate pair stays what it is: bytes that are not UTF-8. At the end it is a character that is cut: if the file grows
            # after that, the bytes before must be the same, or the file would be taken for another one.
            block = self._decoder.decode(block).encode("utf-8", "surrogatepass")
            if final and self._decoder.getstate()[0]:
                raise DocumentError("ends within a character of UTF-16")
        return block.replace(b"\r", b"\n") if self._ends_with_returns else block

    def _begun(self, block: bytes) -> tuple[codecs.IncrementalDecoder, bytes]:
        """The decoder by the first bytes of the file, and the bytes after its mark."""
        marked = _MARKS.get(block[:_MARK_BYTES], "")
        if self._encoding == _BY_MARK and block and not marked:
            raise DocumentError(
                'has no byte order mark of UTF-16: set csv_encoding = "utf-16-le", "utf-16-be" or another encoding'
            )
        name = marked or "utf-16-le" if self._encoding == _BY_MARK else self._encoding
        decoder = codecs.getincrementaldecoder(name)("surrogatepass")
        return decoder, block[_MARK_BYTES:] if marked == name else block
