"""Decoding by several at once, the loop among them: threads of this process, or further processes."""

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
"""A smaller chunk is decoded sooner than handed over."""
_LOST_MAX: Final = 8
"""After so many that ended, no other is started: whatever ends them would end it too."""
_CHUNKS_AHEAD: Final = 2
"""So many chunks a worker are read ahead: one that is decoded and one that waits for it."""


class Worker(Protocol):
    """Who decodes chunks elsewhere, in the order in which it is given them. Each method raises `WorkerLostError` where it is gone."""

    @property
    def process_id(self) -> int | None:
        """Its process, where it is not this one."""
        ...

    @property
    def given(self) -> int:
        """How many chunks it has that were not taken back."""
        ...

    def is_ready(self) -> bool:
        """Whether it can be given a chunk."""
        ...

    def fits(self, chunk: Chunk) -> bool:
        """Whether it has room for the chunk, and what becomes of it."""
        ...

    def give(self, chunk: Chunk) -> None:
        """Hands over a chunk."""
        ...

    def has_answer(self) -> bool:
        """Whether `take` would not wait."""
        ...

    def take(self) -> Columns:
        """The columns of the oldest chunk given; waits for them. They hold until the next but one is taken."""
        ...

    def close(self) -> None:
        """Ends it, and waits for that."""
        ...


@dataclass(slots=True, eq=False)
class _Pending:
    """A chunk on its way: with a worker, or not begun, or decoded (`columns`)."""

    chunk: Chunk
    worker: Worker | None = None
    columns: Columns | None = None
    is_done: bool = False


class DecodingPool:
    """`contracts.Decoding` with `workers`. Used by one thread.

    The others are started by the first chunk large enough, which tells of a backlog; until they are there, and whenever this
    thread has nothing better to do, it decodes too.
    """

    def __init__(self, decode: Decoder, workers: int, start_worker: Callable[[], Worker], telemetry: Telemetry) -> None:
        """`workers` (2 or more) count this thread. `start_worker` gives one more, or raises `OSError`. Starts nothing yet."""
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
        """Starts those that are missing."""
        if self._others and self._lost >= _LOST_MAX:
            self._others = 0
            self._telemetry.worker_unavailable(reason=f"{self._lost} of them ended")
        while len(self._workers) < self._others:
            try:
                worker = self._start_worker()
            except OSError as error:
                # No process, thread or memory is left. What is slower is still right.
                self._others = 0
                self._telemetry.worker_unavailable(reason=error.strerror or str(error))
                return
            self._workers.append(worker)
            if worker.process_id is not None:
                self._telemetry.worker_started(process_id=worker.process_id)

    def _hand_out(self) -> None:
        """Gives what nobody has begun to workers that are ready, the one with the least first."""
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
        """Waits for the worker's next columns. If it was lost, its chunks are nobody's again."""
        entry = next((entry for entry in self._pending if entry.worker is worker and not entry.is_done), None)
        if entry is None:
            return
        try:
            entry.columns, entry.is_done = worker.take(), True
        except WorkerLostError:
            self._lose(worker)

    def _decode_another(self) -> bool:
        """Decodes the next chunk that nobody has begun; whether there was one."""
        entry = next((entry for entry in self._pending if entry.worker is None and not entry.is_done), None)
        if entry is None:
            return False
        self._decode_here(entry)
        return True

    def _decode_here(self, entry: _Pending) -> None:
        entry.columns, entry.is_done = self._decode(entry.chunk), True

    def _lose(self, worker: Worker) -> None:
        """A worker is gone: what it had is nobody's, and another one is started with the next large chunk."""
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
