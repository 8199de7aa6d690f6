"""What decodes a chunk, here or in a worker: the source's format, and then what the index needs of the ids."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Final, Protocol, TypeAlias

from event_processor.contracts import Columns, Format
from event_processor.deduplication.fingerprint import open_fingerprinter
from event_processor.deduplication.prepared import prepared
from event_processor.event import Chunk

__all__ = ["ChunkDecoder", "Decoder", "DecoderSpec", "FormatFactory"]

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
