"""A file system in memory that forgets what was not synced, tears what was being written and fails when told to.

Owns: `SimulatedFileSystem`, which stands in for the real one behind the file system protocol of `durable.py`: descriptors,
locks, the faults of one life of one process, and the two ways in which that life ends.
Always: everything is a function of the seed and of the calls; a life that ended stays dead, and the next one is another
object, so that nothing left over from the dead process can touch the disk.
Never: no thread, no clock, no real file.
"""

from __future__ import annotations

import errno
import os
from collections import Counter, deque
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from itertools import pairwise
from random import Random
from threading import RLock
from typing import Final

from event_processor.model.columns import ByteArray, IntArray
from event_processor.storage.durable import DIRECTORY_MODE, FILE_MODE, FileStatus
from support.simulated_disk import SimulatedDisk, os_error
from support.simulated_faults import FALLIBLE_CALLS, CallPlan, Fault, SimulatedCrash, Verdict
from support.simulated_inodes import PAGE_BYTES, Cut, Node, SimulatedFile, SimulatedFolder, Write

__all__ = ["FALLIBLE_CALLS", "Fault", "SimulatedCrash", "SimulatedFileSystem"]

DEVICE: Final = 0x5D
JOURNAL_CALLS_MAX: Final = 60


@dataclass(slots=True, eq=False)
class _OpenFile:
    """An open file description: what one `open` made."""

    node: Node
    flags: int
    path: str
    offset: int = 0


class _Call:
    """One call, from its count to its end. A generator would do the same; there are millions of calls, and it takes twice as long."""

    __slots__ = ("_begun", "_fs", "_told")

    def __init__(self, fs: SimulatedFileSystem, told: tuple[str, str, Callable[[], None]]) -> None:
        self._fs = fs
        self._told = told

    def __enter__(self) -> bool:
        self._fs._mutex.acquire()
        try:
            self._begun = self._fs._begin(*self._told)
        except BaseException:
            self._fs._mutex.release()
            raise
        return self._begun[1].short

    def __exit__(self, *_: object) -> None:
        entry, verdict = self._begun
        try:
            if verdict.crash_after:
                self._fs._die(f"{entry}: the end, after it")
        finally:
            self._fs._mutex.release()


