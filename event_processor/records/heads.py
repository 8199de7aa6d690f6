"""The start of a file that goes with each of its chunks: a reader of CSV finds the names of the columns there.

Owns: how much of the start that is, and where a header is in it.
Always: at least the first 4,096 bytes, as far as the file has them; more if a header ends after them, about as many as a record may have. The
result depends on the file's bytes and not on how they were cut.
Never: reads names.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from event_processor.records.json_lines.marks import BYTE_ORDER_MARK

__all__ = ["HEAD_BYTES_MIN", "HeadKeeper", "HeaderPlace", "head_of"]

HEAD_BYTES_MIN: Final = 4096
"""How much of a file's start goes with each chunk, whatever its form."""


@dataclass(frozen=True, slots=True)
class HeaderPlace:
    """Where the header of a file is: after `skip_lines` lines, and after lines that begin with `comment`.

    `has_header`: whether there is one; without, it would be at the place of the first record. `comment` is empty if there are none.
    """

    skip_lines: int = 0
    comment: bytes = b""
    has_header: bool = True

    def span(self, head: bytes) -> tuple[int, int]:
        """Where the header begins in the known start of a file, and where the first line after it begins. NULs before it are not in `head`."""
        place = len(BYTE_ORDER_MARK) if head.startswith(BYTE_ORDER_MARK) else 0
        for _ in range(self.skip_lines):
            place = _next_line(head, place)
        while self.has_header and self.comment and head.startswith(self.comment, place):
            place = _next_line(head, place)
        return place, _next_line(head, place) if self.has_header else place

    def bytes_wanted(self, head: bytes, bytes_max: int) -> int:
        """How much of the start must be known, as far as `head` shows: more than `head` if the header does not end in it."""
        known = head.lstrip(b"\0")
        begin, after = self.span(known)
        if self.has_header and after > begin and known[after - 1 : after] == b"\n":
            return max(HEAD_BYTES_MIN, len(head) - len(known) + after)
        if not self.has_header and known.count(b"\n", 0, begin) == self.skip_lines:
            return max(HEAD_BYTES_MIN, len(head) - len(known) + begin)
        return max(HEAD_BYTES_MIN, min(2 * len(head), bytes_max))


class HeadKeeper:
    """Keeps the start of a file whose bytes come one after the other."""

    def __init__(self, header: HeaderPlace | None, bytes_max: int, head: bytes = b"") -> None:
        """`header`: None if nothing in the start means anything. `bytes_max`: for a header that ends later. `head`: what is known already."""
        self._header: Final = header
        self._bytes_max: Final = bytes_max
        self.head = head
        self._wanted = HEAD_BYTES_MIN
        self._look()

    @property
    def missing_bytes(self) -> int:
        """How many of the next bytes are needed."""
        return max(0, self._wanted - len(self.head))

    def take(self, content: bytes) -> None:
        """Takes the bytes that follow those in `head`, as far as they are needed."""
        place = 0
        while place < len(content) and (missing := self.missing_bytes):
            self.head += content[place : place + missing]
            place += missing
            self._look()

    def _look(self) -> None:
        if self._header is not None and len(self.head) >= self._wanted:
            self._wanted = self._header.bytes_wanted(self.head, self._bytes_max)


def head_of(read: Callable[[int, int], bytes], keeper: HeadKeeper, size_bytes: int) -> bytes:
    """The head of a file of which `size_bytes` are known, from `read(size_bytes, offset)`. What `keeper` has is not read again."""
    while (wanted := min(keeper.missing_bytes, size_bytes - len(keeper.head))) > 0:
        block = read(wanted, len(keeper.head))
        if not block:
            break
        keeper.take(block)
    return keeper.head


def _next_line(head: bytes, place: int) -> int:
    """Where the line after the one at `place` begins; the end of `head` if it is not there."""
    return head.find(b"\n", place) + 1 or len(head)
