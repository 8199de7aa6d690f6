"""What decodes a chunk, here or in a worker: the source's format, and then what the index needs of the ids."""

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


FormatFactory: TypeAlias = Callable[[], Format]
"""Makes a format. It can be pickled: a class with its arguments, in a `functools.partial`."""


class Decoder(Protocol):
    """Chunks to columns. Used by one thread at a time."""

    @property
    def lets_others_run(self) -> bool:
        """Whether almost all of its work is done outside of the interpreter, whatever the source."""
        ...

    def __call__(self, chunk: Chunk, /) -> Columns:
        """The columns of a chunk that is not empty."""
        ...


class DecoderSpec:
    """How a `ChunkDecoder` is made, in a form that can be sent to another process. Calling it makes one."""

    def __init__(self, formats: Mapping[str, FormatFactory], fingerprint: tuple[str, str] | None) -> None:
        """`formats` by the name of the source; `fingerprint` is the algorithm and the seed of the index, None where there is none."""
        self._formats: Final = dict(formats)
        self._fingerprint: Final = fingerprint

    def __call__(self) -> ChunkDecoder:
        """Raises `ConfigurationError` where a format cannot be made."""
        return ChunkDecoder({name: make() for name, make in self._formats.items()}, self._fingerprint)


class ChunkDecoder:
    """The `Decoder` of some formats, which prepares ids too."""

    def __init__(self, formats: Mapping[str, Format], fingerprint: tuple[str, str] | None) -> None:
        self._formats: Final = formats
        self.lets_others_run: Final = all(each.lets_others_run for each in formats.values())
        self._fingerprinter: Final = None if fingerprint is None else open_fingerprinter(*fingerprint)

    def __call__(self, chunk: Chunk) -> Columns:
        columns = self._formats[chunk.source].decode(chunk)
        if self._fingerprinter is None:
            return columns
        return replace(columns, prepared_ids=prepared(columns.ids, self._fingerprinter))
