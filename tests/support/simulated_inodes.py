"""What a simulated disk holds: files, folders, and what of them would outlive a power cut.

Owns: for each file its live bytes, its durable bytes and the changes between the two; for all folders together the names
that are durable and the operations on names that are not yet.
Always: `live` is what a process sees; a power cut is a function of `durable`, the pending changes and the random numbers given.
Never: no fault and no descriptor is known here.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise
from random import Random
from typing import Final, TypeAlias

__all__ = ["PAGE_BYTES", "ROOT_INODE", "Cut", "NameChange", "NameJournal", "Node", "SimulatedFile", "SimulatedFolder", "Write"]

PAGE_BYTES: Final = 4096
"""Pages reach a disk whole and in any order; within the last one written a write may be torn at any byte."""
ROOT_INODE: Final = 2


@dataclass(frozen=True, slots=True)
class Write:
    """Bytes put at an offset; a gap before them is zeros."""

    offset: int
    content: bytes

    def apply(self, image: bytearray) -> None:
        """Makes the change in `image`."""
        if self.offset > len(image):
            image.extend(bytes(self.offset - len(image)))
        image[self.offset : self.offset + len(self.content)] = self.content

    def pages(self) -> list[Write]:
        """The same bytes as one write a page."""
        first = PAGE_BYTES - self.offset % PAGE_BYTES
        cuts = [0, *range(first, len(self.content), PAGE_BYTES), len(self.content)]
        return [Write(self.offset + a, self.content[a:b]) for a, b in pairwise(cuts) if b > a]


@dataclass(frozen=True, slots=True)
class Cut:
    """The file made exactly this long: shorter, or longer by zeros."""

    size_bytes: int

    def apply(self, image: bytearray) -> None:
        """Makes the change in `image`."""
        del image[self.size_bytes :]
        image.extend(bytes(self.size_bytes - len(image)))


@dataclass(slots=True, eq=False)
class SimulatedFile:
    """A regular file, by whatever names it goes, or by none."""

    inode: int
    modified_ns: int
    live: bytearray = field(default_factory=bytearray)
    durable: bytearray = field(default_factory=bytearray)
    pending: list[Write | Cut] = field(default_factory=list)

    def change(self, change: Write | Cut) -> None:
        """Changes the live bytes; durable only after `sync`."""
        change.apply(self.live)
        self.pending.append(change)

    def sync(self) -> None:
        """What is pending becomes durable."""
        for change in self.pending:
            change.apply(self.durable)
        self.pending.clear()

    def fail_sync(self) -> None:
        """Forgets that anything is pending, as a kernel does that could not write its dirty pages: readers still see them."""
        self.pending.clear()

    def evict(self) -> None:
        """Readers now get from the disk what an earlier failed sync dropped from the cache: the old bytes, or zeros."""
        image = bytearray(self.durable)
        for change in self.pending:
            change.apply(image)
        Cut(len(self.live)).apply(image)
        self.live = image

    def after_power_cut(self, random: Random) -> bytes:
        """What is found at the next start: all that was synced, and of the pending changes what `random` decides."""
        if not self.pending:
            return bytes(self.durable)
        survival = random.choice((self._none, self._in_order, self._with_zeros, self._scattered))
        return bytes(survival(random))

    def _none(self, _random: Random) -> bytearray:
        """Nothing pending was written: appended bytes are lost, cuts undone."""
        return self.durable

    def _in_order(self, random: Random) -> bytearray:
        """The first changes were made, and of the next one, if it is a write, a part."""
        image = bytearray(self.durable)
        whole = random.randint(0, len(self.pending))
        for change in self.pending[:whole]:
            change.apply(image)
        torn = self.pending[whole] if whole < len(self.pending) else None
        if isinstance(torn, Write):
            Write(torn.offset, torn.content[: random.randint(0, len(torn.content))]).apply(image)
        return image

    def _with_zeros(self, random: Random) -> bytearray:
        """The size is as it was seen, but the pages behind some byte were never written: they are zeros."""
        image = bytearray(self.durable)
        lowest = len(image)
        for change in self.pending:
            change.apply(image)
            lowest = min(lowest, len(image))
        if lowest < len(image):
            start = random.randint(lowest, len(image))
            image[start:] = bytes(len(image) - start)
        return image

    def _scattered(self, random: Random) -> bytearray:
        """Each page and each cut by its own luck; where a later page was written and an earlier one was not, zeros stand."""
        image = bytearray(self.durable)
        for change in self.pending:
            for piece in change.pages() if isinstance(change, Write) else [change]:
                if random.random() < 0.5:
                    piece.apply(image)
        return image


@dataclass(slots=True, eq=False)
class SimulatedFolder:
    """A folder: its live names. Which of them are durable is the journal's business, since a rename may touch two folders."""

    inode: int
    modified_ns: int
    live: dict[str, SimulatedFile | SimulatedFolder] = field(default_factory=dict)


Node: TypeAlias = SimulatedFile | SimulatedFolder


@dataclass(frozen=True, slots=True)
class NameChange:
    """One name in one folder that now means `node`, or nothing."""

    folder: int
    name: str
    node: Node | None


@dataclass(slots=True)
class NameOperation:
    """What one call did to names: made durable together or not at all. The first change tells its folder."""

    sequence: int
    changes: tuple[NameChange, ...]
    dropped: bool = False

    def touches(self, folder: int) -> bool:
        """Whether a name of that folder is changed."""
        return any(change.folder == folder for change in self.changes)


class NameJournal:
    """Which names are durable, and the operations on names since.

    Always: an operation is atomic, so a rename leaves the old names or the new ones. Of two changes of one name the later
    stands, in whatever order they became durable.
    """

    def __init__(self) -> None:
        self._durable: dict[tuple[int, str], tuple[int, Node | None]] = {}
        self._pending: list[NameOperation] = []
        self._sequence = 0

    def record(self, *changes: NameChange) -> None:
        """Adds the operation that makes `changes`; not durable yet."""
        self._sequence += 1
        self._pending.append(NameOperation(self._sequence, changes))

    def sync(self, folder: int) -> None:
        """Every operation that touches the folder is durable, but for those that an earlier failed sync dropped."""
        self._settle([operation for operation in self._pending if operation.touches(folder) and not operation.dropped])

    def fail_sync(self, folder: int) -> None:
        """The folder's operations count as clean from now on: no later sync makes them durable."""
        for operation in self._pending:
            operation.dropped = operation.dropped or operation.touches(folder)

    def cut_power(self, random: Random, *, reorder: bool) -> None:
        """Settles which pending operations survived: of each folder the first ones, or (`reorder`) perhaps any of them."""
        if reorder and random.random() < 0.5:
            self._settle([operation for operation in self._pending if random.random() < 0.5])
        else:
            folders = sorted({operation.changes[0].folder for operation in self._pending})
            for folder in folders:
                there = [operation for operation in self._pending if operation.changes[0].folder == folder]
                self._settle(there[: random.randint(0, len(there))])
        self._pending.clear()

    def durable_names(self, folder: int) -> dict[str, Node]:
        """What the folder holds on the disk, by name."""
        found = {name: node for (inode, name), (_, node) in self._durable.items() if inode == folder}
        return {name: node for name, node in sorted(found.items()) if node is not None}

    def _settle(self, operations: list[NameOperation]) -> None:
        for operation in operations:
            for change in operation.changes:
                key = (change.folder, change.name)
                if self._durable.get(key, (0, None))[0] < operation.sequence:
                    self._durable[key] = (operation.sequence, change.node)
        settled = {operation.sequence for operation in operations}
        self._pending = [operation for operation in self._pending if operation.sequence not in settled]
