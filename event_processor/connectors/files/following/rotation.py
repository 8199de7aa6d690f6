"""The rotated files of one path, and their order.

Owns: finding them, and the order in which they are read.
Always: the order is oldest first, with the live file last. A compressed twin beside its original is ignored: it may be half
written. A listing is used only after it was the same twice, because a rotation may be going on while we look.
Never: opens a file or remembers anything.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from event_processor.connectors.files.content import COMPRESSED_SUFFIXES
from event_processor.connectors.files.paths import PathPattern, look_at
from event_processor.storage.durable import FileStatus, FileSystem

__all__ = ["Candidate", "Rotations", "in_order", "missing_links"]

LISTINGS_MAX: Final = 5
NUMBERED: Final = re.compile(r"(?<=[.-])(\d{1,4})$")
DATED: Final = re.compile(r"[.-](\d{4}[\d.:T_-]*\d)(?=$|\.[A-Za-z]+$)")


@dataclass(frozen=True, slots=True)
class Candidate:
    """A file that may hold a generation of the path. `is_live`: it is at the path itself."""

    path: str
    status: FileStatus
    is_live: bool

    def is_modified_after(self, time_ns: int | None) -> bool:
        """Whether it was modified after `time_ns`; False if that is unknown."""
        return time_ns is not None and self.status.modified_ns > time_ns


class Rotations:
    """The rotated files of one path."""

    def __init__(self, fs: FileSystem, path: str, rotated_pattern: str) -> None:
        self._fs: Final = fs
        self._path: Final = path
        self._pattern: Final = PathPattern(rotated_pattern)

    @property
    def prefix(self) -> str:
        """The prefix of all rotated files' names."""
        return self._pattern.literal_prefix

    def owns(self, path: str) -> bool:
        """Whether `path` is the name of a rotated file of this path."""
        return path != self._path and self._pattern.matches(path)

    def live(self) -> list[Candidate]:
        """Only the file at the path, if there is one: one stat instead of a listing. Raises `StorageError`."""
        status = look_at(self._fs, self._path).status
        return [Candidate(self._path, status, is_live=True)] if status else []

    def candidates(self) -> list[Candidate]:
        """The live file and the rotated ones that are not empty, oldest first. Raises `StorageError`."""
        listing = self._listing()
        for _ in range(LISTINGS_MAX):
            before, listing = listing, self._listing()
            if _names(before) == _names(listing):
                break
        return in_order(listing)

    def _listing(self) -> list[Candidate]:
        paths = [path for path in self._pattern.expand(self._fs) if path != self._path]
        known = set(paths)
        originals = [path for path in paths if _without_compression(path) == path or _without_compression(path) not in known]
        looks = [(path, look_at(self._fs, path).status) for path in originals]
        rotated = [Candidate(path, status, is_live=False) for path, status in looks if status and status.size_bytes]
        return [*rotated, *self.live()]


def in_order(candidates: Sequence[Candidate]) -> list[Candidate]:
    """Sorts oldest first, the live file last.

    Names decide if all rotated files follow one scheme: dates ascend; numbers descend as logrotate counts, unless modification
    times show that they ascend. Any other names are sorted by modification time. So if names decide, touching a file moves
    nothing.
    """
    rotated = sorted((each for each in candidates if not each.is_live), key=lambda each: (each.status.modified_ns, each.path))
    numbers = {each.path: number for each in rotated if (number := _number(each.path)) is not None}
    dates = {each.path: date for each in rotated if (date := _date(each.path))}
    if len(dates) == len(rotated):
        rotated.sort(key=lambda each: dates[each.path])
    elif len(numbers) == len(rotated):
        rotated.sort(key=lambda each: numbers[each.path], reverse=not _numbers_ascend(rotated, numbers))
    return [*rotated, *(each for each in candidates if each.is_live)]


def missing_links(older: Candidate, newer: Candidate) -> list[int]:
    """The numbers between two files in logrotate's count; empty if they are adjacent or have no numbers."""
    first, last = _number(older.path), 0 if newer.is_live else _number(newer.path)
    if older.is_live or first is None or last is None or _date(older.path):
        return []
    return list(range(first - 1, last, -1))


def _numbers_ascend(rotated: Sequence[Candidate], numbers: dict[str, int]) -> bool:
    """Whether more neighbours in time ascend by number than descend: some rotators count up."""
    steps = [
        numbers[later.path] - numbers[earlier.path]
        for earlier, later in pairwise(rotated)
        if earlier.status.modified_ns < later.status.modified_ns
    ]
    return sum(step > 0 for step in steps) > sum(step < 0 for step in steps)


def _number(path: str) -> int | None:
    found = NUMBERED.search(_without_compression(path))
    return int(found.group(1)) if found else None


def _date(path: str) -> str | None:
    found = DATED.search(os.path.basename(_without_compression(path)))
    return found.group(1) if found and sum(map(str.isdigit, found.group(1))) >= len("YYYYMMDD") else None


def _names(candidates: Sequence[Candidate]) -> list[tuple[str, int, int]]:
    return [(each.path, each.status.device, each.status.inode) for each in candidates]


def _without_compression(path: str) -> str:
    return next((path.removesuffix(suffix) for suffix in COMPRESSED_SUFFIXES if path.endswith(suffix)), path)
