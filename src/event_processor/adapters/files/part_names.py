"""The names of a sink's parts, and which of them stand in their folder.

Owns: `{n}`, the number of a part from 1 on; and the two hidden names beside a part's own, under which it is gathered and waits.
Always: a name is of one part and one kind alone. Never: nothing here writes.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from event_processor.durable import FileSystem

__all__ = ["PART_PLACEHOLDER", "FoundParts", "PartNames"]

PART_PLACEHOLDER: Final = "{n}"
_NUMBER: Final = "([1-9][0-9]{0,17})"


@dataclass(frozen=True, slots=True)
class FoundParts:
    """The numbers of the parts that stand in a folder, ascending, by kind of file."""

    published: Sequence[int]
    pending: Sequence[int]
    complete: Sequence[int]


class PartNames:
    """The names that belong to one path with `{n}` in its last name."""

    def __init__(self, path: str) -> None:
        self._folder, self._name = os.path.split(path)
        number = _NUMBER.join(map(re.escape, self._name.split(PART_PLACEHOLDER, 1)))
        self._published: Final = re.compile(number)
        self._pending: Final = re.compile(rf"\.{number}\.pending")
        self._complete: Final = re.compile(rf"\.{number}\.complete")

    @property
    def folder(self) -> str:
        """Where all of them stand."""
        return self._folder or "."

    def published(self, number: int) -> str:
        """The part itself."""
        return os.path.join(self._folder, self._of(number))

    def pending(self, number: int) -> str:
        """Where the lines of an open part are gathered."""
        return os.path.join(self._folder, f".{self._of(number)}.pending")

    def complete(self, number: int) -> str:
        """Where a whole part waits for the checkpoint that covers it."""
        return os.path.join(self._folder, f".{self._of(number)}.complete")

    def number_of_pending(self, path: str) -> int | None:
        """Of which part `path` is the pending file."""
        folder, name = os.path.split(path)
        match = self._pending.fullmatch(name)
        return int(match[1]) if match and folder == self._folder else None

    def found(self, fs: FileSystem) -> FoundParts:
        """What is there."""
        names = fs.names(self.folder)
        kinds = (self._published, self._pending, self._complete)
        published, pending, complete = (
            sorted(int(match[1]) for match in map(kind.fullmatch, names) if match is not None) for kind in kinds
        )
        return FoundParts(published, pending, complete)

    def paths(self, fs: FileSystem) -> list[str]:
        """Every file of theirs that is there."""
        found = self.found(fs)
        return [
            *map(self.published, found.published),
            *map(self.complete, found.complete),
            *map(self.pending, found.pending),
        ]

    def _of(self, number: int) -> str:
        return self._name.replace(PART_PLACEHOLDER, str(number), 1)
