"""A daemon that is killed, or whose disk loses its power, again and again, while another process appends to its log.

Owns: the order of a round (start, append, wait for commits, strike) and what must hold after each.
Always: moments come from a seed and from what the daemon commits, so that a slow machine does the same rounds as a fast one.
"""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from support import log_writer
from support.crash_trial import STORAGE_EXIT, Explain
from support.ext4 import Ext4Image
from support.processes import DEADLINE_S, Committed, Daemon, Pipeline, wait_until
from support.workload import pieces

__all__ = ["LiveTrial", "live_trial"]

START_S: Final = 0.1
"""About what a start takes, without the interpreter's own: moments in a start are drawn from it."""
COMMIT_S: Final = 0.02
"""About what a commit takes: moments between two commits are drawn from it."""
AHEAD_BYTES: Final = 2000
"""So far the writer goes ahead of a daemon that has not committed yet: enough for a batch, and a commit follows."""


@dataclass(slots=True)
class LiveTrial:
    """A pipeline on a log that grows. `explain` judges what is committed after every round."""

    pipeline: Pipeline
    log: bytes
    explain: Explain
    chance: random.Random
    _writer: subprocess.Popen[bytes]
    _pieces: Iterator[bytes]
    _written_bytes: int = 0

    def append(self) -> bool:
        """Has the writer append the next piece, whole lines or not; whether there was one."""
        piece = next(self._pieces, b"")
        if piece:
            assert self._writer.stdin is not None
            self._writer.stdin.write(b"%d\n" % len(piece))
            self._writer.stdin.flush()
            self._written_bytes += len(piece)
        return bool(piece)

    def kill_once(self) -> None:
        """One round: started, fed, killed at a moment in the start or in a commit; what is committed is true and never less."""
        before = self.pipeline.progress()
        daemon = self.pipeline.start()
        try:
            self._reach_a_moment(daemon, before)
        finally:
            finished = daemon.kill()
        assert finished.exit_code == -signal.SIGKILL, f"it ended by itself: {finished}"
        self._judge(at_least_bytes=before)

    def cut_power_once(self, disk: Ext4Image) -> None:
        """One round: started, fed, the power cut; after the reboot every commit stands that another had followed."""
        before = self.pipeline.progress()
        daemon = self.pipeline.start()
        try:
            durable_bytes = self._reach_a_moment(daemon, before)
            disk.cut_power()
            if self.chance.random() < 0.5:
                self._must_stop_for_storage(daemon)
        finally:
            daemon.kill()
        disk.unmount()
        disk.mount()
        self._judge(at_least_bytes=durable_bytes)

    def finish(self) -> Committed:
        """Appends the rest, stops the daemon as systemd does, and runs to the end: what is committed then."""
        while self.append():
            pass
        self._close_writer()
        before = self.pipeline.progress()
        daemon = self.pipeline.start()
        try:
            self._wait_for_progress(daemon, before)
            daemon.send(signal.SIGTERM)
            finished = daemon.wait()
        finally:
            daemon.kill()
        assert finished.exit_code == 0, finished
        self._judge(at_least_bytes=before)
        finished = self.pipeline.run()
        assert finished.exit_code == 0, finished
        return self._judge(at_least_bytes=len(self.log))

    def _reach_a_moment(self, daemon: Daemon, before: int) -> int:
        """Waits for the moment to strike, and returns how many bytes of the log are durable then: those of a commit that another followed."""
        for _ in range(self.chance.randrange(4)):
            self.append()
        if self.chance.random() < 0.25:
            self._pause(START_S)
            return before
        first = self._wait_for_progress(daemon, before)
        if self.chance.random() < 0.5:
            self._wait_for_progress(daemon, first)
        for _ in range(self.chance.randrange(4)):
            self.append()
        self._pause(COMMIT_S)
        return first if self.pipeline.progress() > first else before

    def _wait_for_progress(self, daemon: Daemon, before: int) -> int:
        """Appends until more than `before` bytes are committed; how many are."""
        seen = before

        def more() -> bool:
            nonlocal seen
            assert daemon.alive, f"it ended by itself: {daemon.wait()}"
            seen = self.pipeline.progress()
            if seen == before and self._written_bytes - seen < AHEAD_BYTES:
                self.append()
            return seen > before

        wait_until(more, f"a commit beyond byte {before}; it said: {daemon.said()}")
        return seen

    def _must_stop_for_storage(self, daemon: Daemon) -> None:
        """With the disk gone, the next commit fails, and the daemon says so and stops."""

        def ended() -> bool:
            if self.chance.random() < 0.02:
                self.append()
            return not daemon.alive

        wait_until(ended, "the end of a daemon whose disk is gone")
        finished = daemon.wait()
        assert finished.exit_code == STORAGE_EXIT, finished
        assert str(self.pipeline.durable) in finished.stderr, finished

    def _pause(self, longest_s: float) -> None:
        """Lets a seeded part of `longest_s` pass, so that the strike falls anywhere and not always behind a commit."""
        threading.Event().wait(self.chance.uniform(0, longest_s))

    def _judge(self, *, at_least_bytes: int) -> Committed:
        committed = self.pipeline.committed()
        offset = committed.offset if committed else 0
        assert offset >= at_least_bytes, f"{at_least_bytes} bytes of the log were committed, now it is {offset}"
        if committed is None:
            committed = Committed({"sources": {}, "counts": {"records": 0}}, b"", b"")
        else:
            self.explain(committed, self.log)
        return committed

    def _close_writer(self) -> None:
        assert self._writer.stdin is not None
        self._writer.stdin.close()
        assert self._writer.wait(DEADLINE_S) == 0


@contextmanager
def live_trial(pipeline: Pipeline, log: bytes, *, seed: int, explain: Explain) -> Iterator[LiveTrial]:
    """A live trial on an empty log that will become `log`; the writer is stopped in the end."""
    pipeline.prepare(b"")
    content = pipeline.folder / "content"
    content.write_bytes(log)
    writer = subprocess.Popen(
        [sys.executable, "-S", log_writer.__file__, str(content), str(pipeline.log)],
        stdin=subprocess.PIPE,
        start_new_session=True,
    )
    try:
        yield LiveTrial(pipeline, log, explain, random.Random(seed), writer, pieces(log, seed))
    finally:
        writer.kill()
        writer.wait(DEADLINE_S)
        if writer.stdin is not None:
            writer.stdin.close()
