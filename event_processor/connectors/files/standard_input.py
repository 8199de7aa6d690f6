"""Records from a descriptor that can be read once and forward only: standard input, a pipe.

Owns: waiting for what comes. `record_cutter.py` cuts it into whole records.
Always: memory is bounded by the chunk that is asked for and the record limit, whatever comes and however it is cut. A chunk is given once
it is as long as was asked for, or the stream has ended, so that a slow writer makes no small batches. A record over the limit is counted by its length
and never held.
Never: nothing here can be resumed, nor does it wait longer than `WAIT_S` at a time, so that whoever stops the loop is heard.
"""

from __future__ import annotations

import os
import select
from collections.abc import Mapping
from typing import Final

from event_processor.connectors.files.content import GZIP_MAGIC, ZSTD_MAGIC
from event_processor.connectors.files.record_cutter import Cut, RecordCutter
from event_processor.connectors.files.source_options import STANDARD_INPUT, StandardInputOptions
from event_processor.model.contracts import Clock
from event_processor.model.errors import StateError, UsageError
from event_processor.model.event import Chunk, Json
from event_processor.model.telemetry import Telemetry
from event_processor.records.json_documents import DocumentError, ItemCutter
from event_processor.storage.durable import storage_call

__all__ = ["StreamSource"]

GENERATION: Final = 1
READ_BYTES: Final = 1 << 20
WAIT_S: Final = 0.1


class StreamSource:
    """Chunks of one stream, as `contracts.Source` promises, but for the wait of up to `WAIT_S` in `read`."""

    def __init__(self, name: str, options: StandardInputOptions, *, clock: Clock, telemetry: Telemetry) -> None:
        """The descriptor stays its owner's."""
        self.name: Final = name
        self._descriptor: Final = options.descriptor
        self._clock: Final = clock
        self._telemetry: Final = telemetry
        self._items: Final = ItemCutter(options.items) if options.items else None
        self._cutter: Final = RecordCutter(options.record_bytes_max)
        self._first_bytes: bytes | None = b""
        self._poll: Final = select.poll()

    def open(self, positions: Mapping[int, Mapping[str, Json]], next_generation: int) -> None:
        if positions or next_generation > GENERATION:
            raise StateError(f"{STANDARD_INPUT}: what was read of it is gone, and cannot be resumed", hint="begin a new state")
        self._poll.register(self._descriptor, select.POLLIN)

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
        """What is still to come, nobody knows."""
        return 0

    def has_more(self) -> bool:
        return not self._cutter.is_exhausted

    def wait_s(self) -> float | None:
        return None if self._cutter.is_exhausted else 0.0

    def acknowledge(self) -> None:
        """Nothing to give back."""

    def close(self) -> None:
        """The descriptor is not ours."""

    def _take(self, block: bytes) -> None:
        """The next bytes of the stream; none at its end."""
        if self._first_bytes is not None:
            # How a stream begins is looked at once, however few bytes it begins with.
            self._first_bytes += block
            if block and len(self._first_bytes) < len(ZSTD_MAGIC):
                return
            first_block, self._first_bytes = self._first_bytes, None
            _require_plain(first_block)
            if first_block:
                self._take_content(first_block)
            if block:
                return
        self._take_content(block)
        if not block:
            self._cutter.end()

    def _take_content(self, block: bytes) -> None:
        """The records themselves, or a document whose items they are."""
        if self._items is None:
            self._cutter.feed(block)
            return
        lines: list[bytes] = []
        try:
            # What comes before a fault counts.
            lines.extend(self._items.feed(block) if block else self._items.finish())
        except DocumentError as error:
            self._cutter.feed(b"".join(lines))
            self._telemetry.file_damaged(
                source=self.name, path=STANDARD_INPUT, generation=GENERATION, offset=self._cutter.fed_bytes, reason=str(error)
            )
            # What follows a fault is no document any more.
            self._cutter.end()
            return
        self._cutter.feed(b"".join(lines))

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
        )


def _require_plain(first_block: bytes) -> None:
    """Raises `UsageError` for compressed bytes, of which no line would be a record."""
    for magic, command in ((GZIP_MAGIC, "zcat"), (ZSTD_MAGIC, "zstdcat")):
        if first_block.startswith(magic):
            raise UsageError(
                f"{STANDARD_INPUT} is compressed, and is read as it comes",
                hint=f"send it through {command}, or name the file instead of -",
            )
