"""Records from a descriptor that can only be read once and forward: standard input, a pipe.

Owns: waiting for input. `content_cutter.py` cuts it into whole records.
Always: memory is bounded by the requested chunk size and the record limit, whatever comes and however it is cut. A chunk is
returned when it has the requested size or the stream has ended, so a slow writer makes no small batches. A record over the limit
is counted by its length and never kept.
Never: can be resumed; waits longer than `WAIT_S` at a time, so that a stop of the loop is noticed.
"""

from __future__ import annotations

import os
import select
from collections.abc import Mapping
from typing import Final

from event_processor.connectors.files.source_options import STANDARD_INPUT, StandardInputOptions
from event_processor.model.contracts import Clock
from event_processor.model.errors import StateError, UsageError
from event_processor.model.event import Chunk, Json
from event_processor.model.telemetry import Telemetry
from event_processor.records.compression import compression_of
from event_processor.records.content_cutter import ContentCutter
from event_processor.records.record_cutter import Cut
from event_processor.storage.durable import storage_call

__all__ = ["StreamSource"]

COMMANDS: Final = {"gzip": "zcat", "bzip2": "bzcat", "xz": "xzcat", "Zstandard": "zstdcat"}
FIRST_BYTES_MIN: Final = 4
BZIP2_BYTES_MIN: Final = 10
GENERATION: Final = 1
READ_BYTES: Final = 1 << 20
WAIT_S: Final = 0.1


class StreamSource:
    """Chunks of one stream, as `contracts.Source` promises, except that `read` waits up to `WAIT_S`."""

    def __init__(self, name: str, options: StandardInputOptions, *, clock: Clock, telemetry: Telemetry) -> None:
        """The caller still owns the descriptor."""
        self.name: Final = name
        self._descriptor: Final = options.descriptor
        self._peeked: Final = options.peeked
        self._clock: Final = clock
        self._telemetry: Final = telemetry
        self._cutter: Final = ContentCutter(options.record_bytes_max, options.items, header=options.header)
        self._is_damage_told = False
        self._first_bytes: bytes | None = b""
        self._poll: Final = select.poll()

    def open(self, positions: Mapping[int, Mapping[str, Json]], next_generation: int) -> None:
        if positions or next_generation > GENERATION:
            raise StateError(
                f"{STANDARD_INPUT}: what was read from it cannot be read again, so it cannot be resumed", hint="start a new state"
            )
        self._poll.register(self._descriptor, select.POLLIN)
        if self._peeked:
            self._take(self._peeked)

    def read(self, bytes_max: int) -> Chunk | None:
        deadline_s = self._clock.monotonic_s() + WAIT_S
        while (record := self._cutter.cut(bytes_max)) is None and not self._cutter.has_ended:
            wait_s = deadline_s - self._clock.monotonic_s()
            if wait_s <= 0 or not self._poll.poll(wait_s * 1000):
                return None
            with storage_call("read", STANDARD_INPUT):
                block = os.read(self._descriptor, READ_BYTES)
            self._take(block)
        return None if record is None else self._chunk(record)

    def lag_bytes(self) -> int:
        """Always 0: the amount of coming input is unknown."""
        return 0

    def has_more(self) -> bool:
        return not self._cutter.is_exhausted

    def wait_s(self) -> float | None:
        return None if self._cutter.is_exhausted else 0.0

    def acknowledge(self) -> None:
        """Does nothing: the source keeps nothing to release."""

    def close(self) -> None:
        """Does nothing: the descriptor is not ours."""

    def _take(self, block: bytes) -> None:
        """Takes the next bytes of the stream; no bytes mean its end."""
        if self._first_bytes is not None:
            # The start of a stream is checked once, even if its first reads give only a few bytes.
            self._first_bytes += block
            if block and _may_be_compressed(self._first_bytes):
                return
            first_block, self._first_bytes = self._first_bytes, None
            _require_plain(first_block)
            if first_block:
                self._take_content(first_block)
            if block:
                return
        self._take_content(block)

    def _take_content(self, block: bytes) -> None:
        """Takes records, or a document whose items are the records; no bytes mean its end."""
        if block:
            self._cutter.feed(block)
        else:
            self._cutter.end()
        if self._cutter.damage and not self._is_damage_told:
            self._is_damage_told = True
            self._telemetry.file_damaged(
                source=self.name,
                path=STANDARD_INPUT,
                generation=GENERATION,
                offset=self._cutter.fed_bytes,
                reason=self._cutter.damage,
            )

    def _chunk(self, cut: Cut) -> Chunk:
        position: dict[str, Json] = {
            "path": STANDARD_INPUT,
            "device": 0,
            "inode": 0,
            "offset": cut.end_offset,
            "head_hash": "",
            "tail_hash": "",
        }
        return Chunk(
            self.name,
            GENERATION,
            cut.offset,
            cut.content,
            position,
            final=cut.final,
            oversized_bytes=cut.oversized_bytes,
            head=cut.head,
            own=self._cutter.own_of(cut),
        )


def _may_be_compressed(first_bytes: bytes) -> bool:
    """Whether more bytes must come before it is certain whether they are compressed."""
    return len(first_bytes) < FIRST_BYTES_MIN or (first_bytes.startswith(b"BZh") and len(first_bytes) < BZIP2_BYTES_MIN)


def _require_plain(first_block: bytes) -> None:
    """Raises `UsageError` for compressed bytes, because none of their lines would be a record."""
    compression = compression_of(lambda size_bytes, offset: first_block[offset : offset + size_bytes])
    if compression:
        command = COMMANDS.get(compression)
        raise UsageError(
            f"{STANDARD_INPUT} is compressed ({compression}), but it is read without decompression",
            hint=f"send it through {command}, or name the file instead of -" if command else "unpack it first",
        )
