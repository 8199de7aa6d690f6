"""What a one-shot run reads, as options of a source: the files that were named, or standard input.

Owns: how finished input enters the configuration, and so its hash: a state belongs to these files, of these sizes, in this order.
Never: no configuration file names these; a command line does.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Final, Self

from event_processor.adapters.files.options import FileSourceOptions
from event_processor.config import ConfiguredPath
from event_processor.event import Json

__all__ = ["STANDARD_INPUT", "InputFilesOptions", "StandardInputOptions"]

STANDARD_INPUT: Final = "standard input"
_PLACE_KEYS: Final = frozenset({"path", "start"})
"""What an input says in its own way."""


class InputFilesOptions(FileSourceOptions):
    """Files that are finished, read one after the other in this order."""

    files: tuple[str, ...]
    """As they were named."""
    sizes_bytes: tuple[int, ...]
    """What each held on the disk when the run was asked for: a file that grew since is another input."""

    @classmethod
    def of(cls, template: FileSourceOptions, files: Sequence[str], sizes_bytes: Sequence[int]) -> Self:
        """`files`, with records as `template` has them. They are paths as they stand, so that nothing in them is a glob."""
        return cls.model_validate({**_copied(template), "files": tuple(files), "sizes_bytes": tuple(sizes_bytes)})

    def identity(self) -> Mapping[str, Json]:
        named = enumerate(zip(self.files, self.sizes_bytes, strict=True), start=1)
        return {
            **_identity_of_format(super().identity()),
            "type": "input files",
            **{f"file_{number}": f"{self.label(path)} ({size_bytes} bytes)" for number, (path, size_bytes) in named},
        }

    def label(self, path: str) -> str:
        """The path as it was named, which stands in the state; there, a byte that is no UTF-8 is escaped."""
        return path.encode(errors="backslashreplace").decode()

    def patterns(self) -> Sequence[str]:
        return [os.path.abspath(path) for path in self.files]


class StandardInputOptions(FileSourceOptions):
    """What comes through a descriptor, once."""

    descriptor: int = 0

    @classmethod
    def of(cls, template: FileSourceOptions, descriptor: int = 0) -> Self:
        """Standard input, with records as `template` has them."""
        return cls.model_validate({**_copied(template), "descriptor": descriptor})

    def identity(self) -> Mapping[str, Json]:
        return {**_identity_of_format(super().identity()), "type": STANDARD_INPUT}

    def patterns(self) -> Sequence[str]:
        return []


def _copied(template: FileSourceOptions) -> dict[str, object]:
    """All but the path, in whose place something stands that names nothing."""
    copied: dict[str, object] = {key: getattr(template, key) for key in FileSourceOptions.model_fields}
    return {**copied, "path": ConfiguredPath("input"), "rotated": None}


def _identity_of_format(identity: Mapping[str, Json]) -> dict[str, Json]:
    return {key: value for key, value in identity.items() if key not in _PLACE_KEYS}
