"""Group commit of posted records: the thread that appends what waits, fsyncs once, and answers all.

Owns: `IntakeWriter`, and `OpenIntake`: what it knows of the pipeline that reads what it appends.
Always: a record is acknowledged after the fsync that covers it. One group is written at a time; what comes meanwhile is the next group.
Never: reads a record; writes after a write or an fsync failed (the process then ends).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Final

from event_processor.model.contracts import Clock, Wakeup
from event_processor.model.errors import EventProcessorError, StorageError
from event_processor.storage.shared_log import SharedLog, patiently

__all__ = ["IntakeWriter", "OpenIntake"]

GROUP_BYTES_MAX: Final = 16_777_216
"""One write holds no more than this, and at least one request. Memory: the limit of connections limits what waits."""
JOIN_S: Final = 5.0


@dataclass(frozen=True, slots=True)
class OpenIntake:
    """The open pipeline, for the intake. All may be called by any thread.

    `generation`: of what is appended now. `wakeup`: of the loop that reads it. `undelivered_bytes`: what waits in the outbox. `failed` ends
    the process after its present commit.
    """

    generation: Callable[[], int]
    wakeup: Wakeup
    undelivered_bytes: Callable[[], int]
    failed: Callable[[], None]


@dataclass(frozen=True, slots=True)
class _Waiting:
    """The records of one request, whole lines, and its answer."""

    content: bytes
    loop: asyncio.AbstractEventLoop
    answer: asyncio.Future[int]


class IntakeWriter:
    """The thread that appends to the intake, from the first record until `close`. The loop of the server submits."""

    def __init__(self, log: SharedLog, clock: Clock) -> None:
        self._log: Final = log
        self._clock: Final = clock
        self._waiting: Final[SimpleQueue[_Waiting | None]] = SimpleQueue()
        self._thread: Thread | None = None
        self.opened: OpenIntake | None = None
        """The pipeline; None while none is open. Set by the daemon's thread."""

    def submit(self, content: bytes) -> asyncio.Future[int]:
        """Takes whole lines. The future gets the offset of the first when all are durable; or `StorageError`, `LockedError`."""
        loop = asyncio.get_running_loop()
        waiting = _Waiting(content, loop, loop.create_future())
        if self._thread is None:
            self._thread = Thread(target=self._work, name="intake", daemon=True)
            self._thread.start()
        self._waiting.put(waiting)
        return waiting.answer

    def close(self) -> None:
        """Ends the thread after what waits was written. If the process ends before, nothing of it was acknowledged."""
        thread, self._thread = self._thread, None
        if thread is not None:
            self._waiting.put(None)
            thread.join(JOIN_S)

    def _work(self) -> None:
        while (first := self._waiting.get()) is not None:
            group, ends = self._group(first)
            try:
                content = b"".join(each.content for each in group)
                # If we die within, none of the group was acknowledged. What is found of it at the next start counts once, however
                # often it is sent again.
                offset = patiently(self._clock, lambda: self._log.append(content))  # noqa: B023 - called at once
            except EventProcessorError as error:
                _answer(group, error)
                self._report(error)
            else:
                _answer(group, offset)
                if (opened := self.opened) is not None:
                    opened.wakeup.set()
            if ends:
                return

    def _group(self, first: _Waiting) -> tuple[Sequence[_Waiting], bool]:
        """Everything that waits, up to the limit; and whether the thread ends after it."""
        group, size_bytes = [first], len(first.content)
        with suppress(Empty):
            while size_bytes < GROUP_BYTES_MAX:
                following = self._waiting.get_nowait()
                if following is None:
                    return group, True
                group.append(following)
                size_bytes += len(following.content)
        return group, False

    def _report(self, error: EventProcessorError) -> None:
        if isinstance(error, StorageError) and (opened := self.opened) is not None:
            opened.failed()
            opened.wakeup.set()


def _answer(group: Sequence[_Waiting], result: int | EventProcessorError) -> None:
    """Ends the futures of a group, with one call for each loop. `result`: the offset of the first record, or why none is durable."""
    by_loop: dict[asyncio.AbstractEventLoop, list[tuple[asyncio.Future[int], int | EventProcessorError]]] = {}
    place = result
    for each in group:
        by_loop.setdefault(each.loop, []).append((each.answer, place))
        if isinstance(place, int):
            place += len(each.content)
    for loop, answers in by_loop.items():
        with suppress(RuntimeError):  # the server has ended: nothing waits for it
            loop.call_soon_threadsafe(_end, answers)


def _end(answers: Sequence[tuple[asyncio.Future[int], int | EventProcessorError]]) -> None:
    for future, result in answers:
        if future.done():
            continue
        if isinstance(result, int):
            future.set_result(result)
        else:
            future.set_exception(result)
