"""A source's options of an connector that there is none of: for tests of what holds for every connector."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

from event_processor.configuration.configuration import ConfiguredPath, SourceOptions
from event_processor.model.event import Json


class TapeOptions(SourceOptions):
    type: Literal["tape", "disk"] = "tape"
    path: ConfiguredPath = ConfiguredPath("log.jsonl")

    def identity(self) -> Mapping[str, Json]:
        return {"type": self.type, "path": self.path.written}

    def patterns(self) -> Sequence[str]:
        return (self.path,)
