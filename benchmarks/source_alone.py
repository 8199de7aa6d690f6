"""A source of the program alone: each record is decoded and counted, as the loops beside it do.

Owns: the loop of such a contestant, and what it prints.
Never: finds duplicates, keeps totals or commits.
"""

from __future__ import annotations

import json
from collections.abc import Callable

import msgspec

from benchmarks.peers.sql_loop import Event
from event_processor.model.contracts import Source

__all__ = ["read_alone"]

CHUNK_BYTES = 4_194_304


def read_alone(source: Source, records: int, wait: Callable[[], None]) -> None:
    """Reads, decodes and counts so many records. `wait` is called if there is no chunk yet."""
    decode, read, value = msgspec.json.Decoder(Event).decode_lines, 0, 0.0
    source.open({}, 1)
    while read < records:
        chunk = source.read(CHUNK_BYTES)
        if chunk is None:
            wait()
            continue
        events = decode(chunk.content)
        value += sum(event.value for event in events)
        read += len(events)
    source.close()
    print(json.dumps({"records": read, "value": value}))
