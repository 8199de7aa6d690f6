"""The rotated files of one path, and their order by name.

Owns: finding them, and the order in which they are read.
Always: the order is oldest first, with the live file last. A compressed twin beside its original is ignored: it may be half
written. A listing is used only after it was the same twice, because a rotation may be going on while we look.
Never: opens a file or remembers anything.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from event_processor.connectors.files.following.names import NameOrder, NameShape, order_within, without_compression
from event_processor.connectors.files.paths import PathPattern, look_at, names_in
from event_processor.connectors.files.source_options import FileSourceOptions
from event_processor.storage.durable import FileStatus, FileSystem

__all__ = ["Candidate", "Rotations", "are_ordered_by_name", "in_order", "missing_links", "numbers_ascend"]

LISTINGS_MAX: Final = 5
MISSING_MAX: Final = 100
"""A longer gap between two numbers is no gap in a chain."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A file that may hold a generation of the path. `is_live`: it is at the path itself.

    `order`: its place by its name, if the name means one. `is_rotation`: it may hold records that were not read yet; otherwise it
    is only a place where a file that was read may be found again.
    """

    path: str
    status: FileStatus
    is_live: bool
    order: NameOrder | None = None
    is_rotation: bool = True

    def is_modified_after(self, time_ns: int | None) -> bool:
        """Whether it was modified after `time_ns`; False if that is unknown."""
        return time_ns is not None and self.status.modified_ns > time_ns

    @property
    def bare_name(self) -> str:
        """Its name without the suffix of a compression."""
        return without_compression(os.path.basename(self.path))

    def has_inode_of(self, status: FileStatus) -> bool:
        """Whether `status` has the same inode."""
        return (self.status.device, self.status.inode) == (status.device, status.inode)


class Rotations:
    """The rotated files of one path."""

    def __init__(self, fs: FileSystem, path: str, options: FileSourceOptions) -> None:
        pattern = options.rotated_pattern(path)
        self._fs: Final = fs
        self._path: Final = path
        self._names_decide: Final = options.names_decide
        self._pattern: Final = PathPattern(pattern) if pattern else None
        self._shape: Final = NameShape(os.path.basename(path), numbers_infix=not options.is_glob)

    @property
    def prefix(self) -> str:
        """The prefix of all rotated files' names."""
        return self._pattern.literal_prefix if self._pattern else os.path.join(os.path.dirname(self._path), self._shape.stem)

    def owns(self, path: str) -> bool:
        """Whether `path` is the name of a rotated file of this path."""
        if self._pattern:
            return path != self._path and self._pattern.matches(path)
        folder, name = os.path.split(path)
        return folder == os.path.dirname(self._path) and self._shape.order_of(name) is not None

    def live(self) -> list[Candidate]:
        """Only the file at the path, if there is one: one stat instead of a listing. Raises `StorageError`."""
        status = look_at(self._fs, self._path).status
        return [Candidate(self._path, status, is_live=True)] if status else []

    def candidates(self) -> list[Candidate]:
        """The live file and the others that are not empty, oldest first. Raises `StorageError`."""
        listing = self._listing()
        for _ in range(LISTINGS_MAX):
            before, listing = listing, self._listing()
            if _names(before) == _names(listing):
                break
        return in_order(listing)

    def place_by_name(self, status: FileStatus) -> tuple[str, str | None]:
        """`named` and `follows` of the file with the inode of `status`. Empty and None unless names decide. Raises `StorageError`."""
        candidates = self.candidates() if self._names_decide else []
        place = next((place for place, each in enumerate(candidates) if each.has_inode_of(status)), None)
        if place is None:
            return "", None
        if candidates[place].is_live:
            return "", candidates[place - 1].bare_name if place else ""
        return candidates[place].bare_name, None

    def beside(self) -> list[str]:
        """The files beside the log whose names begin like its name and that are not read. Raises `StorageError`."""
        folder = os.path.dirname(self._path)
        paths = [os.path.join(folder, name) for name in names_in(self._fs, folder or ".") if self._shape.is_beside(name)]
        return [path for path in paths if not self.owns(path) and look_at(self._fs, path).status]

    def _listing(self) -> list[Candidate]:
        live = self.live()
        found = {path: order for path, order in self._named() if path != self._path}
        listed = []
        for path, (order, is_rotation) in found.items():
            if without_compression(path) != path and without_compression(path) in found:
                continue
            status = look_at(self._fs, path).status
            # A link to the live file, or the file that the path links to, is the live file under another name.
            is_another = self._names_decide or not any(each.has_inode_of(status) for each in live if status)
            if status and status.size_bytes and is_another:
                listed.append(Candidate(path, status, False, order, is_rotation))
        # If names decide, the file was set aside since we looked at the path, or is about to be. Later files may be in the listing too:
        # if it stayed the live one, it would sort after them, and would never be read.
        return [*listed, *(each for each in live if not any(each.has_inode_of(other.status) for other in listed))]

    def _named(self) -> Iterator[tuple[str, tuple[NameOrder | None, bool]]]:
        """Yields each path that may hold a generation, its order, and whether it is a rotated file."""
        if self._pattern:
            yield from ((path, (order_within(os.path.basename(path)), True)) for path in self._pattern.expand(self._fs))
            return
        yield from self._linked()
        folder = os.path.dirname(self._path)
        for name in names_in(self._fs, folder or "."):
            order = self._shape.order_of(name)
            if order or self._shape.is_derived(name):
                yield os.path.join(folder, name), (order, order is not None)

    def _linked(self) -> Iterator[tuple[str, tuple[NameOrder | None, bool]]]:
        """If the path is a symbolic link, yields the files whose names differ from its target's only in the order."""
        target = self._fs.link_target(self._path)
        if target is None:
            return
        folder, name = os.path.split(os.path.join(os.path.dirname(self._path), target))
        own = order_within(name)
        if own is None:
            return
        for sibling in names_in(self._fs, folder or "."):
            order = order_within(sibling)
            if order and order.kind == own.kind and _without_digits(sibling) == _without_digits(name):
                yield os.path.join(folder, sibling), (order, True)


