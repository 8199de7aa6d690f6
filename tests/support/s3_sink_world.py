"""A lane that writes into a real S3 server, faults at any of its writes, and what a reader of the manifest finds.

Owns: `S3SinkWorld`, `Fault`, and one life of a lane.
Always: the reader knows the manifest and the names of objects alone, and nothing of the package.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any, Final

import obstore

from event_processor.connectors.s3.bucket_writing import WritableBucket
from event_processor.connectors.s3.client import RequestError
from event_processor.connectors.s3.sink_options import S3SinkOptions
from event_processor.connectors.s3.sink_receiver import S3Receiver, Writer
from event_processor.engine.delivery.cursor_file import read_cursor
from event_processor.engine.delivery.reports import LaneReport
from event_processor.storage.durable import OperatingSystem
from support.lane_lives import WITHIN_S, KilledError, killed, lived
from support.lanes import Bench, MemoryOutbox
from support.s3_server import ACCESS_KEY, SECRET, S3Server

__all__ = ["WITHIN_S", "Fault", "KilledError", "S3SinkWorld", "killed", "lost"]

_WRITERS: Final = count(1)


def lost() -> None:
    raise RequestError("connection reset")


@dataclass
class Fault:
    """At the `nth` write, counted from 1: `event` happens before it; if `after`, after it. It may raise: `KilledError`, or as `lost` does."""

    nth: int = 0
    after: bool = False
    event: Callable[[], object] = lambda: None
    writes: int = 0
    is_dead: bool = False
    ignored: str = "-"
    """ "create" or "match": the service ignores this condition. "refuse": it refuses every condition, as one that does not implement them."""

    @property
    def was_met(self) -> bool:
        return 0 < self.nth <= self.writes


class FaultyBucket(WritableBucket):
    """A bucket whose writes fail."""

    def __init__(self, options: S3SinkOptions, fault: Fault) -> None:
        super().__init__(options, OperatingSystem(), {"SECRET": SECRET})
        self._fault = fault

    async def _put(self, key: str, content: bytes, mode: Any, metadata: Mapping[str, str] | None) -> str:
        fault = self._fault
        if fault.ignored == "refuse" and mode != "overwrite":
            raise RequestError("501: NotImplemented", status="501")
        if fault.ignored == ("create" if mode == "create" else "match" if mode != "overwrite" else ""):
            # As a service does that does not know the header.
            mode = "overwrite"
        if fault.is_dead:
            raise KilledError
        fault.writes += 1
        try:
            if fault.writes == fault.nth and not fault.after:
                fault.event()
            found = await super()._put(key, content, mode, metadata)
            if fault.writes == fault.nth and fault.after:
                fault.event()
        except KilledError:
            fault.is_dead = True
            raise
        return found


@dataclass
class S3SinkWorld:
    """A bucket of its own."""

    server: S3Server
    bucket: str
    address: str = ""
    tokens: Any = field(default_factory=count)

    @classmethod
    def of(cls, server: S3Server) -> S3SinkWorld:
        return cls(server, server.new_bucket())

    def options(self, **keys: object) -> S3SinkOptions:
        given = {
            "type": "s3",
            "url": f"s3://{self.bucket}/out",
            "endpoint": self.address or self.server.address,
            "access_key_id": ACCESS_KEY,
            "secret_access_key_env": "SECRET",
        }
        return S3SinkOptions.model_validate({**given, **keys})

    def receiver_of(self, fault: Fault | None = None, **keys: object) -> Callable[[], S3Receiver]:
        """What makes receivers of one process."""
        options = self.options(**keys)
        writer = Writer(f"host:{next(_WRITERS)}:x", "event-processor test", lambda: 0, lambda: f"t{next(self.tokens)}")
        return lambda: S3Receiver(options, FaultyBucket(options, fault or Fault()), writer)

    def bench(self, state: Path, outbox: MemoryOutbox, made: Callable[[], S3Receiver] | None = None, **keys: Any) -> Bench:
        keys.setdefault("request_events_max", 7)
        return Bench(str(state), outbox, made or self.receiver_of(), **keys)

    def deliver(self, state: Path, outbox: MemoryOutbox, made: Callable[[], S3Receiver] | None = None, **keys: Any) -> LaneReport:
        """One process that ends when nothing is pending, or when its lane failed. Raises `KilledError` if it was killed."""
        return lived(lambda: self.bench(state, outbox, made, **keys))

    def all_keys(self) -> list[str]:
        return sorted(str(each["path"]) for page in obstore.list(self.server.store(self.bucket)) for each in page)

    def content(self, key: str) -> bytes:
        return bytes(obstore.get(self.server.store(self.bucket), key).bytes())

    def manifest(self, lane: str = "remote") -> dict[str, Any]:
        return dict(json.loads(self.content(f"out/pipeline/{lane}/manifest.json")))

    def named(self, lane: str = "remote") -> dict[str, list[dict[str, Any]]]:
        """What a reader of the manifest finds: the records of each object that it names, by key."""
        manifest = self.manifest(lane)
        found: dict[str, list[dict[str, Any]]] = {}
        for key in self.all_keys():
            name = key.removeprefix(manifest["folder"])
            if name != key and int(name[:20]) <= manifest["through"]:
                content = self.content(key)
                lines = (gzip.decompress(content) if key.endswith(".gz") else content).splitlines()
                found[key] = [json.loads(line) for line in lines]
        assert len(found) == manifest["objects"] or not manifest["is_conditional"]
        return found

    def numbers(self, lane: str = "remote") -> list[int]:
        """The field `n` of all records of all objects that the manifest names, in the order of the objects."""
        return [record["n"] for records in self.named(lane).values() for record in records]

    def require_true(self, state: Path, report: LaneReport, lane: str = "remote") -> None:
        """The manifest, its mirror and the report say the same."""
        manifest = self.manifest(lane)
        mirror = read_cursor(OperatingSystem(), str(state), lane)
        assert mirror is not None
        assert (mirror.sequence, mirror.chain, mirror.answered) == (manifest["through"], manifest["chain"], ())
        counts = [manifest["delivered"], manifest["failed"], manifest["skipped"]]
        assert [mirror.counts.delivered, mirror.counts.failed, mirror.counts.skipped] == counts
        assert [report.delivered, report.failed, report.skipped] == counts
        assert len(self.numbers(lane)) == manifest["delivered"]