class SimulatedFileSystem:
    """One life of a process on a simulated disk. Relative paths are from the root; there are no symbolic links.

    `short_io_odds`: how often a read or write of more than one byte does less than asked. `reorder_names`: whether a power
    cut may also keep a later operation on names and lose an earlier one. Calls may come from several threads.
    """

    def __init__(
        self, seed: int, *, short_io_odds: float = 0.1, reorder_names: bool = True, disk: SimulatedDisk | None = None
    ) -> None:
        self.seed: Final = seed
        self.calls: Final[Counter[str]] = Counter()
        self._random: Final = Random(seed)
        self._short_io_odds: Final = short_io_odds
        self._reorder_names: Final = reorder_names
        self._disk: Final = disk or SimulatedDisk()
        self._plan: Final = CallPlan()
        self._open_files: Final[dict[int, _OpenFile]] = {}
        self._locks: Final[dict[int, _OpenFile]] = {}
        self._call_count = 0
        self._last_descriptor = 2
        self._dead = False
        self._journal: Final[deque[str]] = deque(maxlen=JOURNAL_CALLS_MAX)
        self._mutex: Final = RLock()

    # What a test asks for: faults, ends of life, and a look at the disk that no fault disturbs and no counter counts.

    def fail(self, fault: Fault) -> None:
        """Plans a fault; its calls are counted from now. Of several the first that strikes decides."""
        self._plan.add(fault)

    def crash_at(self, nth: int, *, after: bool = False) -> None:
        """The `nth` mutating call from now raises `SimulatedCrash`, without effect or (`after`) with its whole effect."""
        self._plan.crash_at(nth, after=after)

    def stop_failing(self) -> None:
        """Forgets every planned fault and crash, as when a full disk was freed."""
        self._plan.clear()

    @property
    def crashed(self) -> bool:
        """Whether this life is over."""
        return self._dead

    def kill(self) -> SimulatedFileSystem:
        """Ends the process; the kernel lives on. The next life sees every write, synced or not, and may still lose it later.

        What a failed sync dropped from the cache may from now on read as it is on the disk.
        """
        with self._mutex:
            self._dead = True
            for file in self._disk.files().values():
                if self._random.random() < 0.5:
                    file.evict()
            return self._next_life(self._disk)

    def crash(self) -> SimulatedFileSystem:
        """Cuts the power. The next life sees what was synced, and of the rest what the seed decides."""
        with self._mutex:
            self._dead = True
            return self._next_life(self._disk.cut_power(self._random, reorder_names=self._reorder_names))

    def copy(self, seed: int) -> SimulatedFileSystem:
        """The next life of a process that was killed, on a copy of the disk. This one goes on."""
        with self._mutex:
            disk = deepcopy(self._disk)
            return SimulatedFileSystem(seed, short_io_odds=self._short_io_odds, reorder_names=self._reorder_names, disk=disk)

    def content(self, path: str) -> bytes | None:
        """What a reader would see in the file now, or None where there is none."""
        node = self._disk.find(path)
        return bytes(node.live) if isinstance(node, SimulatedFile) else None

    def plant(self, path: str, content: bytes) -> None:
        """Puts a file there, durable, its folders too, as if somebody had done it long ago. An inode that is there is kept."""
        self._disk.plant(path, content)

    def paths(self) -> list[str]:
        """The absolute path of every file, sorted."""
        return list(self._disk.files())

    def journal(self) -> str:
        """The last calls, a line each, for a failure's message."""
        return "\n".join([f"seed {self.seed}, {self.calls.total()} calls, the last of them:", *self._journal])

    # The protocol.

    @property
    def has_descriptors_of_the_system(self) -> bool:
        return False

    def open(self, path: str, flags: int, mode: int = FILE_MODE) -> int:
        with self._mutex, self._call("create" if self._open_mutates(path, flags) else "open", path):
            node = self._open_node(path, flags)
            self._last_descriptor += 1
            self._open_files[self._last_descriptor] = _OpenFile(node, flags, path)
            return self._last_descriptor

    def close(self, descriptor: int) -> None:
        with self._call("close", str(descriptor)):
            opened = self._opened(descriptor)
            del self._open_files[descriptor]
            if self._locks.get(opened.node.inode) is opened:
                del self._locks[opened.node.inode]

    def read(self, descriptor: int, size_bytes: int, offset: int) -> bytes:
        with self._call("read", f"{descriptor} {size_bytes} bytes at {offset}"):
            if offset < 0:
                raise os_error(errno.EINVAL, str(descriptor))
            file = self._file(descriptor, os.O_RDONLY, otherwise=errno.EBADF)
            there = min(size_bytes, max(0, len(file.live) - offset))
            return bytes(file.live[offset : offset + self._taken(there)])

    def read_into(self, descriptor: int, view: memoryview, offset: int) -> int:
        content = self.read(descriptor, len(view), offset)
        view[: len(content)] = content
        return len(content)

    def read_each(self, descriptor: int, content: ByteArray, begins: IntArray, offsets: IntArray) -> int:
        pieces = zip(pairwise(begins.tolist()), offsets.tolist(), strict=True)
        return sum(self.read_into(descriptor, content.data[begin:end], offset) for (begin, end), offset in pieces)

    def next_data(self, descriptor: int, offset: int) -> int:
        return offset

    def write(self, descriptor: int, content: bytes | memoryview) -> int:
        with self._call("write", f"{descriptor} {len(content)} bytes") as short:
            file = self._file(descriptor, os.O_WRONLY, otherwise=errno.EBADF)
            opened = self._opened(descriptor)
            taken = (len(content) + 1) // 2 if short else self._taken(len(content))
            if opened.flags & os.O_APPEND:
                opened.offset = len(file.live)
            if taken:
                self._disk.change(file, Write(opened.offset, bytes(content[:taken])))
            opened.offset += taken
            return taken

    def write_at(self, descriptor: int, content: bytes, offset: int) -> int:
        with self._call("write", f"{descriptor} {len(content)} bytes at {offset}") as short:
            file = self._file(descriptor, os.O_WRONLY, otherwise=errno.EBADF)
            taken = (len(content) + 1) // 2 if short else self._taken(len(content))
            if taken:
                self._disk.change(file, Write(offset, bytes(content[:taken])))
            return taken

    def truncate(self, descriptor: int, size_bytes: int) -> None:
        with self._call("truncate", f"{descriptor} to {size_bytes} bytes"):
            self._disk.change(self._file(descriptor, os.O_WRONLY, otherwise=errno.EINVAL), Cut(size_bytes))

    def begin_writing(self, descriptor: int) -> None:
        """A disk may write at any time; what is durable without a sync is drawn at the power cut."""
        self._opened(descriptor)

    def sync(self, descriptor: int) -> None:
        def drop_dirty_pages() -> None:
            node = self._opened(descriptor).node
            if isinstance(node, SimulatedFile):
                node.fail_sync()

        with self._call("sync", str(descriptor), on_fault=drop_dirty_pages):
            node = self._opened(descriptor).node
            if isinstance(node, SimulatedFile):
                node.sync()
            else:
                self._disk.names.sync(node.inode)

    def sync_directory(self, path: str) -> None:
        def drop_dirty_names() -> None:
            self._disk.names.fail_sync(self._disk.folder(path).inode)

        with self._call("sync_directory", path, on_fault=drop_dirty_names):
            self._disk.names.sync(self._disk.folder(path).inode)

    def status(self, path: str) -> FileStatus | None:
        with self._call("status", path):
            try:
                node = self._disk.find(path)
            except NotADirectoryError:
                return None
            return None if node is None else _status(node)

    def status_of(self, descriptor: int) -> FileStatus:
        with self._call("status_of", str(descriptor)):
            return _status(self._opened(descriptor).node)

    def link_target(self, path: str) -> str | None:
        return None

    def names(self, path: str) -> list[str]:
        with self._call("names", path):
            return [] if self._disk.find(path) is None else sorted(self._disk.folder(path).live)

    def make_directory(self, path: str, mode: int = DIRECTORY_MODE) -> None:
        with self._call("make_directory", path):
            self._disk.make_folder(path)

    def link(self, path: str, new_path: str) -> None:
        with self._call("link", f"{path} as {new_path}"):
            self._disk.link(path, new_path)

    def rename(self, path: str, new_path: str) -> None:
        with self._call("rename", f"{path} to {new_path}"):
            self._disk.rename(path, new_path)

    def unlink(self, path: str) -> None:
        with self._call("unlink", path):
            self._disk.unlink(path)

    def remove_directory(self, path: str) -> None:
        with self._call("remove_directory", path):
            self._disk.remove_folder(path)

    def lock(self, descriptor: int) -> bool:
        with self._call("lock", str(descriptor)):
            opened = self._opened(descriptor)
            return self._locks.setdefault(opened.node.inode, opened) is opened

    # What the calls share.

    def _call(self, kind: str, subject: str, on_fault: Callable[[], None] = lambda: None) -> _Call:
        """Counts the call, lets the plan decide, and gives whether the call is to be cut short."""
        return _Call(self, (kind, subject, on_fault))

    def _begin(self, kind: str, subject: str, on_fault: Callable[[], None]) -> tuple[str, Verdict]:
        if self._dead:
            raise SimulatedCrash(f"{kind} {subject}: this process is dead")
        self.calls[kind] += 1
        self._call_count += 1
        entry = f"{self._call_count:6} {kind} {subject}"
        self._journal.append(entry)
        verdict = self._plan.verdict(kind)
        if verdict.crash_before:
            self._die(f"{entry}: the end, before it")
        if verdict.errno:
            self._journal[-1] = f"{entry}: {errno.errorcode[verdict.errno]}"
            on_fault()
            raise os_error(verdict.errno, subject)
        return entry, verdict

    def _die(self, where: str) -> None:
        self._dead = True
        self._journal[-1] = where
        raise SimulatedCrash(where)

    def _next_life(self, disk: SimulatedDisk) -> SimulatedFileSystem:
        seed = self._random.getrandbits(64)
        odds = self._short_io_odds
        return SimulatedFileSystem(seed, short_io_odds=odds, reorder_names=self._reorder_names, disk=disk)

    def _taken(self, size_bytes: int) -> int:
        """How many of so many bytes one call moves."""
        if size_bytes > 1 and self._random.random() < self._short_io_odds:
            return self._random.randint(1, size_bytes - 1)
        return size_bytes

    def _open_mutates(self, path: str, flags: int) -> bool:
        """Whether `open` is about to make a file or to empty one."""
        if not flags & (os.O_CREAT | os.O_TRUNC):
            return False
        try:
            found = self._disk.find(path)
        except NotADirectoryError:
            return False
        return bool(flags & os.O_CREAT if found is None else flags & os.O_TRUNC)

    def _open_node(self, path: str, flags: int) -> Node:
        node = self._disk.find(path)
        if node is None and flags & os.O_CREAT:
            return self._disk.make_file(path)
        if node is None:
            raise os_error(errno.ENOENT, path)
        if flags & os.O_CREAT and flags & os.O_EXCL:
            raise os_error(errno.EEXIST, path)
        if isinstance(node, SimulatedFolder):
            if flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
                raise os_error(errno.EISDIR, path)
        elif flags & os.O_DIRECTORY:
            raise os_error(errno.ENOTDIR, path)
        elif flags & os.O_TRUNC:
            self._disk.change(node, Cut(0))
        return node

    def _opened(self, descriptor: int) -> _OpenFile:
        if descriptor not in self._open_files:
            raise os_error(errno.EBADF, str(descriptor))
        return self._open_files[descriptor]

    def _file(self, descriptor: int, mode: int, *, otherwise: int) -> SimulatedFile:
        """The file behind a descriptor that was opened for `mode`, or for both; else the error `otherwise`."""
        opened = self._opened(descriptor)
        if opened.flags & os.O_ACCMODE not in (mode, os.O_RDWR):
            raise os_error(otherwise, opened.path)
        if isinstance(opened.node, SimulatedFolder):
            raise os_error(errno.EISDIR, opened.path)
        return opened.node


def _status(node: Node) -> FileStatus:
    return FileStatus(
        device=DEVICE,
        inode=node.inode,
        size_bytes=len(node.live) if isinstance(node, SimulatedFile) else PAGE_BYTES,
        is_directory=isinstance(node, SimulatedFolder),
        is_regular=isinstance(node, SimulatedFile),
        modified_ns=node.modified_ns,
    )
