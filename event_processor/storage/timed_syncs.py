"""A file system that measures how long a thread waits for the disk.

Owns: `TimedSyncs`: another file system, with the time of each fsync by thread.
Always: every call goes to the other file system, and has its answer.
Never: decides anything by what it measured.
"""

from __future__ import annotations

from threading import get_ident
from typing import Final

from event_processor.model.contracts import Clock
from event_processor.model.file_system import FileSystem
from event_processor.storage.forwarding import ForwardingFileSystem

__all__ = ["TimedSyncs"]


class TimedSyncs(ForwardingFileSystem):
    """`fs`, measured. Several threads may use it."""

    def __init__(self, fs: FileSystem, clock: Clock) -> None:
        super().__init__(fs)
        self._clock: Final = clock
        self._by_thread: Final[dict[int, tuple[int, float]]] = {}

    def sync(self, descriptor: int) -> None:
        began_s = self._clock.monotonic_s()
        super().sync(descriptor)
        self._add(began_s)

    def sync_directory(self, path: str) -> None:
        began_s = self._clock.monotonic_s()
        super().sync_directory(path)
        self._add(began_s)

    def here(self) -> tuple[int, float]:
        """How many fsyncs the calling thread made so far, and how many seconds they took."""
        return self._by_thread.get(get_ident(), (0, 0.0))

    def _add(self, began_s: float) -> None:
        count, seconds = self.here()
        self._by_thread[get_ident()] = count + 1, seconds + self._clock.monotonic_s() - began_s
