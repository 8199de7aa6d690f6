"""What a file sink may be told.

Owns: the keys of `[sinks.NAME]` with `type = "file"`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from pydantic import Field

from event_processor.config import ConfiguredPath, SinkOptions

__all__ = ["FileSinkOptions"]


class FileSinkOptions(SinkOptions):
    """Events appended to a file, exactly once for readers that stop at the committed length."""

    type: Literal["file"] = "file"
    """Where it writes: a local file."""
    input: str = "events"
    """What it writes: "events", in the order of [order], or "aggregates.NAME", the rows of that aggregate's windows."""
    path: ConfiguredPath = Field(examples=["out/ordered.jsonl"])
    """The file, appended to by us alone; what stands behind the committed length is cut off at a start."""
    format: Literal["jsonl"] = "jsonl"
    """How it writes: one JSON object a line."""

    def paths(self) -> Sequence[str]:
        return (self.path,)
