"""Decoding one chunk: the source's format, then the preparation of ids for the index.

Owns: `InlineDecoding`, which decodes in the loop's thread; `ChunkDecoder`, which the workers use; and `DecoderSpec`, which makes
one in any process.
Always: one thread at a time uses a decoder.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Final, Protocol, TypeAlias

from event_processor.deduplication.fingerprints import open_fingerprinter
from event_processor.deduplication.runs import prepared
from event_processor.model.columns import Columns
from event_processor.model.contracts import Format
from event_processor.model.event import Chunk

__all__ = ["ChunkDecoder", "Decoder", "DecoderSpec", "FormatFactory", "InlineDecoding"]


class InlineDecoding:
    """`contracts.Decoding` without workers: one chunk at a time, decoded when it is taken."""

    def __init__(self, formats: Mapping[str, Format]) -> None:
        """`formats` has the source's name as its key."""
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


FormatFactory: TypeAlias = Callable[[], Format]
"""Makes a format. It can be pickled: a class and its arguments in a `functools.partial`."""


class Decoder(Protocol):
    """Turns chunks into columns. One thread at a time uses it."""

    @property
    def lets_others_run(self) -> bool:
        """Whether almost all of its work is done outside the interpreter, for every source."""
        ...

    def __call__(self, chunk: Chunk, /) -> Columns:
        """The columns of a chunk that is not empty."""
        ...


class DecoderSpec:
    """A recipe for a `ChunkDecoder` that can be sent to another process. Call it to make one."""

    def __init__(self, formats: Mapping[str, FormatFactory], fingerprint: tuple[str, str] | None) -> None:
        """`formats` has the source's name as its key. `fingerprint` is the index's algorithm and seed; None without an index."""
        self._formats: Final = dict(formats)
        self._fingerprint: Final = fingerprint

    def __call__(self) -> ChunkDecoder:
        """Raises `ConfigurationError` if a format cannot be made."""
        return ChunkDecoder({name: make() for name, make in self._formats.items()}, self._fingerprint)


class ChunkDecoder:
    """The `Decoder` for some formats. It also prepares ids."""

    def __init__(self, formats: Mapping[str, Format], fingerprint: tuple[str, str] | None) -> None:
        self._formats: Final = formats
        self.lets_others_run: Final = all(each.lets_others_run for each in formats.values())
        self._fingerprinter: Final = None if fingerprint is None else open_fingerprinter(*fingerprint)

    def __call__(self, chunk: Chunk) -> Columns:
        columns = self._formats[chunk.source].decode(chunk)
        if self._fingerprinter is None:
            return columns
        return replace(columns, prepared_ids=prepared(columns.ids, self._fingerprinter))
