"""The real file system under a process that can be made to die at any call.

Always: a dead process does nothing more; its descriptors, and with them its locks, are given back as a kernel does.
Never: no power is cut: what was written stays, synced or not (`simulated_fs.py` cuts power).
"""

from __future__ import annotations

import os
from typing import Final

from event_processor.model.columns import ByteArray, IntArray
from event_processor.storage.durable import DIRECTORY_MODE, FILE_MODE, FileStatus, OperatingSystem
from support.simulated_faults import SimulatedCrash

CALLS_MAX: Final = 30_000
"""No life of a test makes so many calls: one that does goes round in circles."""

__all__ = ["MortalFileSystem"]


class MortalFileSystem(OperatingSystem):
    """One life of a process. Nothing is synced: the machine stays up."""

    def __init__(self) -> None:
        self.calls = 0
        """The mutating calls so far."""
        self.crashed = False
        self._all_calls = 0
        self._calls_left = 0
        self._descriptors: set[int] = set()

    def die_at(self, nth: int) -> None:
        """The `nth` mutating call from now is not made, and none after it."""
        self._calls_left = nth

    def die(self) -> None:
        """Ends the process where it stands."""
        self.crashed = True
        while self._descriptors:
            os.close(self._descriptors.pop())

    def open(self, path: str, flags: int, mode: int = FILE_MODE) -> int:
        self._live(mutates=bool(flags & os.O_CREAT) and not os.path.exists(path))
        descriptor = super().open(path, flags, mode)
        self._descriptors.add(descriptor)
        return descriptor

    def close(self, descriptor: int) -> None:
        self._live()
        self._descriptors.discard(descriptor)
        super().close(descriptor)

    def read(self, descriptor: int, size_bytes: int, offset: int) -> bytes:
        self._live()
        return super().read(descriptor, size_bytes, offset)

    def read_into(self, descriptor: int, view: memoryview, offset: int) -> int:
        self._live()
        return super().read_into(descriptor, view, offset)

    def read_each(self, descriptor: int, content: ByteArray, begins: IntArray, offsets: IntArray) -> int:
        self._live()
        return super().read_each(descriptor, content, begins, offsets)

    def next_data(self, descriptor: int, offset: int) -> int:
        self._live()
        return super().next_data(descriptor, offset)

    def write(self, descriptor: int, content: bytes | memoryview) -> int:
        self._live(mutates=True)
        return super().write(descriptor, content)

    def write_at(self, descriptor: int, content: bytes, offset: int) -> int:
        self._live(mutates=True)
        return super().write_at(descriptor, content, offset)

    def truncate(self, descriptor: int, size_bytes: int) -> None:
        self._live(mutates=True)
        super().truncate(descriptor, size_bytes)

    def begin_writing(self, descriptor: int) -> None:
        self._live()

    def sync(self, descriptor: int) -> None:
        self._live(mutates=True)

    def sync_directory(self, path: str) -> None:
        self._live(mutates=True)

    def status(self, path: str) -> FileStatus | None:
        self._live()
        return super().status(path)

    def status_of(self, descriptor: int) -> FileStatus:
        self._live()
        return super().status_of(descriptor)

    def link_target(self, path: str) -> str | None:
        self._live()
        return super().link_target(path)

    def names(self, path: str) -> list[str]:
        self._live()
        return super().names(path)

    def make_directory(self, path: str, mode: int = DIRECTORY_MODE) -> None:
        self._live(mutates=True)
        super().make_directory(path, mode)

    def link(self, path: str, new_path: str) -> None:
        self._live(mutates=True)
        super().link(path, new_path)

    def rename(self, path: str, new_path: str) -> None:
        self._live(mutates=True)
        super().rename(path, new_path)

    def unlink(self, path: str) -> None:
        self._live(mutates=True)
        super().unlink(path)

    def remove_directory(self, path: str) -> None:
        self._live(mutates=True)
        super().remove_directory(path)

    def lock(self, descriptor: int) -> bool:
        self._live()
        return super().lock(descriptor)

    def _live(self, *, mutates: bool = False) -> None:
        """Raises `SimulatedCrash` where the process is dead, or dies by this call."""
        if self.crashed:
            raise SimulatedCrash("this process is dead")
        self._all_calls += 1
        assert self._all_calls < CALLS_MAX, "the engine goes round in circles"
        if not mutates:
            return
        self.calls += 1
        if self._calls_left:
            self._calls_left -= 1
            if not self._calls_left:
                self.die()
                raise SimulatedCrash(f"the end, at mutating call {self.calls}")
