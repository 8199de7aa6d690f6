"""Group commit of posted records: the thread that judges and appends what waits, fsyncs once, and answers all.

Owns: `IntakeWriter`, and `OpenIntake`: what it knows of the pipeline that reads what it appends.
Always: a record is acknowledged after the fsync that covers it. One group is written at a time; what comes meanwhile is the next group.
Never: writes after a write or an fsync failed (the process then ends).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain, groupby
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Final

import msgspec

from event_processor.engine.outcomes import Outcomes
from event_processor.model.contracts import Clock, Wakeup
from event_processor.model.errors import StorageError
from event_processor.model.rejections import Rejection
from event_processor.service.web.posted import PostedJudge
from event_processor.storage.shared_log import SharedLog, patiently

__all__ = ["IntakeWriter", "OpenIntake", "Taken"]

GROUP_RECORDS_MAX: Final = 100_000
"""About so many records are judged and written at once. Memory: the limit of connections limits what waits."""
JOIN_S: Final = 5.0


@dataclass(frozen=True, slots=True)
class OpenIntake:
    """The open pipeline, for the intake. All may be called by any thread.

    `generation`: of what is appended now. `wakeup`: of the loop that reads it. `undelivered_bytes`: what waits in the outbox. `failed` ends
    the process after its present commit. `outcomes`: of the last records of the intake; None if they are not kept.
    """

    generation: Callable[[], int]
    wakeup: Wakeup
    undelivered_bytes: Callable[[], int]
    failed: Callable[[], None]
    outcomes: Outcomes | None = None


@dataclass(frozen=True, slots=True)
class Taken:
    """The answer to one request: where its valid records begin and end, and its invalid records by their place, ascending."""

    generation: int
    offset: int
    end: int
    rejections: Sequence[Rejection]


@dataclass(frozen=True, slots=True)
class _Waiting:
    """The records of one request, what judges them, and its answer."""

    records: Sequence[bytes]
    judge: PostedJudge
    opened: OpenIntake
    loop: asyncio.AbstractEventLoop
    answer: asyncio.Future[Taken]


class IntakeWriter:
    """The thread that judges and appends, from the first record until `close`. The loop of the server submits."""

    def __init__(self, log: SharedLog, clock: Clock) -> None:
        self._log: Final = log
        self._clock: Final = clock
        self._gathered: list[_Waiting] = []
        self._waiting: Final[SimpleQueue[list[_Waiting] | None]] = SimpleQueue()
        self._thread: Thread | None = None
        self.opened: OpenIntake | None = None
        """The pipeline; None while none is open. Set by the daemon's thread."""

    def holds(self, generation: int, offset: int, opened: OpenIntake) -> bool:
        """Whether something durable was appended at this position, which no checkpoint counts yet. Raises `StorageError`."""
        # In this order: if a file is set aside meanwhile, its number is no longer that of the present one.
        durable_bytes = self._log.durable_bytes
        files_later = opened.generation() - generation
        if files_later == 0:
            return offset < durable_bytes
        return files_later > 0 and offset < self._log.earlier_bytes(files_later)

    def submit(self, records: Sequence[bytes], judge: PostedJudge, opened: OpenIntake) -> asyncio.Future[Taken]:
        """Takes records. The future is done when all that are valid are durable; or raises `StorageError`, `LockedError`."""
        loop = asyncio.get_running_loop()
        waiting = _Waiting(records, judge, opened, loop, loop.create_future())
        if not self._gathered:
            # The requests of one round of the loop are handed over together, so that two threads do not take turns for each.
            loop.call_soon(self._hand_over)
        self._gathered.append(waiting)
        return waiting.answer

    def _hand_over(self) -> None:
        if self._thread is None:
            self._thread = Thread(target=self._work, name="intake", daemon=True)
            self._thread.start()
        gathered, self._gathered = self._gathered, []
        self._waiting.put(gathered)

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
                answers = self._taken(group)
            except Exception as error:  # noqa: BLE001 - raised where it is awaited
                _answer(group, [error] * len(group))
                self._report(error)
            else:
                _answer(group, answers)
                # Otherwise the loop finds it at its next poll, together with what is appended until then.
                if (opened := self.opened) is not None and self._log.is_due:
                    opened.wakeup.set()
            if ends:
                return

    def _group(self, first: list[_Waiting]) -> tuple[list[_Waiting], bool]:
        """Everything that waits, up to the limit; and whether the thread ends after it."""
        group, records = list(first), sum(len(each.records) for each in first)
        with suppress(Empty):
            while records < GROUP_RECORDS_MAX:
                following = self._waiting.get_nowait()
                if following is None:
                    return group, True
                group += following
                records += sum(len(each.records) for each in following)
        return group, False

    def _taken(self, group: Sequence[_Waiting]) -> list[Taken]:
        """Judges the records of a group, and appends the valid ones."""
        refused = _judged(group)
        valid: list[Sequence[bytes]] = []
        for each, rejections in zip(group, refused, strict=True):
            rows = {rejection.row for rejection in rejections}
            valid.append([record for row, record in enumerate(each.records) if row not in rows] if rows else each.records)
        lines = list(chain.from_iterable(valid))
        offset = 0
        if lines:
            content = b"\n".join(lines) + b"\n"
            # If we die within, none of the group was acknowledged. What is found of it at the next start counts once, however
            # often it is sent again.
            offset = patiently(self._clock, lambda: self._log.append(content))
        taken = []
        for each, records, rejections in zip(group, valid, refused, strict=True):
            end = offset + sum(map(len, records)) + len(records)
            # Only this thread begins another file, so it is still the one that was appended to.
            taken.append(Taken(each.opened.generation(), offset, end, rejections))
            offset = end
        return taken

    def _report(self, error: Exception) -> None:
        if isinstance(error, StorageError) and (opened := self.opened) is not None:
            opened.failed()
            opened.wakeup.set()


def _judged(group: Sequence[_Waiting]) -> list[Sequence[Rejection]]:
    """The invalid records of each request. All requests of a configuration are judged together: that costs as much as one."""
    found: list[Sequence[Rejection]] = []
    for judge, requests in groupby(group, key=lambda each: each.judge):
        several = list(requests)
        rejections = judge.judge(list(chain.from_iterable(each.records for each in several)))
        if not len(rejections):
            found += [()] * len(several)
            continue
        begin, place = 0, 0
        for each in several:
            own = []
            while place < len(rejections) and rejections[place].row < begin + len(each.records):
                own.append(msgspec.structs.replace(rejections[place], row=rejections[place].row - begin))
                place += 1
            found.append(own)
            begin += len(each.records)
    return found


def _answer(group: Sequence[_Waiting], results: Sequence[Taken | Exception]) -> None:
    """Ends the futures of a group, with one call for each loop."""
    by_loop: dict[asyncio.AbstractEventLoop, list[tuple[asyncio.Future[Taken], Taken | Exception]]] = {}
    for each, result in zip(group, results, strict=True):
        by_loop.setdefault(each.loop, []).append((each.answer, result))
    for loop, answers in by_loop.items():
        with suppress(RuntimeError):  # the server has ended: nothing waits for it
            loop.call_soon_threadsafe(_end, answers)


def _end(answers: Sequence[tuple[asyncio.Future[Taken], Taken | Exception]]) -> None:
    for future, result in answers:
        if future.done():
            continue
        if isinstance(result, Taken):
            future.set_result(result)
        else:
            future.set_exception(result)
