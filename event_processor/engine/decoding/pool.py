"""Parallel decoding in the loop's thread and in workers: threads of this process, or further processes.

Owns: which chunk is decoded by which worker.
Always: chunks return in order. If a worker is lost, its chunks are decoded elsewhere.
Never: starts a worker before there is a backlog.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol

from event_processor.engine.decoding.decoder import Decoder
from event_processor.engine.decoding.process import WorkerLostError
from event_processor.model.columns import Columns
from event_processor.model.event import Chunk
from event_processor.model.telemetry import Telemetry

__all__ = ["DecodingPool", "Worker"]

_CONTENT_BYTES_MIN: Final = 65_536
"""Decoding a smaller chunk here is faster than handing it over."""
_LOST_MAX: Final = 8
"""After this many workers ended, no other is started: the same cause would probably end it too."""
_CHUNKS_AHEAD: Final = 2
"""This many chunks per worker are read ahead: one that is decoded, and one that waits."""


class Worker(Protocol):
    """Decodes chunks elsewhere, in the order in which it gets them. Each method raises `WorkerLostError` if the worker ended."""

    @property
    def process_id(self) -> int | None:
        """Its process id; None if it runs in this process."""
        ...

    @property
    def given(self) -> int:
        """How many of its chunks were not taken back yet."""
        ...

    def is_ready(self) -> bool:
        """Whether it can take a chunk."""
        ...

    def fits(self, chunk: Chunk) -> bool:
        """Whether it has room for the chunk and its columns."""
        ...

    def give(self, chunk: Chunk) -> None:
        """Hands over a chunk."""
        ...

    def has_answer(self) -> bool:
        """Whether `take` would return at once."""
        ...

    def take(self) -> Columns:
        """Waits for the columns of its oldest chunk. They are valid until `take` was called twice more."""
        ...

    def close(self) -> None:
        """Ends it, and waits until it ended."""
        ...


@dataclass(slots=True, eq=False)
class _Pending:
    """A submitted chunk: with a worker, or not started, or decoded (`columns`)."""

    chunk: Chunk
    worker: Worker | None = None
    columns: Columns | None = None
    is_done: bool = False


class DecodingPool:
    """`contracts.Decoding` with `workers`. One thread uses it.

    The first large chunk, the sign of a backlog, starts the other workers. Until they are ready, and whenever this thread would
    only wait, it decodes too.
    """

    def __init__(self, decode: Decoder, workers: int, start_worker: Callable[[], Worker], telemetry: Telemetry) -> None:
        """`workers` (2 or more) includes this thread.

        `start_worker` returns one more, or raises `OSError`. Starts nothing yet.
        """
        self._decode: Final = decode
        self._others = workers - 1
        self._lost = 0
        self._start_worker: Final = start_worker
        self._telemetry: Final = telemetry
        self._workers: list[Worker] = []
        self._pending: Final[deque[_Pending]] = deque()
        self._room: Final = _CHUNKS_AHEAD * workers

    @property
    def pending(self) -> int:
        return len(self._pending)

    @property
    def has_room(self) -> bool:
        return len(self._pending) < self._room

    def submit(self, chunk: Chunk) -> None:
        entry = _Pending(chunk)
        if not chunk.content:
            entry.is_done = True
        self._pending.append(entry)
        if len(chunk.content) >= _CONTENT_BYTES_MIN:
            self._start()
            self._hand_out()

    def take(self) -> tuple[Chunk, Columns | None]:
        self._hand_out()
        head = self._pending[0]
        while not head.is_done:
            if head.worker is None:
                self._decode_here(head)
            elif self._has_answer(head.worker) or not self._decode_another():
                self._receive(head.worker)
        self._pending.popleft()
        return head.chunk, head.columns

    def close(self) -> None:
        self._pending.clear()
        workers, self._workers = self._workers, []
        for worker in workers:
            worker.close()

    def _start(self) -> None:
        """Starts the missing workers."""
        if self._others and self._lost >= _LOST_MAX:
            self._others = 0
            self._telemetry.worker_unavailable(reason=f"{self._lost} worker processes ended")
        while len(self._workers) < self._others:
            try:
                worker = self._start_worker()
            except OSError as error:
                # No process, thread or memory is left. Decoding here is slower, but gives the same result.
                self._others = 0
                self._telemetry.worker_unavailable(reason=error.strerror or str(error))
                return
            self._workers.append(worker)
            if worker.process_id is not None:
                self._telemetry.worker_started(process_id=worker.process_id)

    def _hand_out(self) -> None:
        """Hands chunks that are not started to ready workers, the one with the fewest chunks first."""
        for entry in self._pending:
            if entry.is_done or entry.worker is not None or len(entry.chunk.content) < _CONTENT_BYTES_MIN:
                continue
            worker = self._ready_worker(entry.chunk)
            if worker is None:
                return
            try:
                worker.give(entry.chunk)
                entry.worker = worker
            except WorkerLostError:
                self._lose(worker)

    def _ready_worker(self, chunk: Chunk) -> Worker | None:
        ready = []
        for worker in list(self._workers):
            try:
                if worker.is_ready() and worker.fits(chunk):
                    ready.append(worker)
            except WorkerLostError:
                self._lose(worker)
        return min(ready, key=lambda worker: worker.given, default=None)

    def _has_answer(self, worker: Worker) -> bool:
        try:
            return worker.has_answer()
        except WorkerLostError:
            self._lose(worker)
            return True

    def _receive(self, worker: Worker) -> None:
        """Waits for the worker's next columns. If the worker died, its chunks go back to the queue."""
        entry = next((entry for entry in self._pending if entry.worker is worker and not entry.is_done), None)
        if entry is None:
            return
        try:
            entry.columns, entry.is_done = worker.take(), True
        except WorkerLostError:
            self._lose(worker)

    def _decode_another(self) -> bool:
        """Decodes the next chunk that is not started. Returns whether there was one."""
        entry = next((entry for entry in self._pending if entry.worker is None and not entry.is_done), None)
        if entry is None:
            return False
        self._decode_here(entry)
        return True

    def _decode_here(self, entry: _Pending) -> None:
        entry.columns, entry.is_done = self._decode(entry.chunk), True

    def _lose(self, worker: Worker) -> None:
        """Removes a worker that ended. Its chunks go back to the queue, and the next large chunk starts another worker."""
        if worker not in self._workers:
            return
        self._workers.remove(worker)
        self._lost += 1
        if worker.process_id is not None:
            self._telemetry.worker_lost(process_id=worker.process_id)
        for entry in self._pending:
            if entry.worker is worker and not entry.is_done:
                entry.worker = None
        worker.close()
