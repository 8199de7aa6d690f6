"""A file system that measures fsyncs: by thread, and otherwise as the one that it stands for."""

from __future__ import annotations

from threading import Thread

from event_processor.storage.durable import create_file, read_file
from event_processor.storage.timed_syncs import TimedSyncs
from support.engine import FakeClock
from support.simulated_fs import SimulatedFileSystem


class SlowFileSystem(SimulatedFileSystem):
    """Each fsync of a file takes two seconds, of a folder one."""

    def __init__(self, clock: FakeClock) -> None:
        super().__init__(1)
        self._clock = clock

    def sync(self, descriptor: int) -> None:
        self._clock.now_s += 2
        super().sync(descriptor)

    def sync_directory(self, path: str) -> None:
        self._clock.now_s += 1
        super().sync_directory(path)


def test_fsyncs_are_counted_and_timed_for_the_thread_that_made_them() -> None:
    clock = FakeClock()
    timed = TimedSyncs(SlowFileSystem(clock), clock)
    assert timed.here() == (0, 0.0)
    create_file(timed, "/file", [b"some"])
    timed.sync_directory("/")
    assert timed.here() == (2, 3.0)
    seen = []

    def other() -> None:
        timed.sync_directory("/")
        seen.append(timed.here())

    thread = Thread(target=other)
    thread.start()
    thread.join()
    assert seen == [(1, 1.0)]
    assert timed.here() == (2, 3.0)
    assert read_file(timed, "/file") == b"some"
