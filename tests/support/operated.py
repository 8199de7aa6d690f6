"""States for the operations to work on: a log, its configuration, and a run over it, on a real folder or a simulated disk."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from msgspec import structs

from event_processor.assembly import Environment
from event_processor.configuration.configuration import Configuration
from event_processor.engine.checkpoint import CheckpointStore
from event_processor.engine.checkpoint_document import Checkpoint, encode_checkpoint
from event_processor.model.telemetry import Telemetry
from event_processor.storage.durable import FileSystem, OperatingSystem
from support import engine

__all__ = ["Place", "event_line", "lines"]


def event_line(event_id: object, category: str = "a", value: object = 1) -> bytes:
    """One record with its line end."""
    return json.dumps({"id": event_id, "category": category, "value": value}).encode() + b"\n"


def lines(ids: Sequence[object], category: str = "a") -> bytes:
    """One record for each id."""
    return b"".join(event_line(event_id, category) for event_id in ids)


@dataclass(frozen=True)
class Place:
    """A folder with `log.jsonl`, `state/` and `out/ordered.jsonl`, and how it is configured."""

    folder: str
    fs: FileSystem
    settings: Configuration

    @classmethod
    def real(cls, path: Path, **sections: Any) -> Place:
        return cls(str(path), OperatingSystem(), engine.configuration(str(path), **sections))

    @property
    def environment(self) -> Environment:
        return engine.environment(self.fs, seed=hash_of_names(self.fs, self.folder) + 1)

    def configured(self, **sections: Any) -> Place:
        """The same folder under another configuration."""
        return replace(self, settings=engine.configuration(self.folder, **sections))

    def append(self, content: bytes, name: str = "log.jsonl") -> None:
        with Path(self.folder, name).open("ab") as log:
            log.write(content)

    def run(self, *, drain: bool = False) -> None:
        engine.run(self.fs, self.settings, seed=hash_of_names(self.fs, self.folder), drain=drain)

    def path(self, *names: str) -> Path:
        return Path(self.folder, *names)

    def read(self, *names: str) -> bytes:
        return self.path(*names).read_bytes()

    def state(self) -> dict[str, Any]:
        """`state` of the checkpoint, as it stands in the file."""
        return dict(json.loads(self.read("state", "checkpoint.json"))["state"])

    def comparable(self) -> dict[str, Any]:
        """The same without what depends on history."""
        return engine.comparable(self.read("state", "checkpoint.json"))

    def rewrite(self, change: dict[str, Any]) -> None:
        """Puts a checkpoint with a right checksum but other numbers in place: what a bug of ours would leave."""
        found = CheckpointStore(self.fs, f"{self.folder}/state", Telemetry()).peek()
        assert found is not None
        wrong = Checkpoint(structs.replace(found.state, **change), found.meta)
        self.path("state", "checkpoint.json").write_bytes(encode_checkpoint(wrong))


def hash_of_names(fs: FileSystem, folder: str) -> int:
    """A seed that differs with what is there, so that no name is minted twice."""
    names = [name for below in ("state", "state/ids", "state/held") for name in fs.names(f"{folder}/{below}")]
    return sum(map(ord, "".join(names)))
