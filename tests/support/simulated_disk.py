"""The tree of a simulated disk: what a kernel keeps of files and folders while processes come and go.

Owns: paths, the folders and files below them, and the rules by which names are made, moved and taken away.
Always: what is done to a name is also told to the journal of names, so that a power cut can decide what of it survives.
Never: no descriptor, lock or fault is known here.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from random import Random
from typing import Final

from support.simulated_inodes import ROOT_INODE, Cut, NameChange, NameJournal, Node, SimulatedFile, SimulatedFolder, Write

__all__ = ["SimulatedDisk", "os_error"]

TICK_NS: Final = 1_000_000
"""Every change of a file or a folder is this much later than the one before."""
START_NS: Final = 1_700_000_000 * 1_000_000_000
"""When the disk was made: some moment that is not zero."""


@dataclass(slots=True)
class SimulatedDisk:
    """What outlives a process, and in part a power cut. Relative paths are from the root; there are no symbolic links.

    A path that names nothing, or goes through a file, raises the `OSError` that a kernel raises.
    """

    root: SimulatedFolder = field(default_factory=lambda: SimulatedFolder(ROOT_INODE, START_NS))
    names: NameJournal = field(default_factory=NameJournal)
    last_inode: int = ROOT_INODE
    now_ns: int = START_NS

    def find(self, path: str) -> Node | None:
        """What `path` names, or None."""
        node: Node = self.root
        for part in _parts(path):
            below = _as_folder(node, path).live.get(part)
            if below is None:
                return None
            node = below
        return node

    def existing(self, path: str) -> Node:
        """What `path` names."""
        node = self.find(path)
        if node is None:
            raise os_error(errno.ENOENT, path)
        return node

    def folder(self, path: str) -> SimulatedFolder:
        """The folder that `path` names."""
        return _as_folder(self.existing(path), path)

    def make_file(self, path: str) -> SimulatedFile:
        """A new empty file, where `path` names nothing yet."""
        folder, name = self._parent(path)
        file = SimulatedFile(self._new_inode(), self._tick_ns())
        self._put(folder, name, file)
        return file

    def make_folder(self, path: str) -> None:
        """A new folder, where `path` names nothing yet."""
        folder, name = self._parent(path)
        if name in folder.live:
            raise os_error(errno.EEXIST, path)
        self._put(folder, name, SimulatedFolder(self._new_inode(), self._tick_ns()))

    def change(self, file: SimulatedFile, change: Write | Cut) -> None:
        """Changes what a file holds."""
        file.change(change)
        file.modified_ns = self._tick_ns()

    def link(self, path: str, new_path: str) -> None:
        """A second name for a file."""
        node = self.existing(path)
        folder, name = self._parent(new_path)
        if name in folder.live:
            raise os_error(errno.EEXIST, new_path)
        if isinstance(node, SimulatedFolder):
            raise os_error(errno.EPERM, path)
        self._put(folder, name, node)

    def rename(self, path: str, new_path: str) -> None:
        """Puts `path` in the place of `new_path`, as one operation."""
        old_folder, old_name = self._parent(path)
        folder, name = self._parent(new_path)
        node = self.existing(path)
        if folder.live.get(name) is node:
            return  # Two names of one file: POSIX says that nothing is done, not even to the old name.
        _check_replaceable(node, folder, new_path)
        del old_folder.live[old_name]
        folder.live[name] = node
        old_folder.modified_ns = folder.modified_ns = self._tick_ns()
        self.names.record(NameChange(folder.inode, name, node), NameChange(old_folder.inode, old_name, None))

    def unlink(self, path: str) -> None:
        """Takes a file's name away."""
        if isinstance(self.existing(path), SimulatedFolder):
            raise os_error(errno.EISDIR, path)
        folder, name = self._parent(path)
        self._take_away(folder, name)

    def remove_folder(self, path: str) -> None:
        """Takes an empty folder away."""
        if self.folder(path).live:
            raise os_error(errno.ENOTEMPTY, path)
        folder, name = self._parent(path)
        self._take_away(folder, name)

    def plant(self, path: str, content: bytes) -> None:
        """Puts a file there, durable, its folders too. An inode that is there is kept."""
        parts = _parts(path)
        for depth in range(1, len(parts)):
            above = "/".join(parts[:depth])
            if self.find(above) is None:
                self.make_folder(above)
            self.names.sync(self._parent(above)[0].inode)
        file = self.find(path) or self.make_file(path)
        self.names.sync(self._parent(path)[0].inode)
        if isinstance(file, SimulatedFolder):
            raise os_error(errno.EISDIR, path)
        file.live, file.durable, file.pending = bytearray(content), bytearray(content), []
        file.modified_ns = self._tick_ns()

    def files(self) -> dict[str, SimulatedFile]:
        """Every file that has a name, by its absolute path, sorted."""
        return dict(sorted(_files(self.root, "")))

    def cut_power(self, random: Random, *, reorder_names: bool) -> SimulatedDisk:
        """The disk that is found at the next start: what was synced, and of the rest what `random` decides."""
        self.names.cut_power(random, reorder=reorder_names)
        disk = SimulatedDisk(last_inode=self.last_inode, now_ns=self.now_ns)
        survivors: dict[int, Node] = {ROOT_INODE: disk.root}
        folders = [disk.root]
        while folders:
            folder = folders.pop(0)
            for name, node in self.names.durable_names(folder.inode).items():
                if node.inode not in survivors:
                    survivors[node.inode] = survivor = _after_power_cut(node, random)
                    folders += [survivor] if isinstance(survivor, SimulatedFolder) else []
                disk._put(folder, name, survivors[node.inode])
            disk.names.sync(folder.inode)
        return disk

    def _put(self, folder: SimulatedFolder, name: str, node: Node) -> None:
        """Gives `node` a name, as one operation that is not durable yet."""
        folder.live[name] = node
        folder.modified_ns = self._tick_ns()
        self.names.record(NameChange(folder.inode, name, node))

    def _take_away(self, folder: SimulatedFolder, name: str) -> None:
        """Makes a name mean nothing, as one operation that is not durable yet."""
        del folder.live[name]
        folder.modified_ns = self._tick_ns()
        self.names.record(NameChange(folder.inode, name, None))

    def _parent(self, path: str) -> tuple[SimulatedFolder, str]:
        parts = _parts(path)
        if not parts:
            raise os_error(errno.EBUSY, path)
        return self.folder("/".join(parts[:-1])), parts[-1]

    def _tick_ns(self) -> int:
        self.now_ns += TICK_NS
        return self.now_ns

    def _new_inode(self) -> int:
        self.last_inode += 1
        return self.last_inode


