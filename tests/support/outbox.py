"""What an outbox must hold, computed without the program under test; and remote sinks that only have options."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import xxhash

from event_processor.model.event import Json
from event_processor.model.remote import RemoteSinkOptions

__all__ = ["CommittedSeries", "FakeRemoteOptions", "chains", "outbox_line", "place_of"]


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


@dataclass(frozen=True)
class CommittedSeries:
    """What a checkpoint covers of one input's outbox: its records (place, object), their chains, and how many files there are."""

    records: list[tuple[bytes, bytes]]
    chains: list[str]
    files: int

    @classmethod
    def read(cls, read: Callable[[str], bytes | None], folder: str, input_name: str) -> CommittedSeries:
        """From `folder`/state; `read` gives a file's bytes. The document agrees with the records, and no sequence is missing."""
        state = json.loads(read(f"{folder}/state/checkpoint.json") or b"")["state"]
        document = state["outbox"][input_name]
        lengths = {
            name: length_bytes
            for name, length_bytes in sorted(state["appended"].items())
            if name.startswith(f"outbox/{input_name}.0")
        }
        lines = []
        for name, length_bytes in lengths.items():
            content = (read(f"{folder}/state/{name}") or b"")[:length_bytes]
            assert len(content) == length_bytes
            assert content.endswith(b"\n")
            first = json.loads(content.partition(b"\n")[0])["sequence"]
            assert f".{first:012}." in name
            lines += content.splitlines()
        found = [outbox_line(line) for line in lines]
        assert [record["sequence"] for record in found] == list(range(document["first"] + 1, document["sequence"] + 1))
        assert document["chain"] == (found[-1]["chain"] if found else document["first_chain"])
        records = [
            (json.dumps(record["place"], separators=(",", ":")).encode(), line.partition(b'","object":')[2][:-1])
            for record, line in zip(found, lines, strict=True)
        ]
        assert [record["chain"] for record in found] == chains(records, document["first"], document["first_chain"])
        return cls(records, [record["chain"] for record in found], len(lengths))
