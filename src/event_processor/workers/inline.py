"""Decoding in this process, when its turn comes."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Final

from event_processor.contracts import Columns, Format
from event_processor.event import Chunk

__all__ = ["InlineDecoding"]


class InlineDecoding:
    """`contracts.Decoding` with nobody else: one chunk at a time, decoded when it is taken."""

    def __init__(self, formats: Mapping[str, Format]) -> None:
        """`formats` by the name of the source."""
        self._formats: Final = formats
        self._pending: Final[deque[Chunk]] = deque()

    @property
    def pending(self) -> int:
        return len(self._pending)

    @property
    def has_room(self) -> bool:
        return not self._pending

    def submit(self, chunk: Chunk) -> None:
        self._pending.append(chunk)

    def take(self) -> tuple[Chunk, Columns | None]:
        chunk = self._pending.popleft()
        return chunk, self._formats[chunk.source].decode(chunk) if chunk.content else None

    def close(self) -> None:
        self._pending.clear()