def os_error(number: int, subject: str) -> OSError:
    """The error that a kernel gives: Python picks the class by the number."""
    return OSError(number, os.strerror(number), subject)


@lru_cache(maxsize=4096)
def _parts(path: str) -> tuple[str, ...]:
    return tuple(part for part in os.path.normpath("/" + path).split("/") if part)


def _as_folder(node: Node, path: str) -> SimulatedFolder:
    if isinstance(node, SimulatedFile):
        raise os_error(errno.ENOTDIR, path)
    return node


def _check_replaceable(node: Node, folder: SimulatedFolder, new_path: str) -> None:
    """Refuses what a kernel refuses: a folder over a file, a file over a folder, over a full folder, or into itself."""
    if any(below is folder for below in _tree(node)):
        raise os_error(errno.EINVAL, new_path)
    target = folder.live.get(_parts(new_path)[-1])
    if isinstance(target, SimulatedFolder):
        if isinstance(node, SimulatedFile):
            raise os_error(errno.EISDIR, new_path)
        if target.live:
            raise os_error(errno.ENOTEMPTY, new_path)
    elif target is not None and isinstance(node, SimulatedFolder):
        raise os_error(errno.ENOTDIR, new_path)


def _after_power_cut(node: Node, random: Random) -> Node:
    """The same inode at the next start; a folder still without its names."""
    if isinstance(node, SimulatedFolder):
        return SimulatedFolder(node.inode, node.modified_ns)
    content = node.after_power_cut(random)
    return SimulatedFile(node.inode, node.modified_ns, bytearray(content), bytearray(content))


def _tree(node: Node) -> Iterator[Node]:
    yield node
    if isinstance(node, SimulatedFolder):
        for below in node.live.values():
            yield from _tree(below)


def _files(folder: SimulatedFolder, prefix: str) -> Iterator[tuple[str, SimulatedFile]]:
    for name, node in folder.live.items():
        path = f"{prefix}/{name}"
        if isinstance(node, SimulatedFile):
            yield path, node
        else:
            yield from _files(node, path)