def are_ordered_by_name(candidates: Sequence[Candidate]) -> bool:
    """Whether the names of all rotated files mean an order of one kind."""
    return len(
        {each.order.kind if each.order else "" for each in candidates if not each.is_live and each.is_rotation} - {""}
    ) <= 1 and all(each.order for each in candidates if not each.is_live and each.is_rotation)


def in_order(candidates: Sequence[Candidate], *, ascends: bool = False) -> list[Candidate]:
    """Sorts oldest first, the live file last, and files that are no rotations first.

    Names decide if all rotated files have an order of one kind: dates ascend; numbers descend as logrotate counts, or ascend
    (`ascends`). Any other names are sorted by modification time.
    """
    rotated = [each for each in candidates if not each.is_live and each.is_rotation]
    rotated.sort(key=lambda each: (each.status.modified_ns, each.path))
    if are_ordered_by_name(candidates) and rotated:
        is_reversed = any(each.order and each.order.kind == "number" for each in rotated) and not ascends
        rotated.sort(key=lambda each: each.order.key if each.order else (), reverse=is_reversed)
    others = [each for each in candidates if not each.is_live and not each.is_rotation]
    return [*others, *rotated, *(each for each in candidates if each.is_live)]


def missing_links(older: Candidate, newer: Candidate, *, ascends: bool = False) -> list[int]:
    """The numbers between two files in a chain of numbers; empty if they are adjacent or have no numbers.

    If numbers ascend, nothing says how many files there are before the live one.
    """
    first, last = _number(older), 0 if newer.is_live and not ascends else _number(newer)
    if older.is_live or first is None or last is None:
        return []
    missing = range(first + 1, last) if ascends else range(first - 1, last, -1)
    return list(missing) if len(missing) <= MISSING_MAX else []


def numbers_ascend(rotated: Sequence[Candidate], ranks: Mapping[str, int], *, is_complete: bool) -> tuple[bool, bool]:
    """Whether numbers ascend from older to newer files, and whether modification times decided that.

    The files that were read show it: `ranks`, by path, say in which order. If there is only one of them, the new files are on one side
    of it; that is certain only if all files that were read are known (`is_complete`).
    """
    numbers = {each.path: number for each in rotated if (number := _number(each)) is not None}
    if not numbers:
        return False, False
    ranks = {path: rank for path, rank in ranks.items() if path in numbers}
    newest = max(ranks, key=lambda path: ranks[path], default=None)
    if newest is not None:
        steps = [numbers[path] - numbers[newest] for path, rank in ranks.items() if rank < ranks[newest]]
        if steps:
            return sum(step < 0 for step in steps) > sum(step > 0 for step in steps), False
        sides = {numbers[path] > numbers[newest] for path in numbers if path not in ranks}
        if len(sides) == 1:
            return is_complete and sides == {True}, False
        if sides:
            return _numbers_ascend_in_time(rotated), True
        return False, False
    ascends = _numbers_ascend_in_time(rotated)
    return ascends, ascends


def _numbers_ascend_in_time(rotated: Sequence[Candidate]) -> bool:
    """Whether all modification times, of at least three files, say that the numbers ascend. The last resort: times lie."""
    numbered = sorted((each for each in rotated if _number(each) is not None), key=lambda each: _number(each) or 0)
    times = [each.status.modified_ns for each in numbered]
    return len(times) > 2 and all(earlier < later for earlier, later in pairwise(times))


def _number(candidate: Candidate) -> int | None:
    return candidate.order.number if candidate.order else None


def _names(candidates: Sequence[Candidate]) -> list[tuple[str, int, int]]:
    return [(each.path, each.status.device, each.status.inode) for each in candidates]


def _without_digits(name: str) -> str:
    return "".join(character for character in without_compression(name) if not character.isdigit())
