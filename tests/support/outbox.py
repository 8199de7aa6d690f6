"""What an outbox must hold, computed without the program under test; and remote sinks that only have options."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import xxhash

from event_processor.model.event import Json
from event_processor.model.remote import RemoteSinkOptions

__all__ = ["FakeRemoteOptions", "chains", "outbox_line", "place_of"]


class FakeRemoteOptions(RemoteSinkOptions):
    """A remote sink of no technology."""

    type: Literal["fake"] = "fake"
    url: str = "http://127.0.0.1:1"

    def target(self) -> Mapping[str, Json]:
        return {"type": self.type, "url": self.url}


def chains(records: Sequence[tuple[bytes, bytes]], first: int = 0, chain: str = "") -> list[str]:
    """The chain of each record (place, object) after sequence `first`."""
    found = []
    for sequence, (place, object_) in enumerate(records, start=first + 1):
        hashed = xxhash.xxh3_128()
        for part in (chain.encode(), str(sequence).encode(), place):
            hashed.update(part)
            hashed.update(b"\n")
        hashed.update(object_)
        chain = hashed.hexdigest()
        found.append(chain)
    return found


def place_of(offset: int, line: int, source: str = "log", generation: int = 1) -> bytes:
    """The place of a record, as it stands in the outbox."""
    place = {"source": source, "generation": generation, "offset": offset, "line": line}
    return json.dumps(place, separators=(",", ":")).encode()


def outbox_line(line: bytes) -> dict[str, Any]:
    """A line as JSON, its keys in the published order."""
    record: dict[str, Any] = json.loads(line)
    assert list(record) == ["sequence", "place", "@now", "@elapsed_ms", "chain", "object"]
    return record
