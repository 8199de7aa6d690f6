"""One worker process, as seen by its parent.

Owns: the process, its connection and its shared memory.
"""

from __future__ import annotations

import pickle
import socket
import subprocess
import sys
from collections import deque
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Final

from event_processor.engine.decoding.child import READY, Task
from event_processor.engine.decoding.decoder import Decoder
from event_processor.engine.decoding.shared_memory import SharedMemory
from event_processor.engine.decoding.wire import unpack
from event_processor.model.columns import Columns
from event_processor.model.event import Chunk

__all__ = ["SLOTS", "ProcessWorker", "WorkerLostError"]

SLOTS: Final = 3
"""One slot for the chunk that is decoded, one for the chunk that waits, one for the columns in use."""
_LEAVE_S: Final = 5.0


class WorkerLostError(Exception):
    """The process ended, for whatever reason. Its chunks must be decoded elsewhere."""


class ProcessWorker:
    """A child that decodes chunks in the order in which it gets them. One thread uses it."""

    def __init__(self, make_decoder: Callable[[], Decoder], slot_bytes: int) -> None:
        """Starts the process, and does not wait for it.

        `make_decoder` is sent to it, so it must be picklable. Raises `OSError`.
        """
        self._slot_bytes: Final = slot_bytes
        self._memory: Final = SharedMemory.create(SLOTS * slot_bytes)
        ours, theirs = socket.socketpair()
        try:
            self._process: Final = subprocess.Popen(  # noqa: S603 -- this interpreter and this package
                [
                    sys.executable,
                    "-m",
                    "event_processor.engine.decoding.child",
                    *map(str, (theirs.fileno(), self._memory.descriptor, self._memory.size_bytes)),
                ],
                pass_fds=(theirs.fileno(), self._memory.descriptor),
                stdin=subprocess.DEVNULL,
                # This process reports for its workers: its results go to stdout, its log to stderr.
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                # A terminal's interrupt goes to whole process groups; it must not stop the child.
                start_new_session=True,
            )
        except BaseException:
            ours.close()
            self._memory.close()
            raise
        finally:
            theirs.close()
        self._connection: Final = Connection(ours.detach())
        self._connection.send_bytes(pickle.dumps(sys.path))
        self._connection.send_bytes(pickle.dumps(make_decoder))
        self._is_ready = False
        self._next_slot = 0
        self._given: Final[deque[tuple[Chunk, int]]] = deque()

    @property
    def given(self) -> int:
        """How many of its chunks were not taken back yet."""
        return len(self._given)

    def is_ready(self) -> bool:
        """Whether it can take a chunk: it started, and has a free slot. Raises `WorkerLostError`."""
        try:
            if not self._is_ready and self._connection.poll():
                self._is_ready = self._connection.recv_bytes() == READY
        except (EOFError, OSError) as error:
            raise WorkerLostError from error
        return self._is_ready and len(self._given) < SLOTS - 1

    def fits(self, chunk: Chunk) -> bool:
        """Whether the chunk, and the arrays that it may become, fit into a slot."""
        return len(chunk.content) <= self._slot_bytes // 2

    def give(self, chunk: Chunk) -> None:
        """Hands over a chunk. Raises `WorkerLostError`."""
        begin = self._next_slot * self._slot_bytes
        self._next_slot = (self._next_slot + 1) % SLOTS
        self._memory.view[begin : begin + len(chunk.content)] = chunk.content
        bare = Chunk(
            chunk.source, chunk.generation, chunk.offset, b"", {}, final=chunk.final, head=chunk.head, places=chunk.places
        )
        try:
            self._connection.send_bytes(pickle.dumps(Task(bare, begin, len(chunk.content), begin + self._slot_bytes)))
        except OSError as error:
            raise WorkerLostError from error
        self._given.append((chunk, begin))

    def has_answer(self) -> bool:
        """Whether `take` would return at once. Raises `WorkerLostError`."""
        try:
            return self._connection.poll()
        except OSError as error:
            raise WorkerLostError from error

    def take(self) -> Columns:
        """Waits for the columns of its oldest chunk. They are valid until `take` was called twice more.

        Raises `WorkerLostError`.
        """
        chunk, begin = self._given[0]
        try:
            message = self._connection.recv_bytes()
        except (EOFError, OSError) as error:
            raise WorkerLostError from error
        self._given.popleft()
        return unpack(message, self._memory.view[begin + len(chunk.content) : begin + self._slot_bytes], chunk.content)

    def close(self) -> None:
        """Ends the process, and waits for it."""
        self._connection.close()
        try:
            self._process.wait(_LEAVE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._memory.close()

    @property
    def process_id(self) -> int:
        return self._process.pid
