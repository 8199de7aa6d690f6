"""What the configuration says about a source of type file, and the names that its files bear in the state.

Always: `label` and `path_of` are inverses; a label starts where the written path starts, so a moved folder keeps its state.
Never: nothing here opens a file.
"""

from __future__ import annotations

import glob
import os
from collections.abc import Mapping, Sequence
from typing import Final, Literal, Self

from pydantic import Field, model_validator

from event_processor.config import ConfiguredPath, SourceOptions
from event_processor.event import Json

__all__ = ["FileSourceOptions"]

NAME_PLACEHOLDER: Final = "{name}"


class FileSourceOptions(SourceOptions):
    """A log file, or a glob of them, each followed through its rotations."""

    type: Literal["file"] = "file"
    path: ConfiguredPath
    """The file, or a glob (`*`, `?`, `[…]`; no `**`). A relative path starts from the configuration's folder."""
    format: Literal["jsonl"] = "jsonl"
    """How a record is written; never guessed from the name."""
    start: Literal["beginning", "end"] = "beginning"
    """Where reading begins in the files that are there at the very first start. With "end", what they hold already is never
    counted. Files that appear later are always read whole."""
    record_bytes_max: int = Field(default=1_048_576, ge=16, le=1 << 30)
    """A longer record is rejected with its offset and length. A chunk may hold this much in memory."""
    poll_interval_ms: int = Field(default=200, ge=1, le=3_600_000)
    """How often files are looked at where no notice of a change comes."""
    rotated: ConfiguredPath | None = Field(default=None, examples=["events/events.jsonl.*"])
    """Where rotated files go: a glob; by default the path and `.*`. With a glob in `path` it must contain `{name}`, the name
    of the file that was rotated."""
    retire_ms: int = Field(default=5000, ge=0, le=86_400_000)
    """A rotated file is finished once it did not grow for this long. What is written to it later is not seen."""

    @model_validator(mode="after")
    def _globs_are_sound(self) -> Self:
        if "**" in self.path:
            raise ValueError('"**" is not supported in path: name each level')
        if self.is_glob and self.rotated is not None and NAME_PLACEHOLDER not in self.rotated:
            raise ValueError('rotated must contain "{name}" where path is a glob, or files could not be told apart')
        return self

    @property
    def is_glob(self) -> bool:
        """Whether `path` stands for any number of files."""
        return glob.has_magic(self.path)

    def identity(self) -> Mapping[str, Json]:
        return {
            "type": self.type,
            "path": self.path.written,
            "format": self.format,
            "start": self.start,
            "record_bytes_max": self.record_bytes_max,
        }

    def patterns(self) -> Sequence[str]:
        if self.rotated is not None:
            return [self.path, self.rotated.replace(NAME_PLACEHOLDER, "*")]
        return [self.path, self.path + ".*" if self.is_glob else self.rotated_pattern(self.path)]

    def rotated_pattern(self, path: str) -> str:
        """The glob of the rotated files of the file at `path`."""
        if self.rotated is None:
            return glob.escape(path) + ".*"
        return self.rotated.replace(NAME_PLACEHOLDER, glob.escape(os.path.basename(path)))

    def label(self, path: str) -> str:
        """The name of `path` in the state: relative to the folder that the written path starts from."""
        base = self._base()
        # A configured path is more than a string; what goes into the state must be one and no more.
        return str(path[len(base) :] if base and path.startswith(base) else path)

    def path_of(self, label: str) -> str:
        """The path that `label` names."""
        return label if os.path.isabs(label) else self._base() + label

    def _base(self) -> str:
        """The part of `path` before what was written; empty where that cannot be told, or an absolute path was written."""
        written = os.path.normpath(self.path.written)
        if os.path.isabs(written) or not self.path.endswith("/" + written):
            return ""
        return self.path[: -len(written)]
